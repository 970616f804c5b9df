"""Norms with parameters: batch, instance, group, layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..follow import Follow, plain
from ..labels import Labelled
from ..rewriting import Rewriter, set_argument
from ..tensors import put_module
from . import written_out
from .row import Operator


def batch_norm(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """Batch and instance norm: every parameter and statistic is one value a channel (axis 1)."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "normalises along another axis than the labelled one")
    labels = f.labels(x, 1)
    for statistic in (*args, *kwargs.values()):
        if isinstance(statistic, Labelled):
            f.tie(statistic, 0, labels)
    out = plain(node)
    first = Labelled(x.shape, x.axis, x.labels)
    return [first, *out[1:]] if isinstance(out, list | tuple) else first


def group_norm(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    groups: int,
    weight: Labelled | None = None,
    bias: Labelled | None = None,
    *args: Any,
) -> Any:
    """Statistics over whole groups: a group leaves whole, so one group alone cannot."""
    if x.axis is not None and (x.axis != 1 or groups == 1):
        x = f.pin(node, x, "normalises over channels")
    labels = f.labels(x, 1)
    by_group = labels.reshape(groups, -1)
    f.classes.union(by_group, by_group[:, :1])
    f.tie(weight, 0, labels)
    f.tie(bias, 0, labels)
    return f.classes.normal_form(x.array())


def layer_norm(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    normalized_shape: Sequence[int],
    weight: Labelled | None = None,
    bias: Labelled | None = None,
    *args: Any,
) -> Any:
    if x.axis is not None and x.axis >= x.ndim - len(normalized_shape):
        x = f.pin(node, x, "normalises over channels")
    for parameter in (weight, bias):
        if parameter is not None:
            f.classes.pin(f.labels(f.data(parameter), -1))
    return Labelled(x.shape, x.axis, x.labels)


def norm_groups(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x, groups = r.value(old.args[0]), int(r.argument(old, 1, "num_groups", 1))
    if x.on(1):
        kept = r.length(x, 1) * groups // x.shape[1]
        set_argument(new, 1, kept)
        if len(old.args) > 2 and isinstance(old.args[2], fx.Node):
            r.groups[r.value(old.args[2]).name] = kept


def frozen(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float,
    *_: Any,
) -> tuple[Any, tuple[Any, ...]] | None:  # fmt: skip
    """``batch_norm`` with running statistics, written as the operator that only reads them."""
    if training or mean is None or var is None:
        return None
    only_reads = torch.ops.aten._native_batch_norm_legit_no_training.default
    return only_reads, (x, weight, bias, mean, var, momentum, eps)


def restore_batch_norm(root: nn.Module, node: fx.Node) -> None:
    """_native_batch_norm_legit_no_training(x, weight, bias, mean, var, momentum, eps)[0]."""
    x, weight, bias, mean, var, momentum, eps = node.args
    path = _common_owner([weight, bias, mean, var])
    getitems = list(node.users)
    owner = root.get_submodule(path) if path else None
    plain = owner is not None and not owner._modules and type(owner) is nn.Module
    if not plain or any(user.args[1] != 0 for user in getitems):
        return
    assert isinstance(x, fx.Node)
    assert owner is not None
    rank = x.meta["val"].ndim
    running = owner._buffers["running_mean"]
    assert running is not None
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[rank]
    norm = kind(len(running), eps, momentum, affine=weight is not None)  # type: ignore[arg-type]
    norm._parameters.update(owner._parameters)
    norm._buffers.update(owner._buffers)
    put_module(root, path, norm)
    with node.graph.inserting_before(node):
        module = node.graph.call_module(path, (x,))
    module.meta["val"] = x.meta["val"]
    for user in getitems:
        user.replace_all_uses_with(module)
        node.graph.erase_node(user)
    node.graph.erase_node(node)


def always(x: Tensor, parameters: Sequence[Tensor]) -> bool:
    """A norm changes neither shape nor type."""
    return True


def _common_owner(nodes: list[object]) -> str:
    """The module whose weight, bias, running_mean and running_var these are ("" if none)."""
    leaves = ("weight", "bias", "running_mean", "running_var")
    paths = set()
    for node, leaf in zip(nodes, leaves, strict=True):
        if isinstance(node, fx.Node):
            path, _, name = str(node.target).rpartition(".")
            paths.add(path if name == leaf and node.op == "get_attr" else "")
    return paths.pop() if len(paths) == 1 else ""


ROWS = (
    Operator("batch_norm", batch_norm, kind="norm", per_channel=True, evaluating=frozen),
    Operator(
        "_native_batch_norm_legit_no_training",
        batch_norm,
        kind="norm",
        per_channel=True,
        frozen=True,
        like=always,
        restore=restore_batch_norm,
    ),
    Operator("_native_batch_norm_legit", batch_norm, kind="norm", per_channel=True),
    Operator("instance_norm", batch_norm, kind="norm"),
    Operator(
        "group_norm",
        group_norm,
        norm_groups,
        kind="norm",
        like=always,
        exact=written_out.group_norm,
    ),
    Operator("layer_norm", layer_norm, kind="norm", like=always, exact=written_out.layer_norm),
)
