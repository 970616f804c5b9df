"""From a float file and examples to the network in 8 bits, by one of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EdgepruneError, closest
from ..graph.inputs import Example, size
from ..models.onnx.file import opset_of
from ..records import Kept
from .file import Proto, prepared, quantised
from .observe import observe
from .ranges import RANGES, Range

USUAL = "minmax"


@dataclass(frozen=True, eq=False)
class Made:
    """A quantised network, not yet written, and how it came about."""

    proto: Proto
    method: str
    examples: int  # that calibrated
    ranges: Mapping[str, Range]
    in_float: Sequence[Kept] = ()

    @property
    def opset(self) -> int:
        return opset_of(self.proto)


def of_file(path: Path, examples: Sequence[Example], method: str = USUAL) -> Made:
    """The network of the float file ``path`` in 8 bits; the file is left as it is."""
    if method not in RANGES:
        raise EdgepruneError(f"method {method!r}", closest(method, list(RANGES)))
    if not examples:
        raise EdgepruneError("int8", "no examples to take the ranges from", "give some images")
    proto = prepared(path)
    ranges = {name: RANGES[method](seen) for name, seen in observe(proto, examples).items()}
    made = quantised(proto, ranges)
    return Made(made, method, sum(size(x) for x in examples), ranges)
