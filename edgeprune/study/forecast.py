"""How long the rest of a study takes, by what its jobs took until now. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from statistics import mean

from .jobs import Job, blocked
from .storage import DONE, FAILED, Attempt

ALIKE: tuple[
    Callable[[Job], object], ...
] = (  # whose time is taken for a job's: the first that are there
    lambda job: (job.kind, job.model, job.data, job.way, job.start),
    lambda job: (job.kind, job.model, job.data, job.way),
    lambda job: (job.kind, job.model),
    lambda job: job.kind,
    lambda job: None,
)


def spent(attempts: Iterable[Attempt]) -> dict[str, float]:
    """Seconds of all attempts at each job that is done, those that a kill ended among them."""
    found: dict[str, float] = defaultdict(float)
    done = set()
    for a in attempts:
        if a.state != FAILED and not math.isnan(a.seconds):
            found[a.job] += a.seconds
        if a.state == DONE:
            done.add(a.job)
    return {job: seconds for job, seconds in found.items() if job in done}


def left(
    jobs: Sequence[Job],
    done: Set[str],
    failed: Mapping[str, str],
    spent: Mapping[str, float],
    workers: int,
) -> float:
    """Seconds until all is done that can be, by ``workers`` at a time; NaN while nothing is known."""
    waits = blocked(jobs, failed.keys())
    rest = [j for j in jobs if j.name not in done and j.name not in failed and j.name not in waits]
    if not rest:
        return 0.0
    if not any(j.name in spent for j in jobs):
        return math.nan
    return sum(_expected(job, jobs, spent) for job in rest) / min(workers, len(rest))


def _expected(job: Job, jobs: Sequence[Job], spent: Mapping[str, float]) -> float:
    for alike in ALIKE:
        there = [spent[j.name] for j in jobs if j.name in spent and alike(j) == alike(job)]
        if there:
            return mean(there)
    return math.nan
