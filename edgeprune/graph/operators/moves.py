"""Operators that only move data: the same operator runs on the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..follow import Follow, plain, unknown
from ..labels import Labelled
from ..rewriting import Rewriter, argument, set_argument
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
    form = partial(f.classes.normal_form, constant=all(x.constant for x in seen))
    return form(moved) if isinstance(moved, Tensor) else [form(t) for t in moved]


def reshaped(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """A view of labels, which are expanded, may have to copy."""
    return x.reshape(sizes)


def view(f: Follow, node: fx.Node, x: Labelled, sizes: Sequence[int]) -> Any:
    """A move whose written sizes must be able to follow: a symbol there can only become -1."""
    out = move(f, node, x, sizes, run=reshaped)
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
    first = int(old.args[1]) % x.ndim  # type: ignore[arg-type]
    written = list(new.args[2])  # type: ignore[arg-type]
    if out.axis is not None and 0 <= out.axis - first < len(written):
        if written[out.axis - first] != -1:
            written[out.axis - first] = r.length(out, out.axis)
        set_argument(new, 2, written)


def parts(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """split, chunk: the parts' own new sizes, which may be unequal."""
    x = r.value(old.args[0])
    dim = int(argument(old, 2, "dim", 0)) % x.ndim
    if not x.on(dim):
        return
    ends = np.cumsum([part.shape[dim] for part in r.value(old)])[:-1]
    lengths = [int(part.sum()) for part in np.split(r.stays(x), ends)]
    new.target = aten.split_with_sizes.default
    new.args, new.kwargs = (new.args[0], lengths, dim), {}


def slice_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim = int(argument(old, 2, "dim", 0))
    if not out.on(dim):
        return
    start, end, _ = slice(
        *(argument(old, 3 + i, name, None) for i, name in enumerate(("start", "end", "step")))
    ).indices(out.shape[dim])
    before = np.concatenate([[0], np.cumsum(r.stays(out))])
    new.args = (new.args[0], new.args[1], dim, int(before[start]), int(before[max(start, end)]))
    new.kwargs = {}


def select_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim, i = int(argument(old, 2, "dim", 0)), int(argument(old, 3, "index", 0))
    if out.on(dim):
        new.args = (*new.args[:2], dim, int(r.stays(out)[: i % out.shape[dim]].sum()))


ROWS = (
    Operator(
        "unfold stack flip repeat repeat_interleave tile pixel_shuffle pixel_unshuffle movedim",
        move,
        moves=True,
        vectors=True,
    ),
    Operator("flatten unsqueeze squeeze view_as", move, moves=True, vectors=True, back=shape_back),
    Operator("permute", move, moves=True, vectors=True, back=permute_back),
    Operator("transpose t swapaxes numpy_T", move, moves=True, vectors=True, back=transpose_back),
    Operator("unbind", move, moves=True, vectors=True, back=unbind_back),
    Operator("expand", move, sizes, moves=True, vectors=True),
    Operator("unflatten", move, unflatten, moves=True, vectors=True, back=shape_back),
    Operator(
        "split split_with_sizes chunk", move, parts, moves=True, vectors=True, back=split_back
    ),
    Operator(
        "view _unsafe_view", view, sizes, moves=True, vectors=True, run=reshaped, back=shape_back
    ),
    Operator("reshape", view, sizes, moves=True, vectors=True, back=shape_back),
    Operator("cat concat", cat, moves=True),
    Operator("expand_as", expand_as, moves=True),
    Operator("slice_scatter", scatter, slice_scatter, moves=True),
    Operator("select_scatter", scatter, select_scatter, moves=True),
    Operator("copy", unknown, copies=True),
)
