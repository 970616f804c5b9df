"""What a recording writes: operators in the order in which they ran, as light as they can be.

A forward is recorded at several sizes, and one tape alone becomes an fx graph (:func:`as_graph`). A
step has the names of an fx node (``op``, ``target``, ``args``, ``kwargs``, ``meta``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, fx

Meta = dict[str, Any]


class Step:
    """One operator that ran, an input, a tensor that the module holds, or what the forward gives."""

    __slots__ = ("args", "free", "kwargs", "meta", "name", "op", "place", "tape", "target")

    def __init__(
        self, op: str, target: Any, args: Any = (), kwargs: Any = None, name: str = "", free: bool = False
    ) -> None:  # fmt: skip
        self.op, self.target, self.args, self.kwargs = op, target, args, kwargs or {}
        self.name = name  # of its node; "": after its target
        self.free = free  # no input reaches it
        self.meta: Meta = {}
        self.tape: Tape | None = None  # None: of every recording of the module
        self.place = -1  # in its tape

    @property
    def value(self) -> Any:
        """The tensors that it gives, without numbers."""
        return self.meta.get("val")


class Tape:
    """The steps of one recording."""

    def __init__(self, held: list[Step]) -> None:
        self.nodes: list[Step] = list(held)  # first what the module holds

    def add(self, step: Step) -> Step:
        step.tape, step.place = self, len(self.nodes)
        self.nodes.append(step)
        return step

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Any = None) -> Step:
        """An operator's step, named after it; free where all that it reads is."""
        free = all(read.free for read in steps_in((args, kwargs or {})))
        return self.add(Step("call_function", target, args, kwargs, free=free))

    @property
    def output(self) -> Step:
        return self.nodes[-1]

    def written(self) -> list[Any]:
        """Every operator and everything that is written among its arguments, in order: of a step its
        place, or the step itself where it is of every recording."""
        found: list[Any] = []
        for step in self.nodes:
            if step.tape is not None:
                found.append(step.target)
                found += map(_place, arguments(step))
        return found

    def needed(self) -> list[Step]:
        """The inputs, and the steps that the output needs."""
        wanted, found = {self.output}, []
        for step in reversed(self.nodes):
            if step in wanted or step.op == "placeholder":
                found.append(step)
                wanted.update(steps_in((step.args, step.kwargs)))
        return found[::-1]


def _place(written: Any) -> Any:
    """A tuple, which nothing else is that stands among arguments."""
    return (written.place,) if type(written) is Step and written.tape else written


def mapped(value: Any, f: Callable[[Step], Any]) -> Any:
    """``value`` with ``f`` of every step in its lists, tuples and dicts."""
    if type(value) is Step:
        return f(value)
    if isinstance(value, list | tuple):
        parts = [mapped(v, f) for v in value]
        return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
    return {k: mapped(v, f) for k, v in value.items()} if isinstance(value, dict) else value


def arguments(step: Step) -> list[Any]:
    """What stands among a step's arguments, in order."""
    found: list[Any] = []
    _flatten(step.args, found)
    if step.kwargs:
        _flatten(step.kwargs, found)
    return found


def steps_in(value: Any) -> Iterator[Step]:
    found: list[Any] = []
    _flatten(value, found)
    return (v for v in found if type(v) is Step)


def _flatten(value: Any, found: list[Any]) -> None:
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, list | tuple | dict):
            _flatten(part, found)
        else:
            found.append(part)


def as_graph(tape: Tape) -> tuple[fx.Graph, dict[Step, fx.Node]]:
    """The tape as an fx graph, and the node of each step."""
    graph, nodes = fx.Graph(), dict[Step, fx.Node]()
    for step in tape.nodes:
        args, kwargs = (mapped(each, nodes.__getitem__) for each in (step.args, step.kwargs))
        node = graph.create_node(step.op, step.target, args, kwargs, step.name or None)
        node.meta.update(step.meta)
        nodes[step] = node
    return graph, nodes


def differing(values: list[Any]) -> tuple[int, ...]:
    """The axes of a step's tensor that have another size in some of the recordings."""
    first = values[0]
    if not all(isinstance(v, Tensor) and v.ndim == first.ndim for v in values):
        return ()
    shapes = [v.shape for v in values]
    if all(s == shapes[0] for s in shapes):
        return ()
    return tuple(d for d in range(first.ndim) if len({s[d] for s in shapes}) > 1)
