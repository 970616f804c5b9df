"""Assembles the commands into ``edgeprune``: a row a command, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from importlib.util import find_spec
from types import CodeType, FunctionType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..version import __version__
from . import brief, errors, everywhere

PANELS: dict[str, tuple[str, ...]] = {
    "The main job": ("train", "frontier", "prune", "export", "bench"),
    "Many runs": ("study",),
    "Looking at things": (
        "report", "plot", "doctor", "compare", "devices", "inspect", "cost", "models", "datasets",
        "runs", "trust", "schema",
    ),
}  # fmt: skip
PANEL = {name: panel for panel, names in PANELS.items() for name in names}
SETTINGS: dict[str, Any] = {
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def flowing(text: str) -> str:
    """A docstring whose paragraphs flow to the width of the terminal; rich keeps line breaks."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def said(name: str) -> str:
    """The docstring of ``edgeprune.cli.NAME.NAME``, read from its compiled module without running it."""
    module = f"{__package__}.{name}"
    code: CodeType = find_spec(module).loader.get_code(module)  # type: ignore[union-attr]
    of = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return flowing(FunctionType(of, {}).__doc__ or "")


def loaded(name: str) -> Any:
    """The command itself, with all of its options."""
    command = getattr(import_module(f".{name}", __package__), name)
    alone = typer.Typer(add_completion=False, **SETTINGS)
    alone.command(
        name,
        help=flowing(command.__doc__ or ""),
        rich_help_panel=PANEL[name],
        epilog=brief.epilog(name),
    )(everywhere.added(command))
    return typer.main.get_command(alone)


class Loading(MutableMapping[str, Any]):
    """The commands by name, each imported when it is first taken."""

    def __init__(self) -> None:
        self.taken: dict[str, Any] = {}
        self.names = dict.fromkeys(PANEL)

    def __getitem__(self, name: str) -> Any:
        if name not in self.taken and name in PANEL:
            self.taken[name] = loaded(name)
        return self.taken[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self.taken[name], self.names[name] = command, None

    def __delitem__(self, name: str) -> None:
        del self.taken[name], self.names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


class Commands(TyperGroup):
    """``edgeprune``: its help and completion list the commands; only the one that runs is imported."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.commands = Loading()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in PANEL:
            return self.commands.get(cmd_name)
        return TyperCommand(
            name=cmd_name, callback=None, help=said(cmd_name), rich_help_panel=PANEL[cmd_name]
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else self.commands[name], rest


app = typer.Typer(
    name="edgeprune",
    cls=Commands,
    help="Prune a trained CNN's filters, export the smaller dense network, measure what it is worth.\n\n"
    "The main job is three commands that follow each other: [b]prune[/b] (trains first if need be), "
    "[b]export[/b], [b]bench[/b]. Each works on the latest run under runs/ unless you name one.",
    no_args_is_help=True,
    add_completion=True,
    **SETTINGS,
)


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
