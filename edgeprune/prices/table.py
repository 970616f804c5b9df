"""The prices: one row each. The command line makes its options of them, so the engine is imported late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .. import units
from ..errors import EdgepruneError, closest
from ..records import FORMS, Target
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


def on(device: Model, off: float = 0.0) -> dict[str, Price]:
    """The prices where a device's profile is there: its milliseconds too, ``off`` by so much at worst."""
    from .seconds import milliseconds

    row = milliseconds(device, off)
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
    """``50.0 % of the FLOPs stay``, ``12 ms a run at most on cpu, 1 thread``; a price that this version
    does not know is named as it is."""
    row = PRICES.get(target.price)
    if target.share is not None and target.price != "ms":
        return f"{units.percent(target.share)} of the {row.word if row else target.price} stay"
    said = target.form.said(target.share or target.value or 0.0)
    return said + (f" on {target.place}" if target.place else "")


def options() -> str:
    """How a target is typed: ``--keep-flops, --keep-params, …, --target-ms, --speedup or --target-mb``."""
    *some, last = [*(p.option for p in PRICES.values()), *(f.option for f in FORMS.values())]
    return f"{', '.join(some)} or {last}" if some else last
