"""The smallest network that loses few enough of the dense network's answers. Pure.

Whether another answer comes is counted on held-out images; what is promised is the far end of its interval of
95 % (`units.wilson`), so few images promise little. The share of the price that stays is halved between one
that loses too much and one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import units
from ..errors import EdgepruneError

TRIALS = 6  # networks that are made, repaired and judged
NEAR = 0.02  # of the share, that is not searched any further
MOST = 1_000_000  # images that anybody has
FIRST = 0.75  # share that is tried first


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


def next_share(tried: Sequence[Tried], points: float, least: float) -> float | None:
    """The share to try, ``least`` or more; None where the search is over.

    >>> next_share([], 2, 0.1), next_share([Tried(0.75, 0.5)], 2, 0.1), next_share([Tried(0.75, 0)], 2, 0.15)
    (0.75, 0.875, 0.45)
    """
    if not tried:
        return max(FIRST, least)
    good = min([t.share for t in tried if 100 * t.lost <= points], default=1.0)
    bad = max([t.share for t in tried if 100 * t.lost > points and t.share < good], default=least)
    return None if len(tried) >= TRIALS or good - bad <= NEAR else (good + bad) / 2


def best(tried: Sequence[Tried], points: float) -> int | None:
    """The smallest that loses few enough; None where none does."""
    good = [(t.share, i) for i, t in enumerate(tried) if 100 * t.lost <= points]
    return min(good)[1] if good else None
