"""What is written in the graph and has to follow a cut: sizes, bounds, indices, group counts.

``REWRITES`` lists the operators concerned; all others work on smaller tensors as they stand. Each
shape operator is then checked on numbered elements: cut(op(ids)) == rewritten op(cut(ids)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from ..errors import EdgepruneError
from ..graph import Graph
from ..graph.follow import short_name
from ..graph.kept import Kept, Mask
from ..graph.labels import Labelled
from ..graph.rules import is_move, padding_of, run_move, size_position

aten = torch.ops.aten


@dataclass
class Rewriter:
    """A copy of a graph's operators in which what is written follows the labels that are kept."""

    kept: Kept
    new: fx.Graph = field(default_factory=fx.Graph)
    nodes: dict[fx.Node, fx.Node] = field(default_factory=dict)  # old -> new
    indices: dict[str, Tensor] = field(default_factory=dict)  # new constants by name
    constants: dict[str, Tensor] = field(default_factory=dict)  # those of the graph
    groups: dict[str, int] = field(default_factory=dict)  # of convolutions and norms, by weight

    def __post_init__(self) -> None:
        self.constants = self.graph.constants()

    def run(self) -> None:
        for old in self.graph.module.graph.nodes:
            self.nodes[old] = new = self.new.node_copy(old, self.nodes.__getitem__)
            rewrite = REWRITES.get(short_name(old))
            if rewrite is not None:
                rewrite(self, old, new)
            if is_move(old):
                check(self, old, new)
        self.new.set_codegen(self.graph.module.graph._codegen)
        self.new.eliminate_dead_code()

    @property
    def graph(self) -> Graph:
        return self.kept.graph

    def value(self, old: Any) -> Any:
        return self.graph.values[old]

    def stays(self, x: Labelled) -> Mask:
        """Which elements along the labelled axis stay."""
        assert x.labels is not None
        return self.kept.stays(x.labels)

    def length(self, x: Labelled, axis: int) -> int:
        """Size of ``x``'s ``axis`` after the cut."""
        return int(self.stays(x).sum()) if x.on(axis) else x.shape[axis]

    def shrink(self, x: Any) -> Any:
        """A tensor's labels without what leaves; other values as they are."""
        if not isinstance(x, Labelled):
            return x
        if x.name is not None:
            return replace(x, shape=self.kept.shape(x))
        if x.labels is None:
            return x
        labels = self.kept.left(x.labels)
        shape = tuple(len(labels) if d == x.axis else s for d, s in enumerate(x.shape))
        return replace(x, shape=shape, labels=labels)

    def cut(self, x: Labelled, array: Tensor) -> Tensor:
        """``array`` (in the shape of ``x``) without what leaves."""
        if x.axis is None:
            return array
        return array.index_select(x.axis, torch.from_numpy(self.stays(x).nonzero()[0]))

    def constant(self, before: fx.Node, value: Tensor) -> fx.Node:
        """A new index tensor in the graph."""
        name = f"kept_{before.name}"
        self.indices[name] = value
        with self.new.inserting_before(before):
            node = self.new.get_attr(name)
        node.meta["val"] = value
        return node


def _set(node: fx.Node, position: int, value: Any, default: tuple[Any, ...] = ()) -> None:
    """Set a positional argument, filling the defaults before it."""
    args = list(node.args)
    args += list(default[len(args) : position])
    args[position : position + 1] = [value]
    node.args = tuple(args)


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
    _set(new, 1, written)


def unflatten(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x, out = r.value(old.args[0]), r.value(old)
    first = int(old.args[1]) % x.ndim  # type: ignore[arg-type]
    written = list(new.args[2])  # type: ignore[arg-type]
    if out.axis is not None and 0 <= out.axis - first < len(written):
        if written[out.axis - first] != -1:
            written[out.axis - first] = r.length(out, out.axis)
        _set(new, 2, written)


def parts(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """split, chunk: the parts' own new sizes, which may be unequal."""
    x = r.value(old.args[0])
    dim = int(_argument(old, 2, "dim", 0)) % x.ndim
    if not x.on(dim):
        return
    ends = np.cumsum([part.shape[dim] for part in r.value(old)])[:-1]
    lengths = [int(part.sum()) for part in np.split(r.stays(x), ends)]
    new.target = aten.split_with_sizes.default
    new.args, new.kwargs = (new.args[0], lengths, dim), {}


def gather(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """slice, narrow, roll, shuffle, index: positions along the labelled axis, as a slice if one."""
    x, out = r.value(old.args[0]), r.value(old)
    if x.axis is None or x.axis not in _acts_along(old, x):
        return
    rank = np.cumsum(r.stays(x)) - 1
    wanted = rank[_positions(r, old, x, out)]
    if short_name(old) == "index":
        index_args = list(new.args[1])  # type: ignore[arg-type]
        index_args[x.axis] = r.constant(new, torch.from_numpy(wanted))
        _set(new, 1, index_args)
    elif wanted.size and (np.diff(wanted) == 1).all():
        new.target = aten.slice.Tensor
        new.args, new.kwargs = (new.args[0], x.axis, int(wanted[0]), int(wanted[-1]) + 1), {}
    else:
        index = r.constant(new, torch.from_numpy(wanted))
        new.target = aten.index_select.default
        new.args, new.kwargs = (new.args[0], x.axis, index), {}


def _acts_along(node: fx.Node, x: Labelled) -> set[int]:
    """The axes along which the operator picks."""
    name = short_name(node)
    if name == "index":
        return {axis for axis, i in enumerate(node.args[1]) if i is not None}  # type: ignore[arg-type]
    if name == "channel_shuffle":
        return {1}
    dims: Any = _argument(node, 2, "dims", ()) if name == "roll" else _argument(node, 1, "dim", 0)
    return {int(d) % x.ndim for d in (dims if isinstance(dims, list | tuple) else [dims])}


def _positions(r: Rewriter, old: fx.Node, x: Labelled, out: Labelled) -> NDArray[np.int64]:
    """The kept part of what the operator picks along ``x``'s labelled axis."""
    assert x.axis is not None
    ids = Labelled((x.shape[x.axis],), 0, np.arange(x.shape[x.axis]))
    if short_name(old) == "index":
        chosen: Any = old.args[1][x.axis]  # type: ignore[index]
        picked = ids.array()[_plain(r, chosen).cpu()]
    else:
        args, kwargs = fx.map_arg((old.args[1:], old.kwargs), lambda n: _plain(r, n))
        moved = run_move(old, Labelled(x.shape, x.axis, ids.labels).array(), *args, **kwargs)
        picked = moved.movedim(x.axis, 0).reshape(moved.shape[x.axis], -1)[:, 0]
    if out.axis is not None and x.axis <= out.axis < x.axis + picked.ndim:
        stays = torch.from_numpy(r.stays(out).nonzero()[0])
        picked = picked.index_select(out.axis - x.axis, stays)
    return picked.numpy()


def select(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x = r.value(old.args[0])
    dim, i = (int(a) for a in old.args[1:3])  # type: ignore[arg-type]
    if x.on(dim):
        _set(new, 2, int(r.stays(x)[: i % x.shape[dim]].sum()))


def slice_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim = int(_argument(old, 2, "dim", 0))
    if not out.on(dim):
        return
    start, end, _ = slice(
        *(_argument(old, 3 + i, name, None) for i, name in enumerate(("start", "end", "step")))
    ).indices(out.shape[dim])
    before = np.concatenate([[0], np.cumsum(r.stays(out))])
    new.args = (new.args[0], new.args[1], dim, int(before[start]), int(before[max(start, end)]))
    new.kwargs = {}


def select_scatter(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    out = r.value(old)
    dim, i = int(_argument(old, 2, "dim", 0)), int(_argument(old, 3, "index", 0))
    if out.on(dim):
        new.args = (*new.args[:2], dim, int(r.stays(out)[: i % out.shape[dim]].sum()))


def convolution_groups(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """``groups`` follows the channels: depthwise and whole groups shrink, offsets keep theirs."""
    groups = int(_argument(old, 6, "groups", 1))
    if groups == 1:
        return
    x, weight = r.value(old.args[0]), r.value(old.args[1])
    channels = x.ndim - weight.ndim + 1
    transposed = "transpose" in short_name(old)
    if transposed:
        kept = r.length(x, channels) if groups == weight.shape[0] else groups
    else:
        inputs = r.graph.sites.get((weight.name, 1))
        per_group = weight.shape[1] if inputs is None else r.kept.count(inputs)
        kept = r.length(x, channels) // per_group
    defaults = (None, None, None, 1, 0, 0 if transposed else 1)
    new.kwargs = {k: v for k, v in new.kwargs.items() if k != "groups"}
    _set(new, 6, kept, defaults)
    r.groups[weight.name] = kept


def norm_groups(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    x, groups = r.value(old.args[0]), int(old.args[1])  # type: ignore[arg-type]
    if x.on(1):
        kept = r.length(x, 1) * groups // x.shape[1]
        _set(new, 1, kept)
        if len(old.args) > 2 and isinstance(old.args[2], fx.Node):
            r.groups[r.value(old.args[2]).name] = kept


def created(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """zeros, new_zeros ...: the written size of what is cut like another tensor."""
    made = r.value(old)
    position = size_position(old)
    written = list(new.args[position])  # type: ignore[arg-type]
    for axis, size in enumerate(r.kept.shape(made)):
        if size != made.shape[axis]:
            written[axis] = size
    _set(new, position, written)


def padding(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """Padded channels have labels of their own, of which some may have left."""
    out = r.value(old)
    if out.axis is None:
        return
    written = list(new.args[1])  # type: ignore[arg-type]
    before, after = padding_of(written, out.ndim, out.axis)
    if before or after:
        stays = r.stays(out)
        first = 2 * (out.ndim - 1 - out.axis)
        written[first] = int(stays[:before].sum())
        written[first + 1] = int(stays[len(stays) - after :].sum())
        _set(new, 1, written)


def attention_scale(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """The scale counts q's channels as they were."""
    q = r.value(old.args[0])
    if q.on(-1) and old.kwargs.get("scale") is None:
        new.kwargs = {**new.kwargs, "scale": q.shape[-1] ** -0.5}


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    if position < len(node.args):
        return node.args[position]
    return node.kwargs.get(name, default)


REWRITES: Mapping[str, Callable[[Rewriter, fx.Node, fx.Node], None]] = {
    **dict.fromkeys("view _unsafe_view reshape expand".split(), sizes),
    "unflatten": unflatten,
    **dict.fromkeys("split split_with_sizes chunk".split(), parts),
    **dict.fromkeys("slice narrow roll channel_shuffle index index_select".split(), gather),
    "select": select,
    "slice_scatter": slice_scatter,
    "select_scatter": select_scatter,
    **dict.fromkeys(
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d".split(),
        convolution_groups,
    ),
    "group_norm": norm_groups,
    **dict.fromkeys("zeros ones full empty new_zeros new_ones new_full new_empty".split(), created),
    **dict.fromkeys("pad constant_pad_nd".split(), padding),
    "scaled_dot_product_attention": attention_scale,
}


# -- the self-check --------------------------------------------------------------------------------


def check(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """Number every input element; cutting after the operator and before it must agree."""
    if not any(_labelled(r.value(n)) for n in old.all_input_nodes):
        return
    whole: dict[fx.Node, Any] = {}
    small: dict[fx.Node, Any] = {}
    first = 0
    for n in old.all_input_nodes:
        whole[n], first = _numbered(r, n, first)
        small[r.nodes[n]] = _cut_value(r, r.value(n), whole[n])
    for n in new.all_input_nodes:
        if n not in small:
            small[n] = r.indices[str(n.target)]
    expected = _cut_value(r, r.value(old), _call(old, whole))
    if not _equal(expected, _call(new, small)):
        raise EdgepruneError(
            f"{short_name(old)} ({old.name}) cannot be cut",
            "the self-check found that its smaller form moves other elements",
            "please report this network",
        )


def _labelled(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, Labelled) and (v.axis is not None or v.name) for v in values)


def _numbered(r: Rewriter, node: fx.Node, first: int) -> tuple[Any, int]:
    """Distinct numbers in the value's shape; ints and index constants as they are."""
    value = r.value(node)

    def number(v: Any) -> Any:
        nonlocal first
        if not isinstance(v, Labelled):
            return v
        n = int(np.prod(v.shape))
        first += n
        return torch.arange(first - n, first).reshape(v.shape)

    constant = _plain(r, node)
    if isinstance(constant, Tensor) and not constant.is_floating_point():
        return constant.cpu(), first
    return fx.node.map_aggregate(value, number), first


def _plain(r: Rewriter, node: fx.Node) -> Any:
    value = r.value(node)
    if isinstance(value, Labelled) and value.name in r.constants:
        return r.constants[str(value.name)]
    return value


def _cut_value(r: Rewriter, value: Any, array: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_cut_value(r, v, a) for v, a in zip(value, array, strict=True)]
    if not isinstance(value, Labelled) or not isinstance(array, Tensor):
        return array
    if value.name is not None:
        for axis in range(value.ndim):
            labels = r.graph.sites.get((value.name, axis))
            if labels is not None:
                array = r.cut(Labelled(value.shape, axis, labels), array)
        return array
    return r.cut(value, array)


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
    return run_move(node, *args, **kwargs)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(torch.equal(a, b))
