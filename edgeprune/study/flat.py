"""Is a baseline trained? Its validation accuracy must be flat over the last quarter of its epochs. Pure.

A line is fitted to the accuracies of the last quarter (least squares). Its slope times the number of those
epochs is what another such quarter would bring; the upper end of the slope's interval (one-sided, 95 %, by
Student's t) must promise less than ``points``. What is not shown to be flat counts as still rising.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import stats

from ..records import Flat

LEAST = 3  # epochs: fewer have a line, and no interval


@dataclass(frozen=True)
class Rise:
    """What another stretch as long as the one that was looked at would bring, in points of accuracy."""

    points: float
    high: float  # at most, with 95 %
    flat: bool


def rise(accuracy: Sequence[float], rule: Flat) -> Rise:
    """Of the validation accuracies (0..1) of all epochs in their order.

    >>> rise([0.1, 0.3, 0.5, 0.70, 0.70, 0.70, 0.70, 0.70], Flat(last=0.5)).flat
    True
    >>> rise([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], Flat()).flat
    False
    """
    last = [100 * a for a in accuracy[-max(LEAST, math.ceil(rule.last * len(accuracy))) :]]
    n = len(last)
    if n < LEAST:
        return Rise(math.nan, math.inf, False)
    middle, level = (n - 1) / 2, fmean(last)
    spread = sum((x - middle) ** 2 for x in range(n))
    slope = sum((x - middle) * (y - level) for x, y in enumerate(last)) / spread
    off = sum((y - level - slope * (x - middle)) ** 2 for x, y in enumerate(last))
    high = slope + float(stats.t.ppf(0.95, n - 2)) * math.sqrt(off / (n - 2) / spread)
    return Rise(slope * n, high * n, high * n < rule.points)
