"""A study as people read it: one page in Markdown and in HTML, a row a run as CSV, plots."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from .. import files, records, runs, study, units
from ..errors import EdgepruneError
from ..records import Study, StudyRow
from ..study import CLAIMS, PRINTED, Standing, Verdict
from ..study.claims import A, B, lost
from .tables import ABSENT, Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .results import Results

SHOWN = ("norms", "filters", "sensitivity", "history", "widths")


@dataclass(frozen=True)
class Picture:
    title: str
    stem: str
    drawn: Figure

    @property
    def data(self) -> str:
        from . import figures

        return base64.b64encode(figures.png(self.drawn, dpi=110)).decode()


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Told:
    """What was written, and the tables that a terminal shows."""

    table: Table
    claims: Table
    rows: Sequence[StudyRow]
    verdicts: Sequence[Verdict]
    paths: list[Path] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return {
            "runs": [records.plain(row) for row in self.rows],
            "claims": [records.plain(v) | {"said": v.said} for v in self.verdicts],
            "files": [str(path) for path in self.paths],
        }


def write(asked: Study, standing: Standing, folder: Path) -> Told:
    """``README.md``, ``study.html``, ``runs.csv``, ``claims.csv`` and the plots, into ``folder``."""
    rows = study.rows(standing)
    found = verdicts(asked, rows)
    told = Told(runs_table(rows), claims_table(found), rows, found)
    pictures = list(drawings([r for r in rows if r.way not in controls_of(asked)]))
    sections = [*_sections(asked, told, rows), Section("Figures", pictures=pictures)]
    head = headline(asked, standing)
    paths = {
        "README.md": markdown(asked, head, sections), "study.html": html(asked, head, sections),
        "runs.csv": csv_table(rows).csv(), "claims.csv": told.claims.csv(),
    }  # fmt: skip
    for name, text in paths.items():
        files.write_text(folder / name, text)
        told.paths.append(folder / name)
    for picture in pictures:
        from . import figures

        files.write_bytes(folder / f"{picture.stem}.png", figures.png(picture.drawn, dpi=130))
        files.write_bytes(folder / f"{picture.stem}.svg", figures.svg(picture.drawn))
    return told


def verdicts(asked: Study, rows: Sequence[StudyRow]) -> list[Verdict]:
    """Of every way that prunes by itself; those that apply another's plan are its controls."""
    controls = controls_of(asked)
    return [
        v for way in asked.ways if way not in controls
        for v in study.verdicts(rows, way, controls)
    ]  # fmt: skip


def controls_of(asked: Study) -> dict[str, str]:
    """The ways that apply another's plan, and whose."""
    return {way: str(told.words["of"]) for way, told in asked.ways.items() if told.words.get("of")}


def headline(asked: Study, standing: Standing) -> str:
    left = len(standing.jobs) - len(standing.done)
    state = f"{left} of {len(standing.jobs)} jobs are not done" if left else "all jobs are done"
    return f"{asked.name}: {state}"


def _sections(asked: Study, told: Told, rows: Sequence[StudyRow]) -> Iterator[Section]:
    yield Section("Scale", scale(asked, rows))
    yield Section("The paper's claims", table=told.claims)
    beside = printed_table(rows)
    if beside.rows:
        yield Section("The paper's table beside ours", table=beside)
    if left_out := not_compared(rows):
        yield Section("Not compared", left_out)
    yield Section("Runs", table=told.table)


def scale(asked: Study, rows: Sequence[StudyRow]) -> list[str]:
    """What every figure here rests on."""
    trained = [r for r in rows if r.way is None and r.epochs is not None]
    said = [
        f"{len(asked.seeds)} seed{'s' * (len(asked.seeds) > 1)}: {', '.join(map(str, asked.seeds))}."
    ]
    for model, data, start in dict.fromkeys((r.model, r.data, r.start) for r in trained):
        some = [r for r in trained if (r.model, r.data, r.start) == (model, data, start)]
        images = some[0].train_images
        epochs = sorted({r.epochs for r in some if r.epochs is not None})
        said.append(
            f"{model} on {data}, {start} ({_first(asked, model, start)}): "
            f"{f'{images:,}' if images else 'all'} training images, {some[0].validation_images:,} judge the "
            f"epochs and the steps, {some[0].test_images:,} the networks; "
            f"{' or '.join(map(str, epochs))} epochs; {len(some)} of {len(asked.seeds)} seeds trained."
        )
    said.append(
        "A baseline counts as trained when another quarter of its epochs would, with 95 %, bring less than "
        f"{asked.flat.points:g} points of validation accuracy, by the line through its last "
        f"{units.percent(asked.flat.last, 0)} of epochs; else its runs are not compared."
    )
    return said


def _first(asked: Study, model: str, start: str) -> str:
    first = asked.models[model].inits[start]
    said = f"the weights that {first.of} came to" if first.of else first.init
    return said + (", in part" if first.partial else "")


def not_compared(rows: Sequence[StudyRow]) -> list[str]:
    said = []
    for row in rows:
        if row.state == "still rising" and row.way is None:
            said.append(
                f"{row.job}: still rising, {_points(row.rise)} points in as many epochs as its last quarter "
                f"(up to {_points(row.rise_high)})"
            )
        elif row.state in ("failed", "at chance") or (row.state == "waits" and row.why):
            said.append(f"{row.job}: {row.state}{f' ({row.why})' if row.why else ''}")
    return said


def _points(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+.1f}"


def claims_table(found: Sequence[Verdict]) -> Table:
    """A claim on a network and set a row, with its answer."""
    rows = [
        {
            "claim": v.said, "where": v.where, "answer": v.answer, "what": CLAIMS[v.claim].figure,
            "figure": v.figure, "low": v.low, "high": v.high, "interval": _interval(v), "bound": v.bound,
            "seeds": v.seeds, "source": CLAIMS[v.claim].source,
        }
        for v in found
    ]  # fmt: skip
    columns = [
        Column("claim", align="left", wraps=True), Column("where", "on", align="left", wraps=True),
        Column("answer", align="left", wraps=True), Column("figure", "figure", lambda v: f"{v:+.1f}"),
        Column("interval", "95 % over seeds"), Column("seeds", "seeds"),
        Column("what", "of what", align="left", wraps=True, spare=True),
        Column("source", align="left", wraps=True, spare=True),
        Column("low", hidden=True), Column("high", hidden=True), Column("bound", hidden=True),
    ]  # fmt: skip
    notes = [
        "yes: the whole interval lies above the bound (0 where none is named); no: below it; "
        "not decided: it holds the bound, or there are fewer than two seeds"
    ]
    return Table("Claims", columns, rows, notes)


def _interval(v: Verdict) -> str | None:
    return None if v.low is None or v.high is None else f"{v.low:+.1f} to {v.high:+.1f}"


def runs_table(rows: Sequence[StudyRow]) -> Table:
    """A run a row, as people read it."""
    columns = [
        Column("job", "run", align="left"), Column("state", align="left"),
        Column("test", "test"), Column("validation", "validation"),
        Column("params", "parameters"), Column("flops", "FLOPs"),
        Column("halves", "filters left, early / late"),
        Column("steps", "steps"), Column("ms", "ms dense / pruned"), Column("rise", "rise, points"),
        Column("stopped", align="left", wraps=True, spare=True),
    ]  # fmt: skip
    notes = [
        "test and validation accuracy; of pruned runs dense → pruned; parameters and FLOPs: what is left, "
        "in the paper's convention; late: the second half of the layers"
    ]
    return Table("Runs", columns, [_said(row) for row in rows], notes)


def _said(row: StudyRow) -> dict[str, Any]:
    def change(dense: float | None, pruned: float | None) -> str | None:
        if dense is None:
            return None
        if row.way is None:
            return units.percent(dense)
        return None if pruned is None else f"{units.percent(dense)} → {units.percent(pruned)}"

    known = row.params is not None
    return {
        "job": row.job, "state": row.state, "test": change(row.dense_test, row.test),
        "validation": change(row.dense_validation, row.validation),
        "params": f"{100 - lost(row, 'params'):.1f} %" if known else None,
        "flops": f"{100 - lost(row, 'flops'):.1f} %" if known else None,
        "halves": "{:.0f} / {:.0f} %".format(*(100 - h for h in study.halves(row))) if known else None,
        "steps": row.steps, "rise": _points(row.rise) if row.way is None else None,
        "ms": _times(row), "stopped": row.stopped,
    }  # fmt: skip


def _times(row: StudyRow) -> str | None:
    if row.ms is None or row.dense_ms is None:
        return None
    return f"{row.dense_ms:.3g} / {row.ms:.3g}{' contended' if row.contended else ''}"


def csv_table(rows: Sequence[StudyRow]) -> Table:
    """A run a row with every value: widths as ``group=width`` words."""
    names = [f.name for f in fields(StudyRow)]

    def value(row: StudyRow, name: str) -> Any:
        given = getattr(row, name)
        return (
            " ".join(f"{k}={v}" for k, v in given.items()) if isinstance(given, Mapping) else given
        )

    return Table("", [Column(n) for n in names], [{n: value(r, n) for n in names} for r in rows])


def printed_table(rows: Sequence[StudyRow]) -> Table:
    """What the paper printed of a network, set and start, and what became of ours (mean over seeds)."""
    made = []
    for line in PRINTED:
        own = [
            r
            for r in rows
            if (r.model, r.data, r.start) == (line.model, line.data, line.start)
            and r.params
            and r.counts
        ]
        for way in dict.fromkeys(r.way for r in own):
            some = [r for r in own if r.way == way]
            params, flops = line.lost
            made.append({
                "network": f"{line.model}, {line.data}, {line.start}", "way": way,
                "paper_params": params, "params": mean(lost(r, "params") for r in some),
                "paper_flops": flops, "flops": mean(lost(r, "flops") for r in some), "seeds": len(some),
            })  # fmt: skip
    percent: Callable[[float], str] = "{:.1f} %".format
    columns = [
        Column("network", align="left"), Column("way", align="left"),
        Column("paper_params", "parameters gone, paper", percent), Column("params", "ours", percent),
        Column("paper_flops", "FLOPs gone, paper", percent), Column("flops", "ours", percent),
        Column("seeds"),
    ]  # fmt: skip
    return Table("The paper beside ours", columns, made)


# -- plots -----------------------------------------------------------------------------------------


def drawings(rows: Sequence[StudyRow]) -> Iterator[Picture]:
    """Figures 1, 3 to 6 of the paper from the first seed's runs, A beside B; the widths over all seeds."""
    from . import arrays, figures
    from .results import read

    pruned = [r for r in rows if r.params is not None]
    for model, data, way in dict.fromkeys((r.model, r.data, r.way) for r in pruned):
        here = [r for r in pruned if (r.model, r.data, r.way) == (model, data, way)]
        place = f"{model} on {data}, {way}"
        stem = f"{model}-{data}-{way}".replace("/", "-")
        yield Picture(f"{place}: filters left, late against early", f"{stem}-widths",
                      figures.kept_widths({place: _kept(here)}))  # fmt: skip
        first = [r for r in here if r.seed == here[0].seed]
        found = {f"{r.start}, seed {r.seed}": read(runs.named(r.job)) for r in first}
        yield from _of_runs(place, stem, found, arrays, figures)


def _of_runs(
    place: str, stem: str, found: Mapping[str, Results], arrays: Any, figures: Any
) -> Iterator[Picture]:
    """The figures that the runs have the files for; a way's own are those of its steps."""
    kinds: dict[str, tuple[Callable[[Results], Any], Callable[[Any], Figure], str]] = {
        "norms": (arrays.norms, figures.ranked_norms, "ranked L1 norms (figures 1a, 3, 5)"),
        "filters": (arrays.first_filters, figures.first_filters, "first filters (figures 4, 6)"),
        "sensitivity": (arrays.sensitivity, figures.sensitivity, "sensitivity (figure 1b)"),
        "history": (arrays.history, figures.history, "step by step"),
    }
    for name, (values, draw, title) in kinds.items():
        try:
            panels = {label: values(one) for label, one in found.items()}
        except EdgepruneError:  # pruned in another way: it has none
            continue
        yield Picture(f"{place}: {title}", f"{stem}-{name}", draw(panels))


def _kept(rows: Sequence[StudyRow]) -> list[Any]:
    from . import figures

    lines = []
    for start in sorted({r.start for r in rows}, key=lambda s: (s not in (A, B), s)):
        some = [r for r in rows if r.start == start]
        layers = list(some[0].dense_widths)
        shares = [[r.widths[n] / r.dense_widths[n] for r in some] for n in layers]
        label = f"{start}, {len(some)} seed{'s' * (len(some) > 1)}"
        lines.append(
            figures.Kept(label, layers, [mean(s) for s in shares], [min(s) for s in shares],
                         [max(s) for s in shares])
        )  # fmt: skip
    return lines


# -- pages -----------------------------------------------------------------------------------------


def markdown(asked: Study, head: str, sections: Sequence[Section]) -> str:
    """The whole study as one page."""
    parts = [f"# {head}", "Made by `edgeprune study`; do not edit."]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.lines:
            parts.append("\n".join(f"- {line}" for line in section.lines))
        if section.table is not None:
            parts.append(section.table.markdown())
        parts += [f"![{p.title}]({p.stem}.png)" for p in section.pictures]
    return "\n\n".join(parts) + "\n"


def html(asked: Study, head: str, sections: Sequence[Section]) -> str:
    """The same as one file without links, pictures inside."""
    from .page import template

    page: str = template("study.html").render(name=asked.name, headline=head, sections=sections)
    return page
