"""``edgeprune plot``: the paper's figures from a run, or from two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EdgepruneError, closest
from . import complete, options, output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..report.results import Results

FIGURES = ("norms", "sensitivity", "filters", "history")


def plot(
    run: options.RUN = None,
    run_b: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_B]",
            help="A second run, drawn beside the first on the same axes.",
            autocompletion=complete.runs,
        ),
    ] = None,
    figure: Annotated[
        str,
        typer.Option(
            "--figure",
            help="norms (figures 1a, 3, 5 of the paper), sensitivity (1b), filters (4, 6), history, or all.",
        ),
    ] = "all",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for the .png and .svg files; default: plots/ in the run."
        ),
    ] = None,
    normalise: Annotated[
        str,
        typer.Option(
            "--normalise",
            help="L1 norms: none (raw), max (by the layer's greatest) or size (by the filter's weights).",
        ),
    ] = "none",
    as_json: options.JSON = False,
) -> None:
    """Draw the paper's figures as PNG and SVG, of one run or of two side by side.

    norms: each layer's filters, ranked by L1 norm.
    sensitivity: accuracy against the share of a layer's filters removed.
    filters: the first layer's filters as RGB tiles.
    history: accuracy and size, step by step.
    all: those of them that the runs have the files for.

    Example: [b]edgeprune plot vgg16-cifar10-imagenet vgg16-cifar10-scratch --figure norms[/b]
    """
    from .. import files, report, runs
    from ..report import figures
    from ..report.tables import Column, Table

    if figure not in (*FIGURES, "all"):
        raise EdgepruneError(f"--figure {figure}", closest(figure, [*FIGURES, "all"]))
    if normalise not in figures.NORMALISATIONS:
        raise EdgepruneError(f"--normalise {normalise}", closest(normalise, figures.NORMALISATIONS))
    names = [run] if run_b is None else [run, run_b]
    places = [runs.find(name) for name in names]
    if run_b is not None and places[0].path.resolve() == places[1].path.resolve():
        raise EdgepruneError(f"{run} and {run_b}", "are one run", "name two, or one alone")
    found = [report.read(place) for place in places]
    folder = out or found[0].run.path / "plots"
    rows, notes = [], []
    for wanted in FIGURES if figure == "all" else (figure,):
        try:
            drawn = draw(wanted, found, normalise)
        except EdgepruneError as e:
            if figure != "all":
                raise
            notes.append(f"{wanted} not drawn: {e}")
            continue
        stem = wanted if wanted != "norms" or normalise == "none" else f"norms-{normalise}"
        if len(found) > 1:
            stem += f"-{found[0].run.name}-{found[1].run.name}"
        with found[0].run.lock(runs.TELLING):
            for suffix, data in (("png", figures.png(drawn)), ("svg", figures.svg(drawn))):
                path = folder / f"{stem}.{suffix}"
                files.write_bytes(path, data)
                rows.append({"figure": wanted, "path": str(path)})
    if as_json:
        output.show_json({"files": rows, "notes": notes})
        return
    columns = [Column("figure", align="left"), Column("path", "File", align="left")]
    output.show(Table("Figures", columns, rows, notes))


def draw(figure: str, found: list[Results], normalise: str) -> Figure:
    """One figure of one run, or of two beside each other."""
    from ..report import arrays, figures

    titles = [f.run.name for f in found]
    if len(set(titles)) < len(titles):  # two folders of one name
        titles = [str(f.run.path) for f in found]
    panels = dict(zip(titles, found, strict=True))
    if figure == "norms":
        layers = {title: arrays.norms(f) for title, f in panels.items()}
        return figures.ranked_norms(layers, normalise)
    if figure == "sensitivity":
        return figures.sensitivity({title: arrays.sensitivity(f) for title, f in panels.items()})
    if figure == "filters":
        return figures.first_filters(
            {title: arrays.first_filters(f) for title, f in panels.items()}
        )
    return figures.history({title: arrays.history(f) for title, f in panels.items()})
