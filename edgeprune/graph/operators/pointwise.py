"""Elements that meet at one place become one class; and what changes no shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from ..follow import Follow, plain, shape_of
from ..labels import Labelled
from .row import Operator
from .writes import itself


def pointwise(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Elements meet at the same place: their labels become one class (broadcast from the right)."""
    operands: list[Labelled] = []
    for x in (*args, *kwargs.values()):
        operands += [x] if isinstance(x, Labelled) else []
    return meet(f, node, operands)


def meet(f: Follow, node: fx.Node, operands: Sequence[Labelled]) -> Labelled:
    shape = shape_of(node)
    if [x.shape for x in operands if x.made] == [shape] and len(operands) == 1:
        return operands[0]  # zeros times a number follow as the zeros do
    constant = all(x.constant for x in operands)
    if not any(x.axis is not None for x in operands):
        operands = [f.data(x) if x.is_vector else x for x in operands]
    operands, axis = _meeting_axis(f, node, operands)
    free = all(x.free for x in operands if x.axis is not None)
    if axis is not None:
        carriers = [x for x in operands if x.axis is not None and x.axis - x.ndim == axis]
        labels = f.labels(carriers[0], axis)
        for x in operands:
            if x not in carriers and x.name is None and x.ndim >= -axis and x.shape[axis] > 1:
                f.pin(node, replace(carriers[0], free=free), "meets a tensor that cannot be cut")
            elif x.ndim >= -axis:
                f.tie(x, axis, labels)
    for x in operands:
        if x.name is not None:
            f.hold(x, free=axis if axis is not None and x.ndim >= -axis else None)
    if axis is None:
        return Labelled(shape, constant=constant)
    return replace(f.result(node, axis, labels, constant), free=free)


def _meeting_axis(
    f: Follow, node: fx.Node, operands: Sequence[Labelled]
) -> tuple[Sequence[Labelled], int | None]:
    """The one axis (from the right) on which operands bear labels, and the operands with no others.

    What was repeated gives way to all else, parameters give way to data, and of data the axis stays
    on which most can leave.
    """
    axes: dict[int, tuple[bool, bool, int]] = {}
    borne = {x.axis - x.ndim for x in operands if x.axis is not None}
    if len(borne) == 1:
        return operands, borne.pop()
    for x in operands:
        if x.axis is not None:
            roots = f.classes.find(f.labels(x, x.axis))
            rank = (not x.free, not x.constant, len(np.unique(roots[roots > 0])))
            axes[x.axis - x.ndim] = max(rank, axes.get(x.axis - x.ndim, rank))
    if not axes:
        return operands, None
    axis = max(axes, key=lambda a: axes[a])
    return [
        x
        if x.axis is None or x.axis - x.ndim == axis
        else f.pin(node, x, "meets another tensor's channels on another axis")
        for x in operands
    ], axis


def prelu(f: Follow, node: fx.Node, x: Labelled, weight: Labelled) -> Any:
    """One slope, or one a channel: aligned to axis 1, not from the right."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "prelu's slopes lie along another axis")
    f.tie(weight, 0, f.labels(x, 1))
    return Labelled(x.shape, x.axis, x.labels)


def same(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """The output bears its first operand's labels; what is made like zeros follows as they do."""
    if x.made and x.shape == shape_of(node):
        return x
    x = f.data(x)
    return replace(x, shape=shape_of(node), name=None)


def fits(x: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether the others are broadcast to ``x``, which stays as it is."""
    return all(
        t.ndim <= x.ndim
        and all(n in (1, m) for n, m in zip(t.shape[::-1], x.shape[::-1], strict=False))
        for t in others
    )


def nothing(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """An assertion."""
    return plain(node)


def restore_dropout(root: nn.Module, node: fx.Node) -> None:
    """dropout(x, p, train=False)."""
    x, p = node.args[:2]
    path = f"dropout_{node.name}"
    root.add_module(path, nn.Dropout(p))  # type: ignore[arg-type]
    with node.graph.inserting_before(node):
        module = node.graph.call_module(path, (x,))
    module.meta["val"] = node.meta["val"]  # a batch norm that reads it asks for its rank
    node.replace_all_uses_with(module)
    node.graph.erase_node(node)


# Operators that PyTorch tags as pointwise need no row.
POINTWISE = Operator("", pointwise, vectors=True)


def between(
    x: Any, min: Any = -1.0, max: Any = 1.0, *, min_val: Any = None, max_val: Any = None
) -> tuple[float, float]:
    """The ends of hardtanh, and of clamp, which may lack one."""
    low, high = min if min_val is None else min_val, max if max_val is None else max_val
    return (-math.inf if low is None else low, math.inf if high is None else high)


CHANCE = (
    "draws random numbers",
    "draw them only in training (if self.training), or give them as an input",
)
INTEGERS = ("is quantised", "prune the float network, and quantise what is left")

ROWS = (
    Operator(
        "leaky_relu elu selu celu gelu silu mish softplus sigmoid log_sigmoid tanh "
        "hardswish hardsigmoid mul sub div neg abs exp sqrt rsqrt",
        pointwise,
        vectors=True,
        like=fits,
    ),
    Operator("relu", pointwise, vectors=True, like=fits, clips=lambda x: (0.0, math.inf)),
    Operator("relu6", pointwise, vectors=True, like=fits, clips=lambda x: (0.0, 6.0)),
    Operator("hardtanh clamp", pointwise, vectors=True, like=fits, clips=between),
    Operator("add", pointwise, vectors=True, sums=True, like=fits),
    # Of these some overloads carry no tag.
    Operator("softsign floor_divide where masked_fill complex", pointwise, vectors=True),
    Operator("prelu", prelu),
    Operator("dropout", same, vectors=True, restore=restore_dropout, back=itself, refused=CHANCE),
    Operator(
        "feature_dropout alpha_dropout feature_alpha_dropout",
        same,
        vectors=True,
        back=itself,
        refused=CHANCE,
    ),
    Operator("contiguous to", same, vectors=True, back=itself),
    Operator(
        "rand rand_like randn randn_like randint randint_like randperm normal normal_ uniform"
        " uniform_ bernoulli bernoulli_ exponential exponential_ cauchy_ log_normal_ geometric_"
        " poisson multinomial native_dropout rrelu_with_noise",
        nothing,
        refused=CHANCE,
    ),
    Operator(
        "quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic dequantize"
        " fake_quantize_per_tensor_affine fake_quantize_per_channel_affine"
        " fused_moving_avg_obs_fake_quant quantized_decomposed::quantize_per_tensor"
        " quantized_decomposed::dequantize_per_tensor quantized_decomposed::quantize_per_channel"
        " quantized_decomposed::dequantize_per_channel",
        nothing,
        refused=INTEGERS,
    ),
    Operator("detach alias lift_fresh", same, vectors=True, hands_on=True),
    Operator(
        "_to_copy zeros_like ones_like full_like empty_like lift_fresh_copy type_as",
        same,
        vectors=True,
    ),
    Operator("real imag _conj resolve_conj resolve_neg", same),
    Operator("_assert_tensor_metadata _assert_async _assert_scalar", nothing, guard=True),
    Operator("_functional_assert_async _functional_assert_scalar", nothing, guard=True),
    Operator("_local_scalar_dense item is_nonzero equal nonzero masked_select", nothing, asks=True),
)
