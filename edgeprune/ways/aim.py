"""What a way's target is counted in: the table of prices, a device's milliseconds among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .. import prices
from ..errors import EdgepruneError
from ..graph import Graph
from ..prices import Price, Target
from ..prices.visits import corrected
from ..prune import Plan
from ..records import Place, Visit
from ..runtime.device import kept

Rows = Mapping[str, Price]
PlanAt = Callable[
    [float | None, Rows], Plan
]  # how much of the dense network's price is to stay (None:
# what the way's settings say), and the table that it is counted in
Settle = Callable[[PlanAt], Plan]


def at_once(plan_at: PlanAt) -> Plan:
    """By the counts, which need no device."""
    return plan_at(None, prices.PRICES)


def rows(target: Target | None, visits: Sequence[Visit] = ()) -> Rows:
    """The prices among which ``target``'s is, corrected by what ``visits`` to the device brought.

    A device of which nothing is known is refused.
    """
    if target is None or target.place is None:
        return prices.PRICES
    place = target.place
    known = kept(place.device, place.threads)
    if known is None:
        words = "" if place.device == "cpu" else f" --device {place.device}"
        words += "" if place.threads == 1 else f" --threads {place.threads}"
        raise EdgepruneError(
            str(target), f"nothing predicts times on {place} yet",
            f"edgeprune doctor --probe{words} measures what it takes, once",
        )  # fmt: skip
    table = prices.on(known.model, known.error.worst)
    return {**table, "ms": corrected(table["ms"], visits)}


def counted_in(place: Place | None) -> tuple[Target, Rows]:
    """What a way without a target goes by: the milliseconds of ``place`` where they are predicted, else
    FLOPs; all of it is the target."""
    if place is None or kept(place.device, place.threads) is None:
        return Target("flops", 1.0), prices.PRICES
    goal = Target("ms", 1.0, place=place)
    return goal, rows(goal)


def share_of(target: Target | None, graph: Graph, table: Rows) -> dict[str, float]:
    """``{"flops": 0.5}``: how much of which price of the dense network stays; {} without a target."""
    if target is None:
        return {}
    if target.share is not None:
        return {target.price: target.share}
    return {target.price: min(1.0, target.of(prices.price_of(target.price, table).of(graph).dense))}
