"""The prices: one row each. The command line makes its options of them, so the engine is imported late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .. import units
from ..errors import EdgepruneError, closest
from ..records import Target
from .price import Curve, Price

if TYPE_CHECKING:
    from ..graph import Graph
    from ..runtime import Model


def counted(name: str, word: str, show: Callable[[float], str]) -> Price:
    """The row of a total of the cost model."""

    def of(graph: Graph) -> Curve:
        from .counts import Counts

        return Counts(graph, name)

    return Price(name, word, show, of)


PRICES: dict[str, Price] = {
    row.name: row
    for row in (
        counted("flops", "FLOPs", units.count),
        counted("params", "parameters", units.count),
        counted("bytes", "weights", units.size),
        counted("macs", "MACs", units.count),
    )
}


def on(device: Model) -> dict[str, Price]:
    """The prices where a device's profile is there: its milliseconds too."""
    from .seconds import milliseconds

    row = milliseconds(device)
    return {**PRICES, row.name: row}


def price_of(name: str, prices: Mapping[str, Price] | None = None) -> Price:
    """The row of that name; an error with the nearest one where there is none."""
    known = PRICES if prices is None else prices
    if name not in known:
        hint = (
            "a time is predicted for a device that edgeprune doctor --probe has measured"
            if name == "ms"
            else ""
        )
        raise EdgepruneError(f"price {name!r}", hint or closest(name, list(known)))
    return known[name]


def goal(target: Target) -> str:
    """``50.0 % of the FLOPs stay``; a price that this version does not know is named as it is."""
    row = PRICES.get(target.price)
    word, show = (row.word, row.show) if row else (target.price, str)
    if target.share is not None:
        return f"{units.percent(target.share)} of the {word} stay"
    return f"{word} of {show(target.value or 0.0)} at most"


def options() -> str:
    """How a target is typed: ``--keep-flops, --keep-params, --keep-bytes or --keep-macs``."""
    *some, last = (row.option for row in PRICES.values())
    return f"{', '.join(some)} or {last}" if some else last
