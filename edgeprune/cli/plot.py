"""``edgeprune plot``: the paper's figures from a run, or from two side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import extras
from ..errors import EdgepruneError, closest
from . import complete, options, output
from .typed import typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..report.results import Results

FIGURES = ("norms", "sensitivity", "filters", "history")


@dataclass(frozen=True)
class Plot:
    """Everything that can be typed after ``edgeprune plot``."""

    run: options.RUN = None
    run_b: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_B]",
            help="A second run, drawn beside the first on the same axes.",
            autocompletion=complete.runs,
        ),
    ] = None
    figure: Annotated[
        str,
        typer.Option(
            "--figure",
            help="norms (figures 1a, 3, 5 of the paper), sensitivity (1b), filters (4, 6), history, or all.",
        ),
    ] = "all"
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for the .png and .svg files; default: plots/ in the run."
        ),
    ] = None
    normalise: Annotated[
        str,
        typer.Option(
            "--normalise",
            help="L1 norms: none (raw), max (by the layer's greatest) or size (by the filter's weights).",
        ),
    ] = "none"
    as_json: options.JSON = False

    def check(self) -> None:
        """Refuse a figure or a normalisation that there is not."""
        from ..report import figures

        for word, value, known in (
            ("--figure", self.figure, (*FIGURES, "all")),
            ("--normalise", self.normalise, figures.NORMALISATIONS),
        ):
            if value not in known:
                raise EdgepruneError(f"{word} {value}", closest(value, known))

    def read(self) -> list[Results]:
        """What the run, or both of them, holds."""
        from .. import report, runs

        names = [self.run] if self.run_b is None else [self.run, self.run_b]
        places = [runs.find(name) for name in names]
        if self.run_b is not None and places[0].path.resolve() == places[1].path.resolve():
            raise EdgepruneError(
                f"{self.run} and {self.run_b}", "the same run twice", "name two, or one alone"
            )
        return [report.read(place) for place in places]

    def stem(self, figure: str, found: list[Results]) -> str:
        """The name of a figure's files."""
        raw = figure != "norms" or self.normalise == "none"
        parts = [figure if raw else f"norms-{self.normalise}"]
        return "-".join(parts + [f.run.name for f in found if len(found) > 1])


@typed
def plot(asked: Plot) -> None:
    """Draw the paper's figures as PNG and SVG, of one run or of two side by side.

    norms: each layer's filters, ranked by L1 norm.
    sensitivity: accuracy against the share of a layer's filters removed.
    filters: the first layer's filters as RGB tiles.
    history: accuracy and size, step by step.
    all: those of them that the runs have the files for.

    Example: [b]edgeprune plot vgg16-cifar10-imagenet vgg16-cifar10-scratch --figure norms[/b]
    """
    extras.check("plots", "plot")
    from ..report import pictures
    from ..report.tables import Column, Table

    asked.check()
    found = asked.read()
    folder = asked.out or found[0].run.path / "plots"
    rows, notes = [], []
    for figure in FIGURES if asked.figure == "all" else (asked.figure,):
        try:
            drawn = draw(figure, found, asked.normalise)
        except EdgepruneError as e:
            if asked.figure != "all":
                raise
            notes.append(f"{figure} not drawn: {e}")
            continue
        paths = pictures.write(folder / asked.stem(figure, found), drawn, found[0].run)
        rows += [{"figure": figure, "path": str(path)} for path in paths]
    if asked.as_json:
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
