"""A branch of which no channel is left: one parameter stands for what it still adds.

It is computed by the branch's own operators from its reader's bias, at a single place of a single
image, and broadcasts where the branch came back (:mod:`edgeprune.graph.vanish` says where it may).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..graph.follow import is_symbolic
from ..graph.operators import operator_of
from ..graph.rewriting import Branch, Rewriter
from ..graph.vanish import Left, State
from ..graph.vanish import stand_in as parameter_of


def reads_nothing(r: Rewriter, rest: Left, old: fx.Node) -> bool:
    """Whether it is a layer all of whose inputs left: what it gives is its bias."""
    if rest.states[old] is not State.EVEN or not operator_of(old).reads:
        return False
    return rest.states[old.args[0]] is State.EMPTY  # type: ignore[index]


def begin(r: Rewriter, old: fx.Node) -> None:
    """Put the layer's bias (or 0) in its place."""
    out, weight = r.value(old), r.value(old.args[1])
    axis = out.ndim - weight.ndim + 1 if weight.ndim > 2 else out.ndim - 1
    shape = [1] * out.ndim
    shape[axis] = r.length(out, axis)
    bias = old.args[2] if len(old.args) > 2 else None
    value = torch.zeros(shape).to(r.constants[str(weight.name)])
    if isinstance(bias, fx.Node):
        name = str(bias.target)
        value = r.kept.tensor(name, r.constants[name]).detach().reshape(shape)
    r.nodes[old] = new = r.new.get_attr(f"offset_{old.name}")
    new.meta["val"] = value


def stand_in(r: Rewriter, rest: Left) -> None:
    """One parameter for each branch that comes back, in place of its last operator."""
    values: dict[fx.Node, Any] = {}
    for old in rest.ends:
        new = r.nodes[old]
        with torch.no_grad():
            value = _value(r, new, values).detach().clone()
        name = parameter_of(old)
        sources = _sources(r, rest, old)
        trained = value.is_floating_point() and any(_trained(r, s) for s in sources)
        labels = replace(r.value(old).at_one_place(), constant=True, name=name)
        parameter = nn.Parameter(value, requires_grad=trained)
        r.stands_for[name] = Branch(old.name, parameter, labels, frozenset(sources))
        with r.new.inserting_before(new):
            leaf = r.new.get_attr(name)
        leaf.meta["val"] = value
        new.replace_all_uses_with(leaf)
        r.nodes[old] = leaf


def _value(r: Rewriter, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """What the copied operator computes of single places."""
    if node not in known:
        known[node] = _compute(r, node, known)
    return known[node]


def _compute(r: Rewriter, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    if is_symbolic(node):
        return node.meta["val"]
    if node.op == "get_attr":
        name = str(node.target)
        if name in r.constants:
            return r.kept.tensor(name, r.constants[name]).detach()
        return node.meta["val"]
    row = operator_of(node)
    found: Any = fx.map_arg((node.args, node.kwargs), lambda n: _value(r, n, known))
    args, kwargs = found
    if row.moves:  # the batch is written in its sizes
        args = (args[0].expand(r.graph.batch, *args[0].shape[1:]), *args[1:])
    out = (row.run or node.target)(*args, **kwargs)  # type: ignore[operator]
    return out[:1] if row.moves else out


def _sources(r: Rewriter, rest: Left, old: fx.Node) -> set[str]:
    """Names of the parameters and buffers that an even map is made of."""
    found: set[str] = set()
    nodes, seen = [old], set[fx.Node]()
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "get_attr":
            found.add(str(node.target))
        elif rest.states[node] in (State.EVEN, State.FIXED):
            nodes += node.all_input_nodes
    return found


def _trained(r: Rewriter, name: str) -> bool:
    value: Tensor = r.constants[name]
    return value.requires_grad or any(
        r.constants[s].requires_grad for s in r.graph.sources(name) if s in r.constants
    )
