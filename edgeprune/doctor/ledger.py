"""Promised against measured, layer by layer and in total, networks side by side. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import units
from ..graph import Row
from ..report.tables import Cell, Column, Table
from .findings import Case, Finding
from .layers import Layer
from .predictor import Prediction

Rows = Mapping[str, Row]  # of `edgeprune.graph.cost`, by layer: the network as trained
QUANTITIES = (  # key, what people read, how; the first five are promised, the last is measured
    ("width", "width", str),
    ("params", "parameters", units.count),
    ("flops", "FLOPs", units.count),
    ("macs", "MACs", units.count),
    ("bytes", "weights", units.size),
    ("roofline", "roofline", units.milliseconds),
    ("predicted", "predicted", units.milliseconds),
    ("measured", "measured", units.milliseconds),
)


def ledger(
    cases: Sequence[Case],
    predictions: Sequence[Prediction | None],
    counted: Sequence[Rows | None],
) -> Table:
    """One row a layer, eight columns a network. The first network gives the layers and their order.

    ``counted`` holds the paper's counts where the network is known as it was trained; without them
    parameters are the weights in the file, and FLOPs twice the MACs.
    """
    several = len(cases) > 1
    columns = [Column("layer", align="left")]
    values = []
    for i, (case, prediction, rows) in enumerate(zip(cases, predictions, counted, strict=True)):
        title = f"{case.network.name} " if several else ""
        columns += [Column(f"{key}_{i}", title + said, show) for key, said, show in QUANTITIES]
        values.append(_values(case, prediction, rows))
    names = list(dict.fromkeys(name for v in values for name in v))
    return Table(
        "Promised and measured",
        columns,
        [_joined(name, [v.get(name, {}) for v in values]) for name in names],
        notes=_notes(counted),
        total=_joined(
            "total", [_total(*args) for args in zip(cases, predictions, counted, strict=True)]
        ),
    )


def totals(table: Table, cases: Sequence[Case]) -> Table:
    """The ledger's last line as a table of its own: quantities downwards, networks across."""
    total = table.total or {}
    rows = []
    for key, said, show in QUANTITIES[1:]:
        given = [total.get(f"{key}_{i}") for i in range(len(cases))]
        row: dict[str, Any] = {"quantity": said}
        row |= {f"network_{i}": None if v is None else show(v) for i, v in enumerate(given)}
        if len(given) > 1 and given[0] and given[-1]:
            row["times"] = f"{given[0] / given[-1]:.2f}x"
        rows.append(row)
    columns = [Column("quantity", " ", align="left")]
    columns += [Column(f"network_{i}", c.network.name, str) for i, c in enumerate(cases)]
    columns += [Column("times", "less", str)] if len(cases) > 1 else []
    return Table("Promised and measured", columns, rows, notes=table.notes)


def _values(
    case: Case, prediction: Prediction | None, rows: Rows | None
) -> dict[str, dict[str, Any]]:
    predicted = prediction.layers if prediction else [None] * len(case.network.layers)
    found = {}
    counted = [x for x in case.network.layers if x.kind != "grouped"]
    said = dict(zip([x.name for x in counted], predicted, strict=False))
    for layer in case.network.layers:
        found[layer.name] = {
            "width": layer.width_out,
            **_count(layer, rows),
            "macs": layer.macs,
            "bytes": layer.weight_bytes,
            "roofline": case.bounds[layer.name].attainable,
            "predicted": said.get(layer.name),
            "measured": layer.seconds + layer.moving,
        }
    return found


def _count(layer: Layer, rows: Rows | None) -> dict[str, int]:
    row = rows.get(layer.name) if rows else None
    if row is not None:
        return {"params": row.params, "flops": row.flops}
    item = 1 if layer.layout == "int8" else 4
    return {"params": layer.weight_bytes // item, "flops": 2 * layer.macs}


def _total(case: Case, prediction: Prediction | None, rows: Rows | None) -> dict[str, Any]:
    network = case.network
    return {
        "params": sum(r.params for r in rows.values()) if rows else network.params,
        "flops": sum(r.flops for r in rows.values()) if rows else 2 * network.macs,
        "macs": network.macs,
        "bytes": network.weight_bytes,
        "roofline": math.fsum(b.attainable for b in case.bounds.values()),
        "predicted": prediction.seconds if prediction else None,
        "measured": network.seconds,
    }


def _joined(name: str, each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": name}
    for i, values in enumerate(each):
        row |= {f"{key}_{i}": value for key, value in values.items()}
    return row


def _notes(counted: Sequence[Rows | None]) -> tuple[str, ...]:
    if all(rows is not None for rows in counted):
        return ("Parameters and FLOPs in the paper's convention, on the networks as trained.",)
    return ("Counted in the .onnx files: FLOPs = 2 x MACs.",)


def layers(case: Case) -> Table:
    """What each layer is, runs as, takes, and is held back by. JSON and CSV have it in more detail."""
    rows = [
        {
            "layer": x.name, "kind": x.kind, "in": x.width_in, "out": x.width_out,
            "channels": f"{x.width_in} → {x.width_out}" if x.width_in != x.width_out else x.width_out,
            "runs": x.operator, "layout": Cell(x.layout, _layout(x)), "padding": x.padding,
            "moves": x.moves, "fused": list(x.fused), "seconds": x.seconds, "moving": x.moving,
            "speed": x.flops_per_second, "share": case.bounds[x.name].share,
            "bound": Cell(case.bounds[x.name].by, _bound(case, x)),
        }
        for x in case.network.layers
    ]  # fmt: skip
    rows += [
        {"layer": f"+ {o.operator}", "after": o.after, "runs": o.operator, "seconds": o.seconds}
        for o in case.network.others
        if o.seconds > 0.02 * case.network.seconds
    ]
    columns = [
        Column("layer", align="left"), Column("kind", hidden=True), Column("in", hidden=True),
        Column("out", hidden=True), Column("channels"), Column("runs", hidden=True),
        Column("layout", align="left"), Column("fused", hidden=True),
        Column("padding", "zeros", lambda v: units.percent(v, 0) if v else "–"),
        Column("moves", hidden=True), Column("moving", hidden=True), Column("after", hidden=True),
        Column("seconds", "ms", lambda v: f"{1e3 * v:.3f}"),
        Column("speed", "GFLOP/s", lambda v: f"{v / 1e9:.0f}"), Column("share", hidden=True),
        Column("bound", "bound by", align="left"),
    ]  # fmt: skip
    peaks = case.peaks
    note = (
        f"Measured here, 1 thread: peak {peaks.flops / 1e9:.0f} GFLOP/s"
        + (f" ({peaks.int8 / 1e9:.0f} in int8)" if peaks.int8 else "")
        + f", weights {_range(peaks.weights)}, maps {_range(peaks.maps)}."
    )
    words = "A share after the bound: of what is attainable. +n: reorders or transposes before it."
    total = {"layer": "whole run", "seconds": case.network.seconds}
    return Table(f"{case.network.name}: where the time goes", columns, rows, [note, words], total)


LAYOUTS = {"blocked": "NCHWc", "plain": "NCHW", "int8": "int8"}


def _layout(x: Layer) -> str:
    return LAYOUTS.get(x.layout, x.layout) + (f" +{x.moves}" if x.moves else "")


def _bound(case: Case, x: Layer) -> str:
    bound = case.bounds[x.name]
    return f"{bound.by} {units.percent(bound.share, 0)}"


def _range(curve: Sequence[Sequence[float]]) -> str:
    speeds = [point[1] / 1e9 for point in curve]
    return f"{min(speeds):.0f} to {max(speeds):.0f} GB/s"


def told(findings: Sequence[Finding]) -> Table:
    """Findings as people read them: three lines each."""
    rows = []
    for f in findings:
        cost = Cell(f.seconds, units.duration(f.seconds) if f.seconds else "–")
        rows.append({"seconds": cost, "part": "seen", "text": f.seen})
        rows.append({"seconds": Cell(None, ""), "part": "likely cause", "text": f.cause})
        rows.append({"seconds": Cell(None, ""), "part": "do next", "text": f.next})
    columns = [
        Column("seconds", "costs"),
        Column("part", " ", align="left"),
        Column("text", "finding", align="left", wraps=True),
    ]
    return Table("Findings", columns, rows)
