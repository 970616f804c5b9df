"""``edgeprune compare``: two result files of bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EdgepruneError, closest
from . import options, output

REFUSED = 3  # the exit code of a comparison that --fail-on refuses

if TYPE_CHECKING:
    from ..records import Compared
    from ..report.tables import Table


def compare(
    before: Annotated[Path, typer.Argument(help="A result file of edgeprune bench.")],
    after: Annotated[
        Path | None,
        typer.Argument(
            help="Another one, of the same machine and settings; without it the first file's networks "
            "are judged against its baseline."
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="slower|accuracy|size[=PER CENT]",
            help="Exit with code 3 where a network is worse by more than that (accuracy: points); again "
            "for more.",
        ),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """Judge two benches of the same networks: faster, slower, or no measurable difference.

    [b]--fail-on slower[/b] says no to a change that made one slower, beyond its interval; [b]accuracy[/b] to
    one that is lower by more than chance explains, [b]accuracy=1[/b] by more than a point; [b]size[/b] to a
    larger file. Then the exit code is 3.

    Files that differ in machine, runtime or settings are refused, and what differs is named. Since the
    two were not measured side by side, differences within 7.5 % are not told apart: for those, measure
    both networks in one [b]edgeprune bench A.onnx B.onnx[/b].
    """
    from .. import records
    from ..bench import load
    from ..bench.compare import compare as judge
    from ..bench.compare import inside

    gates = [_gate(word) for word in fail_on or []]
    for path in filter(None, (before, after)):
        if not path.is_file():
            next = "edgeprune bench writes them, into runs/NAME/bench/"
            raise EdgepruneError(f"result {path}", "no such file", next)
    first = load(before)
    rows = inside(first) if after is None else judge(first, load(after))
    found = [f"{row.name}: {said}" for row in rows for gate in gates if (said := gate(row))]
    if as_json:
        files = {"before": str(before), "after": None if after is None else str(after)}
        output.show_json(files | {"networks": records.plain(rows), "failed": found})
    else:
        output.show(table(before, after, rows))
    for line in found:
        output.warn(line)
    if found:
        raise typer.Exit(REFUSED)


def _gate(word: str) -> Callable[[Compared], str | None]:
    """``slower``, ``accuracy=1``: what it says of a network that it refuses."""
    from ..bench.compare import GATES

    name, equals, text = word.partition("=")
    if name not in GATES:
        raise EdgepruneError(f"--fail-on {word}", closest(name, list(GATES)))
    try:
        allowed = float(text) if equals else 0.0
    except ValueError:
        allowed = -1.0
    if not 0 <= allowed < 100:
        raise EdgepruneError(f"--fail-on {word}", "no number of per cent in 0..100", f"{name}=5")
    return lambda row: GATES[name](row, allowed)


def table(before: Path, after: Path | None, rows: list[Compared]) -> Table:
    from .. import records, units
    from ..report.tables import Column, Table

    def interval(value: list[float]) -> str:
        return f"{value[0]:.2f} to {value[1]:.2f}"

    columns = [
        Column("name", "network", align="left", wraps=True),
        Column("before_s", "before", units.duration),
        Column("after_s", "after", units.duration),
        Column("speedup", "speed-up", lambda v: f"{v:.2f}x"),
        Column("speedup_interval", "95 %", interval),
        Column("verdict", "verdict", align="left"),
        Column("same_file", "file", lambda v: "same" if v else "other", align="left"),
    ]
    title = before.name if after is None else f"{before.name} against {after.name}"
    return Table(title, columns, records.plain(rows))
