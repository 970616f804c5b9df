"""From the exporter's graph, in which operators may write into their inputs, to one in which none does.

``run_decompositions`` does this for every graph by tracing it a second time, which takes twice as
long as the export. Most networks only write in place into a result that nothing else reads
(``relu_`` after a convolution); here such operators become their out-of-place twins.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from .operators import is_pointwise, operator_of, row_of, twin_of


def functional(module: fx.GraphModule) -> bool:
    """Make ``module`` functional in place; False if that needs the exporter's own, slower way.

    The graph may then be half changed, each change being right by itself.
    """
    order = {node: i for i, node in enumerate(module.graph.nodes)}
    for node in order:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return False
        if _writes(node) and not _out_of_place(node, order):
            return False
    freezes = [(operator_of(node).freeze, node) for node in order]
    return all(freeze(node) for freeze, node in freezes if freeze is not None)


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _out_of_place(node: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Replace ``x.f_()`` by ``f(x)``, which all later readers of ``x`` then read."""
    x, target = node.args[0], node.target
    assert isinstance(target, torch._ops.OpOverload)
    twin = twin_of(target)
    if twin is None or not isinstance(x, fx.Node):
        return False
    idle = row_of(twin).idle
    if idle is not None:
        if not idle(node):
            return False
    elif not (_pointwise(target, twin) and _alone(x, node, order) and _same_types(node)):
        return False
    for later in [user for user in x.users if order[user] > order[node]]:
        later.replace_input_with(x, node)
    node.target = twin
    return True


def _pointwise(target: torch._ops.OpOverload, twin: torch._ops.OpOverload) -> bool:
    return torch.Tag.pointwise in target.tags or is_pointwise(twin)


def _alone(x: fx.Node, node: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether no other tensor shares ``x``'s memory when ``node`` writes into it."""
    before = [user for user in x.users if order[user] < order[node]]
    return _fresh(x) and all(_fresh(user) for user in before)


def _fresh(node: fx.Node) -> bool:
    """Whether the operator's one result lies in memory of its own."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not isinstance(
        node.meta.get("val"), Tensor
    ):
        return False
    if any(result.alias_info is not None for result in target._schema.returns):
        return False
    composed = torch._C._dispatch_has_kernel_for_dispatch_key(
        target.name(), "CompositeImplicitAutograd"
    )
    return not composed or operator_of(node).fresh


def _same_types(node: fx.Node) -> bool:
    """Written in place the result has the first operand's type; out of place, the widest."""
    values = [n.meta.get("val") for n in node.all_input_nodes]
    return len({v.dtype for v in values if isinstance(v, Tensor)}) == 1
