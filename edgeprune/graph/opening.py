"""Which sizes of a recording are open: the batch, and the other axes of its inputs.

The forward is recorded at further sizes, and the recordings are compared number by number. An integer
that differs with the batch alone is ``a * size + b``. One that differs with another axis is the size of
a tensor in the graph, or a product, a line, a floor or a rest of such sizes, and is so at every size
recorded. An axis at which the forward does other things, or of which an integer has no such form,
stays frozen, with the reason.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from ..errors import first_line
from .tape import Step, Tape, arguments, as_graph, differing, steps_in

aten = torch.ops.aten
Plan = dict[Step, list["Formula | None"]]  # of each argument of what follows a size
Vector = tuple[int, ...]  # an integer, at each size recorded
MORE = 5  # examples
# What is added to an input's open axes, the first, the second ...
ODD = (129, 131, 133)  # seen behind strides of 128; networks that halve their maps may refuse them
NEAR = (1, 3, 5)  # what follows a size does not grow by this as it does by those
EVEN = ((64, 192, 128), (128, 64, 192))
FURTHER = (
    (10, 21, 8),
    (39, 14, 25),
    (23, 47, 13),
    (54, 28, 42),
)  # where the odd ones worked, to tell a floor from a line
DIVISORS = (*range(2, 17), 32, 64)


class Refused(Exception):  # noqa: N818 - what was done with it
    """What the forward did that no recording can hold, and what to give instead ("": the usual)."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


class Recording(Protocol):
    """Operators, and what they read besides the inputs, at one size."""

    tape: Tape
    constants: dict[str, Tensor]


At = Callable[[int, Mapping[int, int]], Recording]  # (batch, axis -> what is added to its size)


def open_sizes(
    first: Recording, batch: int, axes: Sequence[int], at: At
) -> tuple[dict[int, str], Plan]:
    """Why each of ``axes`` that is frozen is, and what follows the inputs' sizes.

    ``at(batch, {axis: more})`` is the recording at another batch, with more on every input's axis.
    Raises :class:`Refused` where the batch cannot be open. Each step's ``meta["open"]`` is the axes
    of its tensor that may have another size, ``meta["elsewhere"]`` its shape at another size.
    """
    frozen: dict[int, str] = {}
    others, found = _at_once(first, batch, axes, at)
    if not others:
        points = _batches(first, batch, at)
        chosen, found = _space(first, batch, axes, at, frozen, points)
        others = [*chosen, *points]
    for steps in _together([first, *others]):
        values = [s.value for s in steps]
        meta = steps[0].meta
        meta["open"] = differing(values)
        if meta["open"]:
            meta["elsewhere"] = tuple(values[1].shape)
    return frozen, found


def as_nodes(tape: Tape, plan: Plan) -> fx.Graph:
    """The tape as an fx graph in which what follows the inputs' sizes is computed of them."""
    graph, nodes = as_graph(tape)
    builder = _Builder(graph, nodes)
    for step, formulas in plan.items():
        _rewrite(nodes[step], builder, iter(formulas))
    return graph


def _rewrite(node: fx.Node, builder: _Builder, formulas: Iterator[Formula | None]) -> None:
    node.args, node.kwargs = fx.node.map_aggregate(  # type: ignore[assignment]
        (node.args, node.kwargs), lambda v: builder.of(next(formulas), v)
    )


def _together(every: Sequence[Recording]) -> Iterator[tuple[Step, ...]]:
    """The same step of each recording; what the module holds is the same in all."""
    for steps in zip(*(r.tape.nodes for r in every), strict=True):
        if steps[0].tape is not None:
            yield steps


# -- at which sizes --------------------------------------------------------------------------------


def _at_once(
    first: Recording, batch: int, axes: Sequence[int], at: At
) -> tuple[list[Recording], Plan]:
    """One recording at another batch and other sizes, where nothing that is written follows any, or
    the batch alone as ``a * size``: so it is with most."""

    def checked(more: Sequence[int]) -> Recording:
        found = at(batch + MORE, dict(zip(axes, more, strict=False)))
        _check_alike(first, found, "another size")
        _check_answers(first, found, batch, MORE)
        _check_constants(first.constants, found.constants, "the size")
        return found

    try:
        found = checked(ODD)
        follows = _follows(first, found, batch)
        if follows and axes:  # a size that grew by chance as the batch did
            follows = None if _follows(first, checked(NEAR), batch) is None else follows
    except Exception:  # each is asked alone
        return [], {}
    return ([], {}) if follows is None else ([found], _plan([first, found], 1))


def _follows(first: Recording, found: Recording, batch: int) -> bool | None:
    """Whether what is written follows the batch as ``a * size``; None: it follows something else."""
    follows = False
    for old, new in zip(first.tape.written(), found.tape.written(), strict=True):
        if old != new or type(old) is not type(new):
            if not type(old) is type(new) is int or new * batch != old * (batch + MORE):
                return None
            follows = True
    return follows


def _batches(first: Recording, batch: int, at: At) -> list[Recording]:
    """The recordings at other batches that tell what follows it."""
    second = at(batch + 1, {})
    _check_alike(first, second, "another batch")
    _check_constants(first.constants, second.constants, "the batch")
    lines = 0
    for old, new in zip(first.tape.written(), second.tape.written(), strict=True):
        if old != new or type(old) is not type(new):
            if type(old) is not int or type(new) is not int:
                raise Refused("its forward writes a number that depends on the batch")
            lines += old != (new - old) * batch
    if not lines:  # all through zero; else two points do not tell
        return [second]
    third = at(batch + 3, {})
    _check_alike(first, third, "another batch")
    return [second, third]


def _space(
    first: Recording, batch: int, axes: Sequence[int], at: At, frozen: dict[int, str],
    points: list[Recording],
) -> tuple[list[Recording], Plan]:  # fmt: skip
    """The recordings at other sizes of as many axes as can be open; of the others the reason."""
    alone = [(axis,) for axis in axes] if len(axes) > 1 else []
    for some in [tuple(axes), *alone] if axes else []:
        try:
            found = _sizes_of(first, batch, some, at, points)
        except Refused as e:
            frozen.update(dict.fromkeys(some, str(e)))
            continue
        for axis in some:  # of several that work alone, not together, the first
            frozen.pop(axis, None)
        return found
    return [], _plan([first, *points], len(points))


def _sizes_of(
    first: Recording, batch: int, axes: Sequence[int], at: At, points: list[Recording]
) -> tuple[list[Recording], Plan]:
    """Recordings at other sizes of these axes, and the plan that fits them all; else :class:`Refused`."""

    def recorded(more: Sequence[int]) -> Recording:
        try:
            found = at(batch, dict(zip(axes, more, strict=False)))
        except Exception as e:
            raise Refused(f"at another size its forward raises: {first_line(e)}") from None
        return found

    def checked(found: Recording) -> Recording:
        _check_alike(first, found, "another size")
        _check_answers(first, found, batch)
        _check_constants(first.constants, found.constants, "the size")
        return found

    try:
        odd = [recorded(ODD)]
    except Refused:
        odd = []
    more: Sequence[Sequence[int]] = [EVEN[0], *FURTHER] if odd else EVEN
    if odd and checked(odd[0]).tape.written() == first.tape.written():
        more = ()
    chosen = [*odd, *(checked(recorded(each)) for each in more[:1])]
    plan = _plan([first, *points, *chosen], len(points))
    if more[1:] and not (odd and all(map(_is_known, chain.from_iterable(plan.values())))):
        chosen += [checked(recorded(each)) for each in more[1:]]
        plan = _plan([first, *points, *chosen], len(points))
    return chosen, plan


def _is_known(formula: Formula | None) -> bool:
    """Whether an integer is a size that stands in the graph: three points tell it from another one."""
    return formula is None or formula.function is None


def _check_alike(here: Recording, there: Recording, where: str) -> None:
    """The same operators on the same operands in the same order, whatever their numbers are."""
    kinds = [list(map(_kind, each.tape.written())) for each in (here, there)]
    if kinds[0] != kinds[1]:
        raise Refused(f"its forward does other things at {where}")


def _kind(written: Any) -> Any:
    """A step or an operator itself; of all else the type."""
    return written if type(written) in (tuple, Step) or callable(written) else type(written)


def _check_answers(here: Recording, there: Recording, batch: int, more: int = 0) -> None:
    """An answer for each example, whatever the size (a reshape to ``[-1, 16, 256]`` may give more)."""
    given = (list(steps_in(r.tape.output.args)) for r in (here, there))
    for a, b in zip(*given, strict=True):
        shapes = [getattr(s.value, "shape", ()) for s in (a, b)]
        if shapes[0][:1] == (batch,) and shapes[1][:1] != (batch + more,):
            raise Refused("at another size it gives another number of answers")


def _check_constants(here: Mapping[str, Tensor], there: Mapping[str, Tensor], what: str) -> None:
    """What the forward reads besides its input is the same at both sizes, number for number."""
    for name, tensor in here.items():
        other = there.get(name)
        if other is not tensor and not (other is not None and _equal(tensor, other)):
            raise Refused(f"its forward makes a tensor that depends on {what}, or on chance")


def _equal(a: Tensor, b: Tensor) -> bool:
    """The same numbers; where both are no number, too."""
    alike = a.shape == b.shape and a.dtype == b.dtype
    return alike and bool(((a == b) | ((a != a) & (b != b))).all())


# -- integers as formulas --------------------------------------------------------------------------


@dataclass(frozen=True)
class Formula:
    """The size of a node's axis (``axis`` given), or ``function`` of a formula and of another or a number."""

    step: Step  # that every size in it is of
    axis: int = 0
    function: Callable[[int, int], int] | None = None
    of: Formula | None = None
    by: Formula | int = 0

    def then(self, function: Callable[[int, int], int], by: Formula | int, idle: int) -> Formula:
        """``function(this, by)``; this where ``by`` does nothing."""
        return self if by == idle else Formula(self.step, 0, function, self, by)


def _plan(every: list[Recording], batches: int) -> Plan:
    """A formula, or None, for each of the arguments of the nodes that follow a size.

    ``every``: the first recording, ``batches`` at other batches, the rest at other sizes. Raises
    :class:`Refused` where an integer has none.
    """
    known, found = _Sizes(), dict[Step, list[Formula | None]]()
    given = next((s for s in every[0].tape.nodes if s.op == "placeholder"), None)
    for steps in _together(every):
        formulas: list[Formula | None] = []
        for values in zip(*map(arguments, steps), strict=True):
            if isinstance(values[0], Step) or all(v == values[0] for v in values):
                formulas.append(None)
            elif any(type(v) is not int for v in values):
                raise Refused("its forward writes a number that depends on the size")
            else:
                assert given is not None
                formulas.append(known.formula(values, steps[0], given, batches))
        if any(formulas):
            found[steps[0]] = formulas
        known.add(steps[0], [s.value for s in steps])
    return found


@dataclass(eq=False)
class _Sizes:
    """The sizes of the steps so far, and their products, as they are at each size recorded."""

    known: dict[Vector, Formula] = field(default_factory=dict)
    made: dict[tuple[Vector, frozenset[Vector]], Formula] = field(default_factory=dict)
    of_step: dict[Step, dict[Vector, Formula]] = field(default_factory=dict)
    alike: dict[tuple[Vector, ...], dict[Vector, Formula]] = field(default_factory=dict)

    def add(self, step: Step, values: list[Any]) -> None:
        axes = differing(values)
        if not axes:
            return
        sizes = tuple(tuple(int(v.shape[d]) for v in values) for d in axes)
        if sizes not in self.alike:
            self.alike[sizes] = dict(_products(step, axes, sizes))
            self.known = {**self.alike[sizes], **self.known}
        self.of_step[step] = self.alike[sizes]

    def formula(self, v: Vector, step: Step, given: Step, batches: int) -> Formula:
        """The formula of an integer of ``step`` that has these values."""
        near: dict[Vector, Formula] = {}
        for operand in dict.fromkeys(steps_in((step.args, step.kwargs))):
            near |= self.of_step.get(operand, {})
        key = v, frozenset(near)
        if key not in self.made:
            if all(n == v[0] for n in v[1 + batches :]):
                self.made[key] = _of_batch(v, self.known, given)
            elif v in self.known:
                self.made[key] = self.known[v]
            else:
                found = next(self._candidates(v, near), None)
                if found is None:
                    raise Refused(
                        f"its forward writes a number ({v[0]}) of no known form in the size"
                    )
                self.made[key] = found
        return self.made[key]

    def _candidates(self, v: Vector, near: Mapping[Vector, Formula]) -> Iterator[Formula]:
        """Of the step's own operands first; lines first, then floors, then rests."""
        for known in (near, self.known):
            for form in (_line, _floor, _rest):
                for sizes, formula in known.items():
                    found = form(v, sizes, formula)
                    if found is not None:
                        yield found


def _products(
    step: Step, axes: Sequence[int], sizes: Sequence[Vector]
) -> Iterator[tuple[Vector, Formula]]:
    """The sizes of some axes of a step's tensor, and their products."""
    of = dict(zip(axes, sizes, strict=True))
    for count in range(len(axes), 0, -1):  # a size of one axis overrides an equal product
        for first, *rest in combinations(axes, count):
            vector, formula = of[first], Formula(step, first)
            for d in rest:
                vector = tuple(map(operator.mul, vector, of[d]))
                formula = formula.then(operator.mul, Formula(step, d), 1)
            yield vector, formula


def _of_batch(v: Vector, known: Mapping[Vector, Formula], given: Step) -> Formula:
    """A line in the batch, whatever the sizes."""
    sizes = next(s for s, f in known.items() if f == Formula(given, 0))
    found = _line(v, sizes, Formula(given, 0))
    if found is None:
        raise Refused("its forward writes a size that is no line in the batch")
    return found


def _line(v: Vector, sizes: Vector, size: Formula) -> Formula | None:
    """``a * size + b``"""
    other = next((i for i, s in enumerate(sizes) if s != sizes[0]), None)
    if other is None:
        return None
    a, rest = divmod(v[other] - v[0], sizes[other] - sizes[0])
    b = v[0] - a * sizes[0]
    if rest or a == 0 or any(n != a * s + b for n, s in zip(v, sizes, strict=True)):
        return None
    return size.then(operator.mul, a, 1).then(operator.add, b, 0)


def _floor(v: Vector, sizes: Vector, size: Formula) -> Formula | None:
    """``(size + b) // q + d``"""
    for q in DIVISORS:
        for b in range(q):
            d = v[0] - (sizes[0] + b) // q
            if all(n == (s + b) // q + d for n, s in zip(v, sizes, strict=True)):
                found = size.then(operator.add, b, 0).then(operator.floordiv, q, 1)
                return found.then(operator.add, d, 0)
    return None


def _rest(v: Vector, sizes: Vector, size: Formula) -> Formula | None:
    """``a * (-size mod q) + b``: padding to a multiple of q, or of a stride."""
    for q in DIVISORS:
        rests = tuple(-s % q for s in sizes)
        other = next((i for i, r in enumerate(rests) if r != rests[0]), 0)
        if rests[other] == rests[0]:
            continue
        a, left = divmod(v[other] - v[0], rests[other] - rests[0])
        b = v[0] - a * rests[0]
        if not left and all(n == a * r + b for n, r in zip(v, rests, strict=True)):
            found = size.then(operator.mul, -1, 1).then(operator.mod, q, 1)
            return found.then(operator.mul, a, 1).then(operator.add, b, 0)
    return None


def number(node: fx.Node, known: Mapping[fx.Node, Any]) -> int:
    """What a size, or an integer that is computed of sizes, is: ``known`` has such numbers, and for
    each node that holds a tensor one of the same shape."""
    args: list[Any] = [known[a] if isinstance(a, fx.Node) else a for a in node.args]
    if node.target is aten.sym_size.int:
        return int(args[0].meta["val"].shape[args[1]])
    return int(node.target(*args))  # type: ignore[operator]


# -- formulas as nodes -----------------------------------------------------------------------------


@dataclass(eq=False)
class _Builder:
    """The nodes of formulas, each once, right behind the node of which the sizes are."""

    graph: fx.Graph
    nodes: Mapping[Step, fx.Node]
    known: dict[Formula, fx.Node] = field(default_factory=dict)
    last: dict[fx.Node, fx.Node] = field(default_factory=dict)  # behind which the next one stands

    def __post_init__(self) -> None:
        given = [n for n in self.graph.nodes if n.op == "placeholder"]
        self.given = set(given)
        self.last = dict.fromkeys(given[:1], given[-1]) if given else {}
        self.first = given[0] if given else None

    def of(self, formula: Formula | None, written: Any) -> Any:
        return written if formula is None else self._node(formula)

    def _node(self, formula: Formula) -> fx.Node:
        if formula in self.known:
            return self.known[formula]
        source = self.nodes[formula.step]
        if formula.function is None or formula.of is None:
            value = formula.step.value.shape[formula.axis]
            made = self._call(source, aten.sym_size.int, (source, formula.axis), value)
        else:
            parts = [
                self._node(part) if isinstance(part, Formula) else part
                for part in (formula.of, formula.by)
            ]
            values = [p.meta["val"] if isinstance(p, fx.Node) else p for p in parts]
            value = formula.function(*values)
            made = self._call(source, formula.function, tuple(parts), value)
        self.known[formula] = made
        return made

    def _call(self, source: fx.Node, function: Any, args: tuple[Any, ...], value: int) -> fx.Node:
        source = self.first if source in self.given and self.first is not None else source
        with self.graph.inserting_after(self.last.get(source, source)):
            made = self.graph.call_function(function, args)
        made.meta["val"] = int(value)
        self.last[source] = made
        return made
