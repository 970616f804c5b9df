"""``edgeprune compare``: two result files of bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EdgepruneError
from . import options, output

if TYPE_CHECKING:
    from ..records import Compared
    from ..report.tables import Table


def compare(
    before: Annotated[Path, typer.Argument(help="A result file of edgeprune bench.")],
    after: Annotated[Path, typer.Argument(help="Another one, of the same machine and settings.")],
    as_json: options.JSON = False,
) -> None:
    """Judge two benches of the same networks: faster, slower, or no measurable difference.

    Files that differ in machine, runtime or settings are refused, and what differs is named. Since the
    two were not measured side by side, differences within 7.5 % are not told apart: for those, measure
    both networks in one [b]edgeprune bench A.onnx B.onnx[/b].
    """
    from .. import bench, records
    from ..bench.compare import compare as judge

    for path in (before, after):
        if not path.is_file():
            next = "edgeprune bench writes them, into runs/NAME/bench/"
            raise EdgepruneError(f"result {path}", "no such file", next)
    rows = judge(bench.load(before), bench.load(after))
    if as_json:
        output.show_json(
            {"before": str(before), "after": str(after), "networks": records.plain(rows)}
        )
    else:
        output.show(table(before, after, rows))


def table(before: Path, after: Path, rows: list[Compared]) -> Table:
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
    return Table(f"{before.name} against {after.name}", columns, records.plain(rows))
