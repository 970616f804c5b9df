"""A run's frontier, as it lies in its folder."""

from __future__ import annotations

from .. import files, records
from ..errors import SHOWN, EdgepruneError
from ..prune import Plan
from ..runs import Run
from ..units import some
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
        there = sorted(known, key=lambda word: (len(word), word))  # from outside: any words
        raise EdgepruneError(
            f"--pick {number}", f"the frontier of {run.name} has {some(there, SHOWN) or 'none'}",
            f"edgeprune runs {run.word} lists them" if there else f"edgeprune frontier {run.word} anew",
        )  # fmt: skip
    path, anew = run.frontier_plan_path(number), f"edgeprune frontier {run.word} anew"
    try:
        found = Plan.from_json(files.read_json(path))
    except EdgepruneError as e:
        raise EdgepruneError(str(path), e.why or e.what, anew) from None
    if fingerprint(found) != known[str(number)]:
        raise EdgepruneError(str(path), "is not the plan that was measured", anew)
    return found
