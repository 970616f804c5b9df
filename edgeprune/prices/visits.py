"""What a device's own word does to a plan: when it is met, how predictions are corrected. Pure.

On a visit a network of planned widths was measured beside the dense one. The logarithm of measured over
predicted time, as shares of the dense network's, is taken for a smooth function of the logarithm of the
predicted one, 0 at the dense network and measured with noise elsewhere: a Gaussian process (Rasmussen &
Williams 2006, ch. 2). So a plan near visited ones is predicted nearly as it was measured, and visits near
each other share their noise.

A visit that other programs cut short, or whose interval is wider than what may be missed, is unsure: its
network is measured again, and it counts only where that brought nothing better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import units
from ..records import Target, Visit
from .price import Curve, Price

if TYPE_CHECKING:
    from ..graph import Graph

MOST = 3  # visits for a plan
AGAIN = 2  # more of them, where some were unsure
UNDER, OVER = 0.03, 0.01  # shares of what was asked by which a network may miss it
AIM = 0.99  # of what is asked: the middle of the two
NEAR = 0.01  # of the middle: a visit's own noise; what lies nearer to an edge may lie beyond it
NOISE = 0.01  # of a ratio that a visit measures (measured: one network visited six times)
MISSED, WIDE = (
    0.1,
    0.5,
)  # how far predictions are off, and over what logarithm of time alike (assumption)


def goal_ms(target: Target, visit: Visit) -> float:
    """What was asked, in milliseconds, beside the dense network as it was then."""
    return target.of(visit.dense_ms) * visit.dense_ms


def met(target: Target, visit: Visit) -> bool:
    """Whether the network that was measured is what was asked for."""
    return 1 - UNDER <= share_of(target, visit) <= 1 + OVER


def share_of(target: Target, visit: Visit) -> float:
    """What was measured of what was asked: 1 is just that."""
    return visit.measured_ms / goal_ms(target, visit)


def likely(target: Target, visits: Sequence[Visit], visit: Visit) -> float:
    """The same, by all that the visits found."""
    return smoothed(visits, visit) * visit.dense_ms / goal_ms(target, visit)


def unsure(short: bool, interval: tuple[float | None, float | None] | None) -> bool:
    """Whether a ratio's ``interval`` of 95 % tells too little, or it was measured for too ``short``."""
    low, high = interval or (None, None)
    wide = not low or not high or math.log(high / low) > 2 * (UNDER + OVER)
    return short or wide


def again(visits: Sequence[Visit]) -> bool:
    """Whether the last network is to be measured once more."""
    return bool(visits) and visits[-1].unsure and sum(v.unsure for v in visits) <= AGAIN


def ended(target: Target, visits: Sequence[Visit]) -> bool:
    """Whether no other visit follows."""
    if not visits or again(visits):
        return False
    there = abs(likely(target, visits, visits[-1]) - AIM) <= NEAR + 1e-9
    return there or len(counted(visits)) >= MOST


def counted(visits: Sequence[Visit]) -> list[Visit]:
    """Without those that were unsure and whose network was measured again."""
    return [v for i, v in enumerate(visits)
            if not v.unsure or all(o.widths != v.widths for o in visits[i + 1 :])]  # fmt: skip


def best(target: Target, visits: Sequence[Visit]) -> int:
    """The visited network to take: the one nearest to the aim, those that are too slow last."""
    known = counted(visits)

    def order(i: int) -> tuple[bool, float]:
        share = likely(target, visits, visits[i])
        return share > 1 + OVER, abs(share - AIM)

    return min((i for i, v in enumerate(visits) if v in known), key=order)


def aimed(target: Target) -> Target:
    """What a plan is made for, so that it is met from either side."""
    if target.share is not None:
        return replace(target, share=AIM * target.share)
    return replace(target, value=AIM * (target.value or 0.0))


@dataclass(frozen=True)
class Corrected:
    """A predicted time, by what was measured of some networks: ``points`` of (predicted share of the dense
    network's, log of measured over predicted share)."""

    whole: Curve
    dense: float  # as it was measured
    points: tuple[tuple[float, float], ...]

    def at(self, widths: Mapping[str, int]) -> float:
        share = self.whole.at(widths) / self.whole.dense
        return self.dense * share * math.exp(off(self.points, share))


def off(points: Sequence[tuple[float, float]], share: float) -> float:
    """Log of measured over predicted at a predicted ``share``, from ``points`` of it."""
    x, y = (np.array(v) for v in zip(*((math.log(s), f) for s, f in points), strict=True))
    noise = NOISE**2 * np.eye(len(x))
    return float((_alike([math.log(share)], x) @ np.linalg.solve(_alike(x, x) + noise, y))[0])


def _alike(a: Sequence[float] | np.ndarray, b: np.ndarray) -> np.ndarray:
    """Covariances of the log factors at logarithms of shares; that of the dense network, 0, is known."""

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return MISSED**2 * np.exp(-((p - q) ** 2) / (2 * WIDE**2))

    p, q, dense = np.asarray(a, float)[:, None], b[None, :], np.zeros((1, 1))
    return kernel(p, q) - kernel(p, dense) * kernel(dense, q) / MISSED**2


def points(visits: Sequence[Visit]) -> tuple[tuple[float, float], ...]:
    """What the visits found of predictions, beside the dense network as it was at each."""
    found = []
    for visit in counted(visits):
        share = visit.predicted_ms / visit.predicted_dense_ms
        found.append((share, math.log(visit.measured_ms / visit.dense_ms / share)))
    return tuple(found)


def smoothed(visits: Sequence[Visit], visit: Visit) -> float:
    """Its share of the dense network's time, by all of them."""
    share = visit.predicted_ms / visit.predicted_dense_ms
    return share * math.exp(off(points(visits), share))


def corrected(row: Price, visits: Sequence[Visit]) -> Price:
    """The row of a device's milliseconds, as the visits found them."""
    if not visits:
        return row

    def of(graph: Graph) -> Curve:
        return Corrected(row.of(graph), visits[-1].dense_ms, points(visits))

    return replace(row, word="time", of=of, off=0.0)


def kept(target: Target, visit: Visit) -> bool:
    """Whether it is no slower than was asked, however much faster."""
    return share_of(target, visit) <= 1 + OVER


def sentence(target: Target, visits: Sequence[Visit], chosen: Visit) -> str:
    """What was asked, what was measured, and how often."""
    many, off = len(visits), share_of(target, chosen) - 1
    ms = f"{units.milliseconds(chosen.measured_ms / 1e3)} beside {units.milliseconds(chosen.dense_ms / 1e3)}"
    nearest = "no widths that were tried come nearer"
    missed = f" ({100 * abs(off):.1f} % {'faster' if off < 0 else 'slower'} than asked: {nearest})"
    broken = sum(visit.unsure for visit in visits)
    return (
        f"{target} on {target.place}: measured {ms} of the dense network, "
        f"{chosen.dense_ms / chosen.measured_ms:.2f}x{'' if met(target, chosen) else missed}; "
        f"{many} visit{'s' if many > 1 else ''}"
        + (f", {broken} of them unsure: other programs ran" if broken else "")
    )
