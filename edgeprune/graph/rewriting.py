"""A graph's operators being copied so that what is written in them follows the labels that stay.

Sizes, bounds, indices and group counts are written in the graph; each row of the table of operators
says how its own follow. :mod:`edgeprune.prune.rewrite` runs and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx

from .graph import Graph
from .kept import Kept, Mask
from .labels import Labelled


@dataclass(frozen=True, eq=False)
class Branch:
    """What a new parameter stands for: a branch of which no channel is left."""

    node: str  # the operator whose result it is
    value: Tensor  # one value a channel; it broadcasts
    labels: Labelled
    sources: frozenset[str]  # the parameters that it was computed from


@dataclass
class Rewriter:
    """The state of one rewriting; the rows' functions read and write through it."""

    kept: Kept
    new: fx.Graph = field(default_factory=fx.Graph)
    nodes: dict[fx.Node, fx.Node] = field(default_factory=dict)  # old -> new
    indices: dict[str, Tensor] = field(default_factory=dict)  # new constants by name
    constants: dict[str, Tensor] = field(default_factory=dict)  # those of the graph
    groups: dict[str, int] = field(default_factory=dict)  # of convolutions and norms, by weight
    stands_for: dict[str, Branch] = field(default_factory=dict)  # new parameters by name

    def __post_init__(self) -> None:
        self.constants = self.graph.constants()

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
        if not x.on(axis):
            return x.shape[axis]
        assert x.labels is not None
        return self.kept.count(x.labels)

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

    def loses(self, x: Any) -> bool:
        """Whether something of this value leaves."""
        if isinstance(x, list | tuple):
            return any(self.loses(part) for part in x)
        if not isinstance(x, Labelled):
            return False
        if x.name is not None:
            return self.kept.shape(x) != x.shape
        return x.labels is not None and self.kept.loses(x.labels)

    def cut(self, x: Labelled, array: Tensor) -> Tensor:
        """``array`` (in the shape of ``x``) without what leaves."""
        if x.axis is None or x.labels is None:
            return array
        return array.index_select(x.axis, self.kept.index(x.labels))

    def constant(self, before: fx.Node, value: Tensor) -> fx.Node:
        """A new index tensor in the graph."""
        name = f"kept_{before.name}"
        self.indices[name] = value
        with self.new.inserting_before(before):
            node = self.new.get_attr(name)
        node.meta["val"] = value
        return node

    def argument(self, node: fx.Node, position: int, name: str, default: Any) -> Any:
        """A node's argument, wherever it is written; symbols as the traced ints."""
        found = node.kwargs.get(name, default)
        if position < len(node.args):
            found = node.args[position]
        return fx.map_arg(found, self.known)

    def known(self, node: fx.Node) -> Any:
        """A node's value: of parameters and buffers the tensor, of symbols the traced int."""
        value = self.value(node)
        if isinstance(value, Labelled) and value.name in self.constants:
            return self.constants[str(value.name)]
        return value


def set_argument(node: fx.Node, position: int, value: Any, default: tuple[Any, ...] = ()) -> None:
    """Set a positional argument, filling the defaults before it."""
    args = list(node.args)
    args += list(default[len(args) : position])
    args[position : position + 1] = [value]
    node.args = tuple(args)
