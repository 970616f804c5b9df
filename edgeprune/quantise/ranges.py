"""Which values of a tensor 256 steps are spread over: one row a rule.

What lies outside is clipped to the ends; what lies inside is rounded. ``minmax`` clips nothing that was
seen; ``mse`` weighs the one error against the other (Banner, Nahshan, Hoffer, Soudry 2018, section 4, by
search as in Choukroun, Kravchik, Kisilev 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
STEPS = 255  # from the least of 8 bits to the largest
BINS = 2048
SHRUNK = 64  # candidates for each end of a range
LEAST = 0.3  # of the seen range's end, the shortest that is tried
ROUNDS = 3  # the two ends in turn


@dataclass(frozen=True, eq=False)
class Seen:
    """What a tensor held over all examples: exact ends, and some of its values."""

    low: float
    high: float
    values: Floats  # [n], drawn evenly from all examples


@dataclass(frozen=True)
class Range:
    """Of real values, 0 among them: padding and ReLU need it exact."""

    low: float
    high: float

    @property
    def step(self) -> float:
        return max(self.high - self.low, 1e-12) / STEPS

    def rounded(self, x: Floats) -> Floats:
        """``x`` as 8 bits hold it, with a whole zero point."""
        zero = round(-self.low / self.step)
        q = np.clip(np.round(x / self.step) + zero, 0, STEPS)
        found: Floats = ((q - zero) * self.step).astype(np.float32)
        return found


Rule = Callable[[Seen], Range]


def minmax(seen: Seen) -> Range:
    return Range(min(seen.low, 0.0), max(seen.high, 0.0))


def mse(seen: Seen) -> Range:
    """The range with the least mean squared error on the values that were drawn."""
    whole = minmax(seen)
    centres, counts = _histogram(seen.values, whole)

    def error(found: Range) -> float:
        gap = found.rounded(centres) - centres
        return float((counts * gap * gap).sum())

    shares = np.linspace(1.0, LEAST, SHRUNK)
    best = whole
    for _ in range(ROUNDS):
        before = best
        if whole.high > 0:
            best = min((Range(best.low, float(whole.high * s)) for s in shares), key=error)
        if whole.low < 0:
            best = min((Range(float(whole.low * s), best.high) for s in shares), key=error)
        if best == before:
            break
    return best


def _histogram(values: Floats, whole: Range) -> tuple[Floats, Floats]:
    """The mean of the values in each bin that has some, and how many they are."""
    width = max(whole.high - whole.low, 1e-12) / BINS
    place = np.clip(((values - whole.low) / width).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, weights=values, minlength=BINS)
    there = counts > 0
    return (sums[there] / counts[there]).astype(np.float32), counts[there].astype(np.float32)


RANGES: dict[str, Rule] = {"minmax": minmax, "mse": mse}
