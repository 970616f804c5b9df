"""Predicted milliseconds on one device: a staircase, since a runtime computes in blocks of channels. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .. import units
from ..graph import Graph, cost
from ..runtime import Model, predict
from .price import Price


class Milliseconds:
    """``at(widths)`` is what the predictor says of the network at these widths, batch 1, 1 thread."""

    def __init__(self, graph: Graph, model: Model) -> None:
        self.graph, self.model = graph, model
        self.known: dict[tuple[int, ...], float] = {}  # a search asks for some widths many times
        self.dense = self.at({})

    def at(self, widths: Mapping[str, int]) -> float:
        asked = tuple(widths.get(name, group.width) for name, group in self.graph.groups.items())
        if asked not in self.known:
            rows = cost(self.graph, dict(zip(self.graph.groups, asked, strict=True))).rows
            self.known[asked] = 1e3 * predict(self.model, rows).seconds
        return self.known[asked]


def milliseconds(model: Model) -> Price:
    """The row of the device that ``model`` was learnt from."""
    return Price(
        "ms",
        "predicted time",
        lambda value: units.milliseconds(value / 1e3),
        lambda graph: Milliseconds(graph, model),
    )
