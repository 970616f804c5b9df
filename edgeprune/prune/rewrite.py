"""What is written in the graph follows a cut, operator by operator, and is checked.

Each row of the table of operators says how its own is rewritten; those without a rewriting work on
smaller tensors as they stand. Each operator that only moves data is then checked on numbered
elements: cut(op(ids)) == rewritten op(cut(ids)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..errors import EdgepruneError, told
from ..graph.follow import layer, short_name
from ..graph.kept import Kept
from ..graph.labels import Labelled
from ..graph.module import sweep
from ..graph.operators import operator_of
from ..graph.rewriting import Rewriter
from ..graph.vanish import Left, left
from . import branches


def rewrite(kept: Kept) -> Rewriter:
    """The graph's operators for what is kept: ``.new``, with ``.nodes`` from old to new."""
    r = Rewriter(kept)
    rest = _left(kept)
    for old in r.graph.module.graph.nodes:
        if rest is None or not rest.gone(old):
            _copy(r, rest, old)
    if rest is not None:
        branches.stand_in(r, rest)
    r.new.set_codegen(r.graph.module.graph._codegen)
    sweep(r.new)
    return r


def _left(kept: Kept) -> Left | None:
    """What is left without the groups that vanish; None where none does."""
    names = kept.emptied()
    if not names:
        return None
    rest = left(kept.graph, names)
    if rest.refusal:
        raise EdgepruneError(
            f"{', '.join(names)} cannot vanish", rest.refusal, "keep a unit of each"
        )
    return rest


def _copy(r: Rewriter, rest: Left | None, old: fx.Node) -> None:
    if rest is not None and branches.reads_nothing(r, rest, old):
        branches.begin(r, old)
        return
    r.nodes[old] = new = r.new.node_copy(old, r.nodes.get)  # type: ignore[arg-type]
    if any(n not in r.nodes for n in old.all_input_nodes):  # parts of a concatenation
        new.args = ([part for part in new.args[0] if part is not None], *new.args[1:])  # type: ignore[union-attr]
    if not any(r.loses(r.value(n)) for n in (old, *old.all_input_nodes)):
        return
    row = operator_of(old)
    with told(f"{short_name(old)} ({old.name}) cannot be cut", "please report this network"):
        if row.rewrite is not None:
            row.rewrite(r, old, new)
        if row.moves:
            check(r, old, new)


def written(r: Rewriter) -> dict[str, dict[int, int]]:
    """For each module, the sizes among its own operators' arguments and parts that a cut changes.

    A size of which one operator says this and another that is left out.
    """
    found: dict[str, dict[int, set[int]]] = {}
    for old, new in r.nodes.items():
        if old.op != "call_function":
            continue
        pairs = [*zip(_numbers(old), _numbers(new), strict=False), *_part_sizes(r, old)]
        sizes = found.setdefault(layer(old), {})
        for a, b in pairs:
            sizes.setdefault(a, set()).add(b)
    changed = {
        path: {a: min(b) for a, b in sizes.items() if len(b) == 1 and b != {a}}
        for path, sizes in found.items()
    }
    return {path: sizes for path, sizes in changed.items() if sizes}


def _numbers(node: fx.Node) -> list[int]:
    numbers: list[int] = []
    fx.node.map_aggregate(
        (node.args, node.kwargs), lambda v: numbers.append(v) if type(v) is int else None
    )
    return numbers


def _part_sizes(r: Rewriter, old: fx.Node) -> list[tuple[int, int]]:
    """The parts' sizes, before and after, of an operator that gives several along the labelled axis."""
    value = r.value(old)
    parts = value if isinstance(value, list | tuple) else ()
    return [
        (part.shape[part.axis], r.length(part, part.axis))
        for part in parts
        if isinstance(part, Labelled) and part.axis is not None
    ]


# -- the self-check --------------------------------------------------------------------------------


def check(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """Number every input element; cutting after the operator and before it must agree."""
    whole: dict[fx.Node, Any] = {}
    small: dict[fx.Node, Any] = {}
    first = 0
    for n in old.all_input_nodes:
        whole[n], first = _numbered(r, n, first)
        if n in r.nodes:  # else it has no channel left
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

    constant = r.known(node)
    if isinstance(constant, Tensor) and not constant.is_floating_point():
        return constant.cpu(), first
    return fx.node.map_aggregate(value, number), first


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
    return (operator_of(node).run or node.target)(*args, **kwargs)  # type: ignore[operator]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(torch.equal(a, b))
