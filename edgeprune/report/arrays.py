"""From a run's networks to the plain arrays that the figures take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import checkpoint, prune
from ..errors import EdgepruneError
from ..graph import Graph
from .figures import Filters, History, LayerNorms, Sensitivity, Step
from .results import Results, go_on

if TYPE_CHECKING:
    from torch import Tensor, nn


def norms(found: Results) -> list[LayerNorms]:
    """The L1 norms that pruning ranks, of the dense network's convolutions in execution order.

    Raises :class:`EdgepruneError` when the run has no dense network.
    """
    loaded = checkpoint.load(found.run, "dense")
    traced = loaded.graph
    labels = found.labels()
    layers = []
    for name, group in traced.groups.items():
        weights = [_weight(loaded.model, producer) for producer in group.producers]
        if all(w.ndim == 4 for w in weights):
            size = sum(w[0].numel() for w in weights)
            scores = prune.l1(traced, name).detach().cpu().numpy()
            layers.append(LayerNorms(labels.get(name, name), scores, size))
    return layers


def first_filters(found: Results) -> Filters:
    """The dense network's first convolution, channels in the order R, G, B, and which filters are left.

    Raises :class:`EdgepruneError` when the run has no dense network, or it has no convolution.
    """
    loaded = checkpoint.load(found.run, "dense")
    for name, module in loaded.model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.ndim == 4:
            values = weight.detach().cpu().float().numpy()
            bgr = loaded.convention.channels == "BGR"
            left = _left(found, loaded.graph, name)
            return Filters(np.ascontiguousarray(values[:, ::-1] if bgr else values), left)
    raise EdgepruneError(
        f"run {found.run.name}",
        "its network has no convolution",
        "these pictures are of convolutions; edgeprune report makes the page",
    )


def _left(found: Results, graph: Graph, layer: str) -> list[int] | None:
    """The filters of ``layer`` that the pruned network has; None where it lost none, or is not there."""
    group = next((n for n, g in graph.groups.items() if layer in g.producers), "")
    kept = found.kept.get(group)
    return None if kept is None or len(kept) == graph.groups[group].width else list(kept)


def sensitivity(found: Results) -> list[Sensitivity]:
    """The curves of the run's sensitivity analysis; an error with the remedy when it has none."""
    labels = found.labels()
    curves = [
        Sensitivity(
            labels.get(r.layer, r.layer),
            r.shares,
            r.accuracy,
            r.baseline,
        )
        for r in found.curves
    ]
    if not curves:
        raise _not_pruned(found, "no sensitivity analysis")
    return curves


def history(found: Results) -> History:
    """The pruning steps, step 0 the dense network; an error with the remedy when there are none."""
    dense = found.dense
    if not found.steps or not dense:
        raise _not_pruned(found, "no pruning steps")
    steps = [Step(0, found.baseline, None, 1.0, 1.0)] + [
        Step(
            r.step,
            r.accuracy,
            r.before,
            r.params / dense.params,
            r.flops / dense.flops,
            r.kept,
        )
        for r in found.steps
    ]
    return History(steps, found.baseline, found.limit)


def _not_pruned(found: Results, why: str) -> EdgepruneError:
    """With the command that makes it, where the run's own way has it."""
    if found.pruned:
        return EdgepruneError(
            f"run {found.run.name} has {why}",
            "it was pruned in another way than the paper's",
            "name a run of the paper's way; edgeprune report makes a page of any",
        )
    return EdgepruneError(f"run {found.run.name} has {why}", next=go_on(found))


def _weight(model: nn.Module, layer: str) -> Tensor:
    return model.get_parameter(f"{layer}.weight")
