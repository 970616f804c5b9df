"""Operators that take axes together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..known import Known, known
from .row import Node, Row, Rows, axis_of, numbers

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _axes(node: Node, ndim: int, axes: Any) -> list[int] | None:
    """The axes, from the input (newer opsets) or the attribute; None: nothing is done."""
    given = numbers(axes) if axes is not None else list(node.get("axes") or [])
    if not given and node.get("noop_with_empty_axes", 0):
        return None
    return sorted(axis_of(a, ndim) for a in given) or list(range(ndim))


def reduction(f: Reduce, of_known: Callable[[list[Any]], Any] | None = None) -> Row:
    def run(node: Node, x: Tensor, axes: Any = None) -> Tensor:
        chosen = _axes(node, x.ndim, axes)
        return x if chosen is None else f(x, chosen, bool(node.get("keepdims", 1)))

    def numbered(node: Node, x: Known, axes: Any = None) -> Known:
        assert of_known is not None
        chosen, keep = _axes(node, x.array.ndim, axes), bool(node.get("keepdims", 1))
        if chosen is None:
            return x
        if chosen != list(range(x.array.ndim)):
            raise node.fail("takes some of the axes of sizes together")
        found = of_known(x.list())
        return known(np.full([1] * x.array.ndim if keep else [], found, object), x.dtype)

    return Row(run, numbers=(1,), known=numbered if of_known else None)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keep)
    return x


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(axes, keep)


def _pool(f: Callable[..., Tensor]) -> Row:
    """Over all places, which stay as axes of one."""
    return Row(lambda node, x: f(x, list(range(2, x.ndim)), keepdim=True))


ROWS: Rows = {
    "ReduceMean": (reduction(_mean),),
    "ReduceSum": (reduction(lambda x, a, k: x.sum(a, k), sum),),
    "ReduceMax": (reduction(lambda x, a, k: x.amax(a, k), max),),
    "ReduceMin": (reduction(lambda x, a, k: x.amin(a, k), min),),
    "ReduceProd": (reduction(_product, math.prod),),
    "ReduceL1": (reduction(lambda x, a, k: x.abs().sum(a, k)),),
    "ReduceL2": (reduction(lambda x, a, k: (x * x).sum(a, k).sqrt()),),
    "ReduceSumSquare": (reduction(lambda x, a, k: (x * x).sum(a, k)),),
    "ReduceLogSum": (reduction(lambda x, a, k: x.sum(a, k).log()),),
    "ReduceLogSumExp": (reduction(lambda x, a, k: torch.logsumexp(x, a, k)),),
    "GlobalAveragePool": (_pool(torch.mean),),
    "GlobalMaxPool": (_pool(torch.amax),),
}
