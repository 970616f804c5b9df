"""Assembles the commands into ``edgeprune``."""

from __future__ import annotations

import typer

from .. import __version__
from . import (
    bench,
    compare,
    cost,
    datasets,
    devices,
    doctor,
    errors,
    export,
    inspect,
    models,
    plot,
    prune,
    report,
    runs,
    train,
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

MAIN, LOOK = "The main job", "Looking at things"
app.command("train", rich_help_panel=MAIN)(train.train)
app.command("prune", rich_help_panel=MAIN)(prune.prune)
app.command("export", rich_help_panel=MAIN)(export.export)
app.command("bench", rich_help_panel=MAIN)(bench.bench)
app.command("report", rich_help_panel=LOOK)(report.report)
app.command("plot", rich_help_panel=LOOK)(plot.plot)
app.command("doctor", rich_help_panel=LOOK)(doctor.doctor)
app.command("compare", rich_help_panel=LOOK)(compare.compare)
app.command("devices", rich_help_panel=LOOK)(devices.devices)
app.command("inspect", rich_help_panel=LOOK)(inspect.inspect)
app.command("cost", rich_help_panel=LOOK)(cost.cost)
app.command("models", rich_help_panel=LOOK)(models.models)
app.command("datasets", rich_help_panel=LOOK)(datasets.datasets)
app.command("runs", rich_help_panel=LOOK)(runs.runs)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script: run the command that was typed; every failure ends in one line."""
    raise SystemExit(errors.run(app))
