"""``edgeprune runs``: which runs there are, or what is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import complete, options, output

if TYPE_CHECKING:
    from ..report.results import Results


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

    from .. import report, units
    from .. import runs as room
    from ..errors import EdgepruneError
    from ..report.results import accuracy
    from ..report.tables import Column, Table

    rows, notes = [], []
    for run in room.existing():
        try:
            rows.append(_row(report.read(run)))
        except EdgepruneError as e:
            notes.append(str(e))
    if as_json:
        output.show_json(rows)
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
        *([as_dense] if any(r["agreement"] for r in rows) else []),
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
    output.show(Table(f"Runs in {room.RUNS}/", columns, rows, notes))


def _row(found: Results) -> dict[str, Any]:
    """One line of the list; of the pruned network where there is one, else of the dense one."""
    latest, dense = found.pruned or found.dense, found.dense
    left = found.pruned.params / dense.params if found.pruned and dense else None
    return {
        "run": found.run.name,
        "path": str(found.run.path),
        "model": found.recipe.model,
        "data": found.recipe.data,
        "init": found.recipe.init,
        "state": found.state,
        "steps": sum(s.kept for s in found.steps) or None,
        "params": latest and latest.params,
        "params_reduction": None if left is None else 1 - left,
        "test_accuracy": latest and latest.test_accuracy,
        "test_images": latest and latest.test_images,
        "agreement": latest and latest.agreement,
        "agreement_images": latest and latest.images,
        "touched": found.run.touched(),
    }


def _one(run: Any, as_json: bool) -> None:
    from .. import records, report
    from ..report import results

    if run.spec_path.is_file():
        records.read(run.spec_path, records.Spec)  # in detail means whole: a damaged one is told
    found = report.read(run)
    table, steps = report.comparison(run, found), results.history_table(found)
    if as_json:
        output.show_json(
            _row(found)
            | {
                "recipe": records.plain(found.recipe),
                "comparison": table.records(),
                "steps": steps.records(),
            }
            | {"notes": list(table.notes)}
        )
        return
    output.show(table, *([steps] if found.steps else []))
