"""How far pruning has come at a point of the training: pure functions of t in 0..1, rising to 1."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import EdgepruneError, closest

ALPHA, BETA = 14.0, 6.0  # steepness and place of the one-cycle's rise (quoted from memory)


def constant(t: float) -> float:
    """Equal parts: t itself."""
    return t


def agp(t: float) -> float:
    """Automated gradual pruning (Zhu & Gupta 2017, equation 1): ``1 - (1 - t)^3``, fast first."""
    return 1 - (1 - t) ** 3


def one_cycle(t: float) -> float:
    """One-cycle pruning (Hubens et al. 2021): slow, fast around t = 0.43, slow.

    ``(1 + e^(b - a)) / (1 + e^(b - a t))``, shifted and scaled so that it is 0 at t = 0 (the formula
    alone leaves 0.25 % there).
    """

    def rise(t: float) -> float:
        return (1 + math.exp(BETA - ALPHA)) / (1 + math.exp(BETA - ALPHA * t))

    return (rise(t) - rise(0)) / (1 - rise(0))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "agp": agp,
    "one-cycle": one_cycle,
}


def named(name: str) -> Callable[[float], float]:
    if name not in SCHEDULES:
        raise EdgepruneError(f"--schedule {name!r}", closest(name, list(SCHEDULES)))
    return SCHEDULES[name]


def kept(schedule: str, t: float, target: float) -> float:
    """The share that stays at ``t`` (0..1) on the way from 1 to ``target``."""
    done = named(schedule)(min(1.0, max(0.0, t)))
    return 1 - (1 - target) * done
