"""Plans on the command line: read, checked, shown, written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EdgepruneError
from . import output

if TYPE_CHECKING:
    from ..checkpoint import Loaded
    from ..prune import Plan
    from ..ways import Planned
    from .words import Prune


def given(asked: Prune) -> Plan | None:
    """The plan that is to be applied: that of --plan, or of a network of the run's frontier."""
    how = asked.how
    if how.pick is None:
        return read(how.plan) if how.plan is not None else None
    if how.plan is not None:
        raise EdgepruneError("--pick and --plan", "each say what stays", "leave one out")
    from .. import frontier, runs

    return frontier.plan_of(runs.find(asked.run), how.pick)


def read(path: Path) -> Plan:
    from .. import files
    from ..prune import Plan

    if not path.exists():
        next = f"edgeprune prune … --dry-run --plan-out {path} writes one"
        raise EdgepruneError(f"--plan {path}", "no such file", next)
    try:
        return Plan.from_json(files.read_json(path))
    except EdgepruneError as e:
        if e.what == str(path):
            raise
        raise EdgepruneError(f"{path}: {e.what}", e.why, e.next) from None


def show(planned: Planned, plan_out: Path | None, as_json: bool, device: str = "cpu") -> None:
    """The plan as a table or as JSON, which is a plan file; what it promises is counted anew."""
    from .. import files, models
    from ..ways import position

    dense = planned.dense
    made = position.recounted(dense.graph, planned.plan, planned.prices)
    if plan_out is not None:
        files.write_json(plan_out, made.to_json())
        output.note(f"the plan: {plan_out} (edgeprune prune … --plan {plan_out} applies it)")
    if as_json:
        output.show_json(made.to_json())
    else:
        output.show(table(made, dense, models.layer_names(dense.spec), device))
    if planned.note:
        output.note(planned.note)


def table(made: Plan, dense: Loaded, names: dict[str, str], device: str = "cpu") -> Any:
    from .. import units
    from ..models import layer_said
    from ..prices import PRICES
    from ..prune.plan import EVEN
    from ..prune.scores import said
    from ..report.tables import Column, Table

    rows: list[dict[str, Any]] = [
        {
            "group": layer_said(name, names),
            "layers": list(dense.graph.groups[name].producers),
            "before": dense.graph.groups[name].width,
            "after": len(kept),
            "reason": made.reasons.get(name, "").removeprefix(f"{made.method}: "),
        }
        for name, kept in made.keep.items()
    ]
    tied = any(len(row["layers"]) > 1 for row in rows)
    columns = [
        Column("group", align="left", wraps=True),
        *([Column("layers", "made by", _others, align="left", wraps=True)] if tied else []),
        Column("before"),
        Column("after"),
        Column("reason", align="left", wraps=True),
    ]
    promised = ", ".join(
        f"{row.word} {row.show(made.dense[name])} → {row.show(made.promised[name])} "
        f"({units.percent(made.promised[name] / made.dense[name])})"
        for name, row in PRICES.items()
        if name in made.promised
    )
    notes = [promised]
    if made.target:
        notes.append(made.sentence())
    even = [name for name, reason in made.reasons.items() if reason.endswith(EVEN)]
    notes += [said(even, len(made.keep))] if even else []
    notes += predicted(made, dense, device)
    return Table(f"Plan ({made.method})", columns, rows, notes)


def predicted(made: Plan, dense: Loaded, device: str = "cpu") -> list[str]:
    """The milliseconds that the plan is worth on ``device``, where it was probed once."""
    from .. import prices
    from ..runtime.device import kept

    known = kept(device)
    where = "this machine" if device == "cpu" else device
    if known is None:
        other = "" if device == "cpu" else f" --device {device}"
        return [
            f"milliseconds on {where} are not predicted: edgeprune doctor --probe{other} measures what it "
            "takes, once"
        ]
    price = prices.on(known.model)["ms"]
    curve = price.of(dense.graph)
    after = curve.at({name: len(units) for name, units in made.keep.items()})
    return [
        f"predicted on {where} {price.show(curve.dense)} → {price.show(after)} a run "
        f"({known.sentence()})"
    ]


def _others(layers: list[str]) -> str:
    """``a`` alone is its group's name: nothing to say; of many the first few."""
    if len(layers) < 2:
        return ""
    from .. import units

    return f"{len(layers)} layers: {units.some(layers)}"
