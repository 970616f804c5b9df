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

Where a branch vanished, the parameter that stands for it becomes the mean of what the branch gave, and
takes over the mean error of the map that it is added to.

``mean`` moves b alone: b = mean(Y) - W0 mean(X). A depthwise layer cannot rebuild a lost channel
from the others; ``lstsq`` refits the k*k taps of each channel that stayed, ``mean`` its offset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from .. import memory
from ..graph import Graph
from ..graph.inputs import Example, call, size
from ..graph.kept import Keep, kept_classes
from ..graph.labels import Labelled
from ..graph.tensors import fetch
from .computed import writable, write
from .images import Images
from .readers import (
    Reader,
    StandIn,
    as_weight,
    find_readers,
    find_stand_ins,
    inputs_at,
    order_of,
    outputs_at,
    sample,
    scale_of,
    weight_matrix,
)
from .walk import Through, Walk

RIDGES = (10.0, 1.0, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4)  # l as a share of the mean of diag(S)
USUAL = 2  # the ridge that is tried first
UNJUDGED = 0.03  # the ridge where there is one fold only
ROWS_PER_INPUT = 40  # rows of X wanted for each of its columns (assumption)
ROWS = (8_000, 64_000)  # least and most rows wanted
ROWS_DEPTHWISE = 4_000  # for each channel: k*k taps alone
LIVE = 512 << 20  # bytes of both networks' maps over all images; beyond it the last views sit out
CHUNK = 32 << 20  # bytes of rows that are summed up at once
STRIP = 256  # rows of a layer's second moments that are worked on at once
MIXED = 64  # mixtures of a wide layer's outputs that its ridge is chosen on
NARROW = 512  # columns up to which the ridge, too, is chosen in double precision
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
    xw: Tensor | float = 0.0  # [G, D, O/G] xx W0', once it was asked for
    waiting: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # rows not yet summed up

    def add(self, X: Tensor, Y: Tensor) -> None:
        """X [rows, G, D], Y [rows, G, O/G]; in single precision at least."""
        X, Y = wide(X), wide(Y)
        self.waiting.append((X, Y))
        if sum(x.nbytes + y.nbytes for x, y in self.waiting) >= CHUNK:
            self.settle()

    def settle(self) -> None:
        """Sum up the rows that wait: few large products are faster than many small ones."""
        if not self.waiting:
            return
        X, Y = (torch.cat(parts) for parts in zip(*self.waiting, strict=True))
        self.waiting.clear()
        self.n += len(X)
        self.x = added(self.x, X.sum(0))
        self.y = added(self.y, Y.sum(0))
        self.xx = added(self.xx, gram(X))
        self.xy = added(self.xy, X.permute(1, 2, 0) @ Y.transpose(0, 1))
        self.yy = added(self.yy, Y.square().sum(0))

    def absorb(self, other: Moments) -> None:
        """Take over the rows of ``other``, which is not to be used any more."""
        self.settle()
        other.settle()
        for name in ("n", "x", "y", "xx", "xy", "yy", "xw"):
            mine, more = getattr(self, name), getattr(other, name)
            setattr(self, name, mine + more if isinstance(mine, int | float) else mine.add_(more))
        other.xx = other.xy = other.xw = 0.0

    def about(self, W0: Tensor, offset: bool, dtype: torch.dtype = torch.float64) -> Regression:
        """Per row; about the means if an ``offset`` takes them up. W0 [G, O/G, D] is shrunk to.

        It is computed in double and given in ``dtype``.
        """
        self.settle()
        Wt = W0.transpose(1, 2)
        if isinstance(self.xw, float):
            self.xw = (
                torch.as_tensor(self.xx) @ Wt
            )  # once a fold: what both give together is their sum
        n = max(1, self.n)
        sums = (self.x, self.y, self.xy, self.yy, self.xw)
        x, y, C, v, P = (torch.as_tensor(each) / n for each in sums)
        S = _second(torch.as_tensor(self.xx), n, x if offset else None, dtype)
        if offset:
            C.baddbmm_(x[:, :, None], y[:, None, :], alpha=-1)
            P.baddbmm_(x[:, :, None], x[:, None, :] @ Wt, alpha=-1)
            v = v - y.square()
        R = C - P
        bare = v - (Wt * (C + R)).sum(1)
        return Regression(*(t.to(dtype) for t in (x, y, S, R, v, bare)))


def added(total: Tensor | float, more: Tensor) -> Tensor:
    """Sums in double precision, in place: they may be large."""
    return more.double() if isinstance(total, float) else total.add_(more)


def _second(xx: Tensor, n: int, mean: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``xx / n - mean mean'``, a strip at a time: [G, D, D] of a wide layer is large."""
    found = torch.empty(xx.shape, dtype=dtype)
    for at in range(0, xx.shape[1], STRIP):
        rows = slice(at, at + STRIP)
        strip = xx[:, rows] / n
        if mean is not None:
            strip.baddbmm_(mean[:, rows, None], mean[:, None, :], alpha=-1)
        found[:, rows] = strip
    return found


def wide(t: Tensor) -> Tensor:
    """In single precision where it had less: sums of many rows are to come."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def gram(X: Tensor) -> Tensor:
    """X'X [G, D, D] of X [rows, G, D]; of one group by a product that computes one half of it."""
    if X.shape[1] > 1:
        Xg = X.permute(1, 2, 0)
        return Xg @ Xg.transpose(1, 2)
    flat = X[:, 0].numpy()
    return torch.from_numpy(flat.T @ flat)[None]


@dataclass(frozen=True, eq=False)
class Regression:
    """Of Y on X, as a step away from W0: W = W0 + D'."""

    x: Tensor  # [G, D] means
    y: Tensor  # [G, O/G]
    S: Tensor  # [G, D, D] X'X / n
    R: Tensor  # [G, D, O/G] X'Y / n - S W0': what W0 leaves unexplained
    v: Tensor  # [G, O/G] variance of each output
    bare: Tensor  # [G, O/G] mean squared residual of W0

    def sketched(self, mix: Tensor) -> Regression:
        """Of the K outputs Y ``mix``, [G, O/G, K]; its residual is counted from W0's on."""
        return replace(self, R=self.R @ mix)

    def step(self, ridge: float) -> Tensor:
        """D [G, D, O/G] of the ridge regression that shrinks towards W0."""
        A = self._shrunk(ridge).transpose(1, 2)  # as LAPACK has it: factored where it lies
        failed = torch.empty(len(A), dtype=torch.int32)
        L, failed = torch.linalg.cholesky_ex(A, out=(A, failed))
        if bool(failed.any()):  # rounding made it indefinite
            A = self._shrunk(ridge)
            return torch.linalg.solve(A.double(), self.R.double()).to(A.dtype)
        half = torch.linalg.solve_triangular(L, self.R, upper=False)
        return torch.linalg.solve_triangular(L.transpose(1, 2), half, upper=True)

    def _shrunk(self, ridge: float) -> Tensor:
        """S + l I."""
        A = self.S.clone()
        diagonal = A.diagonal(dim1=1, dim2=2)
        diagonal += ridge * diagonal.mean(1, keepdim=True).clamp_min(1e-12)
        return A

    def change(self, step: Tensor) -> Tensor:
        """What ``step`` adds to the mean squared residual of each output, [G, O/G]; less than 0 helps."""
        return (step * (self.S @ step - 2 * self.R)).sum(1)

    def error(self, step: Tensor, weights: Tensor) -> float:
        """Mean squared residual after ``step``, outputs weighted by ``weights`` [G, O/G]."""
        return float(((self.bare + self.change(step)).clamp_min(0) * weights).sum())

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
    return _front_to_back(dense, pruned, keep, images, told, mean_only)


def through(
    dense: Graph, same: Graph, images: Images, passed: Through, solver: Solver, told: Told = silent
) -> list[Repaired]:
    """Repair in place a network of the same widths whose values are ``passed`` on as something else (rounded,
    say): each layer gives from these what the dense one gave, as far as the ``solver`` finds it."""
    return _front_to_back(dense, same, {}, images, told, solver, passed)


Stays = NDArray[np.bool_]  # for each label of the dense graph
Solver = Callable[[Regression, list[Regression], Tensor, Tensor], tuple[Tensor, Repaired]]


def _front_to_back(
    dense: Graph, pruned: Graph, keep: Keep, images: Images, told: Told, solver: Solver,
    passed: Through | None = None,
) -> list[Repaired]:  # fmt: skip
    dense.constants(), pruned.constants()  # bring what is computed from parameters up to date
    stays = kept_classes(dense, keep).mask
    whole = Walk(dense.module, images.batches, order_of(dense))
    small = Walk(pruned.module, images.batches, order_of(pruned), passed)
    places = repairable(pruned, small, solver)
    report: list[Repaired] = []
    for done, place in enumerate(places):
        result = repair_place(dense, pruned, stays, place, whole, small, images, solver)
        if result is not None:
            report.append(result)
        told(place.layer, done + 1, len(places))
    return report


def repairable(pruned: Graph, small: Walk, solver: Solver) -> list[Reader | StandIn]:
    """What can be repaired, front to back."""
    own = [r for r in find_readers(pruned) if writable(pruned, r.weight)]
    places: list[Reader | StandIn] = [r for r in own if r.has_offset or solver is not mean_only]
    return sorted([*places, *find_stand_ins(pruned)], key=lambda place: small.index[place.node])


def repair_place(
    dense: Graph,
    pruned: Graph,
    stays: Stays,
    place: Reader | StandIn,
    whole: Walk,
    small: Walk,
    images: Images,
    solver: Solver,
) -> Repaired | None:
    """Walk both networks up to there and repair it in place; None: nothing before it was cut."""
    if isinstance(place, StandIn):
        return repair_branch(dense, pruned, stays, place, whole, small, images)
    return repair_layer(dense, pruned, stays, place, whole, small, images, solver)


def repair_branch(
    dense: Graph,
    pruned: Graph,
    stays: Stays,
    place: StandIn,
    whole: Walk,
    small: Walk,
    images: Images,
) -> Repaired | None:
    """Let a parameter be the mean of the branch that it stands for, in place."""
    if place.of not in whole.index:  # it stood for it before this cut already
        return None
    first = _reach(dense, pruned, whole, whole.index[place.node], small, place, images)
    parameter = fetch(pruned.module, place.parameter)
    there = whole.node(place.of)
    target = [_kept_map(dense, there, stays, values[there]) for values in whole.values[:first]]
    if place.beside is not None:
        other, mine = whole.node(place.beside), small.node(place.beside)
        target = [
            y + _kept_map(dense, other, stays, values[other]) - own[mine]
            for y, values, own in zip(target, whole.values, small.values, strict=False)
        ]
    axes = [d for d, size in enumerate(parameter.shape) if size == 1]
    n = sum(y.numel() for y in target) / parameter.numel()
    mean = sum(y.double().sum(axes, keepdim=True) for y in target) / n
    assert isinstance(mean, Tensor)
    spread = float(sum((y - mean).square().sum() for y in target))
    off = float((mean - parameter.detach()).square().sum()) * n
    with torch.no_grad():
        parameter.copy_(mean)
    return Repaired(place.layer, 1 + off / max(spread, 1e-30), 1.0, 0.0)


def _kept_map(dense: Graph, node: fx.Node, stays: Stays, value: Tensor) -> Tensor:
    """The dense network's map without the channels that left."""
    labels = dense.values[node]
    index = kept_index(labels, stays)
    return value if index is None else value.index_select(labels.axis, index)


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
    last = reader.uses[-1].node
    first = _reach(dense, pruned, whole, whole.index[last] + 1, small, reader, images)
    moments = _gather(dense, pruned, stays, reader, whole, small, images, first)
    return _repair(pruned, reader, moments, solver)


def _reach(
    dense: Graph,
    pruned: Graph,
    whole: Walk,
    there: int,
    small: Walk,
    place: Reader | StandIn,
    images: Images,
) -> int:
    """Walk both networks up to there, on as many batches as memory has room for: how many."""
    here = small.index[place.node]
    each = live_bytes(dense, whole, there) + live_bytes(pruned, small, here)
    first = images.first(LIVE // max(1, each), least=2)  # a batch for each fold at least
    whole.reach(there, first)
    small.reach(here, first)
    return first


def live_bytes(graph: Graph, walk: Walk, end: int) -> int:
    """What one image keeps in memory before operator number ``end``, in single precision."""
    sizes = (
        math.prod(graph.values[node].shape[1:])
        for node in walk.nodes[:end]
        if walk.last[node] >= end and isinstance(graph.values[node], Labelled)
        if node.op != "get_attr"
    )
    return 4 * sum(sizes)


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
    wanted = sorted((ROWS[0], ROWS_PER_INPUT * _columns(pruned, reader), ROWS[1]))[1]
    wanted = ROWS_DEPTHWISE if reader.depthwise else wanted
    seen = sum(size(x) for x in images.batches[:first]) * len(reader.uses)
    places = -(-wanted // seen)
    generator = torch.Generator().manual_seed(crc32(reader.layer.encode()))
    scale = scale_of(reader, _values(pruned))

    def left(node: fx.Node) -> Tensor | None:
        return kept_index(dense.values[node], stays)

    for use in reader.uses:
        here, there = small.node(use.node), whole.node(use.node)
        own = left(there)
        stretch, shift = _change_of_norm(dense, pruned, use, own)
        for fold, small_values, whole_values in zip(
            images.folds[:first], small.values[:first], whole.values[:first], strict=True
        ):
            y = whole_values[there]
            at = sample(use, len(y), y.shape, places, generator)
            X = inputs_at(use, small_values[here.all_input_nodes[0]], at)
            Y = outputs_at(use, y, at)
            Y = (Y if own is None else Y[:, own]) * stretch + shift
            if use.beside is not None:
                other = whole.node(use.beside)
                error, index = outputs_at(use, whole_values[other], at), left(other)
                error = error if index is None else error[:, index]
                error = error - outputs_at(use, small_values[small.node(use.beside)], at)
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
    return weight_matrix(reader, fetch(graph.module, reader.weight)).shape[2]


def _repair(pruned: Graph, reader: Reader, folds: list[Moments], solver: Solver) -> Repaired | None:
    def tensor(name: str) -> Tensor:
        return fetch(pruned.module, name)

    weight = tensor(reader.weight)
    W0 = weight_matrix(reader, weight.detach().double())
    b0 = _offset(reader, tensor)
    scale = scale_of(reader, lambda name: tensor(name).detach().double())
    weights = torch.ones(W0.shape[0] * W0.shape[1]) if scale is None else scale.square()
    weights = weights.double().reshape(W0.shape[:2])
    large = W0.shape[2] ** 2 * 8 > CHUNK
    if large:
        memory.give_back()  # by the maps, to the systems of equations
    halves = [_half(f, W0, reader.has_offset) for f in folds if f.n or f.waiting]
    rows = folds[0]
    rows.absorb(folds[1])
    total = rows.about(W0, True)
    variance = max(float((total.v * weights).sum()), 1e-30)
    # bare: with the old weights and the old offset
    bias_error = (total.offset(W0) - b0).square().reshape(weights.shape)
    before = float(((total.bare.clamp_min(0) + bias_error) * weights).sum()) / variance
    if before < UNTOUCHED:
        return None
    problem = total if reader.has_offset else rows.about(W0, False)
    rows.xx = 0.0  # large, and done with
    W, result = solver(problem, halves, W0, weights)
    with torch.no_grad():
        weight.copy_(as_weight(reader, W, weight.shape))
        write(pruned, reader.weight)
        if reader.has_offset:
            _set_offset(reader, tensor, total.offset(W) - b0)
    if large:
        del rows, total, problem
        folds.clear()
        memory.give_back()  # and by those to the maps
    return Repaired(reader.layer, before, result.after / variance, result.ridge)


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


def _half(fold: Moments, W0: Tensor, offset: bool) -> Regression:
    """To choose the ridge by: in single precision where double would take long."""
    return fold.about(W0, offset, torch.float32 if W0.shape[2] > NARROW else torch.float64)


def least_squares(
    both: Regression, halves: list[Regression], W0: Tensor, weights: Tensor
) -> tuple[Tensor, Repaired]:
    """The ridge that predicts the other fold best, then all rows; ``halves`` are used up."""
    if len(halves) < 2:
        return _solved(both, W0, weights, UNJUDGED)
    rough = weights.to(halves[0].S.dtype)
    mix = mixed(rough)
    few = halves if mix is None else [half.sketched(mix) for half in halves]

    def change(number: int) -> float:
        """On the other half."""
        total = 0.0
        for a, b in (few, few[::-1]):
            each = b.change(a.step(RIDGES[number]))
            total += float((each * rough if mix is None else each).sum())
        return total

    number, _ = least(change, len(RIDGES))
    after = sum(b.error(a.step(RIDGES[number]), rough) for a, b in (halves, halves[::-1])) / 2
    few.clear()  # they are large: used up
    halves.clear()
    W, result = _solved(both, W0, weights, RIDGES[number])
    return W, replace(result, after=after)


def mixed(weights: Tensor) -> Tensor | None:
    """Random signs that mix the outputs of each group into ``MIXED``; None where they are few.

    A sum over outputs of something quadratic in each, weighted by ``weights`` [G, O/G], is in the
    mean over the signs the plain sum over the mixed ones (Hutchinson 1990); all ridges are compared
    on the same ones.
    """
    if weights.shape[1] <= 2 * MIXED:
        return None
    signs = torch.randint(0, 2, (*weights.shape, MIXED), generator=torch.Generator().manual_seed(0))
    return (2 * signs - 1) * (weights / MIXED).sqrt()[:, :, None]


def _solved(both: Regression, W0: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Repaired]:
    step = both.step(ridge)
    return W0 + step.transpose(1, 2), Repaired("", 0, both.error(step, weights), ridge)


def least(value: Callable[[int], float], n: int, start: int = USUAL) -> tuple[int, float]:
    """Where a function of 0..n-1 that falls, then rises, is least, and the least: downhill."""
    at = min(start, n - 1)
    found = {at: value(at)}
    for way in (-1, 1):
        while 0 <= at + way < n:
            if at + way not in found:
                found[at + way] = value(at + way)
            if not found[at + way] < found[at]:
                break
            at += way
    return at, found[at]


def mean_only(
    both: Regression, halves: list[Regression], W0: Tensor, weights: Tensor
) -> tuple[Tensor, Repaired]:
    left = float((both.bare.clamp_min(0) * weights).sum())
    return W0.clone(), Repaired("", 0, left, 0.0)


# -- batch norm --------------------------------------------------------------------------------


def recalibrate(model: nn.Module, batches: Sequence[Example]) -> None:
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
                call(model, x)
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)
