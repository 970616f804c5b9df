"""Results go to stdout as a table or as JSON, notes to stderr."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, redirect_stdout
from typing import TYPE_CHECKING, Any

from ..errors import one_line

if TYPE_CHECKING:
    from ..records import Int8
    from ..report.tables import Table
    from ..runs import Run


def show(*tables: Table) -> None:
    """Tables as wide as the terminal; in a pipe wide enough that no value is cut."""
    from rich.console import Console

    for i, table in enumerate(tables):
        if i:
            print()
        if sys.stdout.isatty():
            console = Console()
            for part in table.fitting(console.width).folded(console.width):
                console.print(part.rich())
        else:
            print(table.text())


FORMAT, VERSION = "edgeprune-output", 1  # of what goes to stdout under --json


def stated(value: Any) -> dict[str, Any]:
    """``value`` with its format and version; a file's own (a plan, a diagnosis) stay, a list is ``rows``."""
    if isinstance(value, dict) and "format" in value:
        return value
    head = {"format": FORMAT, "version": VERSION}
    return head | (value if isinstance(value, dict) else {"rows": value})


def show_json(value: Any) -> None:
    value = stated(value)
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (
        UnicodeEncodeError
    ):  # an old terminal, or a path that is no UTF-8: escaped, nothing is lost
        text = json.dumps(value, indent=1, allow_nan=False)
    print(text)


def aside() -> AbstractContextManager[Any]:
    """What the user's own code prints meanwhile goes to stderr: stdout is the result's alone."""
    return redirect_stdout(sys.stderr)


def networks(run: Run, as_json: bool) -> None:
    """Dense against pruned, as far as the run has come."""
    from .. import records, report

    table = report.comparison(run)
    if as_json:
        results = [records.plain(r) for r in run.history(records.Result)]
        eight = report.read(run).eight
        known = {e.network: records.plain(e) | {"ranges": len(e.ranges)} for e in eight.values()}
        show_json({"run": str(run.path), "results": results} | ({"int8": known} if known else {}))
    else:
        show(table)


class Loud:
    """How much is told besides the result: set by --quiet and --verbose for the command that runs."""

    quiet = False
    verbose = False
    json = False  # an error is told as JSON, too
    begun = 0.0


def loudness(quiet: bool = False, verbose: bool = False) -> None:
    Loud.quiet, Loud.verbose, Loud.begun = quiet, verbose, time.monotonic()


def in_8_bits(name: str, found: Int8) -> None:
    """What 8 bits keep of a network, and what they do not hold."""
    from ..report import eight_bits

    for sentence in eight_bits.sentences(found):
        note(f"{name}: {sentence}")


def note(text: str) -> None:
    """One sentence for the person at the terminal; never part of the result."""
    if not Loud.quiet:
        warn(stamped(text))


def warn(text: str) -> None:
    """One sentence that --quiet does not keep back."""
    print(one_line(text), file=sys.stderr, flush=True)


def stamped(text: str) -> str:
    """Under --verbose with the seconds since the command began."""
    return f"{time.monotonic() - Loud.begun:.1f} s: {text}" if Loud.verbose else text
