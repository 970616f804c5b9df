"""The grid of a layer's weights in 8 bits: one step a filter, and no two neighbours beyond what adds up.

Processors of x86 without VNNI multiply uint8 maps by int8 weights two at a time and add both products in
16 bits, which hold 32,767: two neighbours of one sign whose steps add up to more than 128 may be cut off
there (``vpmaddubsw``; onnxruntime's help: `reduce_range`, which gives all weights 7 bits instead). A
filter's step is therefore such that no pair does: its file gives the same on every processor.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127  # of a weight in 8 bits, whose zero is 0
TOGETHER = 128  # of two neighbours: 255 * 128 fits into 16 bits
AT_ONCE = 64  # columns that are rounded before their errors go into all those still to come
WIDEST = 4608  # columns, a 3x3 over 512 channels: what is wider is rounded to the nearest
LEAST = 1e-3  # the smallest ridge that rounding goes by


def steps(W: Tensor) -> Tensor:
    """One a filter: W [G, O/G, D], D in the order in which products are added, -> [G, O/G, 1]."""
    largest = W.abs().amax(-1, keepdim=True) / LARGEST
    if added_in_16(W):
        largest = largest.maximum(pairs(W).amax(-1, keepdim=True) / TOGETHER)
    return largest.clamp_min(1e-30)


def added_in_16(W: Tensor) -> bool:
    """Whether products of neighbours are added in 16 bits: not of depthwise layers, W [G, 1, D]."""
    return W.shape[0] == 1 or W.shape[1] > 1


def pairs(W: Tensor) -> Tensor:
    """The larger sum of one sign of each two neighbours, [G, O/G, ceil(D/2)]."""
    D = W.shape[-1]
    padded = torch.nn.functional.pad(W, (0, D % 2)).unflatten(-1, (-1, 2))
    return padded.clamp_min(0).sum(-1).maximum(-padded.clamp_max(0).sum(-1))


def rounded(W: Tensor) -> Tensor:
    """W on its grid, each weight to the nearest."""
    step = steps(W)
    return (W / step).round() * step


def rounded_in_turn(W: Tensor, S: Tensor, ridge: float) -> Tensor:
    """W [G, O/G, D] on its grid, column by column; the error of each goes into those that are still to come,
    as the second moments S [G, D, D] of what the layer reads let them make up for it (Hassibi, Stork 1993;
    Frantar, Ashkboos, Hoefler, Alistarh 2022).

    Columns that read most come first, while most others can still follow. What sets a filter's step stays.
    """
    if W.shape[2] > WIDEST:
        return rounded(W)
    step, D = steps(W), W.shape[2]
    U, order = _factor(S, ridge)
    left, found = (W / step)[:, :, order], (W / step).round()
    free, done = ~_setting(W, step), torch.zeros_like(found)
    for start in range(0, D, AT_ONCE):
        end = min(start + AT_ONCE, D)
        errors = torch.zeros_like(left[:, :, start:end])
        for i in range(start, end):
            column, w = int(order[i]), left[:, :, i].clone()
            beside = column ^ 1
            other = done[:, :, beside] if beside < D and added_in_16(W) else None
            q = torch.where(free[:, :, column], _nearest(w, other), found[:, :, column])
            done[:, :, column] = found[:, :, column] = q
            error = (w - q) / U[:, None, i, i]
            left[:, :, i:end] -= error[:, :, None] * U[:, None, i, i:end]
            errors[:, :, i - start] = error
        left[:, :, end:] -= errors @ U[:, start:end, end:]
    return found * step


def _nearest(w: Tensor, beside: Tensor | None) -> Tensor:
    """The whole step nearest to w that its neighbour, if known (else 0), leaves room for."""
    low, high = torch.full_like(w, -LARGEST), torch.full_like(w, LARGEST)
    if beside is not None:
        high = high.minimum(TOGETHER - beside.clamp_min(0))
        low = low.maximum(-TOGETHER - beside.clamp_max(0))
    return w.round().minimum(high).maximum(low)


def _setting(W: Tensor, step: Tensor) -> Tensor:
    """The weights that set their filter's step: the largest one, or a pair; bool [G, O/G, D]."""
    near = 1 - 1e-9
    found = W.abs() >= near * LARGEST * step
    if added_in_16(W):
        both = pairs(W) >= near * TOGETHER * step
        found = found | both.repeat_interleave(2, -1)[..., : W.shape[-1]]
    return found


def _factor(S: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The upper Cholesky factor of (S + l I)^-1, [G, D, D], columns in the order that comes with it.

    Of a group that reads next to nothing, whose moments are rounding alone, the identity.
    """
    A = S.double().clone()
    diagonal = A.diagonal(dim1=1, dim2=2)
    diagonal += ridge * diagonal.mean(1, keepdim=True).clamp_min(1e-12)
    order = diagonal.sum(0).argsort(descending=True)
    A = A[:, order][:, :, order]
    L, failed = torch.linalg.cholesky_ex(A)
    eye = torch.eye(A.shape[1], dtype=A.dtype)
    inverse = torch.cholesky_inverse(torch.where(failed[:, None, None] > 0, eye, L))
    U, again = torch.linalg.cholesky_ex(inverse, upper=True)
    return torch.where(again[:, None, None] > 0, eye, U), order
