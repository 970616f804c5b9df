"""Convolutions. Letters: N batch, C channels, O filters, I inputs per group."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
from torch import fx

from ...errors import EdgepruneError
from ..follow import Follow, owner, unknown
from ..labels import Labelled, Vector
from ..rewriting import Rewriter, set_argument
from . import shapes
from .row import Operator, Work


def convolution(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    weight: Labelled,
    bias: Labelled | None = None,
    *window: Any,
    **named: Any,
) -> Any:
    """conv1d/2d/3d; weight (O, I, *kernel) with I = C / groups.

    ``window``: stride, padding, dilation, groups.
    """
    groups: int = window[3] if len(window) > 3 else named.get("groups", 1)
    if weight.name is None:
        return unknown(f, node, x, weight, bias, reason="its weight is computed")
    if any(isinstance(a, fx.Node) for a in node.args[3:]):
        return unknown(f, node, x, weight, bias, reason="its groups or window hang on the input")
    x, channels = _convolved(f, node, x, weight)
    out = _filters(f, node, x, weight, channels, groups)
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


def deformable_convolution(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    weight: Labelled,
    offset: Labelled,
    mask: Labelled,
    bias: Labelled,
    *words: Any,
) -> Any:
    """torchvision's deform_conv2d; weight (O, I, *kernel). Channels that share an offset lie together:
    of each such part the same ones leave, so that the parts stay equal.

    ``words``: stride, padding, dilation (two each), groups, offset groups, whether there is a mask.
    """
    groups, shared = words[6:8]
    if weight.name is None:
        return unknown(f, node, x, weight, offset, mask, bias, reason="its weight is computed")
    for where in (offset, mask):
        f.pin(node, f.data(where), "says where to sample")
    x, channels = _convolved(f, node, x, weight)
    parts = f.labels(x, channels).reshape(shared, -1)
    f.classes.union(parts, parts[:1])
    out = _filters(f, node, x, weight, channels, groups)
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


def _filters(
    f: Follow, node: fx.Node, x: Labelled, weight: Labelled, channels: int, groups: int
) -> Vector:
    """The labels of what a convolution makes of ``x``."""
    inputs = f.labels(x, channels)
    if groups == 1:
        f.tie(weight, 1, inputs)
        f.contract(node, node.all_input_nodes[0], channels, inputs)
        out = f.produce(node, weight, 0)
    elif weight.shape[1] == 1:  # depthwise: filter c*m+j reads channel c alone, leaves with it
        out = np.repeat(inputs, weight.shape[0] // groups)
        f.tie(weight, 0, out)
    else:
        out = _grouped(f, node, weight, inputs, channels, groups)
    return out


def _convolved(f: Follow, node: fx.Node, x: Labelled, weight: Labelled) -> tuple[Labelled, int]:
    """``x`` with labels on its channels only, and which axis they are (0 without a batch)."""
    channels = x.ndim - weight.ndim + 1
    if x.axis not in (None, channels):
        x = f.pin(node, x, "convolves along the labelled axis")
    return x, channels


def _grouped(
    f: Follow, node: fx.Node, weight: Labelled, inputs: Vector, channels: int, groups: int
) -> Vector:
    """g groups of I inputs: whole groups leave if g > I, else the same offsets of every group."""
    out = f.produce(node, weight, 0)
    x_by_group, out_by_group = inputs.reshape(groups, -1), out.reshape(groups, -1)
    labelled = (f.classes.find(inputs) != 0).any()
    if labelled and groups > weight.shape[1]:
        f.classes.union(out_by_group, out_by_group[:, :1])
        f.classes.union(x_by_group, out_by_group[:, :1])
        f.hold(weight, free=0)
        return out
    f.classes.union(out_by_group, out_by_group[:1])
    f.classes.union(x_by_group, x_by_group[:1])
    f.tie(weight, 1, x_by_group[0])
    f.contract(node, node.all_input_nodes[0], channels, inputs)
    return out


def transposed_convolution(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    weight: Labelled,
    bias: Labelled | None = None,
    *window: Any,
    **named: Any,
) -> Any:
    """conv_transpose1d/2d/3d; weight (C, O / groups, *kernel).

    ``window``: stride, padding, output padding, groups, dilation.
    """
    groups: int = window[3] if len(window) > 3 else named.get("groups", 1)
    if weight.name is None:
        return unknown(f, node, x, weight, bias, reason="its weight is computed")
    if any(isinstance(a, fx.Node) for a in node.args[3:]):
        return unknown(f, node, x, weight, bias, reason="its groups or window hang on the input")
    x, channels = _convolved(f, node, x, weight)
    inputs = f.labels(x, channels)
    if groups == weight.shape[0] > 1:  # depthwise: every channel's filters share weight's axis 1
        f.tie(weight, 0, inputs)
        f.hold(weight, free=0)
        out = np.repeat(inputs, weight.shape[1])
    else:
        by_group = inputs.reshape(groups, -1)
        f.classes.union(by_group, by_group[:1])
        f.tie(weight, 0, inputs)
        f.contract(node, node.all_input_nodes[0], channels, inputs)
        out = np.tile(f.produce(node, weight, 1), groups)
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


def convolution_groups(
    r: Rewriter, old: fx.Node, new: fx.Node, transposed: bool = False, at: int = 6
) -> None:
    """``groups``, argument ``at``, follows the channels: depthwise and whole groups shrink, offsets
    keep theirs."""
    groups = int(r.argument(old, at, "groups", 1))
    if groups == 1:
        return
    x, weight = r.value(old.args[0]), r.value(old.args[1])
    channels = x.ndim - weight.ndim + 1
    if transposed:
        kept = r.length(x, channels) if groups == weight.shape[0] else groups
    else:
        inputs = r.graph.sites.get((weight.name, 1))
        per_group = weight.shape[1] if inputs is None else r.kept.count(inputs)
        kept, rest = divmod(r.length(x, channels), per_group)
        if rest:
            raise EdgepruneError(
                f"{owner(old, str(weight.name))} cannot be cut",
                f"{r.length(x, channels)} channels are left for groups of {per_group}",
                "please report this network",
            )
    defaults = (None, None, None, 1, 0, 0 if transposed else 1)
    new.kwargs = {k: v for k, v in new.kwargs.items() if k != "groups"}
    set_argument(new, at, kept, defaults)
    r.groups[weight.name] = kept


def convolution_macs(work: Work) -> int:
    """Every weight once at each place of the output."""
    return prod(work.weight) * prod(work.out[1:])


def transposed_macs(work: Work) -> int:
    """Every weight once at each place of the input."""
    return prod(work.weight) * prod(work.inputs[1:])


ROWS = (
    Operator(
        "conv1d conv2d conv3d",
        convolution,
        convolution_groups,
        kind="conv",
        macs=convolution_macs,
        reads=True,
        shape=shapes.convolved,
    ),
    Operator(
        "torchvision::deform_conv2d",
        deformable_convolution,
        partial(convolution_groups, at=11),
        kind="deformable",
        macs=convolution_macs,
    ),
    Operator(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        transposed_convolution,
        partial(convolution_groups, transposed=True),
        kind="conv",
        macs=transposed_macs,
        reads=True,
    ),
)
