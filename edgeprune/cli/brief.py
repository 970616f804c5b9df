"""What ``--help`` shows of a command with many options: those that are often wanted. ``--help-all``: all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

OFTEN: dict[str, tuple[str, ...]] = {
    "prune": (
        "run", "model", "weights", "data", "images", "test", "target_flops", "target_ms",
        "target_speedup", "post_training", "max_drop", "dry_run", "name",
        "config", "as_json",
    ),
}  # fmt: skip
ALL = "--help-all"


def epilog(command: str) -> str | None:
    """The line below a short help."""
    return f"All options: edgeprune {command} {ALL}" if command in OFTEN else None


def shown(group: Any, words: Sequence[str]) -> list[str]:
    """``words`` for Typer, which knows only --help; where that is short, other options are hidden."""
    name = next((word for word in words if not word.startswith("-")), "")
    known = getattr(group, "commands", {})
    if (words and not {"-h", "--help", ALL} & set(words)) or (name and name not in known):
        return list(words)
    command = known[name] if name else group
    for parameter in command.get_params(typer.Context(command, **command.context_settings)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = " "  # a switch takes nothing
        if name in OFTEN and ALL not in words:
            parameter.hidden = parameter.name not in OFTEN[name]
            parameter.rich_help_panel = None  # one panel, the first sentence of each
            if parameter.opts[0].startswith("-"):
                parameter.help = re.split(r"[.;:] ", parameter.help or "")[0].rstrip(".") + "."
    return ["--help" if word == ALL else word for word in words]
