"""``edgeprune trust``: allow the code that a received run brings along."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, output


def trust(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or path.")],
    as_json: options.JSON = False,
) -> None:
    """Allow the Python file that a run brings along to run on this machine, now and later.

    A run whose network is somebody's own FILE.py holds a copy of it. It runs only if you named that very
    file with --model here, or allow it with this command: read it first. Any change asks anew.

    Example: [b]edgeprune trust runs/from-a-friend[/b]
    """
    from .. import checkpoint, runs

    found = runs.find(run)
    names, sha256 = checkpoint.trust(found)
    if as_json:
        output.show_json({"run": str(found.path), "files": names, "sha256": sha256 or None})
    elif names:
        output.note(f"allowed: {', '.join(names)} of {found.path} (SHA-256 {sha256})")
    else:
        output.note(f"run {found.name} brings no code along: there is nothing to allow")
