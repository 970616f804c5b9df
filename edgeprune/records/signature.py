"""What goes into a network and comes out of it: names, shapes, types; and how the inputs are passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import MaxLen

from ..errors import EdgepruneError
from .typed import FINITE

SHOWN = 6  # inputs or outputs in a sentence
MOST_AXES, MOST_VALUES, MOST_PORTS = 8, 2**31, 256
FLOATS = ("float32", "float64", "float16", "bfloat16")
FORMS = ("", "probabilities", "unit", "shares")  # "unit": vectors of length 1
OTHERS = ("int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128")


@dataclass(frozen=True)
class Port:
    """One tensor that goes in or comes out, ``shape`` of one example: without the batch's axis."""

    __pydantic_config__: ClassVar[Any] = FINITE

    name: str  # an argument, or the place in what the forward gives: "out", "1.0"
    shape: tuple[int, ...]
    dtype: str = "float32"  # as torch names it
    batch: int | None = 0  # the axis that follows the batch; None: none does
    form: str = ""  # of an output, as the probe saw it: one of FORMS

    def __post_init__(self) -> None:
        axes = (*self.shape, 1)
        for what, right in (
            (f"shape {self.shape!r}", len(self.shape) <= MOST_AXES and min(axes) >= 0),
            (f"shape {self.shape!r}", math.prod(axes) <= MOST_VALUES),
            (f"type {self.dtype!r}", self.dtype in (*FLOATS, *OTHERS)),
            (f"form {self.form!r}", self.form in FORMS),
            (f"batch {self.batch!r}", self.batch is None or 0 <= self.batch <= len(self.shape)),
        ):
            if not right:
                raise EdgepruneError(f"tensor {self.name!r}", f"{what} cannot be")

    @property
    def floats(self) -> bool:
        return self.dtype in FLOATS

    @property
    def said(self) -> str:
        """``[N, 3, 32, 32]``, with the type where it is not float."""
        axes = [str(n) for n in self.shape]
        if self.batch is not None:
            axes.insert(self.batch, "N")
        return f"[{', '.join(axes)}]" + ("" if self.floats else f" {self.dtype}")

    def sized(self, batch: int) -> tuple[int, ...]:
        """The shape of that many examples."""
        if self.batch is None:
            return self.shape
        return (*self.shape[: self.batch], batch, *self.shape[self.batch :])


@dataclass(frozen=True)
class Inputs:
    """What a forward takes. ``call`` says how, with a number for each tensor.

    ``0``: one tensor, ``net(x)``; ``[0, 1]``: arguments, ``net(x, y)``; ``{"a": 0, "b": 1}``: keywords,
    ``net(a=x, b=y)``; lists and dicts inside are handed on as they are: ``[{"image": 0}]``.
    """

    __pydantic_config__: ClassVar[Any] = FINITE

    ports: Annotated[tuple[Port, ...], MaxLen(MOST_PORTS)]
    call: Any = 0

    def __post_init__(self) -> None:
        if sorted(_numbers(self.call)) != list(range(len(self.ports))) or not self.ports:
            raise EdgepruneError("inputs", f"call {self.call!r} does not name each of them once")

    @property
    def said(self) -> str:
        """``[N, 3, 32, 32]``; several by name."""
        return self.ports[0].said if self.call == 0 else _listed(self.ports)


@dataclass(frozen=True)
class Signature:
    """A network as it is seen from outside."""

    __pydantic_config__: ClassVar[Any] = FINITE

    inputs: Inputs
    outputs: Annotated[tuple[Port, ...], MaxLen(MOST_PORTS)]

    @property
    def said(self) -> str:
        """``takes [N, 1, 28, 28], gives logits [N, 10]``."""
        return f"takes {self.inputs.said}, gives {_listed(self.outputs) or 'nothing'}"


def _listed(ports: Sequence[Port]) -> str:
    """``a [N, 3], b [N, 5]``, and how many more: a network may have hundreds."""
    told = [f"{p.name} {p.said}" if p.name else p.said for p in ports[:SHOWN]]
    more = len(ports) - SHOWN
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _numbers(call: Any, depth: int = 0) -> list[int]:
    """The numbers of a call, in order; -1 for whatever else stands there."""
    if isinstance(call, list | tuple | dict) and depth < MOST_AXES:
        parts = call.values() if isinstance(call, dict) else call
        return [n for part in parts for n in _numbers(part, depth + 1)]
    return [call if type(call) is int else -1]
