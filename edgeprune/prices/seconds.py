"""Predicted milliseconds on one device: a staircase, since a runtime computes in blocks of channels. Pure.

A search asks for the times of thousands of widths. Every length in a network is affine in the widths of its
groups, so that the layers at any widths follow from one counting of each group one unit narrower; where
groups vanish, layers leave with them, and the cost model itself is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .. import units
from ..graph import Cost, Graph, cost
from ..graph.cost import Row
from ..runtime import Model, predict
from ..runtime.predictor import COUNTED
from .price import Price

TREADS = (
    4  # places of a grid that a search looks down, since one step may save nothing (assumption)
)
NEAR = 0.004  # share of the goal that no prediction tells apart (assumption)


class Milliseconds:
    """``at(widths)`` is what the predictor says of the network at these widths, batch 1."""

    def __init__(self, graph: Graph, model: Model) -> None:
        self.graph, self.model = graph, model
        self.layers = _Layers(graph)
        self.known: dict[tuple[int, ...], float] = {}  # a search asks for some widths many times
        self.dense = self.at({})

    def at(self, widths: Mapping[str, int]) -> float:
        asked = tuple(widths.get(name, group.width) for name, group in self.graph.groups.items())
        if asked not in self.known:
            self.known[asked] = 1e3 * predict(self.model, self.layers.at(asked)).seconds
        return self.known[asked]


class _Layers:
    """The rows that cost time, at any widths of the groups (in their order)."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.full = np.array([group.width for group in graph.groups.values()])
        self.rows = _counted(cost(graph))
        self.lengths = np.array([_lengths(row) for row in self.rows]).reshape(len(self.rows), -1)
        self.less = np.zeros((len(self.full), *self.lengths.shape), int)  # a unit of each group
        for i, (name, group) in enumerate(graph.groups.items()):
            if group.width > 1:
                narrower = _counted(cost(graph, {name: group.width - 1}))
                self.less[i] = self.lengths - [_lengths(row) for row in narrower]
        self.made: dict[tuple[int, ...], Row] = {}

    def at(self, widths: Sequence[int]) -> list[Row]:
        if 0 in widths:
            return _counted(cost(self.graph, dict(zip(self.graph.groups, widths, strict=True))))
        now = self.lengths - np.tensordot(self.full - widths, self.less, 1)
        return [self._row(i, tuple(lengths)) for i, lengths in enumerate(now.tolist())]

    def _row(self, number: int, lengths: tuple[int, ...]) -> Row:
        key = (number, *lengths)
        if key not in self.made:
            wide_in, wide_out, groups, *shape = lengths
            whole = self.rows[number]
            self.made[key] = replace(
                whole, width_in=wide_in, width_out=wide_out, groups=groups,
                out_shape=tuple(shape[: len(whole.out_shape)]),
            )  # fmt: skip
        return self.made[key]


AXES = 8  # of an output, without N, at most


def _lengths(row: Row) -> list[int]:
    beyond = AXES - len(row.out_shape)
    return [row.width_in, row.width_out, row.groups, *row.out_shape, *(0 for _ in range(beyond))]


def _counted(found: Cost) -> list[Row]:
    return [row for row in found.rows if row.kind in COUNTED]


def milliseconds(model: Model, off: float = 0.0) -> Price:
    """The row of the device that ``model`` was learnt from, ``off`` by this share at worst."""
    return Price(
        "ms",
        "predicted time",
        lambda value: units.milliseconds(value / 1e3),
        lambda graph: Milliseconds(graph, model),
        treads=TREADS,
        near=NEAR,
        off=off,
    )
