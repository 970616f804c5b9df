"""Promised against measured, layer by layer and in total, networks side by side: values. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..graph import Row
from ..runtime import Layer, Prediction
from .findings import Case

Rows = Mapping[str, Row]  # of `edgeprune.graph.cost`, by layer: the network as trained


@dataclass(frozen=True)
class Entry:
    """What was promised of a layer, or of a whole network, and what it took. None: not known."""

    width: int | None  # channels; None for a whole network
    params: int
    flops: int
    macs: int
    bytes: int  # of weights
    roofline: float  # s, the least by the roofline
    predicted: float | None  # s
    measured: float  # s


@dataclass(frozen=True)
class Ledger:
    """The entries of each network, by layer in its order, and its totals."""

    networks: tuple[str, ...]
    layers: tuple[Mapping[str, Entry], ...]
    totals: tuple[Entry, ...]
    as_trained: (
        bool  # counted in the paper's convention on the networks as trained, else in the files
    )

    @property
    def names(self) -> list[str]:
        """All layers: the first network gives the order."""
        return list(dict.fromkeys(name for entries in self.layers for name in entries))


def ledger(
    cases: Sequence[Case],
    predictions: Sequence[Prediction | None],
    counted: Sequence[Rows | None],
) -> Ledger:
    """``counted`` holds the paper's counts where the network is known as it was trained.

    Without them parameters are the weights in the file, and FLOPs twice the MACs.
    """
    each = list(zip(cases, predictions, counted, strict=True))
    return Ledger(
        networks=tuple(case.network.name for case in cases),
        layers=tuple(_layers(*one) for one in each),
        totals=tuple(_total(*one) for one in each),
        as_trained=all(rows is not None for rows in counted),
    )


def _layers(case: Case, prediction: Prediction | None, rows: Rows | None) -> dict[str, Entry]:
    layers = case.network.layers
    said = prediction.layers if prediction else (None,) * len(layers)
    found = {}
    for layer, predicted in zip(layers, said, strict=True):
        params, flops = _count(layer, rows)
        found[layer.name] = Entry(
            width=layer.width_out,
            params=params,
            flops=flops,
            macs=layer.macs,
            bytes=layer.weight_bytes,
            roofline=case.bounds[layer.name].attainable,
            predicted=predicted,
            measured=layer.seconds + layer.moving,
        )
    return found


def _count(layer: Layer, rows: Rows | None) -> tuple[int, int]:
    """Parameters and FLOPs."""
    row = rows.get(layer.name) if rows else None
    if row is not None:
        return row.params, row.flops
    return layer.weight_bytes // (1 if layer.layout == "int8" else 4), 2 * layer.macs


def _total(case: Case, prediction: Prediction | None, rows: Rows | None) -> Entry:
    network = case.network
    return Entry(
        width=None,
        params=sum(r.params for r in rows.values()) if rows else network.params,
        flops=sum(r.flops for r in rows.values()) if rows else 2 * network.macs,
        macs=network.macs,
        bytes=network.weight_bytes,
        roofline=math.fsum(b.attainable for b in case.bounds.values()),
        predicted=prediction.seconds if prediction else None,
        measured=network.seconds,
    )
