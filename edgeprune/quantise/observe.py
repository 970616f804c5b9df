"""What flows through a float .onnx file when it is shown examples: each tensor's ends, and some values."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from zlib import crc32

import numpy as np
import onnx

from ..errors import EdgepruneError, first_line
from ..export import parity
from ..graph.inputs import Example
from .file import Proto
from .ranges import Floats, Seen

DRAWN = 512  # values of a tensor and example
MOST = 1 << 17  # and of a tensor in all


def observe(proto: Proto, batches: Iterable[Example]) -> dict[str, Seen]:
    """Each float tensor of a file that `file.prepared` made, inputs and outputs too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    there = {v.name for v in watched.graph.output}
    made = {name for node in watched.graph.node for name in node.output}
    for value in proto.graph.value_info:
        if value.name in made - there and _floats(value):
            watched.graph.output.append(value)
    floats = {v.name for v in [*proto.graph.input, *watched.graph.output] if _floats(v)}
    found: dict[str, Growing] = {}
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, "watched.onnx")
        onnx.save(watched, path)
        running = parity.session(path)
        names = [o.name for o in running.get_outputs()]
        for x in batches:
            for name, value in _run(running, x, names).items():
                if name in floats:
                    found.setdefault(name, Growing(name)).add(value)
    if not found:
        raise EdgepruneError("int8", "no examples to take the ranges from", "give some images")
    return {name: growing.seen() for name, growing in found.items()}


def _run(running: parity.Session, x: Example, names: list[str]) -> Mapping[str, np.ndarray]:
    try:
        given = parity.run_on(running, x)
    except Exception as e:  # onnxruntime's classes are not public
        raise EdgepruneError(
            "int8: onnxruntime fails on the examples",
            first_line(e),
            "give images or arrays of the kind that the network takes",
        ) from e
    fed = parity.fed(running, x)
    return {**fed, **dict(zip(names, given, strict=True))}


def _floats(value: onnx.ValueInfoProto) -> bool:
    found: bool = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    return found


class Growing:
    """A tensor over the batches."""

    def __init__(self, name: str) -> None:
        self.low, self.high = np.inf, -np.inf
        self.parts: list[Floats] = []
        self.rng = np.random.default_rng(crc32(name.encode()))
        self.name = name

    def add(self, value: np.ndarray) -> None:
        if not value.size:
            return
        low, high = float(value.min()), float(value.max())
        if not np.isfinite([low, high]).all():
            raise EdgepruneError(
                f"int8: tensor {self.name}", "NaN or infinite on the calibrating examples",
                "check the weights and how the images are normalised",
            )  # fmt: skip
        self.low, self.high = min(self.low, low), max(self.high, high)
        flat = value.reshape(-1)
        some = min(flat.size, DRAWN * max(1, value.shape[0] if value.ndim else 1))
        self.parts.append(flat[self.rng.integers(0, flat.size, some)].astype(np.float32))

    def seen(self) -> Seen:
        values = np.concatenate(self.parts) if self.parts else np.zeros(1, np.float32)
        if len(values) > MOST:
            values = values[self.rng.permutation(len(values))[:MOST]]
        low, high = (self.low, self.high) if self.parts else (0.0, 0.0)
        return Seen(low, high, values)
