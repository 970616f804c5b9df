"""Where a procedure stands, as one file; and its end: judged once, written, the state taken away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import checkpoint, files, graph, train
from ..checkpoint import Loaded
from ..prune import Plan
from ..runs import Run
from .dense import record_result, result
from .record import Watch

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import Graph

Keep = dict[str, list[int]]


@dataclass(frozen=True)
class Position:
    """Steps done, what is kept of the dense network, how it ended (None: it goes on)."""

    step: int
    kept: Keep
    ended: str | None = None


def pruned_already(run: Run, watch: Watch) -> str | None:
    """Why the run's pruning stopped, if it is over; said, since nothing else will happen."""
    if not run.has("pruned") or run.state_folder.exists():
        return None
    watch.note(f"run {run.name} is pruned already; remove {run.path} to start over")
    return str(result(run, "pruned")["stopped"])


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


def read_network(run: Run, dense: Loaded, position: Position) -> Graph:
    """Always from the file, so that a broken and an unbroken run compute on the same memory layout."""
    tensors, _ = files.read_tensors(run.state_folder / "pruning.safetensors")
    return checkpoint.rebuild(dense.graph, position.kept, tensors)


def finish(
    run: Run,
    dense: Loaded,
    dataset: Dataset,
    position: Position,
    *,
    method: str,
    target: Mapping[str, float] = {},
) -> None:
    """Judge on the test split, once, and write the pruned network; then the state may go."""
    if not run.has("pruned"):
        traced = read_network(run, dense, position)
        model = traced.model
        validation = train.evaluate(model, dataset.validation, dense.convention)
        test = train.evaluate(model, dataset.test, dense.convention)
        record_result(
            run, "pruned", traced, validation.top1, test.top1,
            steps=position.step, stopped=position.ended,
        )  # fmt: skip
        made = plan_of(dense.graph, position.kept, method, target)
        files.write_json(run.plan_path, made.to_json())
        checkpoint.write_spec(
            run, dense.spec, dense.convention, dense.classes, dense_widths(run), position.kept
        )
        checkpoint.write_weights(run, "pruned", model, dense.spec, dense.convention)
    shutil.rmtree(run.state_folder, ignore_errors=True)


def plan_of(dense: Graph, kept: Keep, method: str, target: Mapping[str, float] = {}) -> Plan:
    """What a procedure kept, as a plan for the dense network: it can be applied to another run."""
    widths = {
        name: len(kept[name]) if name in kept else g.width for name, g in dense.groups.items()
    }
    return Plan(
        network=dense.fingerprint,
        method=method,
        keep={n: kept.get(n, list(range(g.width))) for n, g in dense.groups.items()},
        reasons={
            n: f"{method}: {100 * widths[n] / g.width:.0f} % of {g.width}"
            for n, g in dense.groups.items()
        },
        target=dict(target),
        dense=costs(dense, {}),
        promised=costs(dense, widths),
    )


def recounted(dense: Graph, plan: Plan) -> Plan:
    """``plan``, whose file may have been edited, with what it really promises."""
    again = plan_of(dense, {n: list(units) for n, units in plan.keep.items()}, plan.method)
    reasons = plan.reasons if plan.promised == again.promised else {}
    return replace(
        again, target=plan.target, reasons={n: reasons.get(n, r) for n, r in again.reasons.items()}
    )


def costs(dense: Graph, widths: Mapping[str, int]) -> dict[str, int]:
    """What a plan promises: the counts of the network at these widths."""
    found: Any = graph.cost(dense, widths)
    return {what: getattr(found, what) for what in ("params", "flops", "macs", "bytes")}


def dense_widths(run: Run) -> dict[str, int]:
    return checkpoint.read_spec(run)["dense"]
