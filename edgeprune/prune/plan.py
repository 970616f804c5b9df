"""A plan says what stays, why, and what the network will then cost. It is data: JSON, no tensors.

``make`` walks a list of single steps (one group one place down its grid), dense network first; the
methods differ only in the order of that list. The target lies between two places of the walk; the
nearer one is taken (where it is a bound, the one behind it),
then single steps up or down that come nearer still. Cost falls along the walk,
so what cannot be reached is known before the search.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from .. import records
from ..errors import EdgepruneError, closest
from ..graph import Graph, can_vanish, cost
from ..graph.kept import kept_classes
from ..graph.vanish import left
from ..prices import PRICES, Price, Target, options, price_of
from ..prices import Curve as PriceCurve
from ..records import CLOSED, Amount, Count, Share
from . import halves
from .keep import largest
from .scores import even

METHODS = ("uniform", "global", "sensitivity", "reconstruction", "search", "threshold")
FOLLOWS = METHODS[2:]  # the loss at each width of each group; of "search" a weighted one
OWN = "own"  # and without a target: each group's width is what the score says by itself
FORMAT = 1
Curves = Mapping[str, Sequence[float]]  # group -> loss at each width 0..W (rises as width falls)


@dataclass(frozen=True)
class Plan:
    """Units that stay in each group (sorted, indices in the network the plan was made for)."""

    network: str  # the graph's fingerprint
    method: str
    keep: dict[str, list[Count]]
    reasons: dict[str, str]  # of each group's width
    target: dict[str, Share]  # {price: share asked for}, such as {"flops": 0.5}, or {}
    dense: dict[str, Amount]  # params, flops, macs, bytes, and the target's price, before
    promised: dict[str, Amount]  # and after
    __pydantic_config__: ClassVar[Any] = CLOSED

    @property
    def widths(self) -> dict[str, int]:
        return {name: len(units) for name, units in self.keep.items()}

    def reached(self) -> dict[str, float]:
        """The share that is kept of what was asked for."""
        known = [what for what in self.target if what in self.promised]  # a time is not recounted
        return {what: self.promised[what] / self.dense[what] for what in known}

    def sentence(self) -> str:
        """How closely the target is met: ``keeps 50.2 % of the FLOPs (50.0 % asked)``."""
        parts = [
            f"keeps {100 * share:.1f} % of the {word(what)} ({100 * self.target[what]:.1f} % asked)"
            for what, share in self.reached().items()
        ]
        return ", ".join(parts)

    def check(self, graph: Graph) -> None:
        """Raise :class:`EdgepruneError` unless the plan is for this network and can be applied."""
        if why := graph.differs(self.network):  # first: its groups' names would say less
            raise EdgepruneError(
                "the plan",
                why,
                "make one for this network: with --dry-run, or with plan(graph, ...)",
            )
        for name in self.keep:
            graph.group(name)
        gone = kept_classes(graph, self.keep).emptied()
        if gone and (why := left(graph, gone).refusal):
            raise EdgepruneError(f"{', '.join(gone)} cannot vanish", why, "keep a unit of each")

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> Plan:
        """A plan from a file that may have been written by anybody."""
        if not isinstance(value, dict):
            raise EdgepruneError(
                "the plan",
                "is no JSON object",
                "edgeprune prune RUN --dry-run --plan-out FILE writes one",
            )
        if value.get("format") != FORMAT:
            raise EdgepruneError("the plan", f"format {value.get('format')!r}, {FORMAT} is known")
        rest = {key: given for key, given in value.items() if key != "format"}
        found = records.value(rest, cls, "the plan")
        for name, units in found.keep.items():
            if sorted(set(units)) != units:
                raise EdgepruneError(
                    f"the plan: units of {name}",
                    "not a rising list of indices from 0",
                    "give the indices of the units that stay, each once, in order",
                )
        for what in found.target:
            if found.dense.get(what, 0) <= 0 or what not in found.promised:
                raise EdgepruneError(
                    "the plan",
                    f"dense or promised holds no {what}",
                    "edgeprune prune RUN --dry-run --plan-out FILE writes a whole one",
                )
        return found


def word(price: str) -> str:
    """What people read for a price that a plan's file names."""
    return PRICES[price].word if price in PRICES else {"ms": "predicted time"}.get(price, price)


@dataclass(frozen=True)
class Limits:
    """What bounds the widths, whatever the target."""

    floor: float | None = None  # least share of a group's width, at least one unit; 0: groups whose
    # branch can be left out exactly may vanish
    multiple: int = 1  # widths are multiples of it, or the dense width
    keep: Sequence[str] = ()  # globs of groups that stay whole
    shares: Mapping[str, float] = field(
        default_factory=dict
    )  # glob -> share of the width that stays
    whole: Mapping[str, int] = field(default_factory=dict)  # widths that ``floor`` is a share of,
    # where the network has been pruned already
    most: bool = False  # not above the target: else the nearest is taken, on either side
    equal: bool = True  # equal parts of a split stay equally wide, as the Python of most wants them


@dataclass(frozen=True)
class Step:
    """One group goes from one width of its grid to the next smaller one."""

    group: str
    before: int
    after: int


def make(
    graph: Graph,
    scores: Mapping[str, Tensor],
    target: Target | None = None,
    *,
    method: str = "uniform",
    limits: Limits = Limits(),
    curves: Curves | None = None,
    prices: Mapping[str, Price] | None = None,
) -> Plan:
    """What stays when ``target`` of the dense network's price is left.

    ``scores``: float [width] for each group, higher = keep; equal scores leave in order of index,
    the last first. ``target``: None where shares of single groups are all that is asked. ``method``:
    "uniform", the same share of every group; "global", units of lowest score wherever they are;
    "sensitivity", "reconstruction" and "search", where ``curves`` rise least per cost saved (measured
    losses, ``Elimination.error``, or these weighted: :mod:`.search`); "threshold", all groups down to
    the same loss by ``curves`` (the energy that is lost, for one: Suau et al. 2018). ``prices``: the
    table that the target's price stands in (default: the counts; `prices.on` has a device's milliseconds
    too).
    """
    _check_asked(target, limits, method)
    grids = _grids(graph, limits)
    fixed = _fixed(graph, limits, grids)
    grids |= {name: [width] for name, (width, _) in fixed.items()}
    sets = _sets(graph, limits, grids)
    _check_scores(graph, scores, curves, method)
    grids = {name: grids[name] for name in sets}
    widths = {name: g[0] for name, g in grids.items()}
    dense, share = _costs(graph, {}), {}
    promised = dense
    if target is not None:
        row = price_of(target.price, prices)
        price = halves.Bound(row.of(graph), sets)
        share = {row.name: min(1.0, target.of(price.dense))}
        goal = share[row.name] * price.dense
        may = partial(_exact, graph, sets)
        _reachable(price, grids, row, target, _narrowest(grids, may), limits.multiple)
        losses = _summed(curves or {}, sets)
        greedily = partial(_greedy, grids, losses, price, widths, may, row.treads)
        steps = _ordered(method, grids, _ranked(scores, sets), greedily, losses)
        most = limits.most or target.form.most
        _walk(widths, steps, price, goal, may, most)
        _settle(widths, grids, price, goal, may, row, most)
        dense = {row.name: price.dense, **dense}
        promised = {row.name: price.at(widths)}
    widths, grids = halves.spread(widths, sets), {n: grids[f] for f in sets for n in sets[f]}
    kept = {name: largest(scores[name], widths[name]) for name in graph.groups}
    said = partial(_reason, widths=widths, grids=grids, fixed=fixed, method=method)
    return Plan(
        network=graph.fingerprint,
        method=method,
        keep=kept,
        reasons={n: said(n) + _tied(scores, n, widths[n]) + _bound(n, sets) for n in kept},
        target=share,
        dense=dense,
        promised={**promised, **_costs(graph, widths)},
    )


def least(graph: Graph, limits: Limits, price: Price) -> float:
    """The share of the network's price that is left at the narrowest widths within ``limits``."""
    grids = _grids(graph, limits)
    grids |= {name: [width] for name, (width, _) in _fixed(graph, limits, grids).items()}
    sets = _sets(graph, limits, grids)
    curve = halves.Bound(price.of(graph), sets)
    narrowest = _narrowest({name: grids[name] for name in sets}, partial(_exact, graph, sets))
    return curve.at(narrowest) / curve.dense


def _check_asked(target: Target | None, limits: Limits, method: str) -> None:
    if target is None and not limits.shares:
        raise EdgepruneError("a plan", "wants one target", f"give {options()}")
    if method not in METHODS and (method != OWN or target is not None):
        raise EdgepruneError(f"--method {method!r}", closest(method, METHODS))


def _bound(name: str, sets: halves.Sets) -> str:
    """Which groups this one is as wide as."""
    others = [n for together in sets.values() if name in together for n in together if n != name]
    return f"; as wide as {', '.join(others)}: parts of one split" if others else ""


EVEN = "all units score the same"


def _tied(scores: Mapping[str, Tensor], name: str, width: int) -> str:
    """That nothing but their order decides which of a group's units leave."""
    return f"; {EVEN}" if width < len(scores[name]) and even({name: scores[name]}) else ""


def grid(width: int, multiple: int, least: int) -> list[int]:
    """Widths that a group of ``width`` units may have, falling: itself, and smaller multiples."""
    top = (width - 1) // multiple * multiple
    return [width, *(w for w in range(top, -1, -multiple) if w >= least)]


def nearest(widths: Sequence[int], wanted: float) -> int:
    """The one of falling ``widths`` that lies nearest; of two equally near, the larger."""
    return min(widths, key=lambda w: (abs(w - wanted), -w))


# -- the order of steps ----------------------------------------------------------------------------


May = Callable[[Mapping[str, int]], bool]  # whether what has no width may go without


def _exact(graph: Graph, sets: halves.Sets, widths: Mapping[str, int]) -> bool:
    """Whether the groups of width 0 can vanish together."""
    gone = [name for name, width in halves.spread(widths, sets).items() if not width]
    return not gone or can_vanish(graph, gone)


def _narrowest(grids: Mapping[str, list[int]], may: May) -> dict[str, int]:
    """The ends of the grids; of the groups that can vanish, as many as can together, the first first."""
    widths = {name: next(w for w in reversed(g) if w or len(g) == 1) for name, g in grids.items()}
    for name in (name for name, g in grids.items() if not g[-1]):
        widths |= {name: 0} if may({**widths, name: 0}) else {}
    return widths


def _ranked(scores: Mapping[str, Tensor], sets: halves.Sets) -> dict[str, np.ndarray]:
    """Each set's scores, falling: the mean of its groups' first, second, ..."""
    return {
        first: np.mean([np.sort(scores[n].double().numpy())[::-1] for n in names], axis=0)
        for first, names in sets.items()
    }


def _summed(curves: Curves, sets: halves.Sets) -> dict[str, Any]:
    """Each set's losses: the sums of its groups'."""
    return {
        first: np.sum([np.asarray(curves[n], float) for n in names], axis=0)
        for first, names in sets.items()
        if all(n in curves for n in names)
    }


def _rising(curve: Sequence[float]) -> np.ndarray:
    """A loss that never falls as the group gets narrower."""
    return np.maximum.accumulate(np.asarray(curve, float)[::-1])[::-1]


def _ordered(
    method: str,
    grids: Mapping[str, list[int]],
    falling: Mapping[str, np.ndarray],
    greedily: Callable[[], Iterator[Step]],
    losses: Curves | None = None,
) -> Iterator[Step]:
    if method == "uniform":
        return iter(_by_key(grids, lambda name, before, after: -(before + after) / grids[name][0]))
    if method == "global":
        return iter(
            _by_key(grids, lambda name, before, after: float(falling[name][after:before].mean()))
        )
    if method == "threshold":
        loss = {name: _rising(c) for name, c in (losses or {}).items()}
        return iter(_by_key(grids, lambda name, before, after: float(loss[name][after])))
    return greedily()


def _by_key(grids: Mapping[str, list[int]], key: Callable[[str, int, int], float]) -> list[Step]:
    """All steps, by key, then by how far down the group is, then by the groups' order."""
    found = [
        (key(name, before, after), i, g, Step(name, before, after))
        for g, (name, widths) in enumerate(grids.items())
        for i, (before, after) in enumerate(pairwise(widths))
    ]
    return [step for *_, step in sorted(found, key=lambda f: f[:3])]


def _greedy(
    grids: Mapping[str, list[int]],
    curves: Curves,
    price: PriceCurve,
    widths: Mapping[str, int],
    may: May,
    treads: int = 1,
) -> Iterator[Step]:
    """Always the group whose loss rises least per cost saved at ``widths``, which the walk changes.

    Of each group the best of the next ``treads`` places counts: on a staircase one step may save nothing,
    and the next one two steps' worth. Savings only shrink as other groups get narrower, so a price
    computed earlier is too good at worst: the first of the queue is priced anew, and taken if it is still
    the first.
    """
    loss = {name: _rising(c) for name, c in curves.items()}

    def priced(order: int, name: str, place: int) -> tuple[float, int, str, int, int]:
        grid, here = grids[name], price.at(widths)
        best, to = np.inf, place + 1
        for lower in range(place + 1, min(place + 1 + treads, len(grid))):
            if not grid[lower] and not may({**widths, name: 0}):
                continue
            saved = here - price.at({**widths, name: grid[lower]})
            rise = float(loss[name][grid[lower]] - loss[name][grid[place]])
            best, to = min((best, to), (rise / max(saved, 1e-12), lower))
        return best, order, name, place, to

    queue = [priced(i, name, 0) for i, name in enumerate(grids) if len(grids[name]) > 1]
    heapq.heapify(queue)
    while queue:
        _, order, name, place, _ = heapq.heappop(queue)
        again = priced(order, name, place)
        if queue and again > queue[0]:
            heapq.heappush(queue, again)
            continue
        to = again[-1]
        yield Step(name, grids[name][place], grids[name][to])
        if widths[name] == grids[name][to] and to + 1 < len(grids[name]):
            heapq.heappush(queue, priced(order, name, to))


def _walk(
    widths: dict[str, int], steps: Iterator[Step], price: PriceCurve, goal: float, may: May,
    most: bool = False,
) -> None:  # fmt: skip
    """Take steps until the goal is passed; stop on its nearer side, or behind it. ``widths`` in place."""
    here = price.at(widths)
    if here <= goal:
        return
    for step in steps:
        if not step.after and not may({**widths, step.group: 0}):
            continue
        widths[step.group] = step.after
        there = price.at(widths)
        if there <= goal:
            if here - goal < goal - there and not most:
                widths[step.group] = step.before
            return
        here = there


def _settle(
    widths: dict[str, int],
    grids: Mapping[str, list[int]],
    price: PriceCurve,
    goal: float,
    may: May,
    row: Price,
    most: bool = False,
) -> None:
    """Single steps up or down, the best first, while they bring the cost nearer to the goal.

    ``most``: what lies above the goal is no answer, however near.
    """
    open_groups = [name for name, g in grids.items() if len(g) > 1]
    while True:
        best = abs(price.at(widths) - goal)
        if best <= row.near * goal:
            return
        chosen: tuple[str, int] | None = None
        for name in open_groups:
            place = grids[name].index(widths[name])
            for other in range(place - row.treads, place + row.treads + 1):
                if 0 <= other < len(grids[name]) and other != place:
                    then = {**widths, name: grids[name][other]}
                    if not (then[name] and widths[name]) and not may(then):
                        continue
                    there = price.at(then)
                    passed = most and there > goal * (1 + 1e-9)
                    off = np.inf if passed else abs(there - goal)
                    if off < best * (1 - 1e-9):
                        best, chosen = off, (name, grids[name][other])
        if chosen is None:
            return
        widths[chosen[0]] = chosen[1]


# -- what was asked --------------------------------------------------------------------------------


def _grids(graph: Graph, limits: Limits) -> dict[str, list[int]]:
    """The widths that each group may have."""
    multiple, floor = limits.multiple, limits.floor
    if multiple < 1:
        raise EdgepruneError(f"--round-to {multiple}", "must be at least 1", "1 allows all widths")
    if floor is not None and not 0 <= floor <= 1:
        raise EdgepruneError(
            f"--floor {floor:g}", "must lie in 0..1", "it is a share of each layer's channels"
        )

    def least(name: str, width: int) -> int:
        if floor == 0:
            return 0 if can_vanish(graph, [name]) else 1
        return max(1, int(np.ceil((floor or 0) * limits.whole.get(name, width) - 1e-9)))

    return {n: grid(g.width, multiple, least(n, g.width)) for n, g in graph.groups.items()}


def _sets(graph: Graph, limits: Limits, grids: dict[str, list[int]]) -> halves.Sets:
    """Groups that are to be equally wide, on one grid (``grids``, in place); the others alone.

    One that is kept whole, or has a share of its own, gives the others its width; where two have other
    shares, that is what was asked for.
    """
    found = halves.equal(graph) if limits.equal else {name: (name,) for name in graph.groups}
    sets: dict[str, tuple[str, ...]] = {}
    for first, names in found.items():
        common = [w for w in grids[first] if all(w in grids[n] for n in names)]
        sets |= {first: names} if common else {name: (name,) for name in names}
        grids |= dict.fromkeys(names, common) if common else {}
    return sets


def _fixed(
    graph: Graph, limits: Limits, grids: Mapping[str, list[int]]
) -> dict[str, tuple[int, str]]:
    """Widths that globs decide, with the reason."""
    fixed: dict[str, tuple[int, str]] = {}
    for pattern, share in [*limits.shares.items(), *((p, 1.0) for p in limits.keep)]:
        names = [n for n in graph.groups if fnmatchcase(n, pattern)]
        gone = any(fnmatchcase(n, pattern) for n in limits.whole)  # with a branch that vanished
        if not names and not gone:
            raise EdgepruneError(
                f"{pattern!r}", "matches no group", closest(pattern, list(graph.groups))
            )
        if not 0 < share <= 1:
            raise EdgepruneError(
                f"share {share} of {pattern!r}", "must lie above 0 and not above 1"
            )
        for name in names:
            width = graph.groups[name].width
            own = width if share == 1 else nearest([w for w in grids[name] if w], share * width)
            fixed[name] = (
                own,
                f"kept whole ({pattern})" if share == 1 else f"share {share:g} ({pattern})",
            )
    return fixed


def _check_scores(
    graph: Graph, scores: Mapping[str, Tensor], curves: Curves | None, method: str
) -> None:
    if not graph.groups:
        raise EdgepruneError(
            "nothing to prune",
            "the network has no group of channels that can leave",
            "edgeprune inspect says why",
        )
    for name, group in graph.groups.items():
        score = scores.get(name)
        if score is None or score.shape != (group.width,):
            raise EdgepruneError(
                f"scores of {name}",
                f"not one for each of its {group.width} units",
                "a score gives one number a unit",
            )
        if not bool(score.isfinite().all()):
            raise EdgepruneError(f"scores of {name}", "NaN or infinite", "check the weights")
        if method in FOLLOWS:
            curve = (curves or {}).get(name)
            if curve is None or len(curve) != group.width + 1:
                raise EdgepruneError(f"method {method}", f"no loss for every width of {name}")


def _reachable(
    price: PriceCurve,
    grids: Mapping[str, list[int]],
    row: Price,
    target: Target,
    narrowest: Mapping[str, int],
    multiple: int,
) -> None:
    """Refuse a target that the grids do not reach, with the nearest one that they do."""
    goal = target.of(price.dense)
    least = price.at(narrowest) / price.dense
    most = price.at({name: g[0] for name, g in grids.items()}) / price.dense
    if goal < least * (1 - max(row.off, 1e-9)):
        raise EdgepruneError(
            str(target),
            f"at least {_said(least, row, target, price)} stay at these floors and multiples",
            f"ask for {target.at_least(least, price.dense)} or more, or lower --floor or --round-to"
            + (f" (widths are multiples of {multiple})" if multiple > 1 else ""),
        )
    if goal > 1 + max(row.off, 1e-9):
        raise EdgepruneError(
            str(target), f"the dense network has {row.show(price.dense)} of {row.word} as it is",
            "ask for less",
        )  # fmt: skip
    if goal > most * (1 + 1e-9) and most < 1:
        raise EdgepruneError(
            str(target),
            f"the shares given leave {_said(most, row, target, price)}",
            f"ask for {target.typed(most if target.share is not None else most * price.dense)} or less",
        )


def _up(share: float) -> float:
    return float(np.ceil(share * 1000) / 1000)


def _said(share: float, row: Price, target: Target, price: PriceCurve) -> str:
    """A share in words, as the target was given: ``0.25 of the FLOPs``, ``3.2 MiB of weights``."""
    if target.share is not None and not target.form.falls:
        return f"{_up(share)} of the {row.word}"
    return f"{row.show(share * price.dense)} of {row.word}"


def _reason(
    name: str,
    widths: Mapping[str, int],
    grids: Mapping[str, list[int]],
    fixed: Mapping[str, tuple[int, str]],
    method: str,
) -> str:
    if name in fixed:
        return fixed[name][1]
    width, dense = widths[name], grids[name][0]
    if not width:
        return f"{method}: vanishes, its branch is a constant"
    if width == dense:
        return f"{method}: whole"
    at_floor = ", at its floor" if width == grids[name][-1] else ""
    return f"{method}: {100 * width / dense:.0f} % of {dense}{at_floor}"


def _costs(graph: Graph, widths: Mapping[str, int]) -> dict[str, float]:
    """Every count at these widths, whatever the plan was made for."""
    c = cost(graph, widths)
    return {"params": c.params, "flops": c.flops, "macs": c.macs, "bytes": c.bytes}
