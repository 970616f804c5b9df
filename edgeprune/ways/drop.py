"""The smallest (or fastest) network that loses few enough of the dense network's answers. Pure.

Whether another answer comes is counted on held-out images; what is promised is the far end of its interval of
95 % (`units.wilson`), so few images promise little. What a network loses does not rise evenly as it gets
smaller: repaired, and judged on some hundred images, a smaller one may lose less than a larger one. So the
shares of the price are not halved as if it did: the widest gap between those that were tried is tried next,
the one right below the smallest that is good first of all, and only what lies below a network that loses far
too much is given up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .. import units
from ..errors import EdgepruneError
from ..records import Place

TRIALS = 12  # networks that are made, repaired and judged
NEAR, APART = (
    1.04,
    1.15,
)  # ratios of shares right below the smallest good one, and elsewhere, that end it
FAR = 4.0  # times the points, and as many more as that: no smaller network loses few enough (assumption)
MOST = 1_000_000  # images that anybody has
FIRST = 0.75  # share that is tried first


@dataclass(frozen=True)
class Within:
    """What may be lost: ``points`` of the dense network's answers; the fastest such network on ``place``,
    where its times are predicted, else the one of fewest FLOPs."""

    points: float
    place: Place | None = None


@dataclass(frozen=True)
class Tried:
    """A share of the price that stayed, and the share of the answers that are expected to be lost at most."""

    share: float
    lost: float


def lost(agreement: float, images: int) -> float:
    """The far end of the share of answers that are others than the dense network's."""
    return 1 - units.wilson(agreement, images)[0]


def fewest(points: float) -> int:
    """Held-out images without a single other answer that show as little as ``points``; `MOST` or more."""
    return next((n for n in range(1, MOST) if 100 * lost(1.0, n) <= points), MOST)


def check(points: float, images: int) -> None:
    """Refuse what so few held-out images could never show."""
    if not 0 < points < 100:
        raise EdgepruneError(f"--max-drop {points:g}", "must lie above 0 and below 100")
    if images < (needed := fewest(points)):
        raise EdgepruneError(
            f"--max-drop {points:g}",
            f"{images} held-out images show no less than {100 * lost(1.0, images):.1f} points",
            f"give {5 * needed:,} images or more: a fifth is held out; or ask for more points",
        )


def next_share(
    tried: Sequence[Tried], points: float, least: float, most: float = 1.0
) -> float | None:
    """The share to try, from ``least`` to ``most``; None where the search is over.

    >>> next_share([], 2, 0.1), round(next_share([Tried(0.75, 0.015)], 2, 0.25), 3)
    (0.75, 0.433)
    >>> next_share([Tried(0.75, 0.5)], 2, 0.1)  # far too much: not below it
    0.8660254037844386
    """
    if len(tried) >= TRIALS:
        return None
    if not tried:
        return max(FIRST * most, least)
    good = min([t.share for t in tried if 100 * t.lost <= points], default=most)
    far = [t.share for t in tried if 100 * t.lost > FAR * (points + 1) and t.share < good]
    low = max(far, default=least)
    between = {t.share for t in tried if low < t.share < good}
    shares = sorted({low, *between, good}, reverse=True)
    gaps = [
        (math.log(a / b) / math.log(NEAR if a == good else APART), a, b)
        for a, b in pairwise(shares)
    ]
    width, above, below = max(gaps, default=(0.0, 1.0, 1.0))
    return None if width <= 1 else max(least, math.sqrt(above * below))


def best(tried: Sequence[Tried], points: float) -> int | None:
    """The smallest that loses few enough; None where none does."""
    good = [(t.share, i) for i, t in enumerate(tried) if 100 * t.lost <= points]
    return min(good)[1] if good else None
