"""What a device's own word does to a plan: when it is met, how predictions are corrected. Pure.

On a visit a network of planned widths was measured beside the dense one. Between two networks that were
measured, the logarithm of measured over predicted time is a line in the logarithm of the predicted one;
beyond them it is that of the nearest. So what was measured is predicted exactly, a plan near it nearly so.
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
UNDER, OVER = 0.03, 0.01  # shares of what was asked by which a network may miss it
AIM = 0.99  # of what is asked: the middle of the two


def goal_ms(target: Target, visit: Visit) -> float:
    """What was asked, in milliseconds, beside the dense network as it was then."""
    return target.of(visit.dense_ms) * visit.dense_ms


def met(target: Target, visit: Visit) -> bool:
    """Whether the network that was measured is what was asked for."""
    return 1 - UNDER <= visit.measured_ms / goal_ms(target, visit) <= 1 + OVER


def ended(target: Target, visits: Sequence[Visit]) -> bool:
    """Whether no other visit follows."""
    return bool(visits) and (len(visits) >= MOST or met(target, visits[-1]))


def best(target: Target, visits: Sequence[Visit]) -> int:
    """The visited network to take: the slowest that is not too slow; else the one nearest to the goal."""
    shares = [visit.measured_ms / goal_ms(target, visit) for visit in visits]
    fast = [share for share in shares if share <= 1 + OVER]
    return shares.index(max(fast) if fast else min(shares))


def aimed(target: Target) -> Target:
    """What a plan is made for, so that it is met from either side."""
    if target.share is not None:
        return replace(target, share=AIM * target.share)
    return replace(target, value=AIM * (target.value or 0.0))


@dataclass(frozen=True)
class Corrected:
    """A predicted time, by what was measured of some networks: ``points`` of (predicted, factor)."""

    whole: Curve
    points: tuple[tuple[float, float], ...]  # rising

    @property
    def dense(self) -> float:
        return self._now(self.whole.dense)

    def at(self, widths: Mapping[str, int]) -> float:
        return self._now(self.whole.at(widths))

    def _now(self, predicted: float) -> float:
        x, y = zip(*((math.log(p), math.log(f)) for p, f in self.points), strict=True)
        return predicted * math.exp(float(np.interp(math.log(predicted), x, y)))


def points(visits: Sequence[Visit]) -> tuple[tuple[float, float], ...]:
    """Factors on predictions, those of the dense network first of all; times are the last visit's."""
    now = visits[-1].dense_ms
    found: dict[float, list[float]] = {
        visits[-1].predicted_dense_ms: [now / visits[-1].predicted_dense_ms]
    }
    for visit in visits:
        measured = visit.measured_ms / visit.dense_ms * now
        found.setdefault(visit.predicted_ms, []).append(measured / visit.predicted_ms)
    return tuple((p, float(np.mean(factors))) for p, factors in sorted(found.items()))


def corrected(row: Price, visits: Sequence[Visit]) -> Price:
    """The row of a device's milliseconds, as the visits found them."""
    if not visits:
        return row

    def of(graph: Graph) -> Curve:
        return Corrected(row.of(graph), points(visits))

    return replace(row, word="time", of=of, off=0.0)


def sentence(target: Target, visits: Sequence[Visit], chosen: Visit) -> str:
    """What was asked, what was measured, and how often."""
    goal, many = goal_ms(target, chosen), len(visits)
    off = chosen.measured_ms / goal - 1
    ms = f"{units.milliseconds(chosen.measured_ms / 1e3)} beside {units.milliseconds(chosen.dense_ms / 1e3)}"
    missed = "" if met(target, chosen) else f" ({100 * off:+.1f} % of what was asked)"
    return (
        f"{target} on {target.place}: measured {ms} of the dense network, "
        f"{chosen.dense_ms / chosen.measured_ms:.2f}x{missed}; {many} visit{'s' if many > 1 else ''}"
    )
