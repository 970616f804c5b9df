"""What this runtime can attain on this core, and what holds a layer back. Pure.

After Williams, Waterman, Patterson (2009), *Roofline*: a layer takes at least the longest of its
arithmetic at peak, its weights and its maps at the bandwidth of where they lie. Weights come from the
cache that holds all the weights of the network, since between two runs of a layer all others are read;
maps from the one that holds the layer's own maps, since they were just written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from ..errors import EdgepruneError
from ..records import FINITE
from .layout import Layer, Network

OVERHEAD = 0.25  # share of attainable below which neither arithmetic nor memory explains the time
Curve = Sequence[Sequence[float]]  # (bytes, bytes a second), by size


@dataclass(frozen=True)
class Peaks:
    """Measured on the spot, one thread, in this runtime."""

    __pydantic_config__: ClassVar[Any] = FINITE
    flops: float  # a second, float32
    int8: float | None  # the same in int8, where it was measured
    weights: Curve  # reading weights (matrix x vector)
    maps: Curve  # copying maps: bytes read + bytes written
    call: float  # seconds of the smallest operator

    def __post_init__(self) -> None:
        for curve in (self.weights, self.maps):
            if not curve or any(len(point) != 2 or min(point) <= 0 for point in curve):
                raise EdgepruneError("peaks", "a bandwidth that is none, or of no size")
        if self.flops <= 0 or (self.int8 is not None and self.int8 <= 0) or self.call < 0:
            raise EdgepruneError("peaks", "a speed that is none")


@dataclass(frozen=True)
class Bound:
    """The least seconds of a layer by each reason, and the reason that holds it back."""

    arithmetic: float
    weights: float
    maps: float
    share: float  # attainable / measured; 1 = as fast as the machine allows
    by: str  # arithmetic, weights, maps, overhead

    @property
    def attainable(self) -> float:
        return max(self.arithmetic, self.weights, self.maps)


def bandwidth(curve: Curve, size: float) -> float:
    """Bytes a second at this working set, interpolated between the measured sizes (in log size)."""
    if size <= curve[0][0]:
        return curve[0][1]
    for (small, slow), (large, fast) in pairwise(curve):
        if size <= large:
            part = math.log(size / small) / math.log(large / small)
            return slow + part * (fast - slow)
    return curve[-1][1]


def bound(layer: Layer, network: Network, peaks: Peaks) -> Bound:
    peak = peaks.int8 if layer.layout == "int8" and peaks.int8 else peaks.flops
    arithmetic = 2 * layer.macs / peak
    weights = layer.weight_bytes / bandwidth(peaks.weights, network.weight_bytes)
    maps = layer.map_bytes / bandwidth(peaks.maps, layer.map_bytes)
    reasons = {"arithmetic": arithmetic, "weights": weights, "maps": maps}
    by = max(reasons, key=lambda r: reasons[r])
    share = reasons[by] / layer.seconds if layer.seconds > 0 else 0.0
    if share < OVERHEAD:
        by = "overhead"
    return Bound(arithmetic, weights, maps, min(share, 1.0), by)
