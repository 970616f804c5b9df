"""Where a procedure stands, as one file; and its end: judged once, written, the state taken away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import checkpoint, files, graph, train
from ..prices import PRICES
from ..prune import Plan
from ..runs import Run
from .aim import Rows
from .dense import record_result, result
from .record import Watch
from .way import Work

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Position:
    """Steps done, what is kept of the dense network, how it ended (None: it goes on)."""

    step: int
    kept: dict[str, list[int]]
    ended: str | None = None


def pruned_already(run: Run, watch: Watch) -> str | None:
    """Why the run's pruning stopped, if it is over; said, since nothing else will happen."""
    if not run.has("pruned") or run.state_folder.exists():
        return None
    watch.note(f"run {run.name} is pruned already; remove {run.path} to start over")
    return str(result(run, "pruned").stopped)


def write(run: Run, position: Position, network: Graph) -> Position:
    """One file holds the position and the weights, so that they agree whenever the process dies."""
    words = {"step": position.step, "kept": position.kept, "ended": position.ended}
    path = run.state_folder / "pruning.safetensors"
    files.write_tensors(path, network.model.state_dict(), {"position": json.dumps(words)})
    return position


def read(run: Run) -> Position | None:
    path = run.state_folder / "pruning.safetensors"
    if not path.is_file():
        return None
    words = json.loads(files.read_tensors(path)[1]["position"])
    return Position(words["step"], words["kept"], words["ended"])


def begin(work: Work[Any]) -> Position:
    """Where a killed one stood, which is told; else the dense network, written as position 0."""
    now = read(work.run)
    if now is None:
        return write(work.run, Position(0, {}), work.dense.graph)
    if now.step and now.ended is None:
        work.watch.note(f"goes on from step {now.step}")
    return now


def read_network(work: Work[Any], position: Position) -> Graph:
    """Always from the file, so that a broken and an unbroken run compute on the same memory layout."""
    tensors, _ = files.read_tensors(work.run.state_folder / "pruning.safetensors")
    return checkpoint.rebuild(work.dense.graph, position.kept, tensors)


def finish(work: Work[Any], position: Position, method: str | None = None) -> None:
    """Judge on the test split, once, and write the pruned network; then the state may go.

    ``method``: how the widths came about, where the way's settings do not say it.
    """
    run, dense, settings = work.run, work.dense, work.way.settings
    if not run.has("pruned"):
        traced = read_network(work, position)
        model = traced.model
        data, task = work.labelled, work.task
        validation = train.evaluate(model, data.validation, dense.convention, task=task)
        test = train.evaluate(model, data.test, dense.convention, task=task)
        record_result(
            run, "pruned", traced, validation, test,
            steps=position.step, stopped=position.ended,
        )  # fmt: skip
        made = plan_of(
            dense.graph, position.kept, method or settings.method, work.goal, work.prices
        )
        files.write_json(run.plan_path, made.to_json())
        checkpoint.write_spec(
            run, dense.spec, dense.convention, dense.classes, widths(dense.graph), position.kept
        )
        checkpoint.write_weights(run, "pruned", model, dense.spec, dense.convention)
    shutil.rmtree(run.state_folder, ignore_errors=True)


def plan_of(
    dense: Graph, kept: Mapping[str, list[int]], method: str, target: Mapping[str, float] = {},
    table: Rows = PRICES,
) -> Plan:  # fmt: skip
    """What a procedure kept, as a plan for the dense network: it can be applied to another run.

    A target in a price that ``table`` does not hold (a time, where no device is at hand) is left out.
    """
    target = {name: share for name, share in target.items() if name in table}
    left = {n: len(kept[n]) if n in kept else g.width for n, g in dense.groups.items()}
    return Plan(
        network=dense.fingerprint,
        method=method,
        keep={n: kept.get(n, list(range(g.width))) for n, g in dense.groups.items()},
        reasons={
            n: f"{method}: {100 * left[n] / g.width:.0f} % of {g.width}"
            for n, g in dense.groups.items()
        },
        target=dict(target),
        dense=costs(dense, {}, target, table),
        promised=costs(dense, left, target, table),
    )


def recounted(dense: Graph, plan: Plan, table: Rows = PRICES) -> Plan:
    """``plan``, whose file may have been edited, with what it really promises."""
    kept = {n: list(units) for n, units in plan.keep.items()}
    again = plan_of(dense, kept, plan.method, plan.target, table)
    reasons = plan.reasons if plan.promised == again.promised else {}
    return replace(again, reasons={n: reasons.get(n, r) for n, r in again.reasons.items()})


def costs(
    dense: Graph, widths: Mapping[str, int], also: Iterable[str], table: Rows
) -> dict[str, float]:
    """What a plan promises: the counts of the network at these widths, and other prices of the table."""
    found: Any = graph.cost(dense, widths)
    counts = {what: getattr(found, what) for what in ("params", "flops", "macs", "bytes")}
    others = [name for name in also if name not in counts]
    return counts | {name: table[name].of(dense).at(widths) for name in others}


def widths(traced: Graph) -> dict[str, int]:
    """How many channels each group has."""
    return traced.widths
