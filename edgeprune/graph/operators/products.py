"""Products: linear layers, matrices, einsum, attention."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from torch import fx

from ..follow import Follow, unknown
from ..labels import Labelled, Vector
from ..rewriting import Rewriter
from . import shapes
from .row import Operator, Work

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
    letter = max(passing, key=lambda c: _rank(f, operands, c), default=None)
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


def _rank(f: Follow, operands: Sequence[Operand], letter: Any) -> tuple[bool, int]:
    """How many classes could leave along that letter: the axis with most keeps its labels.

    What was repeated along the letter gives way to all else.
    """
    holders = _holders(operands, letter)
    found = [f.classes.find(f.labels(x, axis)) for _, x, axis in holders]
    real = any(x.on(axis) and not x.free for _, x, axis in holders)
    return real, max(len(np.unique(roots[roots > 0])) for roots in found)


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
    made = [(n, x, axis) for n, x, axis in holders if x.made and not (stiff or labelled)]
    found = [(n, axis, f.bind(x, axis)) for n, x, axis in made]  # a first state of zeros
    found += [(n, axis, f.labels(x, axis)) for n, x, axis in labelled]
    labels = found[0][2] if found else np.zeros(1, np.int64)
    for _, x, axis in holders:
        f.tie(x, axis, labels)
    for operand, axis, own in found[:1]:
        if operand is not None:
            f.contract(node, operand, axis, own)


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


def embedding(f: Follow, node: fx.Node, weight: Labelled, index: Labelled, *args: Any) -> Any:
    """A table (words, O): each word is a row of it."""
    f.pin(node, f.data(index), "says which row is read")
    if weight.name in f.constants:
        f.hold(weight, free=1)
        return f.result(node, -1, f.produce(node, weight, 1))
    if weight.axis == 0:
        weight = f.pin(node, weight, "is a table whose rows are read by number")
    return f.result(node, -1, f.labels(weight, 1))


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


def attention_scale(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """The scale counts q's channels as they were."""
    q = r.value(old.args[0])
    if q.on(-1) and old.kwargs.get("scale") is None:
        new.kwargs = {**new.kwargs, "scale": q.shape[-1] ** -0.5}


# -- multiply-adds for one image -------------------------------------------------------------------


def linear_macs(work: Work) -> int:
    return prod(work.weight) * prod(work.out[:-1])


def matmul_macs(work: Work) -> int:
    return prod(work.whole) * work.operands[0][-1] // work.batch


def einsum_macs(work: Work) -> int:
    """The product of all letters' sizes."""
    terms = str(work.node.args[0]).replace(" ", "").partition("->")[0].split(",")
    sizes = {
        c: n
        for term, s in zip(terms, work.operands, strict=True)
        for c, n in zip(term, s, strict=False)
    }
    return prod(sizes.values()) // work.batch


def attention_macs(work: Work) -> int:
    q, k, v = work.operands[:3]
    return prod(q[:-1]) * k[-2] * (q[-1] + v[-1]) // work.batch


ROWS = (
    Operator(
        "linear",
        linear,
        kind="linear",
        macs=linear_macs,
        channels=-1,
        reads=True,
        shape=shapes.projected,
    ),
    Operator("embedding", embedding, kind="embedding", channels=-1),
    Operator("addmm", addmm, kind="linear", macs=linear_macs, channels=-1),
    Operator("matmul", matmul, kind="matmul", macs=matmul_macs, channels=-1),
    Operator("bmm mm", matmul, kind="matmul", macs=matmul_macs, channels=-1),
    Operator("einsum", einsum, kind="matmul", macs=einsum_macs, channels=-1),
    Operator(
        "scaled_dot_product_attention",
        attention,
        attention_scale,
        kind="matmul",
        macs=attention_macs,
        channels=-1,
    ),
)
