"""Shares of the layers by trying them: one weight a group on its error curve, judged by what comes out.

An evolution of one parent and one child (Rechenberg 1973): some weights are multiplied by random
factors, and the child takes the parent's place if the judge finds it better. The step grows by a
half with each success and shrinks by a tenth with each failure, so that one in about five succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

Weights = Mapping[str, float]
Judge = Callable[[Weights], float]  # higher is better

MOVED = 4  # weights that one move changes, on average (assumption)
STEP, LEAST, MOST = 0.5, 0.1, 1.0  # deviation of the logarithm of the factors: at first, bounds
SUCCESS, FAILURE = 1.5, 0.9
BOUND = 3.0  # of a weight's logarithm


@dataclass(frozen=True)
class Found:
    """The best weights, what the judge said of them and of equal ones, and how often it was asked."""

    weights: dict[str, float]
    value: float
    even: float  # all weights 1
    judgements: int


def weighted(curves: Mapping[str, Sequence[float]], weights: Weights) -> dict[str, list[float]]:
    """The losses at each width, each group's times its weight."""
    return {name: [weights[name] * loss for loss in curve] for name, curve in curves.items()}


def search(
    names: Sequence[str],
    judge: Judge,
    judgements: int,
    seed: int,
    told: Callable[[int], None] = lambda done: None,
) -> Found:
    """The weights of ``names`` that ``judge`` likes best of ``judgements`` that it is asked about.

    The first are all 1, so the best are never worse than those. ``told`` hears how many are done.
    """
    random = np.random.default_rng(seed)
    logs, step = np.zeros(len(names)), STEP
    even = judge(dict.fromkeys(names, 1.0))
    best = Found(dict.fromkeys(names, 1.0), even, even, 1)
    told(1)
    for done in range(2, judgements + 1):
        moved = random.random(len(names)) < MOVED / len(names)
        moved[random.integers(len(names))] = True
        child = np.clip(logs + moved * random.normal(0, step, len(names)), -BOUND, BOUND)
        weights = dict(zip(names, np.exp(child).tolist(), strict=True))
        value = judge(weights)
        told(done)
        if value > best.value:
            logs, step = child, min(MOST, step * SUCCESS)
            best = replace(best, weights=weights, value=value)
        else:
            step = max(LEAST, step * FAILURE)
        best = replace(best, judgements=done)
    return best
