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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RIDGE = 1e-3  # share of the mean of diag(S) that is added to it
DEAD = 1e-12  # variance of a reader's answers, in units of its weights' and inputs'
PENDING = 48  # changes of a matrix that wait to be applied together
GONE = -2  # the unit of a channel that left
Matrix = NDArray[Any]


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
    if float(scaled.S.diagonal().min()) < -1:  # no variance is negative: these are rounding errors,
        return None  # larger than what there is
    return scaled if scaled.variance > DEAD else None


class _Changing:
    """A symmetric matrix M - left' right whose changes are applied many at a time."""

    def __init__(self, M: Matrix) -> None:
        self.M = M
        self.left, self.right = np.empty((0, len(M))), np.empty((0, len(M)))
        self.waiting = 0

    def rows(self, at: Matrix) -> Matrix:
        """[m, C] as they are now."""
        n = self.waiting
        changed: Matrix = self.M[at] - self.left[:n, at].T @ self.right[:n]
        return changed

    def change(self, left: Matrix, right: Matrix) -> None:
        """Take off left' right, [k, C] each."""
        end = self.waiting + len(left)
        if end > len(self.left):
            more = np.empty((end + PENDING, self.left.shape[1]))
            self.left, self.right = (np.concatenate([m, more]) for m in (self.left, self.right))
        self.left[self.waiting : end], self.right[self.waiting : end] = left, right
        self.waiting = end

    def settle(self, stay: Matrix) -> None:
        """Apply what waits, to the rows and columns ``stay`` alone."""
        n = self.waiting
        M = torch.from_numpy(self.M[np.ix_(stay, stay)])
        left, right = (torch.from_numpy(m[:n, stay]) for m in (self.left, self.right))
        self.M = M.addmm_(left.T, right, alpha=-1).numpy()
        self.left, self.right = np.empty((0, len(stay))), np.empty((0, len(stay)))
        self.waiting = 0


@dataclass(eq=False)
class _Same:
    """The units that bear ``m`` channels each: where, and their blocks of G and H."""

    units: NDArray[np.int64]  # [U]
    at: NDArray[np.int64]  # [U, m]
    G: Matrix  # [U, m, m]
    H: Matrix

    def costs(self) -> Matrix:
        """[U] tr(H^-1 G)."""
        if self.at.shape[1] == 1:
            alone: Matrix = self.G[:, 0, 0] / np.maximum(self.H[:, 0, 0], 1e-300)
            return alone
        found: Matrix = np.linalg.solve(self.H, self.G).trace(axis1=1, axis2=2)
        return found

    def follow(self, of: str, left: Matrix, right: Matrix) -> None:
        """Take left' right, [k, C] each, off the blocks of ``of``."""
        block: Matrix = getattr(self, of)
        block -= np.einsum("kum,kun->umn", left[:, self.at], right[:, self.at])


class _State:
    """One reader's G and H for the channels that are left."""

    def __init__(self, problem: Problem, width: int) -> None:
        S = problem.S
        S = S + RIDGE * S.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)
        L, failed = torch.linalg.cholesky_ex(S)
        if bool(failed):  # rounding left negative directions: as much again is noise in all of them
            noise = -float(torch.linalg.eigvalsh(S)[0])
            S = S + (noise + RIDGE * (1 + noise)) * torch.eye(len(S), dtype=S.dtype)
            L = torch.linalg.cholesky(S)
        H = torch.cholesky_inverse(L)
        self.H, self.G = _Changing(H.numpy()), _Changing(problem.G.numpy())
        self.unit = problem.unit.copy()
        self.width, self.total = width, problem.variance
        self.blocks = [
            _Same(units, at, *(m.M[at[:, :, None], at[:, None]] for m in (self.G, self.H)))
            for units, at in _alike(self.unit)
        ]

    def costs(self) -> NDArray[np.float64]:
        """[width] relative error that each unit's leaving would add (0 where it is not read)."""
        costs = np.zeros(self.width)
        for block in self.blocks:
            costs[block.units] = block.costs()
        return costs / self.total

    def leave(self, unit: int) -> None:
        at = (self.unit == unit).nonzero()[0]
        if not len(at):
            return
        # W -= W_c K, K = H_cc^-1 H_c:, hence G -= G_:c K + K' G_c: - K' G_cc K
        Hc, Gc = self.H.rows(at), self.G.rows(at)  # [m, C]
        K = Hc / Hc[0, at] if len(at) == 1 else np.linalg.solve(Hc[:, at], Hc)
        half = Gc - 0.5 * Gc[:, at] @ K
        changes = {"H": (Hc, K), "G": (np.concatenate([K, half]), np.concatenate([half, K]))}
        self.H.change(*changes["H"])
        self.G.change(*changes["G"])
        for block in self.blocks:
            for of, change in changes.items():
                block.follow(of, *change)
            mine = block.units == unit  # gone: finite, and with G = 0 of no cost
            block.G[mine], block.H[mine] = 0.0, np.eye(block.at.shape[1])
        self.unit[at] = GONE
        if self.H.waiting >= PENDING:
            self._settle()

    def _settle(self) -> None:
        stay = (self.unit != GONE).nonzero()[0]
        place = np.full(len(self.unit), -1)
        place[stay] = np.arange(len(stay))
        self.H.settle(stay)
        self.G.settle(stay)
        self.unit = self.unit[stay]
        for block in self.blocks:
            left = place[block.at[:, 0]] >= 0
            block.units, block.G, block.H = block.units[left], block.G[left], block.H[left]
            block.at = place[block.at[left]]


def _alike(unit: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Units that bear equally many channels: the units [U], and the channels of each [U, m]."""
    order = np.argsort(unit, kind="stable")
    units, first, count = np.unique(unit[order], return_index=True, return_counts=True)
    found = []
    for m in np.unique(count[units >= 0]):
        own = (count == m) & (units >= 0)
        found.append((units[own], order[first[own][:, None] + np.arange(m)]))
    return found
