"""What doctor found, as tables: the ledger, what each layer runs as, the findings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import units
from ..doctor import Case, Finding
from ..doctor.ledger import Entry, Ledger
from ..runtime import Layer
from .tables import Cell, Column, Table

TITLE = "Promised and measured"
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


def table(ledger: Ledger) -> Table:
    """One row a layer, eight columns a network; the networks' totals in the last row."""
    several = len(ledger.networks) > 1
    columns = [Column("layer", align="left")]
    for i, name in enumerate(ledger.networks):
        title = f"{name} " if several else ""
        columns += [Column(f"{key}_{i}", title + said, show) for key, said, show in QUANTITIES]
    note = (
        "Parameters and FLOPs in the paper's convention, on the networks as trained."
        if ledger.as_trained
        else "Counted in the .onnx files: FLOPs = 2 x MACs."
    )
    rows = [
        _joined(name, [entries.get(name) for entries in ledger.layers]) for name in ledger.names
    ]
    return Table(TITLE, columns, rows, [note], _joined("total", ledger.totals))


def totals(ledger: Ledger) -> Table:
    """The totals as a table of their own: quantities downwards, networks across."""
    rows = []
    for key, said, show in QUANTITIES[1:]:
        given = [getattr(entry, key) for entry in ledger.totals]
        row: dict[str, Any] = {"quantity": said}
        row |= {f"network_{i}": None if v is None else show(v) for i, v in enumerate(given)}
        if len(given) > 1 and given[0] and given[-1]:
            row["times"] = f"{given[0] / given[-1]:.2f}x"
        rows.append(row)
    columns = [Column("quantity", " ", align="left")]
    columns += [Column(f"network_{i}", name, str) for i, name in enumerate(ledger.networks)]
    columns += [Column("times", "less", str)] if len(ledger.networks) > 1 else []
    return Table(TITLE, columns, rows, notes=table(ledger).notes)


def _joined(name: str, entries: Sequence[Entry | None]) -> dict[str, Any]:
    """A row: the entry of each network beside the others; None where a network lacks the layer."""
    row: dict[str, Any] = {"layer": name}
    for i, entry in enumerate(entries):
        row |= {f"{key}_{i}": entry and getattr(entry, key) for key, *_ in QUANTITIES}
    return row


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
