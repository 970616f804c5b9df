"""Operators that pick along an axis: slices, indices, rolls, shuffles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..follow import Follow, plain, unknown
from ..labels import Labelled, axes_of
from ..rewriting import Rewriter, set_argument
from .moves import move, scatter
from .row import Operator
from .writes import narrow_back, select_back, slice_back

aten = torch.ops.aten


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
    if len(dims) != 1 and (not dims or x.axis in axes_of(dims, x.ndim)):
        x = f.pin(node, x, "rolls channels together with other axes")
    return move(f, node, x, shifts, dims)


def _index_value(f: Follow, i: Labelled | None) -> Any:
    if i is None:
        return None
    value = f.constants.get(i.name or "")
    return NotImplemented if value is None else value.cpu()


# -- the cut ---------------------------------------------------------------------------------------

Along = Callable[[Rewriter, fx.Node], Any]  # the axes along which it picks; None: all


def gather(r: Rewriter, old: fx.Node, new: fx.Node, along: Along) -> None:
    """Positions along the labelled axis, as a slice if they are one."""
    x, out = r.value(old.args[0]), r.value(old)
    if x.axis is None or x.axis not in axes_of(along(r, old), x.ndim):
        return
    ids = Labelled(x.shape, x.axis, np.arange(x.shape[x.axis])).array()
    args, kwargs = fx.map_arg((old.args[1:], old.kwargs), r.known)
    moved = old.target(ids, *args, **kwargs)  # type: ignore[operator]
    picked = moved.movedim(x.axis, 0).reshape(moved.shape[x.axis], -1)[:, 0]
    wanted = _wanted(r, x, out, picked)
    if len(wanted) and bool((wanted.diff() == 1).all()):
        new.target = aten.slice.Tensor
        new.args, new.kwargs = (new.args[0], x.axis, int(wanted[0]), int(wanted[-1]) + 1), {}
    else:
        new.target = aten.index_select.default
        new.args, new.kwargs = (new.args[0], x.axis, r.constant(new, wanted)), {}


def pick_by_index(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """``x[i]``: the index tensor along the labelled axis counts what is left."""
    x, out = r.value(old.args[0]), r.value(old)
    indices: Any = old.args[1]
    if x.axis is None or x.axis >= len(indices) or indices[x.axis] is None:
        return
    picked = torch.arange(x.shape[x.axis])[r.known(indices[x.axis]).cpu()]
    written = list(new.args[1])  # type: ignore[arg-type]
    written[x.axis] = r.constant(new, _wanted(r, x, out, picked))
    set_argument(new, 1, written)


def _wanted(r: Rewriter, x: Labelled, out: Labelled, picked: Tensor) -> Tensor:
    """Of ``picked`` positions along ``x``'s labelled axis those that stay, counted among what is left."""
    assert x.axis is not None
    if out.axis is not None and x.axis <= out.axis < x.axis + picked.ndim:
        stays = torch.from_numpy(r.stays(out).nonzero()[0])
        picked = picked.index_select(out.axis - x.axis, stays)
    rank = torch.from_numpy(np.cumsum(r.stays(x)) - 1)
    return rank[picked]


def _dim(r: Rewriter, node: fx.Node) -> Any:
    return r.argument(node, 1, "dim", 0)


def _rolled(r: Rewriter, node: fx.Node) -> Any:
    return r.argument(node, 2, "dims", ())


def _channels(r: Rewriter, node: fx.Node) -> Any:
    return 1


def select(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x = r.value(old.args[0])
    dim, i = (int(r.argument(old, at, word, 0)) for at, word in ((1, "dim"), (2, "index")))
    if x.on(dim):
        set_argument(new, 2, int(r.stays(x)[: i % x.shape[dim]].sum()))


def index_copy(
    f: Follow, node: fx.Node, base: Labelled, dim: int, i: Labelled, src: Labelled
) -> Any:
    """``base`` with ``src`` written at a constant index."""
    value = _index_value(f, i)
    if value is NotImplemented:
        return unknown(f, node, base, src)
    written = partial(_written, dim=dim, index=value)
    return scatter(f, node, base, src, run=written)


def _written(base: Tensor, src: Tensor, dim: int, index: Tensor) -> Tensor:
    return base.index_copy(dim, index, src)


def copy_by_index(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out, dim = r.value(old), int(r.argument(old, 1, "dim", 0))
    if out.on(dim):
        picked = r.argument(old, 2, "index", None).cpu()
        stays = torch.from_numpy(r.stays(out))
        rank = stays.cumsum(0) - 1
        set_argument(new, 2, r.constant(new, rank[picked[stays[picked]]]))


ROWS = (
    Operator(
        "slice",
        move,
        partial(gather, along=_dim),
        moves=True,
        vectors=True,
        back=slice_back,
    ),
    Operator(
        "narrow", move, partial(gather, along=_dim), moves=True, vectors=True, back=narrow_back
    ),
    Operator("channel_shuffle", move, partial(gather, along=_channels), moves=True, vectors=True),
    Operator("select", move, select, moves=True, vectors=True, back=select_back),
    Operator("index_select", index_select, partial(gather, along=_dim), moves=True),
    Operator("index_copy", index_copy, copy_by_index, moves=True),
    Operator("roll", roll, partial(gather, along=_rolled), moves=True),
    Operator("index", index, pick_by_index, moves=True),
)
