"""Norms over channels, written out so that their channels can leave one by one.

The network that is exact after a cut reads zeros where channels left, in a norm over channels too,
and divides by the dense number of channels C. With mu = sum(x) / C over those that stay, the n that
left add n mu^2 to the sum of squares:

    var = (sum((x - mu)^2) + n mu^2) / C

Each norm counts its channels in a buffer of ones that is cut like any other. A smaller layer norm,
with its statistics over what is left, is another network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ..follow import hint
from ..tensors import leaves

aten = torch.ops.aten


class Writer:
    """Adds operators before a node, each with its shape and the node's origin."""

    def __init__(self, module: fx.GraphModule, node: fx.Node) -> None:
        self.module, self.node = module, node

    def call(self, target: Any, *args: Any) -> fx.Node:
        made = self.node.graph.call_function(target, args)
        return self._dress(made, target(*fx.map_arg(args, lambda n: n.meta["val"])))

    def ones(self, like: Tensor, size: int) -> fx.Node:
        """One for each channel; a buffer of its own, since its labels are the norm's own."""
        name = f"channels_of_{self.node.name}"
        device = next((t.device for t in leaves(self.module).values()), torch.device("cpu"))
        value = torch.ones(size, dtype=like.dtype, device=device)
        self.module.register_buffer(name, value, persistent=False)
        return self._dress(self.node.graph.get_attr(name), value.to("meta"))

    def _dress(self, made: fx.Node, value: Tensor) -> fx.Node:
        made.meta = {**self.node.meta, "val": value}
        return made


def layer_norm(
    w: Writer, x: fx.Node, shape: list[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5, *_: Any,
) -> fx.Node | None:  # fmt: skip
    return _norm(w, x, [-1], -1, weight, bias, eps) if len(shape) == 1 else None


def group_norm(
    w: Writer, x: fx.Node, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> fx.Node | None:  # fmt: skip
    rank = x.meta["val"].ndim
    return _norm(w, x, list(range(1, rank)), 1, weight, bias, eps) if groups == 1 else None


def _norm(
    w: Writer, x: fx.Node, dims: list[int], channels: int, weight: Any, bias: Any, eps: float
) -> fx.Node:
    value = x.meta["val"]
    behind = value.ndim - 1 - channels % value.ndim  # axes after the channels

    def aligned(vector: fx.Node) -> fx.Node:
        for _ in range(behind):
            vector = w.call(aten.unsqueeze.default, vector, -1)
        return vector

    size = hint(value.shape[channels])
    ones = w.ones(value, size)
    mean = _mean(w, x, dims, True)
    centred = w.call(aten.mul.Tensor, w.call(aten.sub.Tensor, x, mean), aligned(ones))
    kept = _mean(w, w.call(aten.mul.Tensor, centred, centred), dims, True)
    gone = w.call(aten.mul.Tensor, w.call(aten.sum.default, ones), -1 / size)
    gone = w.call(aten.add.Tensor, gone, 1.0)
    gone = w.call(aten.mul.Tensor, w.call(aten.mul.Tensor, mean, mean), gone)
    variance = w.call(aten.add.Tensor, kept, gone)
    scale = w.call(aten.rsqrt.default, w.call(aten.add.Tensor, variance, eps))
    out = w.call(aten.mul.Tensor, centred, scale)
    if weight is not None:
        out = w.call(aten.mul.Tensor, out, aligned(weight))
    return out if bias is None else w.call(aten.add.Tensor, out, aligned(bias))


def mean(w: Writer, x: fx.Node, dims: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    if kwargs or not dims:
        return None
    return _mean(w, x, [d % x.meta["val"].ndim for d in dims], keepdim)


def _mean(w: Writer, x: fx.Node, dims: list[int], keepdim: bool) -> fx.Node:
    """The mean with the dense number of channels; over axes whose size is open as it comes."""
    dims = [d % x.meta["val"].ndim for d in dims]
    open_axes = [d for d in dims if d in x.meta["open"]]
    counted = [d for d in dims if d not in open_axes]
    count = _count(x.meta["val"], counted)
    if not open_axes:
        return w.call(aten.mul.Tensor, w.call(aten.sum.dim_IntList, x, dims, keepdim), 1 / count)
    x = w.call(aten.mean.dim, x, open_axes, True)
    if counted:
        x = w.call(aten.sum.dim_IntList, x, counted, True)
        x = w.call(aten.mul.Tensor, x, 1 / count)
    return x if keepdim else w.call(aten.squeeze.dims, x, dims)


def _count(value: Tensor, dims: list[int]) -> int:
    count = 1
    for d in dims:
        count *= hint(value.shape[d])
    return count
