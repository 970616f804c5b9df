"""Constant folding: what a network computes from parameters alone becomes a buffer.

The operators that compute it are kept as a recipe, so that the buffers follow their parameters.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from .module import Operators, sweep
from .operators import operator_of
from .recipe import evaluate


def fold(module: fx.GraphModule) -> fx.GraphModule | None:
    """Replace what is computed from parameters alone by buffers; return how they are computed.

    What is computed from vectors (a layer scale's view, a frozen norm) is followed element by
    element; only tensors with several axes (standardised weights, position tables) are folded.
    """
    constant, followed = _constant_nodes(module.graph)
    taken = {n for n in constant - followed if n.op != "get_attr"}
    front = [
        node
        for node in module.graph.nodes
        if node in taken
        and isinstance(node.meta.get("val"), Tensor)
        and any(user not in taken for user in node.users)
    ]
    if not front:
        return None
    recipe = _recipe(module, front)
    evaluate(recipe, module)
    for node in front:
        with module.graph.inserting_before(node):
            leaf = module.graph.get_attr(_folded_name(node))
        leaf.meta = dict(node.meta)
        node.replace_all_uses_with(leaf)
    sweep(module.graph)
    module.recompile()
    return recipe


def _constant_nodes(graph: fx.Graph) -> tuple[set[fx.Node], set[fx.Node]]:
    """Nodes that no input reaches, and those of them that are followed as vectors."""
    constant: set[fx.Node] = set()
    followed: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            constant.add(node)
            if _is_vector(node):
                followed.add(node)
        elif _computes_constant(node, constant):
            constant.add(node)
            inputs = node.all_input_nodes
            moved = inputs and operator_of(node).vectors
            if moved and _is_vector(node) and all(n in followed for n in inputs):
                followed.add(node)
    return constant, followed


def _folded_name(node: fx.Node) -> str:
    return f"folded_{node.name}"


def _recipe(module: fx.GraphModule, front: list[fx.Node]) -> fx.GraphModule:
    """The operators that compute ``front``; its outputs are named as the folded buffers."""
    graph, nodes = fx.Graph(), dict[fx.Node, fx.Node]()
    needed = set(front)
    for node in reversed(module.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in module.graph.nodes:
        if node in needed:
            nodes[node] = graph.node_copy(node, nodes.__getitem__)
    for node in front:
        nodes[node].name = _folded_name(node)
    graph.output(tuple(nodes[node] for node in front))
    return Operators(module, graph, class_name="Recipe")


def _computes_constant(node: fx.Node, constant: set[fx.Node]) -> bool:
    if node.op != "call_function" or not all(n in constant for n in node.all_input_nodes):
        return False
    if node.target is operator.getitem:
        return True
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags


def _is_vector(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return sum(int(size) != 1 for size in value.shape) <= 1
