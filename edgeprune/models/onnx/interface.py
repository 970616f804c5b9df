"""How a file's network meets the world: names, types and axes of its inputs and outputs, metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ...errors import EdgepruneError
from . import file
from .operators import DTYPES, LIMIT

Axis = int | str | None  # a fixed size, an open one by its name, or open without a name
MOST = 1 << 20  # of one axis


@dataclass(frozen=True)
class Port:
    """An input or output."""

    name: str
    element: int  # ONNX's number of the type
    axes: tuple[Axis, ...] | None  # None: the file does not say


@dataclass(frozen=True)
class Interface:
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    metadata: dict[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def fixed(self) -> int | None:
        """The batch, where the file allows one only."""
        axes = self.inputs[0].axes if self.inputs else None
        return axes[0] if axes and isinstance(axes[0], int) else None


def of(proto: file.Proto, what: str) -> Interface:
    held = {t.name for t in proto.graph.initializer}
    inputs = tuple(_port(v, what) for v in proto.graph.input if v.name not in held)
    outputs = tuple(_port(v, what) for v in proto.graph.output)
    if not inputs or not outputs:
        raise EdgepruneError(what, "has no input, or no output", "export it again")
    metadata = {p.key: p.value for p in proto.metadata_props}
    return Interface(inputs, outputs, file.opset_of(proto), metadata, proto.graph.name)


def _port(value: Any, what: str) -> Port:
    if not value.type.HasField("tensor_type"):
        raise EdgepruneError(what, f"{value.name} is no tensor", "export with tensors only")
    kind = value.type.tensor_type
    if kind.elem_type not in DTYPES:
        raise EdgepruneError(
            what, f"{value.name} is of ONNX's type {kind.elem_type}", "numbers are followed"
        )
    axes = tuple(map(_axis, kind.shape.dim)) if kind.HasField("shape") else None
    for axis in axes or ():
        if isinstance(axis, int) and axis > MOST:
            raise EdgepruneError(what, f"{value.name} has an axis of {axis:,}", "is that right?")
    elements = math.prod(n for n in (axes or ())[1:] if isinstance(n, int))
    if elements > LIMIT:
        raise EdgepruneError(what, f"{value.name} has {elements:,} numbers", "is that right?")
    return Port(value.name, kind.elem_type, axes)


def _axis(dim: Any) -> Axis:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    return dim.dim_param if dim.HasField("dim_param") and dim.dim_param != "?" else None
