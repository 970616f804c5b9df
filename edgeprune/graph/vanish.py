"""Whole groups without any unit: what is left of the operators, and where that is exact.

A layer that reads a group of which nothing is left gives its bias (or 0) everywhere. Followed through
what treats every place alike (pointwise operators, batch norm, linear layers, 1x1 convolutions) such
a map stays even, one value a channel, until a map that follows the input takes it up by broadcasting:
there a single parameter stands for the whole branch. A concatenation goes on without the part that
is empty. Anything else that would read an even or an empty map is refused, and so is an output that
would no longer follow the input: then the groups must keep a unit.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from torch import fx

from .follow import layer, short_name
from .graph import Graph
from .labels import Labelled
from .operators import is_pointwise, operator_of
from .operators.convolutions import transposed_convolution
from .operators.moves import cat
from .operators.pointwise import same
from .operators.writes import permute_back


class State(Enum):
    """What an operator's result is once the groups are gone."""

    FOLLOWS = "follows the input"
    FIXED = "made of parameters alone"
    EMPTY = "has no channel"
    EVEN = "the same for every image and at every place"
    OTHER = "cannot be said"


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of a graph's operators."""

    states: dict[fx.Node, State]
    live: frozenset[fx.Node]  # those that the output needs, computed as ever
    ends: tuple[fx.Node, ...]  # even maps that a live operator takes up: one parameter each
    refusal: str  # why it is not exact; "" if it is

    def gone(self, node: fx.Node) -> bool:
        """Whether nothing that is left reads the operator."""
        state = self.states[node]
        return state in (State.EMPTY, State.OTHER) or (
            state is State.FOLLOWS and node not in self.live
        )


def left(graph: Graph, groups: Collection[str]) -> Left:
    """What is left of ``graph`` when all units of these ``groups`` leave."""
    empty = np.zeros(len(graph.roots), np.bool_)
    for name in groups:
        empty[graph.group(name).roots] = True
    nodes = list(graph.module.graph.nodes)
    walk = _Walk(graph, empty)
    for node in nodes:
        walk.states[node] = walk.state(node)
    live, ends, refusal = _needed(nodes, walk.states)
    return Left(walk.states, frozenset(live), tuple(n for n in nodes if n in ends), refusal)


def stand_in(node: fx.Node) -> str:
    """The name of the parameter that stands for an even map."""
    return f"vanished_{node.name}"


def can_vanish(graph: Graph, groups: Collection[str]) -> bool:
    """Whether the network without any unit of ``groups`` is exactly the masked one, and of use."""
    return not left(graph, groups).refusal


def _needed(
    nodes: Sequence[fx.Node], states: dict[fx.Node, State]
) -> tuple[set[fx.Node], set[fx.Node], str]:
    """From the output backwards: operators that are computed, even maps that they read, a refusal."""
    live: set[fx.Node] = set()
    ends: set[fx.Node] = set()
    for node in reversed(nodes):
        if node.op == "output":
            live.add(node)
            if any(states[n] in (State.EVEN, State.EMPTY) for n in node.all_input_nodes):
                return live, ends, "an output would no longer follow the input"
        if node in live and states[node] is State.OTHER:
            first = _origin(node, states)
            where = layer(first) or first.name
            return live, ends, f"{where} ({short_name(first)}) has no exact form without them"
        if node in live:
            read = {n for n in node.all_input_nodes if states[n] is not State.EMPTY}
            even = {n for n in read if states[n] is State.EVEN}
            live |= read - even
            ends |= even
    return live, ends, ""


def _origin(node: fx.Node, states: dict[fx.Node, State]) -> fx.Node:
    """Where it cannot be said first, of what ``node`` is made of."""
    while True:
        before = [n for n in node.all_input_nodes if states[n] is State.OTHER]
        if not before:
            return node
        node = before[0]


@dataclass(eq=False)
class _Walk:
    graph: Graph
    empty: Any  # [classes] bool

    def __post_init__(self) -> None:
        self.states: dict[fx.Node, State] = {}
        self.pooled: set[fx.Node] = set()  # one place, whatever the image's size

    def state(self, node: fx.Node) -> State:
        if node.op in ("placeholder", "output"):
            return State.FOLLOWS
        found = [self.is_empty(x) for x in _parts(self.graph.values[node])]
        if found and all(found):
            return State.EMPTY
        if node.op == "get_attr" or not found:
            return State.FIXED
        if node.target is not operator.getitem and any(found):
            return State.OTHER  # some of its parts have no channel
        self._note_pooled(node)
        return self._of_inputs(node)

    def _of_inputs(self, node: fx.Node) -> State:
        read = [n for n in node.all_input_nodes if _parts(self.graph.values[n])]
        states = {self.states[n] for n in read}
        data = [n for n in read if n.op != "get_attr"]
        if State.OTHER in states:
            return State.OTHER
        row = operator_of(node)
        if any(self.states[n] is State.EMPTY for n in data):
            if row.reads and node.args[0] in data[:1]:
                return State.EVEN
            rest = {self.states[n] for n in data} - {State.EMPTY, State.FIXED}
            joined = row.follow is cat and rest == {State.FOLLOWS}
            return State.FOLLOWS if joined else State.OTHER
        if State.EMPTY in states:
            return State.OTHER
        if State.EVEN not in states:
            return State.FOLLOWS if State.FOLLOWS in states else State.FIXED
        if State.FOLLOWS not in states:
            return State.EVEN if self.at_each_place(node) else State.OTHER
        return State.FOLLOWS if self.takes_up(node, read) else State.OTHER

    def is_empty(self, x: Labelled) -> bool:
        if x.name is not None:
            found = (self.graph.sites.get((x.name, axis)) for axis in range(x.ndim))
            return any(v is not None and self._all_gone(v) for v in found)
        return x.labels is not None and self._all_gone(x.labels)

    def _all_gone(self, labels: Any) -> bool:
        return bool(self.empty[self.graph.roots[labels]].all())

    def at_each_place(self, node: fx.Node) -> bool:
        """Whether of an even map it makes an even one, that of a single place."""
        row = operator_of(node)
        if node.target is operator.getitem or is_pointwise(node.target) or row.follow is same:
            return True
        if row.per_channel:
            return row.frozen
        x = self.graph.values[node.args[0]]  # type: ignore[index]
        if row.reads:
            kernel = self.graph.values[node.args[1]].shape[2:]  # type: ignore[index]
            padding = node.args[4] if len(node.args) > 4 else node.kwargs.get("padding", 0)
            spreads = row.follow is transposed_convolution  # zeros between the places
            return not spreads and set(kernel) <= {1} and not _padded(padding)
        if row.back is permute_back:
            return bool(node.args[1][0] == 0)  # type: ignore[index]  # images stay images
        out = self.graph.values[node]
        if not isinstance(out, Labelled) or not out.ndim or out.shape[0] != x.shape[0]:
            return False
        if row.averages:  # to one place
            return set(out.shape[2:]) <= {1} and out.shape[:2] == x.shape[:2]
        return row.moves and (
            x.ndim == 2 or (set(x.shape[2:]) == {1} and node.args[0] in self.pooled)
        )

    def takes_up(self, node: fx.Node, read: Sequence[fx.Node]) -> bool:
        """Whether broadcasting gives an even map the shape that it had."""
        if not is_pointwise(node.target):
            return False
        shape = self.graph.values[node].shape
        follows = [n for n in read if self.states[n] is State.FOLLOWS]
        even = [n for n in read if self.states[n] is State.EVEN]
        alike = any(self.graph.values[n].shape == shape and n not in self.pooled for n in follows)
        # a gate of one place takes up a gate of one place
        return alike or (node in self.pooled and all(n in self.pooled for n in even))

    def _note_pooled(self, node: fx.Node) -> None:
        """A map of one place: by pooling, or made of such maps alone."""
        out = self.graph.values[node]
        if not isinstance(out, Labelled) or out.ndim < 3 or set(out.shape[2:]) != {1}:
            return
        read = [n for n in node.all_input_nodes if n.op != "get_attr"]
        maps = [n for n in read if _parts(self.graph.values[n])]
        row = operator_of(node)
        keeps = is_pointwise(node.target) or row.reads or row.follow in (same, cat)
        if not (keeps or row.per_channel) or all(n in self.pooled for n in maps):
            self.pooled.add(node)


def _padded(padding: Any) -> bool:
    """Of a kernel of 1: "same" and "valid" pad nothing."""
    if isinstance(padding, str):
        return False
    return any(padding) if isinstance(padding, list | tuple) else bool(padding)


def _parts(value: Any) -> list[Labelled]:
    """The tensors of an operator's result."""
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, Labelled)]
