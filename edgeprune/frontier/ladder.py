"""Which network to make next, and which of those made are worth taking. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

FIRST = 0.7  # share of the price that the first network has left
DOWN = 0.7  # how much smaller the next one is, while more than HALF of the answers are kept
HALF = 0.5  # below it nobody deploys a network without retraining it
APART = 1.05  # neighbours that are nearer to each other show nothing new


def next_share(seen: Sequence[tuple[float, float]], least: float) -> float | None:
    """The share of the price to plan for next; None where nothing new can be shown.

    ``seen``: (share, kept) of what is known, the dense network (1, 1) among it; ``least``: the smallest
    share that can be reached. First downwards until half of the answers is lost, then always into
    the widest gap between neighbours, in answers kept, at the geometric mean of their shares.

    >>> next_share([(1, 1)], 0.1)
    0.7
    >>> round(next_share([(1, 1), (0.7, 0.9), (0.49, 0.3)], 0.1), 3)  # from .9 to .3 is the widest
    0.586
    """
    known = sorted(seen, reverse=True)
    lowest, kept = known[-1]
    if len(known) == 1 or (kept > HALF and lowest > APART * least):
        return max(least, FIRST if len(known) == 1 else DOWN * lowest)
    gaps = [
        (a[1] - b[1], math.sqrt(a[0] * b[0])) for a, b in pairwise(known) if a[0] > APART**2 * b[0]
    ]
    return max(gaps)[1] if gaps else None


def beaten(points: Sequence[tuple[float, float]]) -> list[int | None]:
    """For each (seconds, kept) the first other that is no slower and keeps no less, and is better in one.

    >>> beaten([(10, 1.0), (6, 0.8), (5, 0.9)])
    [None, 2, None]
    """
    return [
        next(
            (
                i for i, (seconds, kept) in enumerate(points)
                if (seconds, kept) != own and seconds <= own[0] and kept >= own[1]
            ),
            None,
        )
        for own in points
    ]  # fmt: skip
