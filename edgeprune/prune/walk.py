"""Run an exported network on many batches, a few operators at a time, keeping only what is live."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from ..graph.inputs import Example, flat
from ..graph.operators import operator_of
from ..graph.tensors import fetch

Through = Callable[[fx.Node, Any], Any]


class Walk:
    """``module`` (a graph's) run side by side on all ``batches``, as far as was asked.

    Parameters are read when an operator runs, so what is replaced ahead of the walk takes effect.
    ``order``: another order of the operators in which they can run; ``through``: what becomes of an
    operator's result before anything reads it.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        batches: Sequence[Example],
        order: Sequence[fx.Node] | None = None,
        through: Through | None = None,
    ) -> None:
        self.module = module
        self.nodes = list(module.graph.nodes if order is None else order)
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.last = _last_uses(self.nodes, self.index)
        self.at = [0 for _ in batches]  # the next operator to run, for each batch
        self.values: list[dict[fx.Node, Any]] = [{} for _ in batches]  # live ones, for each batch
        self.batches = batches
        self.through = through

    def node(self, name: str) -> fx.Node:
        return self.nodes[self.index[name]]

    def reach(self, end: int, first: int | None = None) -> None:
        """Run everything before operator number ``end`` on the ``first`` batches (None: all).

        A batch that is left behind is caught up with when it is wanted: wide maps need few images,
        and those that are not looked at need not lie in memory.
        """
        with torch.no_grad():
            for i, x in enumerate(self.batches[:first]):
                values = self.values[i]
                for node in self.nodes[self.at[i] : end]:
                    run(self.module, [node], values, x)
                    if self.through is not None and node in values:
                        values[node] = self.through(node, values[node])
                    for used in [node, *node.all_input_nodes]:
                        if self.last[used] <= self.index[node.name] and used in values:
                            del values[used]
                self.at[i] = max(self.at[i], end)


def run(
    module: fx.GraphModule, nodes: Sequence[fx.Node], values: dict[fx.Node, Any], x: Example | None
) -> None:
    """Run ``nodes`` in order, reading and writing ``values``; ``x`` is what the network is called with."""

    def value(node: fx.Node) -> Any:
        return fetch(module, str(node.target)) if node.op == "get_attr" else values[node]

    for node in nodes:
        if node.op == "placeholder":
            given = module.graph.find_nodes(op="placeholder")
            values[node] = flat(x)[list(given).index(node)]
        elif node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), value)
            target = operator_of(node).run or node.target  # a view needs not exist channels last
            values[node] = target(*args, **kwargs)  # type: ignore[operator]
        elif node.op == "output":
            values[node] = fx.map_arg(node.args[0], value)


def run_segment(
    module: fx.GraphModule, nodes: Sequence[fx.Node], values: dict[fx.Node, Any]
) -> Any:
    """The value of the last of ``nodes``; what nothing reads any more is dropped on the way."""
    inside = dict(values)
    run(module, nodes, inside, None)
    return inside[nodes[-1]]


Together = list[tuple[str, ...]]  # names of operators that run directly after one another


def in_step(graph: fx.Graph, groups: Together) -> tuple[list[fx.Node], Together]:
    """An order of the operators in which those of each group follow on one another, all that they read
    before the first of them; and the groups for which there is one.

    There is none where an operator needs what another of its group gives. Else the order is the graph's.
    """
    order, held = _sorted(graph, groups), groups
    if order is None:
        order, held = list(graph.nodes), []
        for group in groups:
            tried = _sorted(graph, [*held, group])
            order, held = (order, held) if tried is None else (tried, [*held, group])
    return order, held


def _sorted(graph: fx.Graph, groups: Together) -> list[fx.Node] | None:
    """Each group as one; the earliest that can run is next. None: they wait for one another."""
    nodes = list(graph.nodes)
    if not groups:
        return nodes
    at = {node.name: i for i, node in enumerate(nodes)}
    of = list(range(len(nodes)))  # the one that stands for the operator: the first of its group
    members = {i: [i] for i in of}
    for group in groups:
        first, *others = sorted(at[name] for name in group)
        members[first] = [first, *others]
        for i in others:
            of[i] = first
            del members[i]
    reads = {
        i: {of[at[a.name]] for m in own for a in nodes[m].all_input_nodes}
        for i, own in members.items()
    }
    readers: dict[int, list[int]] = {i: [] for i in members}
    for i, sources in reads.items():
        for source in sources:
            readers[source].append(i)
    waits = {i: len(sources) for i, sources in reads.items()}
    ready = [i for i, n in waits.items() if n == 0]
    found: list[fx.Node] = []
    while ready:
        i = heapq.heappop(ready)
        found += [nodes[m] for m in members[i]]
        for reader in readers[i]:
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(ready, reader)
    return found if len(found) == len(nodes) else None


def _last_uses(nodes: Sequence[fx.Node], index: dict[str, int]) -> dict[fx.Node, int]:
    end = len(nodes)  # the output is kept
    return {
        n: end if n.op == "output" else max((index[u.name] for u in n.users), default=-1)
        for n in nodes
    }


def bfloat16_pays() -> bool:
    """Whether this processor computes in bfloat16 and does not only emulate it."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
