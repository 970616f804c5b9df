"""From the exporter's graph, in which operators may write into their inputs, to one in which none does.

``run_decompositions`` does this for every graph by tracing it a second time, which takes twice as
long as the export. Most networks only write in place into a result that nothing else reads
(``relu_`` after a convolution); here such operators become their out-of-place twins.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from .follow import short_name

# Composed of other operators, so the schema does not tell, but their result is always new memory.
FRESH = (
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul"
    " batch_norm layer_norm group_norm instance_norm hardswish silu max_pool2d avg_pool2d"
    " adaptive_avg_pool2d"
).split()
HARMLESS = ("dropout_", "feature_dropout_", "detach_")  # in eval mode they write nothing
POINTWISE = ("hardswish_", "relu6_", "log_sigmoid_")  # these carry no pointwise tag


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
    norms = [node for node in order if short_name(node) == "batch_norm"]
    return all(_frozen(node) for node in norms)


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _out_of_place(node: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Replace ``x.f_()`` by ``f(x)``, which all later readers of ``x`` then read."""
    name = short_name(node)
    x = node.args[0]
    twin = getattr(torch.ops.aten, name.removesuffix("_"), None)
    overload = str(node.target).rpartition(".")[2]
    if twin is None or not hasattr(twin, overload) or not isinstance(x, fx.Node):
        return False
    if name in HARMLESS:
        if "dropout" in name and node.args[2:3] != (False,):
            return False
    elif not (_pointwise(node) and _alone(x, node, order) and _same_types(node)):
        return False
    for later in [user for user in x.users if order[user] > order[node]]:
        later.replace_input_with(x, node)
    node.target = getattr(twin, overload)
    return True


def _pointwise(node: fx.Node) -> bool:
    assert isinstance(node.target, torch._ops.OpOverload)
    return torch.Tag.pointwise in node.target.tags or short_name(node) in POINTWISE


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
    return not composed or short_name(node) in FRESH


def _same_types(node: fx.Node) -> bool:
    """Written in place the result has the first operand's type; out of place, the widest."""
    values = [n.meta.get("val") for n in node.all_input_nodes]
    return len({v.dtype for v in values if isinstance(v, Tensor)}) == 1


# -- batch norm ------------------------------------------------------------------------------------


def _frozen(node: fx.Node) -> bool:
    """``batch_norm`` with running statistics, written as the operator that only reads them."""
    x, weight, bias, mean, var, training, momentum, eps = node.args[:8]
    if training is not False or not isinstance(mean, fx.Node) or not isinstance(var, fx.Node):
        return False
    value = node.meta["val"]
    with node.graph.inserting_before(node):
        norm = node.graph.call_function(
            torch.ops.aten._native_batch_norm_legit_no_training.default,
            (x, weight, bias, mean, var, momentum, eps),
        )
        result = node.graph.call_function(operator.getitem, (norm, 0))
    norm.meta, result.meta = dict(node.meta), dict(node.meta)
    norm.meta["val"] = (value, value.new_empty(0), value.new_empty(0))
    node.replace_all_uses_with(result)
    node.graph.erase_node(node)
    return True
