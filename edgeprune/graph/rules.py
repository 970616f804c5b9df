"""What each ATen operator does to labels. ``RULES`` at the end is the list of what is supported.

A rule is a plain function ``rule(f, node, *args, **kwargs)`` with the operator's own arguments;
tensors arrive as :class:`Labelled`, symbols as the traced ints. Most operators belong to a family:

    move       runs on the labels themselves        pointwise  elements that meet become one class
    window     pools, upsampling                    mix        softmax along an axis
    reduce     sums, means, maxima                  product    linear, matmul, einsum

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

# -- moves -----------------------------------------------------------------------------------------


def move(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Data is only moved: the same operator runs on the labels."""
    seen: list[Labelled] = []

    def array(x: Any) -> Any:
        if not isinstance(x, Labelled):
            return x
        seen.append(f.data(x))
        return seen[-1].array()

    arrays = fx.node.map_aggregate(args, array)
    if all(x.axis is None for x in seen):
        return plain(node)
    moved = run_move(node, *arrays, **kwargs)
    form = partial(f.classes.normal_form, constant=all(x.constant for x in seen))
    return form(moved) if isinstance(moved, Tensor) else [form(t) for t in moved]


def run_move(node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Run a moving operator on arrays of labels; a view may have to copy (they are expanded)."""
    if short_name(node) in ("view", "_unsafe_view"):
        return args[0].reshape(args[1])
    return node.target(*args, **kwargs)  # type: ignore[operator]


def view(f: Follow, node: fx.Node, x: Labelled, sizes: Sequence[int]) -> Any:
    """A move whose written sizes must be able to follow: a symbol there can only become -1."""
    out = move(f, node, x, sizes)
    written: Any = node.args[1]
    if out.axis is None or isinstance(written[out.axis], int) or -1 not in written:
        return out
    return f.pin(node, out, "merges the batch with channels into a written size")


def cat(f: Follow, node: fx.Node, tensors: Sequence[Labelled], dim: int = 0) -> Any:
    """Constants between feature maps get labels of their own along ``dim``."""
    if any(x.on(dim) for x in tensors):
        tensors = [_along(f, x, dim) if x.name is not None else x for x in tensors]
    return move(f, node, tensors, dim)


def _along(f: Follow, leaf: Labelled, dim: int) -> Labelled:
    f.hold(leaf, free=dim)
    return Labelled(leaf.shape, dim % leaf.ndim, f.bind(leaf, dim))


def expand_as(f: Follow, node: fx.Node, x: Labelled, like: Labelled) -> Any:
    """``x`` in the shape of ``like``, which is cut with it."""
    moved = f.classes.normal_form(f.data(x).array().expand(like.shape), x.constant)
    return _cut_alike(f, like, moved)


def scatter(f: Follow, node: fx.Node, base: Labelled, src: Labelled, *args: Any, **kw: Any) -> Any:
    """``base`` with a part overwritten by ``src``: both are cut like the result."""
    start = base if base.name is None else Labelled(base.shape)
    return _cut_alike(f, base, move(f, node, start, src, *args, **kw))


def _cut_alike(f: Follow, base: Labelled, moved: Labelled) -> Labelled:
    if moved.labels is not None and moved.axis is not None:
        f.tie(base, moved.axis, moved.labels)
    if base.name is not None:
        f.hold(base, free=moved.axis)
    return moved


def index(f: Follow, node: fx.Node, x: Labelled, indices: Sequence[Labelled | None]) -> Any:
    """``x[i]`` with a constant index moves data; with computed ones nothing may leave."""
    known = [_index_value(f, i) for i in indices]
    computed = any(value is NotImplemented for value in known)
    x = f.data(x)
    several = sum(value is not None for value in known) > 1
    if computed or (several and x.axis is not None and x.axis < len(known)):
        return unknown(f, node, x)
    if x.axis is None:
        return plain(node)
    return f.classes.normal_form(x.array()[tuple(slice(None) if i is None else i for i in known)])


def index_select(f: Follow, node: fx.Node, x: Labelled, dim: int, i: Labelled) -> Any:
    value = _index_value(f, i)
    if value is NotImplemented:
        return unknown(f, node, x)
    x = f.data(x)
    return f.classes.normal_form(x.array().index_select(dim, value), x.constant)


def roll(f: Follow, node: fx.Node, x: Labelled, shifts: Any, dims: Any = ()) -> Any:
    """Along one axis, or along several others than the labelled one."""
    x = f.data(x)
    if len(dims) != 1 and (not dims or x.axis in _axes(dims, x.ndim)):
        x = f.pin(node, x, "rolls channels together with other axes")
    return move(f, node, x, shifts, dims)


def _index_value(f: Follow, i: Labelled | None) -> Any:
    if i is None:
        return None
    value = f.constants.get(i.name or "")
    return NotImplemented if value is None else value.cpu()


def pad(
    f: Follow, node: fx.Node, x: Labelled, amounts: Sequence[int], *args: Any, **kw: Any
) -> Any:
    """Pairs from the last axis; padded channels get labels of their own and can leave."""
    x = f.data(x)
    if x.axis is None:
        return plain(node)
    before, after = padding_of(amounts, x.ndim, x.axis)
    if not (before or after):
        return Labelled(shape_of(node), x.axis, x.labels)
    mode = args[0] if args and isinstance(args[0], str) else kw.get("mode", "constant")
    if mode != "constant" or before < 0 or after < 0:
        f.pin(node, x, "pads the labelled axis")
        return plain(node)
    parts = (f.classes.fresh(before), f.labels(x, x.axis), f.classes.fresh(after))
    return f.result(node, x.axis, np.concatenate(parts))


def padding_of(amounts: Sequence[int], ndim: int, axis: int) -> tuple[int, int]:
    """What ``pad`` adds before and after along ``axis``."""
    first = 2 * (ndim - 1 - axis)
    return (amounts[first], amounts[first + 1]) if first < len(amounts) else (0, 0)


def create(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """A tensor made of nothing but its written size: any axis written as a number can follow."""
    made = Labelled(shape_of(node), name=f"@{node.name}")
    sizes: Any = node.args[size_position(node)]
    for axis, size in enumerate(sizes):
        if not isinstance(size, int) and made.shape[axis] > 1:
            f.classes.pin(f.bind(made, axis))
    return made


def size_position(node: fx.Node) -> int:
    """Which argument of zeros, new_zeros ... is the size."""
    return 1 if short_name(node).startswith("new_") else 0


def same(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """The output bears its first operand's labels."""
    x = f.data(x)
    return Labelled(shape_of(node), x.axis, x.labels, x.constant)


def glu(f: Follow, node: fx.Node, x: Labelled, dim: int = -1) -> Any:
    """One half times the sigmoid of the other: channel c leaves with channel c + C/2."""
    if not x.on(dim):
        return Labelled(shape_of(node), x.axis, x.labels)
    first, second = f.labels(x, dim).reshape(2, -1)
    f.classes.union(first, second)
    return f.result(node, dim, first)


def im2col(f: Follow, node: fx.Node, x: Labelled, kernel: Sequence[int], *args: Any) -> Any:
    """(N, C, H, W) to (N, C * kernel, places): each channel's patch lies together."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is unfolded")
    return f.result(node, 1, np.repeat(f.labels(x, 1), int(np.prod(kernel))))


def col2im(
    f: Follow, node: fx.Node, x: Labelled, size: Sequence[int], kernel: Sequence[int], *args: Any
) -> Any:
    """The way back: a channel's patch leaves together."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is folded")
    patches = f.labels(x, 1).reshape(-1, int(np.prod(kernel)))
    f.classes.union(patches, patches[:, :1])
    return f.result(node, 1, patches[:, 0])


def grid_sample(f: Follow, node: fx.Node, x: Labelled, grid: Labelled, *args: Any) -> Any:
    """Every channel is read at the same places."""
    grid = f.pin(node, f.data(grid), "says where to sample")
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is sampled")
    return f.result(node, 1, f.labels(x, 1))


# -- elements that meet ----------------------------------------------------------------------------


def pointwise(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Elements meet at the same place: their labels become one class (broadcast from the right)."""
    operands: list[Labelled] = []
    for x in (*args, *kwargs.values()):
        operands += [x] if isinstance(x, Labelled) else []
    return meet(f, node, operands)


def meet(f: Follow, node: fx.Node, operands: Sequence[Labelled]) -> Labelled:
    shape = shape_of(node)
    constant = all(x.constant for x in operands)
    if not any(x.axis is not None for x in operands):
        operands = [f.data(x) if x.is_vector else x for x in operands]
    axis = _meeting_axis(f, node, operands)
    if axis is not None:
        carriers = [x for x in operands if x.axis is not None and x.axis - x.ndim == axis]
        labels = f.labels(carriers[0], axis)
        for x in operands:
            if x not in carriers and x.name is None and x.ndim >= -axis and x.shape[axis] > 1:
                f.pin(node, Labelled(labels.shape, 0, labels), "meets a tensor that cannot be cut")
            elif x.ndim >= -axis:
                f.tie(x, axis, labels)
    for x in operands:
        if x.name is not None:
            f.hold(x, free=axis if axis is not None and x.ndim >= -axis else None)
    if axis is None:
        return Labelled(shape, constant=constant)
    return f.result(node, axis, labels, constant)


def _meeting_axis(f: Follow, node: fx.Node, operands: Sequence[Labelled]) -> int | None:
    """The one axis (from the right) on which operands bear labels; parameters give way to data."""
    for constant in (True, False):
        axes = {x.axis - x.ndim for x in operands if x.axis is not None}
        if len(axes) <= 1:
            return axes.pop() if axes else None
        for x in operands:
            if x.constant == constant:
                f.pin(node, x, "meets another tensor's channels on another axis")
        operands = [x for x in operands if x.constant != constant]
    return None


def prelu(f: Follow, node: fx.Node, x: Labelled, weight: Labelled) -> Any:
    """One slope, or one a channel: aligned to axis 1, not from the right."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "prelu's slopes lie along another axis")
    f.tie(weight, 0, f.labels(x, 1))
    return Labelled(x.shape, x.axis, x.labels)


# -- along an axis ---------------------------------------------------------------------------------


def window(f: Follow, node: fx.Node, x: Labelled, *args: Any, spatial: int, **kwargs: Any) -> Any:
    """Pools and upsampling mix within the last ``spatial`` axes only."""
    if x.axis is not None and x.axis >= x.ndim - spatial:
        x = f.pin(node, x, "channels lie along an axis that is pooled")
    return _like_plain(node, x.axis, x.labels)


def mix(f: Follow, node: fx.Node, x: Labelled, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Elements along ``dim`` mix (softmax, cumsum ...), the shape stays."""
    x = f.data(x)
    if x.axis in _axes(dim, x.ndim):
        x = f.pin(node, x, "mixes channels with each other")
    return Labelled(shape_of(node), x.axis, x.labels, x.constant)


def reduce(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    *args: Any,
    contracts: bool = False,
    **kwargs: Any,
) -> Any:
    """Sums, means, maxima along axes. A sum reads dropped channels as zero; others cannot."""
    dim = kwargs.get("dim", args[0] if args else None)
    if isinstance(dim, Labelled):  # max(x, y)
        return pointwise(f, node, x, dim)
    x = f.data(x)
    axes = _axes(dim, x.ndim)
    if x.axis in axes:
        if not contracts:
            f.pin(node, x, "reduces over channels")
        else:
            f.contract(node, node.all_input_nodes[0], x.axis, f.labels(x, x.axis))
        return plain(node)
    if x.axis is None:
        return plain(node)
    kept = len(shape_of(node)) == x.ndim
    axis = x.axis if kept else x.axis - sum(a < x.axis for a in axes)
    return _like_plain(node, axis, x.labels, x.constant)


def norm(f: Follow, node: fx.Node, x: Labelled, order: Any = 2, *args: Any, **kwargs: Any) -> Any:
    """A p-norm reads dropped channels as zero, for p > 0."""
    positive = order is None or (isinstance(order, int | float) and order > 0)
    return reduce(f, node, x, *args, contracts=positive, **kwargs)


def _axes(dim: Any, ndim: int) -> set[int]:
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return set(range(ndim))
    return {d % ndim for d in (dim if isinstance(dim, list | tuple) else [dim])}


def _like_plain(
    node: fx.Node, axis: int | None, labels: Vector | None, constant: bool = False
) -> Any:
    """The node's output, or each of its outputs that has that axis, with these labels."""

    def label(x: Any) -> Any:
        fits = axis is not None and isinstance(x, Labelled) and x.ndim > axis
        fits = fits and x.shape[axis] == len(labels)  # type: ignore[arg-type,index]
        return Labelled(x.shape, axis, labels, constant) if fits else x

    out = plain(node)
    return [label(x) for x in out] if isinstance(out, list | tuple) else label(out)


# -- convolutions ----------------------------------------------------------------------------------


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
    if weight.name is None:
        return unknown(f, node, x, weight, bias)
    x, channels = _convolved(f, node, x, weight)
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
    f.tie(bias, 0, out)
    return f.result(node, channels, out)


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
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """conv_transpose1d/2d/3d; weight (C, O / groups, *kernel)."""
    if weight.name is None:
        return unknown(f, node, x, weight, bias)
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


# -- norms -----------------------------------------------------------------------------------------


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


# -- products --------------------------------------------------------------------------------------

Operand = tuple[fx.Node | None, Labelled, Sequence[Any]]  # node, labels, a letter for each axis


def product(f: Follow, node: fx.Node, operands: Sequence[Operand], out: Sequence[Any]) -> Labelled:
    """A sum of products (einsum): letters that ``out`` lacks are summed over; None: broadcast.

    Labels on a summed letter of every operand become one class that reads zero where dropped;
    labels on one letter of the output pass; else a parameter's own letter gives new labels.
    """
    shape = tuple(
        max(x.shape[list(letters).index(c)] for _, x, letters in operands if c in letters)
        for c in out
    )
    for letter in dict.fromkeys(c for _, _, letters in operands for c in letters if c is not None):
        if letter not in out:
            _sum_over(f, node, operands, letter)
    passing = [c for c in dict.fromkeys(out) if any(_bears(x, ls, c) for _, x, ls in operands)]
    letter = max(passing, key=lambda c: _free_classes(f, operands, c), default=None)
    for _, x, letters in operands:
        if any(_bears(x, letters, c) for c in passing if c != letter):
            f.pin(node, x, "a product of tensors labelled on different axes")
    labels = _pass(f, node, operands, letter) if passing else None
    if labels is None:
        letter, labels = _made(f, node, operands, out)
    for _, x, letters in operands:
        for axis, c in enumerate(letters):
            if x.name is not None and c != letter and c in out and x.shape[axis] > 1:
                f.classes.pin(f.bind(x, axis))
    if labels is None:
        return Labelled(shape)
    axis = list(out).index(letter)
    return f.classes.normal_form(Labelled(shape, axis, labels).array())


def _bears(x: Labelled, letters: Sequence[Any], letter: Any) -> bool:
    return x.axis is not None and letters[x.axis] == letter


def _free_classes(f: Follow, operands: Sequence[Operand], letter: Any) -> int:
    """How many classes could leave along that letter: the axis with most keeps its labels."""
    found = [f.classes.find(f.labels(x, axis)) for _, x, axis in _holders(operands, letter)]
    return max(len(np.unique(roots[roots > 0])) for roots in found)


def _holders(
    operands: Sequence[Operand], letter: Any
) -> list[tuple[fx.Node | None, Labelled, int]]:
    """Operands with that letter, and on which axis; size 1 broadcasts."""
    return [
        (node, x, axis)
        for node, x, letters in operands
        for axis, c in enumerate(letters)
        if c == letter and x.shape[axis] > 1
    ]


def _sum_over(f: Follow, node: fx.Node, operands: Sequence[Operand], letter: Any) -> None:
    holders = _holders(operands, letter)
    labelled = [(n, x, axis) for n, x, axis in holders if x.on(axis)]
    stiff = [x for _, x, axis in holders if x.name is None and not x.on(axis)]
    if stiff:
        for _, x, _ in labelled:
            f.pin(node, x, "a product with a tensor that cannot be cut")
        labelled = []
    labels = f.labels(*labelled[0][1:]) if labelled else np.zeros(1, np.int64)
    for _, x, axis in holders:
        f.tie(x, axis, labels)
    for operand, x, axis in labelled[:1]:
        if operand is not None:
            f.contract(node, operand, axis, f.labels(x, axis))


def _pass(f: Follow, node: fx.Node, operands: Sequence[Operand], letter: Any) -> Vector | None:
    holders = _holders(operands, letter)
    carriers = [(x, axis) for _, x, axis in holders if x.on(axis)]
    if any(x.name is None and not x.on(axis) for _, x, axis in holders):
        for x, _ in carriers:
            f.pin(node, x, "a product with a tensor that cannot be cut")
        return None
    labels = f.labels(*carriers[0])
    for _, x, axis in holders:
        f.tie(x, axis, labels)
    return labels


def _made(
    f: Follow, node: fx.Node, operands: Sequence[Operand], out: Sequence[Any]
) -> tuple[Any, Vector | None]:
    """A letter of the output that one parameter alone has: its filters."""
    for _, x, letters in operands:
        for axis, letter in enumerate(letters):
            alone = len(_holders(operands, letter)) == 1
            if x.name in f.constants and letter in out and alone and x.shape[axis] > 1:
                return letter, f.produce(node, x, axis)
    return None, None


def linear(
    f: Follow, node: fx.Node, x: Labelled, weight: Labelled, bias: Labelled | None = None
) -> Any:
    """weight (O, I) on the last axis."""
    rows = list(range(x.ndim - 1))
    first, second = node.args[:2]
    operands: list[Operand] = [(first, x, [*rows, "i"]), (second, weight, ["o", "i"])]  # type: ignore[list-item]
    y = product(f, node, operands, [*rows, "o"] if weight.ndim == 2 else rows)
    return _add_bias(f, y, bias)


def addmm(
    f: Follow, node: fx.Node, bias: Labelled, x: Labelled, weight: Labelled, **kw: Any
) -> Any:
    """bias + x @ weight with weight (I, O)."""
    _, first, second = node.args[:3]
    operands: list[Operand] = [(first, x, "ni"), (second, weight, "io")]  # type: ignore[list-item]
    return _add_bias(f, product(f, node, operands, "no"), bias)


def _add_bias(f: Follow, y: Labelled, bias: Labelled | None) -> Labelled:
    if bias is not None:
        f.tie(bias, -1, f.labels(y, -1))
    return y


def matmul(f: Follow, node: fx.Node, a: Labelled, b: Labelled) -> Any:
    """a (..., m, k) @ b (..., k, n)."""
    if a.ndim < 2 or b.ndim < 2:
        return unknown(f, node, a, b)
    rank = max(a.ndim, b.ndim)
    first, second = node.args[:2]
    operands: list[Operand] = [
        (first, a, [*_batch(a, rank), "m", "k"]),  # type: ignore[list-item]
        (second, b, [*_batch(b, rank), "k", "n"]),  # type: ignore[list-item]
    ]
    return product(f, node, operands, [*range(rank - 2), "m", "n"])


def _batch(x: Labelled, rank: int) -> list[int]:
    """Letters of the leading axes, aligned from the right."""
    return list(range(rank - x.ndim, rank - 2))


def einsum(f: Follow, node: fx.Node, equation: str, tensors: Sequence[Labelled], **kw: Any) -> Any:
    text = equation.replace(" ", "")
    inputs, arrow, out = text.partition("->")
    terms = inputs.split(",")
    if not arrow or "." in text or any(len(set(term)) < len(term) for term in terms):
        return unknown(f, node, *tensors)
    nodes: Any = node.args[1]
    return product(f, node, list(zip(nodes, tensors, terms, strict=True)), out)


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
    """softmax(q kᵀ scale + mask) v; the cut writes the scale, which counts q's channels."""
    if kwargs.get("enable_gqa") or not q.ndim == k.ndim == v.ndim:
        return unknown(f, node, q, k, v, mask)
    heads = list(range(q.ndim - 2))
    nodes: Any = node.args[:3]
    q_k: list[Operand] = [(nodes[0], q, [*heads, "l", "e"]), (nodes[1], k, [*heads, "s", "e"])]
    scores = product(f, node, q_k, [*heads, "l", "s"])
    if scores.on(-1):
        scores = f.pin(node, scores, "mixes channels with each other")
    if mask is not None and scores.axis is not None:
        axis = scores.axis - scores.ndim
        if mask.ndim >= -axis:
            f.tie(mask, axis, f.labels(scores, axis))
    weighted: list[Operand] = [
        (None, scores, [*heads, "l", "s"]),
        (nodes[2], v, [*heads, "s", "v"]),
    ]
    return product(f, node, weighted, [*heads, "l", "v"])


def nothing(f: Follow, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """An assertion."""
    return plain(node)


# -- the table -------------------------------------------------------------------------------------


def _all(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_all(
        "flatten permute transpose t unsqueeze squeeze expand slice split split_with_sizes chunk"
        " unbind select narrow unflatten unfold stack flip repeat repeat_interleave tile"
        " pixel_shuffle pixel_unshuffle movedim swapaxes channel_shuffle view_as",
        move,
    ),
    **_all("view _unsafe_view reshape", view),
    **_all("cat concat", cat),
    **_all("slice_scatter select_scatter", scatter),
    "expand_as": expand_as,
    "roll": roll,
    "index": index,
    "index_select": index_select,
    **_all("pad constant_pad_nd", pad),
    **_all("zeros ones full empty new_zeros new_ones new_full new_empty", create),
    **_all(
        "dropout feature_dropout alpha_dropout contiguous to _to_copy alias detach zeros_like"
        " ones_like full_like empty_like lift_fresh_copy type_as",
        same,
    ),
    "glu": glu,
    "im2col": im2col,
    "col2im": col2im,
    **_all("grid_sampler grid_sampler_2d grid_sampler_3d", grid_sample),
    **_all("hardswish log_sigmoid softsign relu6", pointwise),  # these carry no pointwise tag
    "prelu": prelu,
    **_all(
        "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d max_pool1d_with_indices"
        " upsample_nearest1d upsample_linear1d reflection_pad1d replication_pad1d",
        partial(window, spatial=1),
    ),
    **_all(
        "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool2d_with_indices"
        " _adaptive_avg_pool2d upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d"
        " _upsample_bilinear2d_aa upsample_bicubic2d reflection_pad2d replication_pad2d",
        partial(window, spatial=2),
    ),
    **_all(
        "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d max_pool3d_with_indices"
        " upsample_nearest3d upsample_trilinear3d",
        partial(window, spatial=3),
    ),
    **_all("softmax _softmax log_softmax cumsum cumprod softmin", mix),
    "sum": partial(reduce, contracts=True),
    **_all("linalg_vector_norm norm", norm),
    **_all("mean amax amin prod std var var_mean max min argmax", reduce),
    **_all("conv1d conv2d conv3d", convolution),
    **_all("conv_transpose1d conv_transpose2d conv_transpose3d", transposed_convolution),
    **_all(
        "batch_norm instance_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
        batch_norm,
    ),
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "linear": linear,
    "addmm": addmm,
    **_all("matmul bmm mm", matmul),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
    **_all("_assert_tensor_metadata _assert_async _assert_scalar", nothing),
}


def rule_for(node: fx.Node) -> Rule:
    """The operator's rule; pointwise operators are known by their tag; else :func:`unknown`."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return unknown
    rule = RULES.get(short_name(node))
    if rule is None and torch.Tag.pointwise in node.target.tags:
        return pointwise
    return rule or unknown


def is_move(node: fx.Node) -> bool:
    """Whether the operator only moves data."""
    moving = (move, view, cat, expand_as, scatter, roll, index, index_select)
    return rule_for(node) in moving
