"""Which channels a reader misses least, exactly and greedily: optimal brain surgeon on channels.

A reader computes Y = X W'; S = X'X / n (+ ridge), H = S^-1. If channel c leaves and the weights of
the others are refitted by least squares, the mean squared error grows by (Hassibi, Stork 1993)

    L_c = |W[:,c]|^2 / H[c,c]

and then W -= W[:,c] H[c,:] / H[c,c],  H -= H[:,c] H[c,:] / H[c,c]. Only G = W'W is needed of W:
L_c = G[c,c] / H[c,c]. The cheapest leaves first, again and again, until one is left: an order, and
the relative error of every width at once. A unit that bears several channels of a reader leaves
with all of them (blocks of G and H); a group read by several layers adds up their relative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1e-3  # share of the mean of diag(S) that is added to it
DEAD = 1e-12  # variance of a reader's answers, in units of its weights' and inputs'
COMPACT = 0.9  # matrices are rewritten without what left at this share of their size


@dataclass(frozen=True, eq=False)
class Problem:
    """One reader of a group."""

    S: Tensor  # [C, C] second moments of what it reads, float64
    G: Tensor  # [C, C] W'W of its weights, each output scaled as the next layer sees it
    unit: NDArray[np.int64]  # [C] the group's unit that each channel belongs to, -1: none

    @property
    def variance(self) -> float:
        """tr(W S W'): of all its outputs."""
        return float((self.S * self.G).sum())


@dataclass(frozen=True, eq=False)
class Elimination:
    order: NDArray[np.int64]  # [width] units, first out first; the last never leaves
    error: NDArray[np.float64]  # [width + 1] relative error at each width; 0 at full, 1 at nothing

    def score(self) -> Tensor:
        """[width] the relative error that there is when the unit leaves in its turn."""
        width = len(self.order)
        score = torch.empty(width, dtype=torch.float64)
        score[torch.from_numpy(self.order)] = torch.from_numpy(self.error[:-1][::-1].copy())
        return score


def eliminate(problems: Sequence[Problem], width: int) -> Elimination:
    """Take out units one by one, always the one that costs all readers together the least."""
    states = [_State(scaled, width) for p in problems if (scaled := _scaled(p)) is not None]
    order = np.zeros(width, np.int64)
    error = np.zeros(width + 1)
    error[0] = 1.0
    left = np.ones(width, bool)
    total = 0.0
    for step in range(width):
        costs = sum((s.costs() for s in states), start=np.zeros(width)) / max(1, len(states))
        costs = np.where(left, costs, np.inf)
        out = int(costs.argmin())
        order[step] = out
        left[out] = False
        if step == width - 1:
            break
        total += float(max(costs[out], 0.0))
        error[width - step - 1] = total
        for s in states:
            s.leave(out)
    return Elimination(order, np.minimum(error, 1.0))


def _scaled(problem: Problem) -> Problem | None:
    """Numbers near 1, as errors are relative anyhow: a nearly dead layer's would fall out of range.

    None for a reader that reads, or answers, nothing but constants.
    """
    parts = []
    for matrix in (problem.S.double(), problem.G.double()):
        size = float(matrix.diagonal().mean())
        if not 0 < size < np.inf or not 1 / size < np.inf:
            return None
        parts.append(matrix / size)
    scaled = Problem(parts[0], parts[1], problem.unit)
    return scaled if scaled.variance > DEAD else None


class _State:
    """One reader's G and H for the channels that are left."""

    def __init__(self, problem: Problem, width: int) -> None:
        S = problem.S
        ridge = RIDGE * float(S.diagonal().mean())
        self.H = torch.linalg.inv(S + ridge * torch.eye(len(S), dtype=S.dtype))
        self.G = problem.G  # its own: _scaled made it
        self.unit = problem.unit.copy()
        self.width, self.total = width, problem.variance
        self.single = bool(np.bincount(self.unit[self.unit >= 0], minlength=1).max() <= 1)
        self.gone = 0

    def costs(self) -> NDArray[np.float64]:
        """[width] relative error that each unit's leaving would add (0 where it is not read)."""
        costs = np.zeros(self.width)
        if self.single:
            each = (self.G.diagonal() / self.H.diagonal().clamp_min(1e-300)).numpy()
            own = self.unit >= 0
            costs[self.unit[own]] = each[own]
        else:
            for unit, at in self._blocks():
                G, H = self.G[at][:, at], self.H[at][:, at]
                costs[unit] = float(torch.linalg.solve(H, G).diagonal().sum())
        return costs / self.total

    def leave(self, unit: int) -> None:
        at = torch.from_numpy((self.unit == unit).nonzero()[0])
        if not len(at):
            return
        # W -= W_c K, K = H_cc^-1 H_c:, hence G -= G_:c K + K' G_c: - K' G_cc K
        Hc, Gc = self.H[at], self.G[at]  # [m, C]
        K = torch.linalg.solve(Hc[:, at], Hc)
        half = Gc - 0.5 * Gc[:, at] @ K
        self.G.addmm_(torch.cat([K, half]).T, torch.cat([half, K]), alpha=-1)
        self.H.addmm_(Hc.T, K, alpha=-1)
        self.H[at, at] = 1.0  # gone: finite, and with G = 0 of no cost
        self.G[at], self.G[:, at] = 0.0, 0.0
        self.unit[at.numpy()] = -2
        self.gone += len(at)
        if self.gone > (1 - COMPACT) * len(self.unit):
            self._compact()

    def _compact(self) -> None:
        stay = torch.from_numpy((self.unit != -2).nonzero()[0])
        self.H, self.G = self.H[stay][:, stay].clone(), self.G[stay][:, stay].clone()
        self.unit, self.gone = self.unit[stay.numpy()], 0

    def _blocks(self) -> list[tuple[int, Tensor]]:
        order = np.argsort(self.unit, kind="stable")
        units, first = np.unique(self.unit[order], return_index=True)
        parts = np.split(order, first[1:])
        return [(int(u), torch.from_numpy(p)) for u, p in zip(units, parts, strict=True) if u >= 0]
