"""What each ATen operator does to labels. ``RULES`` at the end is the list of what is supported.

A rule is a plain function ``rule(f, node, *args, **kwargs)`` with the operator's own arguments;
tensors arrive as :class:`Labelled`, symbols as the traced ints. Most operators belong to a family
(:func:`move`, :func:`pointwise`, :func:`window`, :func:`reduce`); the others stand for themselves.
Letters: N batch, C channels, O filters, I inputs per group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from .follow import Follow, Rule, plain, shape_of, short_name, unknown
from .labels import Labelled, Vector

aten = torch.ops.aten

# -- families --------------------------------------------------------------------------------


def move(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Data is only moved: the same operator runs on the labels."""

    def array(x: Any) -> Any:
        if not isinstance(x, Labelled):
            return x
        if x.name is not None and not x.is_vector and _is_index(f, x):
            return f.constants[x.name]
        seen.append(f.data(x))
        return seen[-1].array()

    seen: list[Labelled] = []
    arrays = fx.node.map_aggregate(args, array)
    constant = all(x.constant for x in seen)
    if all(x.axis is None for x in seen):
        return plain(node)
    moved = run_move(node, *arrays, **kwargs)
    form = partial(f.classes.normal_form, constant=constant)
    return form(moved) if isinstance(moved, Tensor) else [form(t) for t in moved]


def view(f: Follow, node: fx.Node, x: Labelled, sizes: Sequence[int]) -> Any:
    """A move whose written sizes must be able to follow: a symbol there can only become -1."""
    out = move(f, node, x, sizes)
    if out.axis is None or isinstance(node.args[1][out.axis], int):  # type: ignore[index]
        return out
    if any(size == -1 for size in node.args[1]):  # type: ignore[union-attr]
        f.pin(node, out, "merges the batch with channels into a written size")
    return out


def run_move(node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Run a moving operator on arrays of labels; a view may have to copy (they are expanded)."""
    if short_name(node) in ("view", "_unsafe_view"):
        return args[0].reshape(args[1])
    return node.target(*args, **kwargs)  # type: ignore[operator]


def index(f: Follow, node: fx.Node, x: Labelled, indices: Any) -> Any:
    """``x[i]`` with constant integer indices moves data; with computed ones nothing may leave."""
    known = [
        _index_value(f, i) for i in (indices if isinstance(indices, list | tuple) else [indices])
    ]
    if any(value is NotImplemented for value in known):
        return unknown(f, node, x)
    x = f.data(x)
    if x.axis is None:
        return plain(node)
    return f.classes.normal_form(node.target(x.array(), known), x.constant)  # type: ignore[operator]


def index_select(f: Follow, node: fx.Node, x: Labelled, dim: int, i: Labelled) -> Any:
    value = _index_value(f, i)
    if value is NotImplemented:
        return unknown(f, node, x)
    x = f.data(x)
    return f.classes.normal_form(x.array().index_select(dim, value), x.constant)


def _index_value(f: Follow, i: Labelled | None) -> Any:
    if i is None:
        return None
    return f.constants[i.name].cpu() if i.name is not None else NotImplemented


def _is_index(f: Follow, x: Labelled) -> bool:
    return x.name is not None and not f.constants[x.name].is_floating_point()


def same(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """The output bears its first operand's labels."""
    x = f.data(x)
    return Labelled(shape_of(node), x.axis, x.labels, x.constant)


def pointwise(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Elements meet at the same place: their labels become one class (broadcast from the right)."""
    shape = shape_of(node)
    operands = [x for x in (*args, *kwargs.values()) if isinstance(x, Labelled)]
    return meet(f, node, operands, shape)


def meet(
    f: Follow, node: fx.Node, operands: Sequence[Labelled], shape: tuple[int, ...]
) -> Labelled:
    rank = len(shape)
    leaves = [x for x in operands if x.name is not None]
    others = [x for x in operands if x.name is None]
    constant = all(x.constant for x in operands)
    if not any(x.axis is not None for x in others):
        others += [f.data(x) for x in leaves if x.is_vector]
        leaves = [x for x in leaves if not x.is_vector]
    axis = _meeting_axis(f, node, others, rank)
    if axis is None:
        for x in leaves:
            f.hold(x)
        return Labelled(shape, constant=constant)
    carriers = [x for x in others if x.axis is not None and x.axis - x.ndim == axis]
    labels = carriers[0].labels
    assert labels is not None
    for x in [*carriers[1:], *leaves, *(x for x in others if x not in carriers)]:
        if x.ndim >= -axis:
            _tie_or_pin(f, node, x, axis, labels)
        if x.name is not None:
            f.hold(x, free=axis)
    return f.classes.normal_form(Labelled(shape, axis + rank, labels).array(), constant)


def _tie_or_pin(f: Follow, node: fx.Node, x: Labelled, axis: int, labels: Vector) -> None:
    unlabelled = x.name is None and x.axis is None and x.shape[axis] > 1
    if unlabelled:
        f.pin(node, Labelled((len(labels),), 0, labels), "meets a tensor that cannot be cut")
    else:
        f.tie(x, axis, labels)


def _meeting_axis(f: Follow, node: fx.Node, operands: Sequence[Labelled], rank: int) -> int | None:
    """The one axis (from the right) on which operands bear labels; parameters give way to data."""
    for constant in (True, False):
        axes = {x.axis - x.ndim for x in operands if x.axis is not None}
        if len(axes) <= 1:
            break
        for x in operands:
            if x.axis is not None and x.constant == constant:
                f.pin(node, x, "meets another tensor's channels on another axis")
        operands = [x for x in operands if x.constant != constant]
    else:
        return None
    return axes.pop() if axes else None


def window(f: Follow, node: fx.Node, x: Labelled, *args: Any, spatial: int, **kwargs: Any) -> Any:
    """Pools and upsampling mix within the last ``spatial`` axes only."""
    if x.axis is not None and x.axis >= x.ndim - spatial:
        f.pin(node, x, "channels lie along an axis that is pooled")
        return plain(node)
    out = plain(node)
    first = out[0] if isinstance(out, list | tuple) else out
    first = Labelled(first.shape, x.axis, x.labels, x.constant)
    return (
        [first, *(Labelled(first.shape, x.axis, x.labels) for _ in out[1:])]
        if isinstance(out, list | tuple)
        else first
    )


def mix(f: Follow, node: fx.Node, x: Labelled, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Elements along ``dim`` mix (softmax, cumsum ...), the shape stays."""
    x = f.data(x)
    if x.axis is not None and x.axis in _axes(dim, x.ndim):
        f.pin(node, x, "mixes channels with each other")
        return plain(node)
    return Labelled(shape_of(node), x.axis, x.labels, x.constant)


def reduce(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    *args: Any,
    position: int = 0,
    contracts: bool = False,
    **kwargs: Any,
) -> Any:
    """Sums, means, maxima along axes. A sum reads dropped channels as zero; others cannot."""
    x = f.data(x)
    if x.axis is None:
        return plain(node)
    dim = kwargs.get("dim", args[position] if len(args) > position else None)
    if isinstance(dim, Labelled):  # max(x, y)
        return pointwise(f, node, x, dim)
    axes = _axes(dim, x.ndim)
    if x.axis in axes:
        if contracts:
            f.contract(node, 0, x)
        else:
            f.pin(node, x, "reduces over channels")
        return plain(node)
    keepdim = len(shape_of(node)) == x.ndim
    axis = x.axis if keepdim else x.axis - sum(a < x.axis for a in axes)
    out = plain(node)
    if isinstance(out, list | tuple):
        return [Labelled(o.shape, axis, x.labels, x.constant) for o in out]
    return Labelled(out.shape, axis, x.labels, x.constant)


def norm(f: Follow, node: fx.Node, x: Labelled, order: Any = 2, *args: Any, **kwargs: Any) -> Any:
    """A p-norm reads dropped channels as zero, for p > 0."""
    positive = order is None or (isinstance(order, int | float) and order > 0)
    return reduce(f, node, x, *args, contracts=positive, **kwargs)


def _axes(dim: Any, ndim: int) -> set[int]:
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return set(range(ndim))
    return {d % ndim for d in (dim if isinstance(dim, list | tuple) else [dim])}


# -- layers ------------------------------------------------------------------------------------


def convolution(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    weight: Labelled,
    bias: Labelled | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """conv1d/2d/3d; weight (O, I, *kernel) with I = C / groups."""
    channels = x.ndim - weight.ndim + 1  # 1, or 0 without a batch axis
    if weight.name is None:
        return unknown(f, node, x, weight, *([bias] if bias else []))
    if x.axis is not None and x.axis != channels:
        f.pin(node, x, "convolves along the labelled axis")
        x = Labelled(x.shape)
    if groups == 1:
        out = _dense_convolution(f, node, x, weight)
    elif weight.shape[1] == 1 and weight.shape[0] % groups == 0:
        out = _depthwise(f, x, weight, weight.shape[0] // groups)
    else:
        out = _grouped_convolution(f, node, x, weight, groups)
    if out is None:
        return plain(node)
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


def _dense_convolution(f: Follow, node: fx.Node, x: Labelled, weight: Labelled) -> Vector:
    if x.labels is not None:
        f.tie(weight, 1, x.labels)
        f.contract(node, 0, x)
    return f.produce(node, weight, 0)


def _depthwise(f: Follow, x: Labelled, weight: Labelled, multiplier: int) -> Vector | None:
    """Filter c*m+j reads channel c alone and leaves with it."""
    if x.labels is None:
        return None
    out = np.repeat(x.labels, multiplier)
    f.classes.union(f.bind(weight, 0), out)
    return out


def _grouped_convolution(
    f: Follow, node: fx.Node, x: Labelled, weight: Labelled, groups: int
) -> Vector:
    """g groups of I inputs: whole groups leave if g > I, else the same offsets of every group."""
    out = f.produce(node, weight, 0)
    by_group = out.reshape(groups, -1)
    if x.labels is not None and groups > weight.shape[1]:
        f.classes.union(by_group, by_group[:, :1])
        f.classes.union(x.labels.reshape(groups, -1), by_group[:, :1])
        return out
    f.classes.union(by_group, by_group[:1])
    if x.labels is not None:
        inputs = x.labels.reshape(groups, -1)
        f.classes.union(inputs, inputs[:1])
        f.tie(weight, 1, inputs[0])
        f.contract(node, 0, x)
    return out


def transposed_convolution(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    weight: Labelled,
    bias: Labelled | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """conv_transpose1d/2d/3d; weight (C, O / groups, *kernel)."""
    channels = x.ndim - weight.ndim + 1
    if weight.name is None:
        return unknown(f, node, x, weight, *([bias] if bias else []))
    if x.axis is not None and x.axis != channels:
        f.pin(node, x, "convolves along the labelled axis")
        x = Labelled(x.shape)
    if groups == weight.shape[0]:
        if x.labels is None:
            return plain(node)
        f.tie(weight, 0, x.labels)
        out = np.repeat(x.labels, weight.shape[1])
    else:
        out = np.tile(f.produce(node, weight, 1), groups)
        if x.labels is not None:
            inputs = x.labels.reshape(groups, -1)
            f.classes.union(inputs, inputs[:1])
            f.tie(weight, 0, x.labels)
            f.contract(node, 0, x)
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


def linear(
    f: Follow, node: fx.Node, x: Labelled, weight: Labelled, bias: Labelled | None = None
) -> Any:
    """weight (O, I) on the last axis."""
    if weight.name is None:
        return unknown(f, node, x, weight, *([bias] if bias else []))
    if x.on(-1):
        f.tie(weight, 1, x.labels)  # type: ignore[arg-type]
        f.contract(node, 0, x)
    elif x.axis is not None:
        f.pin(node, x, "a linear layer works along another axis")
    out = f.produce(node, weight, 0)
    f.tie(bias, 0, out)
    return f.result(node, -1, out)


def _product(f: Follow, node: fx.Node, x: Labelled, weight: Labelled, argument: int) -> Vector:
    """x @ weight with weight (I, O): the labels of the output's last axis."""
    if x.on(-1):
        f.tie(weight, 0, x.labels)  # type: ignore[arg-type]
        f.contract(node, argument, x)
    elif x.axis is not None:
        f.pin(node, x, "a linear layer works along another axis")
    return f.produce(node, weight, 1)


def addmm(
    f: Follow, node: fx.Node, bias: Labelled, x: Labelled, weight: Labelled, **kw: Any
) -> Any:
    """bias + x @ weight with weight (I, O)."""
    if kw or weight.name is None:
        return unknown(f, node, bias, x, weight)
    out = _product(f, node, x, weight, 1)
    f.tie(bias, bias.ndim - 1, out)
    return f.result(node, -1, out)


def batch_norm(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """Batch and instance norm: every parameter and statistic is one value a channel (axis 1)."""
    statistics = [a for a in (*args, *kwargs.values()) if isinstance(a, Labelled)]
    if x.axis not in (None, 1) or any(s.name is None for s in statistics):
        return unknown(f, node, x, *statistics)
    if x.labels is not None:
        for s in statistics:
            f.tie(s, 0, x.labels)
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
    if x.axis is None:
        return plain(node)
    if x.axis != 1 or groups == 1:
        f.pin(node, x, "normalises over channels")
        return plain(node)
    assert x.labels is not None
    by_group = x.labels.reshape(groups, -1)
    f.classes.union(by_group, by_group[:, :1])
    f.tie(weight, 0, x.labels)
    f.tie(bias, 0, x.labels)
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
        f.pin(node, x, "normalises over channels")
        return plain(node)
    return Labelled(x.shape, x.axis, x.labels)


def prelu(f: Follow, node: fx.Node, x: Labelled, weight: Labelled) -> Any:
    """One slope, or one a channel: aligned to axis 1, not from the right."""
    if x.axis not in (None, 1):
        f.pin(node, x, "prelu's slopes lie along another axis")
        return plain(node)
    if x.labels is not None:
        f.tie(weight, 0, x.labels)
    return Labelled(x.shape, x.axis, x.labels)


# -- products ------------------------------------------------------------------------------------


def matmul(f: Follow, node: fx.Node, a: Labelled, b: Labelled) -> Any:
    """a (..., m, k) @ b (..., k, n)."""
    if a.ndim < 2 or b.ndim < 2:
        return unknown(f, node, a, b)
    if b.name is not None and b.ndim == 2:
        return f.result(node, -1, _product(f, node, f.data(a), b, 0))
    a, b = f.data(a), f.data(b)
    a, b = _contract_pair(f, node, a, b)
    if a.axis is None and b.axis is None:
        return plain(node)
    rank = len(shape_of(node))
    places = {(x.axis - x.ndim, x.ndim) for x in (a, b) if x.axis is not None}
    axes = {axis for axis, _ in places}
    broadcast = any(
        x.axis is None and axis < -2 and x.ndim >= -axis and x.shape[axis] > 1
        for x in (a, b)
        for axis in axes
    )
    if len(axes) > 1 or broadcast:
        for x in (a, b):
            f.pin(node, x, "a product of two tensors labelled on different axes")
        return plain(node)
    labelled = [x for x in (a, b) if x.labels is not None]
    if len(labelled) == 2:
        f.classes.union(labelled[0].labels, labelled[1].labels)  # type: ignore[arg-type]
    return f.result(node, axes.pop() + rank, labelled[0].labels)  # type: ignore[arg-type]


def _contract_pair(f: Follow, node: fx.Node, a: Labelled, b: Labelled) -> tuple[Labelled, Labelled]:
    """Labels on the contracted axis of both operands become one class; on one alone they stay."""
    left, right = a.on(-1), b.on(-2)
    if left and right:
        f.classes.union(a.labels, b.labels)  # type: ignore[arg-type]
        f.contract(node, 0, a)
    else:
        for x, contracted in ((a, left), (b, right)):
            if contracted:
                f.pin(node, x, "a product with a tensor that cannot be cut")
    return (Labelled(a.shape) if left else a), (Labelled(b.shape) if right else b)


def attention(
    f: Follow,
    node: fx.Node,
    q: Labelled,
    k: Labelled,
    v: Labelled,
    mask: Labelled | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """softmax(q kᵀ scale) v: heads couple; the scale counts q's channels, so they stay."""
    for x in (q, k):
        if x.axis is not None and x.axis >= x.ndim - 2:
            f.pin(node, x, "the scale of attention counts these channels")
    batch = [x for x in (q, k, v) if x.axis is not None and x.axis < x.ndim - 2]
    q, k, v = (
        Labelled(x.shape) if x.axis is not None and x.axis >= x.ndim - 2 and x is not v else x
        for x in (q, k, v)
    )
    if v.on(-1) and not batch:
        return f.result(node, -1, v.labels)  # type: ignore[arg-type]
    if v.axis is None and not batch:
        return plain(node)
    same_heads = len(batch) == 3 and len({x.axis for x in batch}) == 1
    if not same_heads or (mask is not None and mask.shape[-3:-2] != (1,) and mask.ndim > 2):
        for x in (q, k, v):
            f.pin(node, x, "attention with labels on different axes")
        return plain(node)
    for x in batch[1:]:
        f.classes.union(x.labels, batch[0].labels)  # type: ignore[arg-type]
    return f.result(node, batch[0].axis, batch[0].labels)  # type: ignore[arg-type]


# -- shapes that need care -------------------------------------------------------------------------


def pad(
    f: Follow, node: fx.Node, x: Labelled, amounts: Sequence[int], *args: Any, **kw: Any
) -> Any:
    """Pairs from the last axis; channels padded with zeros are pinned."""
    x = f.data(x)
    if x.axis is None:
        return plain(node)
    before, after = ([*amounts, *[0] * (2 * x.ndim)][2 * (x.ndim - 1 - x.axis) + i] for i in (0, 1))
    if not (before or after):
        return Labelled(shape_of(node), x.axis, x.labels)
    mode = args[0] if args and isinstance(args[0], str) else kw.get("mode", "constant")
    if mode != "constant" or before < 0 or after < 0:
        f.pin(node, x, "pads the labelled axis")
        return plain(node)
    assert x.labels is not None
    return f.result(node, x.axis, np.pad(x.labels, (before, after)))


def expand_as(f: Follow, node: fx.Node, x: Labelled, like: Labelled) -> Any:
    """``x`` in the shape of ``like``, which is cut with it."""
    moved = f.classes.normal_form(f.data(x).array().expand(like.shape), x.constant)
    if moved.labels is not None:
        f.tie(like, moved.axis, moved.labels)  # type: ignore[arg-type]
    return moved


def scatter(f: Follow, node: fx.Node, base: Labelled, src: Labelled, *args: Any, **kw: Any) -> Any:
    """``base`` with a part overwritten by ``src``: both are cut like the result."""
    moved = move(f, node, base, src, *args, **kw)
    if moved.labels is not None:
        f.tie(base, moved.axis, moved.labels)
    return moved


def create(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """A tensor made of nothing but its shape: no labels."""
    return plain(node)


def drop(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    return plain(node)


MOVES = (
    "flatten permute transpose t unsqueeze squeeze expand slice"
    " split split_with_sizes chunk unbind select narrow unflatten unfold cat stack flip"
    " repeat repeat_interleave pixel_shuffle pixel_unshuffle tile movedim"
    " swapaxes channel_shuffle view_as roll T mT numpy_T"
).split()
SAME = (
    "dropout feature_dropout alpha_dropout contiguous to _to_copy alias detach zeros_like ones_like"
    " full_like lift_fresh_copy type_as empty_like"
).split()
POINTWISE = "hardswish log_sigmoid softsign relu6".split()  # these carry no pointwise tag
WINDOWS = {
    1: "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d"
    " upsample_linear1d max_pool1d_with_indices reflection_pad1d replication_pad1d",
    2: "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d"
    " upsample_bilinear2d upsample_bicubic2d max_pool2d_with_indices _adaptive_avg_pool2d"
    " reflection_pad2d replication_pad2d _upsample_nearest_exact2d _upsample_bilinear2d_aa",
    3: "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d upsample_nearest3d"
    " upsample_trilinear3d max_pool3d_with_indices",
}

RULES: dict[str, Rule] = {
    **dict.fromkeys(MOVES, move),
    **dict.fromkeys("view _unsafe_view reshape".split(), view),
    **dict.fromkeys(SAME, same),
    **dict.fromkeys(POINTWISE, pointwise),
    **{
        name: partial(window, spatial=spatial)
        for spatial, names in WINDOWS.items()
        for name in names.split()
    },
    **dict.fromkeys("conv1d conv2d conv3d".split(), convolution),
    **dict.fromkeys(
        "conv_transpose1d conv_transpose2d conv_transpose3d".split(), transposed_convolution
    ),
    "linear": linear,
    "addmm": addmm,
    **dict.fromkeys(
        "_native_batch_norm_legit_no_training _native_batch_norm_legit batch_norm"
        " instance_norm".split(),
        batch_norm,
    ),
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "prelu": prelu,
    **dict.fromkeys("matmul bmm mm".split(), matmul),
    "scaled_dot_product_attention": attention,
    **dict.fromkeys("softmax _softmax log_softmax cumsum cumprod softmin".split(), mix),
    "sum": partial(reduce, contracts=True),
    **dict.fromkeys("linalg_vector_norm norm".split(), norm),
    **dict.fromkeys("mean amax amin prod std var max min argmax".split(), reduce),
    "pad": pad,
    "constant_pad_nd": pad,
    "expand_as": expand_as,
    **dict.fromkeys("slice_scatter select_scatter".split(), scatter),
    "index": index,
    "index_select": index_select,
    **dict.fromkeys("zeros ones full empty arange new_zeros new_ones new_full".split(), create),
    **dict.fromkeys("_assert_tensor_metadata _assert_async _assert_scalar".split(), drop),
}


def rule_for(node: fx.Node) -> Rule:
    """The operator's rule; pointwise operators are known by their tag; else :func:`unknown`."""
    rule = RULES.get(short_name(node))
    if rule is None and torch.Tag.pointwise in node.target.tags:  # type: ignore[union-attr]
        return pointwise
    return rule or unknown


def is_move(node: fx.Node) -> bool:
    """Whether the operator only moves data."""
    moving = (move, view, expand_as, index, index_select, scatter)
    return isinstance(node.target, torch._ops.OpOverload) and rule_for(node) in moving
