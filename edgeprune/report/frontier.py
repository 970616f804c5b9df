"""A frontier as people read it: a table, and answers kept against milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import extras, records, units
from ..errors import EdgepruneError
from ..records import Frontier, Point
from ..runs import Run
from .charts import Axes, Chart
from .tables import ABSENT, Column, Table


def table(name: str, found: Frontier) -> Table:
    """A row a network, the dense one first."""
    rows = [
        {
            "network": p.name,
            "seconds": p.latency.median_s, "speedup": p.speedup,
            "speedup_interval": p.speedup_interval, "kept": p.kept if p.number or p.int8 else None,
            "kept_interval": p.kept_interval, "flops": p.flops, "params": p.params,
            "bytes": p.bytes, "note": _note(p),
        }
        for p in found.points
    ]  # fmt: skip
    answers = "answers kept" if _of_answers(found) else "outputs kept"
    columns = [
        Column("network", align="left"),
        Column("seconds", "latency", units.duration),
        Column("speedup", "speed-up", lambda v: f"{v:.2f}x"),
        Column("speedup_interval", "95 %", _of(lambda v: f"{v:.2f}"), spare=True),
        Column("kept", answers, units.percent),
        Column("kept_interval", "95 %", _of(lambda v: f"{100 * v:.0f}")),
        Column("flops", "FLOPs", units.count),
        Column("params", "parameters", units.count, spare=True),
        Column("bytes", "file", units.size),
        Column("note", " ", align="left", wraps=True, spare=True),
    ]
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    notes = [
        f"kept: of the dense network's, on {found.images:,} images that took no part; no labels, no training"
    ]
    if found.price != "ms":
        probe = "edgeprune doctor --probe" + (
            f" --device {found.device}" if found.device != "cpu" else ""
        )
        notes.append(f"planned by FLOPs; after {probe} it is planned by this device's milliseconds")
    if any(p.int8 for p in found.points):
        notes.append("-int8: the network of that number in 8 bits, beside the dense one in float")
    beaten = [p.name for p in found.points if p.beaten_by is not None]
    if beaten:
        notes.append(
            f"not worth taking (another is no slower and keeps no less): {', '.join(beaten)}"
        )
    return Table(f"{name} on {found.device}, {threads}", columns, rows, notes)


def _of_answers(found: Frontier) -> bool:
    """Whether what is kept is a share of answers, one an image."""
    return all(p.kept_interval for p in found.points if p.number or p.int8)


def _note(point: Point) -> str:
    if point.beaten_by is not None:
        return "beaten by " + replace(point, number=point.beaten_by).name
    return "" if point.verdict in ("baseline", "faster") else point.verdict


def _of(show: Callable[[float], str]) -> Callable[[Any], str]:
    def interval(value: Any) -> str:
        return ABSENT if None in value else f"{show(value[0])} to {show(value[1])}"

    return interval


def write(run: Run, found: Frontier) -> list[Path]:
    """The picture as PNG and SVG, into the run's plots; none where nothing is installed that draws."""
    if not extras.there("plots"):
        return []
    from . import figures, pictures

    return pictures.write(run.path / "plots" / "frontier", figures.frontier(run.name, found), run)


def chart(found: Frontier) -> Chart:
    """For the page: answers kept against milliseconds; the line joins what is worth taking."""
    points = [(1e3 * p.latency.median_s, p) for p in found.points if p.latency.median_s]
    lowest = min([p.kept for _, p in points], default=0.0)
    axes = Axes(
        (0.0, 1.05 * max([ms for ms, _ in points], default=1.0)),
        (max(0.0, min(0.5, lowest - 0.05)), 1.0),
    )
    drawn = Chart(
        "Kept of the dense network's answers" if _of_answers(found) else "Kept of the dense outputs",
        axes.x_ticks(lambda v: f"{v:g}", 6), axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="milliseconds a run",
    )  # fmt: skip
    for bits in series(found):
        worth = sorted((ms, p.kept) for ms, p in points if p in bits and p.beaten_by is None)
        style = "second" if bits[0].int8 else "accent"
        drawn.lines.append(axes.line([ms for ms, _ in worth], [kept for _, kept in worth], style))
    drawn.dots.extend(
        axes.mark(
            ms,
            p.kept,
            f"{p.name}: {units.milliseconds(ms / 1e3)}, {units.percent(p.kept)}",
            "ring" if p.int8 else "dot",
        )
        for ms, p in points
    )
    return drawn


def series(found: Frontier) -> list[list[Point]]:
    """The networks in float, then those in 8 bits, as far as there are any."""
    both = ([p for p in found.points if p.int8 == bits] for bits in (False, True))
    return [points for points in both if points]


def told(run: Run) -> tuple[Frontier | None, list[str]]:
    """A run's frontier, if it has one; and why it is left out, if it cannot be read."""
    try:
        return (frontier_file(run) if run.frontier_path.is_file() else None), []
    except EdgepruneError as e:
        return None, [f"{run.frontier_path.name} left out: {e}"]


def frontier_file(run: Run) -> Frontier:
    return records.read(run.frontier_path, Frontier)
