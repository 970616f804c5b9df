"""``edgeprune runs``: which runs there are, or what is in one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import complete, options, output

if TYPE_CHECKING:
    from ..report.results import Results
    from ..runs import Run


def runs(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's name or path: show that one in detail.",
            autocompletion=complete.runs,
        ),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """List the runs under runs/, the latest first, or show one: results and pruning steps.

    Example: [b]edgeprune runs vgg16-cifar10-imagenet[/b]
    """
    from .. import runs as room

    if run is None:
        _all(as_json)
    else:
        _one(room.find(run), as_json)


def _all(as_json: bool) -> None:
    import time

    from .. import records, report, units
    from .. import runs as room
    from ..errors import EdgepruneError
    from ..report.results import accuracy
    from ..report.tables import Column, Table

    rows, notes = [], []
    for run in room.existing():
        try:
            rows.append(_listed(report.read(run)))
        except EdgepruneError as e:
            notes.append(str(e))
    if as_json:
        output.show_json(records.plain(rows))
        return
    now = time.time()
    as_dense = Column("agreement", "As dense", accuracy, spare=True)
    columns = [
        Column("run", "Run", align="left"),
        Column("state", "State", align="left"),
        Column("steps", "Steps", spare=True),
        Column("params", "Params", units.count),
        Column("params_reduction", "", lambda share: f"−{units.percent(share, 0)}"),
        Column("test_accuracy", "Test", accuracy),
        *([as_dense] if any(r.agreement for r in rows) else []),
        Column(
            "touched", "Changed", lambda t: f"{units.duration(max(now - t, 1))} ago", spare=True
        ),
    ]
    if not rows:
        for note in [
            *notes,
            "no runs yet; make one: edgeprune prune --model mobilenetv1 --data digits",
        ]:
            output.note(note)
        return
    output.show(Table(f"Runs in {room.RUNS}/", columns, [vars(r) for r in rows], notes))


@dataclass(frozen=True)
class Listed:
    """One line of the list; of the pruned network where there is one, else of the dense one."""

    run: str
    path: Path
    model: str
    data: str | None
    init: str
    state: str
    steps: int | None
    params: int | None
    params_reduction: float | None  # share of the dense network's that is gone
    test_accuracy: float | None
    test_images: int | None
    agreement: float | None
    agreement_images: int | None
    touched: float  # seconds since the epoch


def _listed(found: Results) -> Listed:
    latest, dense = found.pruned or found.dense, found.dense
    left = found.pruned.params / dense.params if found.pruned and dense else None
    return Listed(
        run=found.run.name,
        path=found.run.path,
        model=found.recipe.model,
        data=found.recipe.data,
        init=found.recipe.init,
        state=found.state,
        steps=sum(s.kept for s in found.steps) or None,
        params=latest.params if latest else None,
        params_reduction=None if left is None else 1 - left,
        test_accuracy=latest.test_accuracy if latest else None,
        test_images=latest.test_images if latest else None,
        agreement=latest.agreement if latest else None,
        agreement_images=latest.images if latest else None,
        touched=found.run.touched(),
    )


def _one(run: Run, as_json: bool) -> None:
    from .. import records, report
    from ..report import results

    if run.spec_path.is_file():
        records.read(run.spec_path, records.Spec)  # in detail means whole: a damaged one is told
    found = report.read(run)
    table, steps = report.comparison(run, found), results.history_table(found)
    if as_json:
        output.show_json(
            records.plain(_listed(found))
            | {
                "recipe": records.plain(found.recipe),
                "comparison": table.records(),
                "steps": steps.records(),
            }
            | {"notes": list(table.notes)}
        )
        return
    output.show(table, *([steps] if found.steps else []))
