"""A recipe: a graph without inputs that computes folded constants from the present parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from .module import module_of
from .tensors import fetch, named_tensors, put, unsaved


def outputs(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that a recipe returns."""
    return list(graph.output_node().args[0])  # type: ignore[arg-type]


@torch.no_grad()
def evaluate(recipe: fx.GraphModule, module: fx.GraphModule) -> None:
    """Write the folded constants, from the present parameters, into ``module``."""
    for node, value in zip(outputs(recipe.graph), recipe(), strict=True):
        put(module, node.name, value.detach())


@torch.no_grad()
def value_of(recipe: fx.GraphModule, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """One of the folded constants, computed from ``tensors``; what is not among them is the recipe's."""
    known: dict[fx.Node, Any] = {}

    def value(node: fx.Node) -> Any:
        if node not in known and node.op == "get_attr":
            target = str(node.target)
            known[node] = tensors[target] if target in tensors else fetch(recipe, target)
        elif node not in known:
            args, kwargs = fx.map_arg((node.args, node.kwargs), value)
            known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return known[node]

    found = value(next(node for node in outputs(recipe.graph) if node.name == name))
    assert isinstance(found, Tensor)
    return found


def sources(recipe: fx.GraphModule | None, tensor: str) -> set[str]:
    """The parameters and buffers that a folded constant is computed from (none for another tensor)."""
    known = [] if recipe is None else outputs(recipe.graph)
    nodes = [node for node in known if node.name == tensor]
    found: set[str] = set()
    while nodes:
        node = nodes.pop()
        found |= {str(node.target)} if node.op == "get_attr" else set()
        nodes += node.all_input_nodes
    return found


def reduced(
    recipe: fx.GraphModule, names: set[str], tensors: Mapping[str, Tensor]
) -> fx.GraphModule | None:
    """The recipe of ``names`` alone, on ``tensors``; None without any."""
    if not names:
        return None
    graph, known = fx.Graph(), dict[fx.Node, fx.Node]()
    wanted = [node for node in outputs(recipe.graph) if node.name in names]
    needed = set(wanted)
    for node in reversed(recipe.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in recipe.graph.nodes:
        if node in needed:
            known[node] = graph.node_copy(node, known.__getitem__)
            known[node].name = node.name
    graph.output(tuple(known[node] for node in wanted))
    read = [str(n.target) for n in graph.nodes if n.op == "get_attr"]
    return module_of(graph, {name: tensors[name] for name in read}, (), "Recipe")


def unfolded(module: fx.GraphModule, recipe: fx.GraphModule | None) -> fx.GraphModule:
    """``module`` computing what the recipe computes, around the same tensors; itself without one."""
    if recipe is None:
        return module
    folded = {node.name: node for node in outputs(recipe.graph)}
    known_tensors = {**named_tensors(recipe), **named_tensors(module)}
    tensors = {name: t for name, t in known_tensors.items() if name not in folded}
    graph, known = fx.Graph(), dict[fx.Node, fx.Node]()
    graph.graph_copy(recipe.graph, known)
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target in folded:
            known[node] = known[folded[node.target]]
        elif node.op == "output":
            graph.output(fx.map_arg(node.args[0], known.__getitem__))
        else:
            known[node] = graph.node_copy(node, known.__getitem__)
    graph.set_codegen(module.graph._codegen)
    made = module_of(graph, tensors, unsaved(module), type(module).__name__)
    return made.train(module.training)
