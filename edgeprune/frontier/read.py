"""A run's frontier, as it lies in its folder."""

from __future__ import annotations

from .. import files, records
from ..errors import EdgepruneError
from ..prune import Plan
from ..runs import Run
from ..ways.table import fingerprint


def frontier_of(run: Run) -> records.Frontier:
    """What was found; :class:`EdgepruneError` where the run has none."""
    if not run.frontier_path.is_file():
        raise EdgepruneError(
            f"run {run.name}", "has no frontier", f"edgeprune frontier {run.word} makes one"
        )
    return records.read(run.frontier_path, records.Frontier)


def plan_of(run: Run, number: int) -> Plan:
    """The plan of one of its networks, as it was when that was measured."""
    known = frontier_of(run).plans
    if str(number) not in known:
        some = ", ".join(sorted(known, key=int)) or "none"
        raise EdgepruneError(f"--pick {number}", f"the frontier of {run.name} has {some}")
    path = run.frontier_plan_path(number)
    found = Plan.from_json(files.read_json(path))
    if fingerprint(found) != known[str(number)]:
        raise EdgepruneError(
            str(path), "is not the plan that was measured", f"edgeprune frontier {run.word} anew"
        )
    return found
