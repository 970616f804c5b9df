"""What is to be known of a task: a row that training, ways, export and bench ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Targets = NDArray[Any]  # of a split, one row an image


class Chance(NamedTuple):
    """What one answer for all images reaches: no training is worth anything at that."""

    loss: float  # at least
    score: float  # at most, three standard errors included


def variance_lost(outputs: Tensor, others: Tensor) -> float:
    """``|outputs - others|^2 / variance of outputs`` over N images: 0 for equal, 1 for their mean."""
    lost = (outputs - others).square().sum()
    return float(lost / (outputs - outputs.mean(0)).square().sum().clamp_min(1e-30))


@dataclass(frozen=True)
class Task:
    """A row of `tasks.TASKS`. ``outputs`` [N, ...] are the network's, ``targets`` [N, ...] the labels."""

    name: str  # in recipe.json
    score: str  # the key of its score in results: top1
    title: str  # the score's name in a table
    loss: Callable[[Tensor, Tensor, float], Tensor]
    # outputs, targets, share of smoothing -> mean over N, to be minimised
    taught: Callable[[Tensor, Tensor, float], Tensor]
    # outputs, a teacher's outputs, temperature -> mean over N; needs no targets
    right: Callable[[Tensor, Tensor], Tensor]
    # outputs, targets -> [N], bool or 0..1; the score is its mean
    same: Callable[[Tensor, Tensor], Tensor | None]
    # two outputs -> bool [N], whether they are the same answer; None: they answer with no choice
    answers: Callable[[Tensor], Tensor | None]
    # outputs -> the targets that they would be; None: they answer with no choice
    distance: Callable[[Tensor, Tensor], float] = variance_lost
    chance: Callable[[Targets, Targets, int, float], Chance] | None = None
    # targets to train and to validate on, classes, smoothing; None: nobody knows
    counted: bool = False  # deploy/runner.py counts it on the device

    def distillation(
        self,
        outputs: Tensor,
        teacher: Tensor,
        targets: Tensor,
        *,
        share: float,
        temperature: float,
        smoothing: float = 0.0,
    ) -> Tensor:
        """``(1 - share) loss + share taught``: labels, and what a teacher answers, mean over N."""
        taught = self.taught(outputs, teacher, temperature)
        return (1 - share) * self.loss(outputs, targets, smoothing) + share * taught

    def agree(self, outputs: Tensor, others: Tensor) -> float | None:
        """Share of images with the same answer; None where an answer is no choice."""
        same = self.same(outputs, others)
        return None if same is None else float(same.double().mean())

    def scores(self, outputs: Tensor, targets: Tensor | None) -> dict[str, float] | None:
        """``{"top1": 0.91}``; None without labels."""
        if targets is None:
            return None
        return {self.score: float(self.right(outputs, targets).double().mean())}


def entropy(shares: NDArray[np.float64]) -> float:
    """``-sum q log q``, in nats."""
    q = shares[shares > 0]
    return float(-(q * np.log(q)).sum())
