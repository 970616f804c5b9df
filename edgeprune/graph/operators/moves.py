"""Operators that only move data: the same operator runs on the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..follow import Follow, plain, unknown
from ..labels import Labelled, Vector, axes_of
from ..rewriting import Rewriter, set_argument
from . import shapes
from .row import Operator
from .writes import permute_back, shape_back, split_back, transpose_back, unbind_back

aten = torch.ops.aten


def move(
    f: Follow, node: fx.Node, *args: Any, run: Callable[..., Any] | None = None, **kwargs: Any
) -> Any:
    """Data are only moved: the same operator runs on the labels."""
    seen: list[Labelled] = []

    def array(x: Any) -> Any:
        if not isinstance(x, Labelled):
            return x
        seen.append(f.data(x))
        return seen[-1].array()

    arrays = fx.node.map_aggregate(args, array)
    if all(x.axis is None for x in seen):
        return plain(node)
    moved = (run or node.target)(*arrays, **kwargs)  # type: ignore[operator]
    free = all(x.free for x in seen if x.axis is not None)
    constant, places = all(x.constant for x in seen), node.meta.get("open", ())

    def form(array: Tensor) -> Labelled:
        out = f.classes.normal_form(array, constant, places)
        return replace(out, free=free)

    return form(moved) if isinstance(moved, Tensor) else [form(t) for t in moved]


def reshaped(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """A view of labels, which are expanded, may have to copy."""
    return x.reshape(sizes)


def view(f: Follow, node: fx.Node, x: Labelled, sizes: Sequence[int]) -> Any:
    """A move whose written sizes must be able to follow: a symbol there can only become -1."""
    out = reshape(f, node, x, sizes, run=reshaped)
    written: Any = node.args[1]
    if out.axis is None or isinstance(written[out.axis], int) or -1 not in written:
        return out
    return f.pin(node, out, "merges the batch with channels into a written size")


def reshape(f: Follow, node: fx.Node, x: Labelled, *args: Any, **kwargs: Any) -> Any:
    """A move that may take elements apart: it must do so alike at every size that is open."""
    out = move(f, node, x, *args, **kwargs)
    first: Any = node.args[0]
    here, there = (n.meta.get("elsewhere") for n in (first, node))
    if out.axis is None or (here is None and there is None):
        return out
    here, there = here or x.shape, there or out.shape
    x = f.data(x)
    if _beside(x.shape, x.axis, out.shape, out.axis) and _beside(here, x.axis, there, out.axis):
        return out
    labels = _elsewhere(f, x, here)
    if labels is not None:
        array = Labelled(here, x.axis, labels).array().reshape(there)
        along = f.classes.find(array.movedim(out.axis, 0).reshape(there[out.axis], -1).numpy())
        found, own = along[:, 0], f.labels(out, out.axis)
        even = bool((along == along[:, :1]).all())
        if even and len(found) != len(own):
            f.elsewhere.append((own, found))
            return out
        if even and (found == f.classes.find(own)).all():
            return out
    return f.pin(node, out, "mixes channels with places, as many as the input has")


def _beside(a: Sequence[int], i: int | None, b: Sequence[int], j: int | None) -> bool:
    """Whether axis ``i`` of one shape is axis ``j`` of the other, element for element."""
    assert i is not None
    assert j is not None
    return a[i] == b[j] and prod(a[:i]) == prod(b[:j])


def _elsewhere(f: Follow, x: Labelled, shape: Sequence[int]) -> Vector | None:
    """The labels of ``x`` at another size; None where they are not known."""
    assert x.axis is not None
    labels = f.labels(x, x.axis)
    if shape[x.axis] == len(labels):
        return labels
    roots = f.classes.find(labels)
    for own, other in f.elsewhere:
        if len(own) == len(roots) and (f.classes.find(own) == roots).all():
            return other
    return None


def cat(f: Follow, node: fx.Node, tensors: Sequence[Labelled], dim: int = 0) -> Any:
    """Constants between feature maps get labels of their own along ``dim``."""
    if any(x.on(dim) for x in tensors):
        tensors = [_along(f, x, dim) if x.name is not None else x for x in tensors]
    return move(f, node, tensors, dim)


def _along(f: Follow, leaf: Labelled, dim: int) -> Labelled:
    f.hold(leaf, free=dim)
    return Labelled(leaf.shape, dim % leaf.ndim, f.bind(leaf, dim))


def expand_as(f: Follow, node: fx.Node, x: Labelled, like: Labelled) -> Any:
    """``x`` in the shape of ``like``, which is cut with it; what is repeated is cut as ``like`` is."""
    x = f.data(x)
    if x.axis is None and like.axis is not None:
        own = like.axis - like.ndim + x.ndim
        if own < 0 or x.shape[own] == 1:
            return Labelled(like.shape, like.axis, like.labels, x.constant)
    moved = f.classes.normal_form(x.array().expand(like.shape), x.constant)
    return _cut_alike(f, like, moved)


def as_another(f: Follow, node: fx.Node, x: Labelled, like: Labelled) -> Any:
    """``x`` in the shape of ``like``, which is cut with it."""
    out = reshape(f, node, x, like, run=torch.Tensor.reshape_as)
    if like.axis is not None and like.axis != out.axis:
        like = f.pin(node, like, "gives its shape to a tensor with other channels")
    return _cut_alike(f, like, out)


def repeat(f: Follow, node: fx.Node, x: Labelled, sizes: Sequence[int], **kwargs: Any) -> Any:
    """expand, repeat, tile: what one element is repeated into can leave, at the written number."""
    out = move(f, node, x, sizes, **kwargs)
    if out.axis is not None or not isinstance(sizes, list | tuple):
        return out
    start = out.ndim - x.ndim
    written: Any = node.args[1]
    free = [
        axis
        for axis in range(start, out.ndim)
        if x.shape[axis - start] == 1 < out.shape[axis]
        and axis - out.ndim >= -len(written)
        and isinstance(written[axis - out.ndim], int)
    ]
    if not free:
        return out
    axis = min(free, key=lambda d: d != 1)  # the channels', where it is one of them
    labels = f.classes.fresh(out.shape[axis])
    return Labelled(out.shape, axis, labels, out.constant, free=True)


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


def sizes(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """view, reshape, expand: the written size of the labelled axis."""
    out = r.value(old)
    if out.axis is None:
        return
    written = list(new.args[1])  # type: ignore[arg-type]
    at = out.axis - out.ndim
    if isinstance(written[at], fx.Node):
        written[at] = -1
    elif written[at] != -1:
        written[at] = r.length(out, at)
    set_argument(new, 1, written)


def unflatten(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x, out = r.value(old.args[0]), r.value(old)
    first = int(r.argument(old, 1, "dim", 0)) % x.ndim
    written = list(new.args[2])  # type: ignore[arg-type]
    if out.axis is not None and 0 <= out.axis - first < len(written):
        if written[out.axis - first] != -1:
            written[out.axis - first] = r.length(out, out.axis)
        set_argument(new, 2, written)


def parts(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """split, chunk: the parts' own new sizes, which may be unequal."""
    x = r.value(old.args[0])
    dim = int(r.argument(old, 2, "dim", 0)) % x.ndim
    if not x.on(dim):
        return
    ends = np.cumsum([part.shape[dim] for part in r.value(old)])[:-1]
    lengths = [int(part.sum()) for part in np.split(r.stays(x), ends)]
    new.target = aten.split_with_sizes.default
    new.args, new.kwargs = (new.args[0], lengths, dim), {}


def slice_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim = int(r.argument(old, 2, "dim", 0)) % out.ndim
    if not out.on(dim):
        return
    words = (("start", None), ("end", None), ("step", 1))
    bounds = [r.argument(old, 3 + i, name, default) for i, (name, default) in enumerate(words)]
    written = np.arange(out.shape[dim])[slice(*bounds)]
    stays = r.stays(out)
    wanted = (np.cumsum(stays) - 1)[written[stays[written]]]
    steps = set(np.diff(wanted).tolist())
    if len(steps) <= 1:
        first = int(wanted[0]) if len(wanted) else 0
        last = int(wanted[-1]) + 1 if len(wanted) else 0
        new.args = (*new.args[:2], dim, first, last, *steps)
    else:
        index = r.constant(new, torch.from_numpy(wanted))
        new.target = aten.index_copy.default
        new.args = (new.args[0], dim, index, new.args[1])
    new.kwargs = {}


def select_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim, i = int(r.argument(old, 2, "dim", 0)), int(r.argument(old, 3, "index", 0))
    if out.on(dim):
        new.args = (*new.args[:2], dim, int(r.stays(out)[: i % out.shape[dim]].sum()))
        new.kwargs = {}


def repeats(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """repeat, tile: one element that was repeated is repeated less often."""
    x, out = r.value(old.args[0]), r.value(old)
    if out.axis is None or out.axis < out.ndim - x.ndim:
        return
    if x.shape[out.axis - out.ndim] == 1:
        written = list(new.args[1])  # type: ignore[arg-type]
        written[out.axis - out.ndim] = r.length(out, out.axis)
        set_argument(new, 1, written)


def squeezed(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """An axis of which one channel is left is not one that was squeezed: the axes are written."""
    x = r.value(old.args[0])
    if x.axis is None or r.length(x, x.axis) != 1:
        return
    meant = axes_of(r.argument(old, 1, "dim", None), x.ndim)
    new.target = aten.squeeze.dims
    new.args = (new.args[0], [axis for axis in sorted(meant) if x.shape[axis] == 1])
    new.kwargs = {}


ROWS = (
    Operator(
        "unfold stack flip repeat_interleave pixel_shuffle pixel_unshuffle movedim",
        move,
        moves=True,
        vectors=True,
    ),
    Operator(
        "view_as reshape_as", as_another, moves=True, run=torch.Tensor.reshape_as, back=shape_back
    ),
    Operator("unsqueeze", move, moves=True, vectors=True, back=shape_back),
    Operator("flatten", reshape, moves=True, vectors=True, back=shape_back),
    Operator("squeeze", move, squeezed, moves=True, vectors=True, back=shape_back),
    Operator("permute", move, moves=True, vectors=True, back=permute_back),
    Operator("transpose t swapaxes numpy_T", move, moves=True, vectors=True, back=transpose_back),
    Operator("unbind", move, moves=True, vectors=True, back=unbind_back),
    Operator("expand", repeat, sizes, moves=True, vectors=True),
    Operator("repeat tile", repeat, repeats, moves=True, vectors=True),
    Operator("unflatten", reshape, unflatten, moves=True, vectors=True, back=shape_back),
    Operator(
        "split split_with_sizes chunk", move, parts, moves=True, vectors=True, back=split_back
    ),
    Operator(
        "view _unsafe_view", view, sizes, moves=True, vectors=True, run=reshaped, back=shape_back
    ),
    Operator("reshape", view, sizes, moves=True, vectors=True, back=shape_back),
    Operator("cat concat", cat, moves=True, shape=shapes.joined),
    Operator("expand_as", expand_as, moves=True),
    Operator("slice_scatter", scatter, slice_scatter, moves=True),
    Operator("select_scatter", scatter, select_scatter, moves=True),
    Operator("copy", unknown, copies=True),
)
