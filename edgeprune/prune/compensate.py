"""Compensation: what left is folded into what reads it, without labels and without training.

``lstsq``, front to back, for each reader (He, Zhang, Sun 2017, section 3.2; ThiNet, Luo et al.
2017): the dense network's output Y at the kept filters is regressed on X, what the *pruned* network
gives the reader to read, which carries the errors of all cuts before it:

    W, b = argmin |Y - X W' - 1 b'|^2 + l |W - W0|^2
    W' = W0' + (S + l I)^-1 (C - S W0'),   S = X'X / n,  C = X'Y / n  (X, Y centred)

W0 are the weights that the cut left, so that images too few for a direction change nothing along
it; l is chosen by two-fold cross-validation over images. b goes into the layer's bias, or into the
running mean of the batch norm behind it (mean := mean - b). A layer whose output is added to
another map also takes over the error of that map (Y := Y + (dense - pruned map) / norm scale).

``mean`` moves b alone: b = mean(Y) - W0 mean(X). A depthwise layer cannot rebuild a lost channel
from the others; ``lstsq`` refits the k*k taps of each channel that stayed, ``mean`` its offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..graph import Graph
from ..graph.kept import Keep, kept_classes
from ..graph.labels import Labelled
from ..graph.tensors import fetch
from .images import Images
from .readers import Reader, find_readers, inputs_at, outputs_at, sample, scale_of, weight_matrix
from .walk import Walk

RIDGES = (10.0, 1.0, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4)  # l as a share of the mean of diag(S)
ROWS_PER_INPUT = 40  # rows of X wanted for each of its columns (assumption)
ROWS = (8_000, 64_000)  # least and most rows wanted
ROWS_DEPTHWISE = 4_000  # for each channel: k*k taps alone
LIVE = 512 << 20  # bytes of a layer's output over all images; beyond it some of them sit out
LEAST = 256  # images that never sit out (assumption)
UNTOUCHED = 1e-6  # relative squared error that is rounding: nothing before the layer was cut


@dataclass(frozen=True)
class Repaired:
    """One layer: the share of its output's variance that was lost, before and after."""

    layer: str
    before: float
    after: float  # on images that the solution was not computed from
    ridge: float


@dataclass
class Moments:
    """Sums over the rows of one fold; enough for any regression of Y on X."""

    n: int = 0
    x: Tensor | float = 0.0  # [G, D]
    y: Tensor | float = 0.0  # [G, O/G]
    xx: Tensor | float = 0.0  # [G, D, D]
    xy: Tensor | float = 0.0  # [G, D, O/G]
    yy: Tensor | float = 0.0  # [G, O/G]

    def add(self, X: Tensor, Y: Tensor) -> None:
        """X [rows, G, D], Y [rows, G, O/G]."""
        Xg, Yg = X.permute(1, 2, 0), Y.transpose(0, 1)  # [G, D, rows], [G, rows, O/G]
        self.n += len(X)
        self.x = self.x + X.sum(0).double()
        self.y = self.y + Y.sum(0).double()
        self.xx = self.xx + (Xg @ Xg.transpose(1, 2)).double()
        self.xy = self.xy + (Xg @ Yg).double()
        self.yy = self.yy + Y.square().sum(0).double()

    def __add__(self, other: Moments) -> Moments:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Moments(*(a + b for a, b in pairs))

    def centred(self, offset: bool) -> Centred:
        """Per row; about the means if an ``offset`` takes them up."""
        n = max(1, self.n)
        x, y, S, C, v = (t / n for t in (self.x, self.y, self.xx, self.xy, self.yy))
        assert isinstance(x, Tensor)
        assert isinstance(y, Tensor)
        if offset:
            S = S - x[:, :, None] * x[:, None, :]
            C = C - x[:, :, None] * y[:, None, :]
            v = v - y.square()
        return Centred(x, y, S, C, v)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Centred:
    x: Tensor  # means
    y: Tensor
    S: Tensor  # X'X / n
    C: Tensor  # X'Y / n
    v: Tensor  # variance of each output

    def solve(self, W0: Tensor, ridge: float) -> Tensor:
        """W [G, O/G, D]: the ridge regression that shrinks towards W0."""
        S = self.S
        diagonal = S.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
        A = S + (ridge * diagonal)[:, None, None] * torch.eye(S.shape[1], dtype=S.dtype)
        Wt = W0.transpose(1, 2)
        return (Wt + torch.linalg.solve(A, self.C - S @ Wt)).transpose(1, 2)

    def error(self, W: Tensor, weights: Tensor) -> float:
        """Mean squared residual of W [G, O/G, D], outputs weighted by ``weights`` [G, O/G]."""
        SW = self.S @ W.transpose(1, 2)
        residual = self.v + (W.transpose(1, 2) * (SW - 2 * self.C)).sum(1)
        return float((residual.clamp_min(0) * weights).sum())

    def offset(self, W: Tensor) -> Tensor:
        """b [O] for W: the means agree."""
        return (self.y - (W @ self.x[:, :, None])[:, :, 0]).flatten()


Told = Callable[[str, int, int], None]  # layer, done, of


def silent(what: str, done: int, of: int) -> None:
    """Tell nobody."""


def lstsq(
    dense: Graph, pruned: Graph, keep: Keep, images: Images, told: Told = silent
) -> list[Repaired]:
    """Repair ``pruned`` (``dense`` cut by ``keep``) in place, front to back, by least squares."""
    return _front_to_back(dense, pruned, keep, images, told, least_squares)


def mean(
    dense: Graph, pruned: Graph, keep: Keep, images: Images, told: Told = silent
) -> list[Repaired]:
    """Fold the mean of what was lost into the next offset, front to back, in place."""
    return _front_to_back(dense, pruned, keep, images, told, _mean_only)


Stays = NDArray[np.bool_]  # for each label of the dense graph
Solver = Callable[[list[Moments], Tensor, Tensor, bool], tuple[Tensor, Repaired]]


def _front_to_back(
    dense: Graph, pruned: Graph, keep: Keep, images: Images, told: Told, solver: Solver
) -> list[Repaired]:
    dense.constants(), pruned.constants()  # bring what is computed from parameters up to date
    readers = [r for r in find_readers(pruned) if r.has_offset or solver is least_squares]
    stays = kept_classes(dense, keep).mask
    whole, small = Walk(dense.module, images.batches), Walk(pruned.module, images.batches)
    report: list[Repaired] = []
    for done, reader in enumerate(readers):
        result = repair_layer(dense, pruned, stays, reader, whole, small, images, solver)
        if result is not None:
            report.append(result)
        told(reader.layer, done + 1, len(readers))
    return report


def repair_layer(
    dense: Graph,
    pruned: Graph,
    stays: Stays,
    reader: Reader,
    whole: Walk,
    small: Walk,
    images: Images,
    solver: Solver,
) -> Repaired | None:
    """Walk both networks up to this layer and repair it in place; None: nothing before it was cut."""
    first = _batches_for(dense.values[whole.node(reader.node)], images)
    whole.reach(whole.index[reader.node] + 1, first)
    small.reach(small.index[reader.node], first)
    moments = _gather(dense, pruned, stays, reader, whole, small, images, first)
    return _repair(pruned, reader, moments, solver)


def _batches_for(output: Labelled, images: Images) -> int:
    """How many batches a layer is regressed on: wide maps have places enough in a few images."""
    each = 4 * int(np.prod(output.shape[1:]))  # bytes an image
    wanted = max(LEAST, LIVE // each)
    count = 0
    for i, x in enumerate(images.batches):
        if count >= wanted and i >= 2:  # a batch for each fold at least
            return i
        count += len(x)
    return len(images.batches)


def _gather(
    dense: Graph,
    pruned: Graph,
    stays: Stays,
    reader: Reader,
    whole: Walk,
    small: Walk,
    images: Images,
    first: int,
) -> list[Moments]:
    """The moments of (what the pruned reader reads, what the dense one gives), for each fold."""
    folds = [Moments(), Moments()]
    here, there = small.node(reader.node), whole.node(reader.node)
    own = kept_index(dense.values[there], stays)
    wanted = sorted((ROWS[0], ROWS_PER_INPUT * _columns(pruned, reader), ROWS[1]))[1]
    wanted = ROWS_DEPTHWISE if reader.depthwise else wanted
    places = -(-wanted // sum(len(x) for x in images.batches[:first]))
    generator = torch.Generator().manual_seed(crc32(reader.layer.encode()))
    stretch, shift = _change_of_norm(dense, pruned, reader, own)
    for fold, small_values, whole_values in zip(
        images.folds[:first], small.values[:first], whole.values[:first], strict=True
    ):
        y = whole_values[there]
        at = sample(reader, y, places, generator)
        X = inputs_at(reader, small_values[here.all_input_nodes[0]], at)
        Y = outputs_at(reader, y, at)
        Y = (Y if own is None else Y[:, own]) * stretch + shift
        if reader.beside is not None:
            other = whole.node(reader.beside)
            error = outputs_at(reader, whole_values[other], at)
            index = kept_index(dense.values[other], stays)
            error = (error if index is None else error[:, index]) - outputs_at(
                reader, small_values[small.node(reader.beside)], at
            )
            scale = scale_of(reader, _values(pruned))
            Y = Y + (error if scale is None else error / _away_from_zero(scale))
        folds[fold].add(X, Y.reshape(len(Y), reader.groups, -1))
    return folds


def _change_of_norm(
    dense: Graph, pruned: Graph, reader: Reader, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``Y * stretch + shift`` in the pruned norm is Y in the dense one; 1 and 0 while they agree.

    They part when a layer is repaired twice or its norm was trained:
    (Y' - mean') scale' + bias' = (Y - mean) scale + bias.
    """
    n = reader.norm
    if n is None:
        return torch.ones(()), torch.zeros(())

    def norm_of(graph: Graph, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        value = _values(graph)
        scale = scale_of(reader, value)
        assert scale is not None
        bias = value(n.bias) if n.bias else torch.zeros_like(scale)
        each = (scale, value(n.mean), bias)
        return each if kept is None else tuple(v[kept] for v in each)  # type: ignore[return-value]

    scale, mean, bias = norm_of(dense, own)
    new_scale, new_mean, new_bias = norm_of(pruned, None)
    usable = _away_from_zero(new_scale)
    same = (scale == new_scale) & (bias == new_bias)
    stretch = torch.where(same, torch.ones_like(scale), scale / usable)
    shift = new_mean - stretch * mean + torch.where(same, 0.0, (bias - new_bias) / usable)
    return stretch, shift


def _values(graph: Graph) -> Callable[[str], Tensor]:
    return lambda name: fetch(graph.module, name).detach()


def kept_index(value: Labelled, stays: Stays) -> Tensor | None:
    """Positions of the channels that stayed, on a dense feature map; None: all."""
    if value.labels is None:
        return None
    return torch.from_numpy(stays[value.labels].nonzero()[0])


def _away_from_zero(scale: Tensor) -> Tensor:
    floor = 0.1 * scale.abs().mean()
    return torch.where(scale.abs() < floor, torch.full_like(scale, torch.inf), scale)


def _columns(graph: Graph, reader: Reader) -> int:
    return fetch(graph.module, reader.weight)[0].numel()


def _repair(pruned: Graph, reader: Reader, folds: list[Moments], solver: Solver) -> Repaired | None:
    def tensor(name: str) -> Tensor:
        return fetch(pruned.module, name)

    weight = tensor(reader.weight)
    W0 = weight_matrix(reader, weight.detach().double())
    b0 = _offset(reader, tensor)
    scale = scale_of(reader, lambda name: tensor(name).detach().double())
    weights = torch.ones(weight.shape[0]) if scale is None else scale.square()
    weights = weights.double().reshape(W0.shape[:2])
    both = folds[0] + folds[1]
    total = both.centred(True)
    variance = float((total.v * weights).sum())
    # bare: with the old weights and the old offset
    bias_error = (total.offset(W0) - b0).square().reshape(weights.shape)
    before = (total.error(W0, weights) + float((bias_error * weights).sum())) / max(variance, 1e-30)
    if before < UNTOUCHED:
        return None
    W, result = solver(folds, W0, weights, reader.has_offset)
    with torch.no_grad():
        weight.copy_(W.reshape(weight.shape))
        if reader.has_offset:
            _set_offset(reader, tensor, total.offset(W) - b0)
    return Repaired(reader.layer, before, result.after / max(variance, 1e-30), result.ridge)


def _offset(reader: Reader, tensor: Callable[[str], Tensor]) -> Tensor:
    """The layer's present bias, [O] or 0."""
    return tensor(reader.bias).detach().double() if reader.bias else torch.zeros(()).double()


def _set_offset(reader: Reader, tensor: Callable[[str], Tensor], change: Tensor) -> None:
    """Add ``change`` [O] to the layer's output: to its bias, or against the norm's running mean."""
    if reader.bias is not None:
        tensor(reader.bias).add_(change)
    else:
        assert reader.norm is not None
        tensor(reader.norm.mean).sub_(change)


def least_squares(
    folds: list[Moments], W0: Tensor, weights: Tensor, offset: bool
) -> tuple[Tensor, Repaired]:
    """The ridge that predicts the other fold best, then all rows."""
    both = (folds[0] + folds[1]).centred(offset)
    if not all(f.n for f in folds):
        return both.solve(W0, RIDGES[4]), Repaired("", 0, both.error(W0, weights), RIDGES[4])
    halves = [f.centred(offset) for f in folds]
    tried: list[tuple[float, float]] = []  # (error on the other half, ridge), from much to little
    for ridge in RIDGES:
        pairs = (halves, halves[::-1])
        error = sum(b.error(a.solve(W0, ridge), weights) for a, b in pairs) / 2
        if tried and error > min(tried)[0]:
            break  # it only gets worse from here
        tried.append((error, ridge))
    error, ridge = min(tried)
    return both.solve(W0, ridge), Repaired("", 0, error, ridge)


def _mean_only(
    folds: list[Moments], W0: Tensor, weights: Tensor, offset: bool
) -> tuple[Tensor, Repaired]:
    both = (folds[0] + folds[1]).centred(offset)
    return W0, Repaired("", 0, both.error(W0, weights), 0.0)


# -- batch norm --------------------------------------------------------------------------------


def recalibrate(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Take the running statistics of every batch norm again, in place, from these images."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [m for m in norms if m.running_mean is not None]
    momenta = [m.momentum for m in norms]
    training = model.training
    model.eval()
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # cumulative average
        m.train()
    try:
        with torch.no_grad():
            for x in batches:
                model(x)
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)
