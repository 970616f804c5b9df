"""Cut: the same network with smaller tensors. Nothing is masked, nothing of the rest changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, fx, nn

from ..errors import EdgepruneError, told
from ..graph import Graph, Group, trace
from ..graph.inputs import Example
from ..graph.kept import Keep, Kept, kept_classes
from ..graph.labels import Labelled, Vector
from ..graph.modes import uncollected
from ..graph.module import module_of
from ..graph.recipe import evaluate, reduced, unfolded
from ..graph.rewriting import Rewriter
from ..graph.tensors import named_tensors, replace_tensors, unsaved
from . import computed
from .computed import Computed
from .module import Judge, Parts, Reason, adapt, follow_numbers, patched, trainable
from .optimizer import follow_optimizer
from .rewrite import rewrite, written

Slice = Callable[[str, Tensor], Tensor]  # (tensor's name, value in its shape) -> the cut value


def cut(
    model: nn.Module,
    where: Example | Graph,
    keep: Keep,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    ema: nn.Module | None = None,
) -> nn.Module:
    """A new, smaller module that computes what ``model`` does with the dropped units masked.

    ``where`` is the model's graph, or an example to trace it with, a batch of 2. The result
    has the model's own class if its Python agrees with the smaller tensors, else it is an
    fx.GraphModule; ``.edgeprune_kind`` ("module" or "graph") and ``.edgeprune_reason`` say so.
    ``model`` is left as it is; ``optimizer`` is pointed at the new parameters, its moments cut;
    ``ema`` (a copy of the model with averaged weights) is cut in place.
    """
    graph = where if isinstance(where, Graph) else trace(model, where)
    return narrow(graph, keep, optimizer=optimizer, ema=ema).model


def narrow(
    graph: Graph,
    keep: Keep,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    ema: nn.Module | None = None,
) -> Graph:
    """The graph of the smaller network; its ``model`` is what :func:`cut` returns.

    Groups keep their names and their units' order, so further cuts need no new trace. (A new trace
    of the smaller module may couple otherwise where a cut leaves fewer channels than there are
    heads or groups: the finer of two couplings is chosen by size.)
    """
    kept = kept_classes(graph, keep)
    with (
        told(f"{type(graph.model).__name__} cannot be cut", "please report this network"),
        uncollected(),
    ):
        return _narrow(kept, optimizer, ema)


def _narrow(kept: Kept, optimizer: torch.optim.Optimizer | None, ema: nn.Module | None) -> Graph:
    graph = kept.graph
    rewriter = rewrite(kept)
    module, recipe = _smaller(kept, rewriter)
    made = computed.find(kept, named_tensors(module))
    model, reason, known = _patched(rewriter, module, recipe, made)
    if model is None:
        model = trainable(unfolded(module, recipe)).train(graph.model.training)
    elif known is not None:  # what was cut is computed still
        recipe = known
        evaluate(recipe, module)
    model.edgeprune_kind = "graph" if reason else "module"  # type: ignore[assignment]
    model.edgeprune_reason = str(reason)  # type: ignore[assignment]
    model.edgeprune_layer = reason.layer  # type: ignore[assignment]
    if optimizer is None and ema is None:
        return _narrowed(rewriter, module, model, recipe)
    slices = partial(_cut_by_any_name, kept, _names_in_graph(rewriter), made if not reason else [])
    if optimizer is not None:
        new = {name: branch.sources for name, branch in rewriter.stands_for.items()}
        follow_optimizer(
            optimizer, graph.model, model, slices, lambda n: new.get(n) or graph.sources(n)
        )
    if ema is not None:
        _cut_average(ema, model, slices, rewriter, made, recipe)
    return _narrowed(rewriter, module, model, recipe)


def _patched(
    rewriter: Rewriter,
    module: fx.GraphModule,
    recipe: fx.GraphModule | None,
    made: list[Computed],
) -> tuple[nn.Module | None, Reason, fx.GraphModule | None]:
    """The user's class around the smaller tensors, or why not; and how it computes its weights."""
    gone = rewriter.kept.emptied()
    if gone:
        said = f"{', '.join(gone)} left as a whole, with the branches that it carried"
        return None, Reason(said), None
    graph, whole, numbers = rewriter.graph, unfolded(module, recipe), written(rewriter)
    tensors = named_tensors(whole)
    if not made:
        model, reason = patched(
            graph.model,
            Parts(tensors, rewriter.groups, numbers),
            Judge(whole, graph).disagrees,
        )
        return model, reason, None
    read, found = named_tensors(module), [recipe]

    def differs(small: nn.Module) -> Reason:
        found[0], reason = computed.computing(graph, small, set(graph.folded) & read.keys(), made)
        return reason or Judge(unfolded(module, found[0]), graph).disagrees(small)

    weights = {one.layer: tensors.pop(one.name) for one in made}
    for one in made:
        tensors.update(one.parts(named_tensors(graph.model)))
    parts = Parts(tensors, rewriter.groups | _groups_of(rewriter, made), numbers, weights)
    model, reason = patched(graph.model, parts, differs)
    return model, reason, found[0]


def _groups_of(rewriter: Rewriter, made: list[Computed]) -> dict[str, int]:
    """The groups of convolutions that compute their weight, by the name that it has for Python."""
    counts = {f"{one.layer}.weight": rewriter.groups.get(one.name) for one in made}
    return {name: count for name, count in counts.items() if count is not None}


def _smaller(kept: Kept, rewriter: Rewriter) -> tuple[fx.GraphModule, fx.GraphModule | None]:
    """The new operators around the smaller tensors, and what the network still computes itself.

    A constant of which nothing left, nor of what it is computed from, goes on being computed. What
    was computed from weights and is cut is trained from now on, if one of those weights was.
    """
    graph = kept.graph
    constants = rewriter.constants
    literals = (
        {} if graph.recipe is None else named_tensors(graph.recipe)
    )  # of the forward's Python
    named = {**literals, **named_tensors(graph.model)}
    small = {name: kept.tensor(name, value) for name, value in constants.items()}
    origins = {name: graph.sources(name) for name in graph.folded}
    same: set[str] = set()
    for name, sources in origins.items():
        if not any(kept.cuts(n) for n in (name, *sources)):
            same.add(name)
            small.update({n: kept.tensor(n, named[n]) for n in sources if n not in small})
        elif small[name].is_floating_point():
            trained = any(named[n].requires_grad for n in sources)
            small[name] = nn.Parameter(small[name]) if trained else small[name]
    used = {str(n.target) for n in rewriter.new.nodes if n.op == "get_attr"}
    device = next((t.device for t in small.values()), torch.device("cpu"))
    tensors = {n: t for n, t in small.items() if n in used}
    tensors.update({name: index.to(device) for name, index in rewriter.indices.items()})
    tensors.update({name: branch.value for name, branch in rewriter.stands_for.items()})
    module = _graph_module(graph, rewriter.new, tensors)
    recipe = None if graph.recipe is None else reduced(graph.recipe, same & used, small)
    return module, recipe


def _names_in_graph(rewriter: Rewriter) -> dict[str, str]:
    """The name by which the graph reads a tensor, for each of the tensor's names."""
    named = named_tensors(rewriter.graph.model)
    read = {id(named[name]): name for name in rewriter.constants if name in named}
    return {name: read.get(id(t), name) for name, t in named.items()}


def _cut_by_any_name(
    kept: Kept, known: Mapping[str, str], made: list[Computed], name: str, value: Tensor
) -> Tensor:
    one = next((one for one in made if name in one.axes), None)
    if one is not None:
        return one.part(name, value)
    return kept.tensor(known.get(name, name), value)


def _graph_module(
    graph: Graph, operators: fx.Graph, tensors: Mapping[str, Tensor]
) -> fx.GraphModule:
    anew = unsaved(graph.model) | unsaved(graph.module)
    module = module_of(operators, tensors, anew, type(graph.model).__name__)
    module.eval()
    return module


def _narrowed(
    rewriter: Rewriter, module: fx.GraphModule, model: nn.Module, recipe: fx.GraphModule | None
) -> Graph:
    """The old labels without those that left, on the new operators."""
    graph, kept = rewriter.graph, rewriter.kept
    new_of = dict(zip(rewriter.new.nodes, module.graph.nodes, strict=True))
    nodes = {old: new_of[new] for old, new in rewriter.nodes.items() if new in new_of}
    values = {
        new: fx.node.map_aggregate(graph.values[old], rewriter.shrink) for old, new in nodes.items()
    }
    sites = {key: kept.left(labels) for key, labels in graph.sites.items()}
    made = {
        name: Labelled(tuple(index.shape), constant=True, name=name)
        for name, index in rewriter.indices.items()
    }
    for name, branch in rewriter.stands_for.items():
        x = branch.labels
        if x.axis is not None and x.labels is not None:
            sites[name, x.axis] = kept.left(x.labels)
        made[name] = Labelled(tuple(branch.value.shape), constant=True, name=name)
    leaves = {str(n.target): n for n in module.graph.nodes if n.op == "get_attr"}
    values.update({leaves[name]: value for name, value in made.items()})
    contractions = {
        nodes[old]: [
            replace(c, operand=nodes[c.operand], labels=kept.left(c.labels)) for c in found
        ]
        for old, found in graph.contractions.items()
        if old in nodes and nodes[old].op != "get_attr"
    }
    vanished = {name: branch.node for name, branch in rewriter.stands_for.items()}
    earlier = {name: node for name, node in graph.vanished.items() if name in leaves}
    groups = _groups(rewriter, set(leaves), sites)
    return Graph(
        model=model,
        module=module,
        inputs=graph.inputs,
        batch=graph.batch,
        groups=groups,
        refusals=graph.refusals,
        kind=str(model.edgeprune_kind),
        exact_norms=graph.exact_norms,
        frozen=graph.frozen,
        recipe=recipe,
        values=values,
        sites=sites,
        contractions=contractions,
        roots=graph.roots,
        vanished={**earlier, **vanished},
        gone=(*graph.gone, *(name for name in graph.groups if name not in groups)),
    )


def _groups(
    rewriter: Rewriter, leaves: set[str], sites: Mapping[tuple[str, int], Vector]
) -> dict[str, Group]:
    """The groups without what left; one that vanished, or whose layers nothing reads any more, is gone."""
    kept = rewriter.kept
    found = {name: kept.group(g) for name, g in kept.graph.groups.items()}
    if not kept.emptied():
        return found
    new = [(name, axis) for name, axis in sites if name in rewriter.stands_for]
    return {
        name: group
        for name, whole in found.items()
        if (group := whole.among(leaves, {key: kept.graph.roots[sites[key]] for key in new})).width
    }


def _cut_average(
    ema: nn.Module,
    model: nn.Module,
    slices: Slice,
    rewriter: Rewriter,
    made: list[Computed],
    recipe: fx.GraphModule | None,
) -> None:
    """Give the averaged copy the cut network's form and its own averages, cut, in place."""
    average = ema.module if isinstance(getattr(ema, "module", None), nn.Module) else ema
    if model.edgeprune_kind != "module":
        raise EdgepruneError(
            "the averaged copy (ema) cannot follow this cut",
            str(model.edgeprune_reason),
            "start a new average from the cut network",
        )
    named = named_tensors(average)  # type: ignore[arg-type]
    once = {id(t): slices(n, t) for n, t in named.items()}  # tied weights stay tied
    before = rewriter.graph.recipe
    if before is not None and recipe is not None:
        for one in made:
            for n, value in computed.fitted(one, before, recipe, named).items():
                once[id(named[n])].detach().copy_(value)
    replace_tensors(average, {n: once[id(t)] for n, t in named.items()})  # type: ignore[arg-type]
    weights = {one.layer: one.cut(rewriter.constants[one.name], one.whole) for one in made}
    adapt(average, rewriter.groups | _groups_of(rewriter, made), weights)  # type: ignore[arg-type]
    follow_numbers(average, model, written(rewriter))  # type: ignore[arg-type]
