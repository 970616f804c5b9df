"""The prices: one row each."""

from __future__ import annotations

from collections.abc import Mapping

from .. import units
from ..errors import EdgepruneError, closest
from ..runtime import Model
from .counts import counted
from .price import Price
from .seconds import milliseconds

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
