"""Beyond least squares: fit to the dense network's own answers, still without labels.

``blocks`` (front to back, as BRECQ, Li et al. 2021, does for quantisation): between two places where
a single map is alive lies a block. Its layers are repaired by least squares; then its weights and
norm scales are fitted by Adam so that, fed with what the pruned network gives, it returns what the
dense network has there, at the channels that stayed. ``distil``: the whole network at once, to the
dense logits (Hinton et al. 2015) and to the last map before the classifier. Batch-norm statistics
stay frozen in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..graph import Graph
from ..graph.inputs import Example, flat
from ..graph.kept import Keep, kept_classes
from ..graph.tensors import fetch
from .compensate import Told, kept_index, least_squares, repair_place, repairable, silent
from .images import Images
from .readers import Reader, find_readers
from .walk import Walk, bfloat16_pays, run


@dataclass(frozen=True)
class Block:
    """Operators ``start`` .. ``end`` (excluded) of the pruned graph, by number."""

    start: int
    end: int
    weights: tuple[str, ...]  # parameters read inside


@dataclass(frozen=True)
class Fitted:
    """A block's relative squared error on images it was not fitted to, before and after."""

    block: str  # the operator that ends it
    before: float
    after: float


def find_blocks(graph: Graph) -> list[Block]:
    """Stretches between single maps, each with at least one layer that mixes channels."""
    nodes = list(graph.module.graph.nodes)
    readers = [use for reader in find_readers(graph) for use in reader.uses]
    mixing = {r.node for r in readers if not r.depthwise}
    layers = {r.node for r in readers}
    ends = [i + 1 for i in _waists(nodes)]
    blocks, start, full = [], 0, False
    for i, node in enumerate(nodes):
        if node.name in layers and full and i in _closed(ends, nodes, i, layers):
            cut_at = max(e for e in ends if e <= i)
            blocks.append((start, cut_at))
            start, full = cut_at, False
        full = full or node.name in mixing
    blocks.append((start, len(nodes) - 1))
    return [Block(a, b, _weights(graph, nodes[a:b])) for a, b in blocks if b > a]


def _closed(ends: Sequence[int], nodes: Sequence[fx.Node], i: int, layers: set[str]) -> set[int]:
    """``{i}`` if a single map is alive somewhere between the layer before number ``i`` and it."""
    before = max((j for j in range(i) if nodes[j].name in layers), default=-1)
    return {i} if any(before < e <= i for e in ends) else set()


def _waists(nodes: Sequence[fx.Node]) -> list[int]:
    """Operators after which one tensor alone is read further on, and it is their own output."""
    index = {n: i for i, n in enumerate(nodes)}
    alive: dict[fx.Node, int] = {}
    found = []
    for i, node in enumerate(nodes):
        alive = {n: last for n, last in alive.items() if last > i}
        if node.op != "get_attr" and isinstance(node.meta.get("val"), Tensor | list | tuple):
            last = max((index[u] for u in node.users), default=i)
            if last > i:
                alive[node] = last
        if list(alive) == [node] and isinstance(node.meta.get("val"), Tensor):
            found.append(i)
    return found


def _weights(graph: Graph, nodes: Sequence[fx.Node]) -> tuple[str, ...]:
    names = {str(n.target) for node in nodes for n in node.all_input_nodes if n.op == "get_attr"}
    values = {name: fetch(graph.module, name) for name in sorted(names)}
    return tuple(n for n, v in values.items() if isinstance(v, torch.nn.Parameter))


def blocks(
    dense: Graph,
    pruned: Graph,
    keep: Keep,
    images: Images,
    steps: int = 80,
    lr: float = 1e-3,
    told: Told = silent,
) -> list[Fitted]:
    """Repair and fit each block of ``pruned`` in place.

    First its layers by least squares, on what the fitted blocks before it now give; then ``steps``
    batches of Adam, learning rate falling to 0.
    """
    dense.constants(), pruned.constants()
    stays = kept_classes(dense, keep).mask
    whole, small = Walk(dense.module, images.batches), Walk(pruned.module, images.batches)
    found, places = find_blocks(pruned), repairable(pruned, small, least_squares)
    places = [p for p in places if not (isinstance(p, Reader) and p.again)]  # of several blocks
    report = []
    for done, block in enumerate(found):
        small.reach(block.start)
        entry = [dict(values) for values in small.values]
        for place in places:
            if block.start <= small.index[place.node] < block.end:
                repair_place(dense, pruned, stays, place, whole, small, images, least_squares)
        small.at = [block.start for _ in small.at]  # back to where the block begins
        small.values = entry
        last = small.nodes[block.end - 1]
        whole.reach(whole.index[last.name] + 1)
        there = whole.node(last.name)
        own, axis = kept_index(dense.values[there], stays), dense.values[there].axis
        values = [v[there] for v in whole.values]
        targets = values if own is None else [v.index_select(axis, own) for v in values]
        parts = _parts(images.sources)
        report.append(Fitted(last.name, *_fit(pruned, block, small, targets, parts, steps, lr)))
        told(last.name, done + 1, len(found))
    return report


def _fit(
    graph: Graph, block: Block, walk: Walk, targets: list[Tensor],
    parts: tuple[list[int], list[int]], steps: int, lr: float,
) -> tuple[float, float]:  # fmt: skip
    nodes = walk.nodes[block.start : block.end]
    variance = _variance(targets)
    if not block.weights or not variance > 0:
        return 0.0, 0.0

    def output(i: int) -> Tensor:
        values = dict(walk.values[i])
        run(graph.module, nodes, values, walk.batches[i])
        result: Tensor = values[nodes[-1]]
        return result

    fitting, judging = parts

    def error(some: Sequence[int] = judging) -> float:
        with torch.no_grad():
            return (
                sum(float(F.mse_loss(output(i), targets[i])) for i in some) / len(some) / variance
            )

    before = error()
    if before < 1e-8:
        return before, before
    weights = [fetch(graph.module, name) for name in block.weights]
    saved = [w.detach().clone() for w in weights]
    descend(weights, (lambda i=i: F.mse_loss(output(i), targets[i]) / variance
                      for i in _turns(fitting, steps)), steps, lr)  # fmt: skip
    after = error()
    if not after < before:
        with torch.no_grad():
            for w, old in zip(weights, saved, strict=True):
                w.copy_(old)
        return before, before
    return before, after


def _variance(targets: list[Tensor]) -> float:
    """Mean square about the mean over images, place by place and channel by channel."""
    n = sum(len(t) for t in targets)
    mean = torch.stack([t.double().sum(0) for t in targets]).sum(0) / n
    return float(sum((t.double() - mean).square().sum() for t in targets) / (n * mean.numel()))


def _parts(sources: Sequence[int]) -> tuple[list[int], list[int]]:
    """Batches to fit on, and those that decide whether it helped: each eighth with all its views."""
    judging = [i for i, source in enumerate(sources) if source % 8 == 7]
    fitting = [i for i, source in enumerate(sources) if source % 8 != 7]
    return fitting, judging or fitting


def _turns(batches: Sequence[int], steps: int) -> list[int]:
    """Each of ``batches`` equally often, in a fixed random order."""
    generator = torch.Generator().manual_seed(0)
    n = len(batches)
    rounds = [torch.randperm(n, generator=generator) for _ in range(-(-steps // n))]
    return [batches[int(i)] for i in torch.cat(rounds)[:steps]]


def descend(weights: Sequence[Tensor], losses: Iterable[Any], steps: int, lr: float) -> None:
    """Adam with the learning rate falling to 0 along half a cosine; only ``weights`` change."""
    frozen = [w.requires_grad for w in weights]
    for w in weights:
        w.requires_grad_(True)
    adam = torch.optim.Adam(list(weights), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))
    with torch.enable_grad():
        for loss in losses:
            gradients = torch.autograd.grad(loss(), list(weights))
            for w, g in zip(weights, gradients, strict=True):
                w.grad = g
            adam.step()
            schedule.step()
    for w, was in zip(weights, frozen, strict=True):
        w.grad = None
        w.requires_grad_(was)


@dataclass(frozen=True)
class Distillation:
    """loss = T^2 KL(dense || pruned at temperature T) + feature_share * (relative squared error of the
    map that the last layer's block begins with)."""

    lr: float = 1e-4  # at the start; it falls to 0
    temperature: float = 2.0
    feature_share: float = 1.0


def distil(
    dense: Graph,
    pruned: Graph,
    keep: Keep,
    views: Iterable[Example],
    steps: int,
    how: Distillation = Distillation(),
    told: Told = silent,
) -> None:
    """Train ``pruned`` in place on ``steps`` batches of ``views``, without labels.

    Both networks run in bfloat16 where the processor has it; the weights and the loss stay in float32.
    """
    found = find_blocks(pruned)
    T = how.temperature
    nodes, dense_nodes = (list(g.module.graph.nodes) for g in (pruned, dense))
    waist = nodes[found[-1].start - 1] if len(found) > 1 else nodes[0]
    there = next(n for n in dense_nodes if n.name == waist.name)
    own = kept_index(dense.values[there], kept_classes(dense, keep).mask)
    half = bfloat16_pays()

    def loss(x: Example) -> Tensor:
        values: dict[fx.Node, Any] = {}
        expected: dict[fx.Node, Any] = {}
        device = flat(x)[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=half and device == "cpu"):
            with torch.no_grad():
                run(dense.module, dense_nodes, expected, x)
            run(pruned.module, nodes, values, x)
        target = expected[there] if own is None else expected[there].index_select(1, own)
        kl = F.kl_div(
            F.log_softmax(_first(values[nodes[-1]]).float() / T, 1),
            F.log_softmax(_first(expected[dense_nodes[-1]]).float() / T, 1),
            reduction="batchmean",
            log_target=True,
        )
        target = target.float()
        feature = F.mse_loss(values[waist].float(), target) / target.var().clamp_min(1e-12)
        return T**2 * kl + how.feature_share * feature

    names = sorted({name for block in found for name in block.weights})
    weights = [fetch(pruned.module, name) for name in names]

    def losses() -> Iterable[Any]:
        for step, x in zip(range(steps), views, strict=False):
            yield lambda x=x: loss(x)
            told("distilling", step + 1, steps)

    descend(weights, losses(), steps, how.lr)


def _first(value: Any) -> Tensor:
    return _first(value[0]) if isinstance(value, list | tuple) else value
