"""Weights that a layer computes from tensors of its own: weight norm, spectral norm, masks.

The graph reads such a weight W as a constant (:mod:`edgeprune.graph.fold`). After a cut the layer has
to compute what stays of W from smaller tensors: each loses along its axes what W loses; where that
gives W but for a factor (a norm over fewer inputs), a tensor that is nothing but a factor takes it up:
``g`` of a weight norm (Salimans, Kingma 2016), ``u`` of a spectral norm (Miyato et al. 2018). Training
then goes on as the layer does it; a spectral norm makes ``u`` a unit vector again in its first step,
so it divides by the smaller weight's own norm from there on.

Whether a layer can is asked of random numbers: it is so for all weights of a network. Where it cannot
(a weight that is standardised over inputs that leave), the network becomes a graph and W a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from ..errors import EdgepruneError
from ..graph import Graph
from ..graph.fold import fold
from ..graph.follow import layer
from ..graph.inputs import example_of
from ..graph.kept import Kept
from ..graph.recipe import outputs, reduced, value_of
from ..graph.tensors import fetch, floating, named_tensors
from ..graph.trace import recorded
from .module import Reason

Axes = tuple[int, ...]
Tensors = Mapping[str, Tensor]
CLOSE = {torch.float64: 1e-6, torch.float32: 1e-3}  # rounding, as a share of the largest value


@dataclass(frozen=True, eq=False)
class Computed:
    """A computed weight that a cut makes smaller."""

    name: str  # of the folded constant
    layer: str
    shape: tuple[int, ...]
    index: Mapping[int, Tensor]  # what stays along each axis that is cut
    axes: Mapping[str, Axes]  # those that each tensor runs over which it is computed from

    def cut(self, value: Tensor, axes: Axes) -> Tensor:
        """Without what W loses; ``axes``: of W, in the order in which ``value`` runs over them."""
        if axes and value.ndim != len(axes):  # a vector over several axes
            return self.cut(value.reshape([self.shape[a] for a in axes]), axes).reshape(-1)
        for place, axis in enumerate(axes):
            if axis in self.index and value.shape[place] > 1:
                value = value.index_select(place, self.index[axis].to(value.device))
        return value.clone()

    @property
    def whole(self) -> Axes:
        """Every axis of W."""
        return tuple(range(len(self.shape)))

    def part(self, name: str, value: Tensor) -> Tensor:
        """What stays of one of the tensors, or of what has its shape; factors are not yet taken up."""
        small = self.cut(value.detach(), self.axes[name])
        return (
            nn.Parameter(small, value.requires_grad) if isinstance(value, nn.Parameter) else small
        )

    def parts(self, tensors: Tensors) -> dict[str, Tensor]:
        """What stays of each."""
        return {name: self.part(name, tensors[name]) for name in self.axes}


def find(kept: Kept, read: Tensors) -> list[Computed]:
    """The computed ones among the tensors that are ``read`` of which something leaves."""
    graph = kept.graph
    found = []
    for name in graph.folded:
        if name not in read or not any(kept.cuts(n) for n in (name, *graph.sources(name))):
            continue
        shape = tuple(fetch(graph.module, name).shape)
        sites = {axis: graph.sites.get((name, axis)) for axis in range(len(shape))}
        index = {a: kept.index(labels) for a, labels in sites.items() if labels is not None}
        found.append(Computed(name, layer_of(graph, name), shape, index, _axes(graph, name)))
    return found


def layer_of(graph: Graph, name: str) -> str:
    """The layer that reads a folded constant."""
    readers = (u for n in graph.module.graph.nodes if str(n.target) == name for u in n.users)
    return next((found for user in readers if (found := layer(user))), "")


def _axes(graph: Graph, name: str) -> dict[str, Axes]:
    """The axes of W that each tensor of the module runs over from which it is computed.

    They are all of them where it is as long along each (or 1), or of a vector the first that is as long;
    none is known of others, such as a table of positions that W is looked up in.
    """
    held, shape = named_tensors(graph.model), tuple(fetch(graph.module, name).shape)
    vectors = dict(_vectors(graph.model))
    every = tuple(range(len(shape)))
    found = {}
    for source in sorted(graph.sources(name) & held.keys()):
        size = held[source].shape
        one = tuple(a for a in every if size == (shape[a],))[:1]
        full = len(size) == len(shape) and all(
            n in (1, m) for n, m in zip(size, shape, strict=True)
        )
        found[source] = vectors.get(source, every if full else one)
    return found


def _vectors(model: nn.Module) -> Iterator[tuple[str, Axes]]:
    """What spectral norms hold beside their weight: ``u`` over its rows, ``v`` over all its columns."""
    for prefix, m in model.named_modules():
        if isinstance(m, _SpectralNorm) and "_u" in m._buffers:
            ndim = fetch(model, prefix.rpartition(".")[0] + ".original").ndim
            yield from _both(f"{prefix}._u", f"{prefix}._v", m.dim % ndim, ndim)
        for hook in m._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                at = f"{prefix}.{hook.name}".removeprefix(".")
                ndim = fetch(model, f"{at}_orig").ndim
                yield from _both(f"{at}_u", f"{at}_v", hook.dim % ndim, ndim)


def _both(u: str, v: str, dim: int, ndim: int) -> list[tuple[str, Axes]]:
    return [(u, (dim,)), (v, tuple(a for a in range(ndim) if a != dim))]


# -- the factor ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Factor:
    """Which tensor takes up a factor of W, or its inverse; "": none is needed."""

    tensor: str = ""
    power: int = 1
    axes: Axes = ()  # of W, along which the factor may differ

    def taken_up(
        self, compute: Callable[[Tensors], Tensor], own: Tensors, target: Tensor
    ) -> Tensors:
        """``own`` so that W becomes ``target``, which is a multiple of what they give."""
        if not self.tensor:
            return own
        over = [axis for axis in range(target.ndim) if axis not in self.axes]
        if self.power > 0:  # where it was 0, or no direction is left, any one will do
            own = {n: _not_zero(t, over) if t.shape == target.shape else t for n, t in own.items()}
            own[self.tensor] = _not_zero(own[self.tensor], [])
        given, here = compute(own), own[self.tensor]
        factor = _sum(given * target, over) / _sum(given.square(), over)
        one = factor.reshape(here.shape if self.axes else [1] * here.ndim)
        return {**own, self.tensor: here * one**self.power}


def _not_zero(value: Tensor, over: list[int]) -> Tensor:
    """Ones where all is 0 along the axes ``over``."""
    return torch.where(_sum(value.square(), over) == 0, torch.ones_like(value), value)


def _sum(value: Tensor, over: list[int]) -> Tensor:
    return value.sum(over, keepdim=True) if over else value


def _factor(
    compute: Callable[[Tensors], Tensor], own: Tensors, axes: Mapping[str, Axes], target: Tensor
) -> Factor | None:
    """By which W becomes ``target``; None: by none."""
    ways = [Factor()]
    for name, value in own.items():
        if value.is_floating_point() and value.shape != target.shape:
            full = value.ndim == target.ndim
            varies = tuple(a for a in axes[name] if not full or value.shape[a] > 1)
            varies = varies if full or len(varies) == 1 else ()
            ways += [Factor(name, power, varies) for power in (1, -1)]
    tried = (way for way in ways if _near(compute(way.taken_up(compute, own, target)), target))
    return next(tried, None)


def _near(given: Tensor, target: Tensor) -> bool:
    if given.shape != target.shape or not bool(given.isfinite().all()):
        return False
    return bool((given - target).abs().max() <= CLOSE.get(target.dtype, 3e-2) * target.abs().max())


def _random(name: str, like: Tensor, least: float = 0.5) -> Tensor:
    """Numbers in double precision between ``least`` and 1.5, of which no norm is small."""
    if not like.is_floating_point():
        return like
    random = torch.Generator().manual_seed(sum(name.encode()))
    uniform = torch.rand(like.shape, generator=random, dtype=torch.float64)
    return (least + (1.5 - least) * uniform).to(like.device)


def fitted(
    one: Computed, before: fx.GraphModule, after: fx.GraphModule, tensors: Tensors
) -> Tensors:
    """The smaller tensors by which the recipe ``after`` gives what stays of what ``before`` gives.

    ``tensors``: the whole ones. {} where there are none.
    """
    compute = partial(value_of, after, one.name)
    random = {name: _random(name, tensors[name]) for name in one.axes}
    target = one.cut(value_of(before, one.name, random), one.whole)
    factor = _factor(compute, one.parts(random), one.axes, target)
    if factor is None:
        return {}
    target = one.cut(value_of(before, one.name, tensors), one.whole)
    found = factor.taken_up(compute, one.parts(tensors), target)
    return found if _near(compute(found), target) else {}


def computing(
    graph: Graph, small: nn.Module, read: set[str], made: Sequence[Computed]
) -> tuple[fx.GraphModule | None, Reason]:
    """How a cut copy computes the weights ``read``, once what each needs is in it, in place; or why it
    cannot."""
    assert graph.recipe is not None
    try:
        # Weights follow no size of the inputs: one recording tells.
        again = recorded(
            small, example_of(graph.inputs, graph.batch, floating(small)), opened=False
        )
    except EdgepruneError as e:
        return None, Reason.of(e.__cause__ if isinstance(e.__cause__, Exception) else e, small)
    recipe = fold(again)
    if recipe is None or not read <= {n.name for n in outputs(recipe.graph)}:
        return None, Reason("its forward computes its weights otherwise once they are smaller")
    whole, new = {**named_tensors(graph.recipe), **named_tensors(graph.model)}, named_tensors(small)
    for one in made:
        found = fitted(one, graph.recipe, recipe, whole)
        if not found:
            return None, Reason.at(
                one.layer, f"{one.layer} computes its weight from {', '.join(one.axes)}, and nothing"
                " smaller of these gives what stays of it",
            )  # fmt: skip
        with torch.no_grad():
            for name, value in found.items():
                new[name].copy_(value)
    return reduced(recipe, read, {**named_tensors(recipe), **new}), Reason()


# -- a weight that was repaired ----------------------------------------------------------------


def _free(graph: Graph, name: str) -> tuple[str, Factor] | None:
    """The tensor, and the factor, by which a layer computes any weight at all; None: it cannot."""
    assert graph.recipe is not None
    compute = partial(value_of, graph.recipe, name)
    axes, held = _axes(graph, name), named_tensors(graph.model)
    own = {n: _random(n, held[n], -1.4) for n in axes}
    target = _random(name, fetch(graph.module, name), -1.4)
    for weight in (n for n, t in own.items() if t.shape == target.shape and t.is_floating_point()):
        factor = _factor(compute, own | {weight: target}, axes, target)
        if factor is not None:
            return weight, factor
    return None


def writable(graph: Graph, name: str) -> bool:
    """Whether a weight of the graph may be set: it is none that is computed, or its layer computes any."""
    return name not in graph.folded or _free(graph, name) is not None


@torch.no_grad()
def write(graph: Graph, name: str) -> None:
    """Let the layer compute what the graph now holds as its weight, in place; it must be `writable`."""
    if name not in graph.folded:
        return
    free = _free(graph, name)
    assert free is not None
    assert graph.recipe is not None
    weight, factor = free
    target, held = fetch(graph.module, name), named_tensors(graph.model)
    own = {n: held[n].detach() for n in _axes(graph, name)}
    size = own[weight].norm() / target.norm().clamp_min(1e-30)
    own = {**own, weight: target * size}
    for n, value in factor.taken_up(partial(value_of, graph.recipe, name), own, target).items():
        held[n].copy_(value)
