"""``dense-int8.json``, ``pruned-int8.json``: how a network came to its 8 bits, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from .run import Output
from .typed import FINITE, Count, Positive, Share

INT8 = "-int8"  # ends the name of a network that was made from a float one


def int8_of(network: str) -> str:
    """The name of its int8 network."""
    return network + INT8


def parent_of(network: str) -> str:
    """The network whose weights it has: ``pruned`` of ``pruned-int8``, else itself."""
    return network.removesuffix(INT8)


@dataclass(frozen=True)
class Kept:
    """A layer that stays in float, and what that is worth."""

    __pydantic_config__: ClassVar[Any] = FINITE
    layer: str
    loss: float  # share of the outputs' variance that its 8 bits alone lose


@dataclass(frozen=True, kw_only=True)
class Int8:
    """A quantised network of a run. Accuracies are None where there are no labels."""

    __pydantic_config__: ClassVar[Any] = FINITE
    format: Literal[1] = 1
    network: str  # dense-int8, pruned-int8
    parent: str  # the float network that it was made from
    weights: str  # sha256 of the parent's weights
    method: str  # one of quantise.METHODS
    calibrated: Positive  # examples that set the ranges
    ranges: dict[str, tuple[float, float]]  # of each tensor in the float file
    in_float: list[Kept] = field(default_factory=list)
    worst: list[Kept] = field(default_factory=list)  # layers furthest from their float selves
    note: str = ""  # why its layers were not repaired
    bytes: Count  # of the file
    sha256: str = ""  # of the file; "": written before it was kept
    float_bytes: Count
    opset: Positive
    images: Count  # that judged; none of them calibrated
    beside_float: list[Output]  # its outputs beside its parent's
    beside_dense: list[Output] = field(default_factory=list)  # and beside the dense network's
    accuracy: Share | None = None
    float_accuracy: Share | None = None
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def layers_in_float(self) -> int:
        return len(self.in_float)
