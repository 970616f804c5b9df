"""What ``edgeprune frontier`` found: networks from the dense one to the fastest, measured side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import MaxLen

from .bench import Finite, Interval, Latency, Ratio, Text
from .int8 import int8_of
from .run import Output
from .typed import Count, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Point(Finite):
    """One network: what it costs, what it keeps of the dense one's answers, how fast it is."""

    number: Count  # 0: the dense one; then the smaller the network, the higher
    int8: bool = False  # in 8 bits; of the same number as the float network that it was made from
    share: Share  # that it has left of the price that the plans go by
    params: Positive
    flops: Positive  # the paper's convention
    bytes: Count | None = None  # of the .onnx file
    kept: float = 1.0  # of the dense network's answers: 1 = all
    kept_interval: tuple[float, float] | None = None  # of 95 %; None where no share of answers
    outputs: list[Output] = field(default_factory=list)  # each beside the dense network's
    latency: Latency
    speedup: Ratio | None = None
    speedup_interval: Interval | None = None
    verdict: Text = "baseline"
    beaten_by: Count | None = None  # one in as many bits that is no slower and keeps no less

    @property
    def name(self) -> str:
        """``dense``, ``3``; in 8 bits ``dense-int8``, ``3-int8``."""
        own = str(self.number) if self.number else "dense"
        return int8_of(own) if self.int8 else own


@dataclass(frozen=True, kw_only=True)
class Frontier(Finite):
    """``frontier/frontier.json`` of a run; beside it the plan of each network, and ``bench.json``."""

    format: Literal["edgeprune-frontier"] = "edgeprune-frontier"
    version: Literal[1] = 1
    created: Text
    device: Text
    threads: Positive
    price: Text  # that the plans go by, a name of prices.PRICES
    compensate: Text = "lstsq"  # how they were repaired
    images: Count  # that took no part in the pruning, on which ``kept`` was measured
    plans: Mapping[str, Text]  # number -> fingerprint of the plan
    points: Annotated[list[Point], MaxLen(1000)]
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Halfway(Finite):
    """``frontier/state/KEY/N.json``: a network that is made and not measured yet; beside it file and plan."""

    format: Literal["edgeprune-halfway"] = "edgeprune-halfway"
    version: Literal[1] = 1
    sha256: Text  # of the .onnx file
    params: Positive
    flops: Positive
    share: Share
    int8: bool = False
    plan: Text = ""  # its fingerprint; "" where none was made
    outputs: list[Output] = field(default_factory=list)
