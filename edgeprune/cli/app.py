"""Assembles the commands into ``edgeprune``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from ..version import __version__
from . import (
    bench,
    brief,
    compare,
    cost,
    datasets,
    devices,
    doctor,
    errors,
    everywhere,
    export,
    frontier,
    inspect,
    models,
    plot,
    prune,
    report,
    runs,
    schema,
    study,
    train,
    trust,
)

app = typer.Typer(
    name="edgeprune",
    help="Prune a trained CNN's filters, export the smaller dense network, measure what it is worth.\n\n"
    "The main job is three commands that follow each other: [b]prune[/b] (trains first if need be), "
    "[b]export[/b], [b]bench[/b]. Each works on the latest run under runs/ unless you name one.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "The main job": (train.train, frontier.frontier, prune.prune, export.export, bench.bench),
    "Many runs": (study.study,),
    "Looking at things": (
        report.report, plot.plot, doctor.doctor, compare.compare, devices.devices, inspect.inspect,
        cost.cost, models.models, datasets.datasets, runs.runs, trust.trust,
        schema.schema,
    ),
}  # fmt: skip


def flowing(text: str) -> str:
    """A docstring whose paragraphs flow to the width of the terminal; rich keeps line breaks."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


for panel, commands in PANELS.items():
    for command in commands:
        words = flowing(command.__doc__ or "")
        app.command(
            command.__name__,
            help=words,
            rich_help_panel=panel,
            epilog=brief.epilog(command.__name__),
        )(everywhere.added(command))


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", "-V", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script: run the command that was typed; every failure ends in one line."""
    raise SystemExit(errors.run(app))
