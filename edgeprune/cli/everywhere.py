"""The options that every command has: how much is told, and a file that says the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from . import output

PANEL = "Every command"
QUIET = typer.Option("--quiet", "-q", help="Only the result and errors.", rich_help_panel=PANEL)
VERBOSE = typer.Option(
    "--verbose",
    help="Seconds beside each note, and where an error came from.",
    rich_help_panel=PANEL,
)
CONFIG = typer.Option(
    "--config", metavar="FILE", rich_help_panel=PANEL,
    help="Options from a .toml file or a run's recipe.json; what is typed wins.",
)  # fmt: skip
LOG = typer.Option(
    "--log", metavar="NAME", rich_help_panel=PANEL,
    help="Who hears of the run's history too: tensorboard, mlflow.",
)  # fmt: skip
HINTS: dict[str, Any] = {
    "quiet": Annotated[bool, QUIET],
    "verbose": Annotated[bool, VERBOSE],
    "config": Annotated[Path | None, CONFIG],  # `given` has read it when Typer looks
    "log": Annotated[str | None, LOG],
}


def heard(names: str | None) -> AbstractContextManager[None]:
    """Those of --log hear what the command writes into a run's history."""
    if not names:
        return nullcontext()
    from .. import loggers

    return loggers.listening(*loggers.named(names))


def added(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with these options behind its own."""

    @wraps(command)
    def called(
        quiet: bool, verbose: bool, config: Path | None, log: str | None, **words: Any
    ) -> None:
        output.loudness(quiet, verbose)
        with heard(log):
            command(**words)

    hints = get_type_hints(command, include_extras=True)
    own = [
        p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command).parameters.values()
    ]
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=hint,
            default=None if name in ("config", "log") else False,
        )
        for name, hint in HINTS.items()
    ]  # fmt: skip
    called.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in (*own, *more)}
    return called
