"""What became of a study, a row a run: read from the run folders, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .. import runs
from ..errors import EdgepruneError
from ..records import Epoch, Result, Step, StudyRow
from ..records.study import State
from ..runs import Run
from ..ways.asked import asked_of
from . import do
from .jobs import Job
from .work import Standing

RESTORE = "restore it, or remove the run, which is then made anew"


def rows(standing: Standing) -> list[StudyRow]:
    """One for each run of the study that is asked for, in the jobs' order; measurements stand in theirs."""
    jobs = {job.name: job for job in standing.jobs}
    return [_row(job, jobs, standing) for job in standing.jobs if job.kind != "bench"]


def _row(job: Job, jobs: dict[str, Job], standing: Standing) -> StudyRow:
    row = StudyRow(
        job=job.name, model=job.model, data=job.data, start=job.start, seed=job.seed, way=job.way,
        why=standing.why_not(job),
    )  # fmt: skip
    try:
        return _told(row, job, jobs, standing)
    except EdgepruneError as e:  # a run whose files tell less than it was said to have done
        return replace(row, state="failed", why=str(e))


def _told(row: StudyRow, job: Job, jobs: dict[str, Job], standing: Standing) -> StudyRow:
    trained = do.baseline(jobs[job.baseline])
    if trained is not None:
        row = _with_dense(row, trained, jobs[job.baseline])
    if job.name in standing.failed:
        return replace(row, state="failed")
    if job.name not in standing.done or trained is None:
        return replace(row, state="runs" if job.name in standing.running else "waits")
    row = replace(row, state=_state(trained, jobs[job.baseline]))
    return row if job.kind == "train" else _with_pruned(row, runs.named(job.name))


def _state(trained: Run, job: Job) -> State:
    if result(trained, "dense").at_chance:
        return "at chance"
    return "done" if do.risen(trained, job).flat else "still rising"


def result(run: Run, network: str) -> Result:
    """What became of a network of the run; refused where the history does not tell all of it."""
    found = {r.network: r for r in run.history(Result)}.get(network)
    if found is None or not found.validation_images or not found.test_images or None in (
        found.validation_accuracy, found.test_accuracy
    ):  # fmt: skip
        raise EdgepruneError(
            str(run.history_path), f"tells no accuracy of the {network} network", RESTORE
        )
    return found


def _with_dense(row: StudyRow, run: Run, job: Job) -> StudyRow:
    dense, risen = result(run, "dense"), do.risen(run, job)
    asked = asked_of(run)
    seen = [e for e in run.history(Epoch) if (e.network, e.phase) == ("dense", "train")]
    return replace(
        row, train_images=asked.limit, epochs=len(seen),
        rise=_finite(risen.points), rise_high=_finite(risen.high),
        dense_params=dense.params, dense_flops=dense.flops, dense_widths=dense.widths,
        dense_validation=dense.validation_accuracy, dense_test=dense.test_accuracy,
        validation_images=dense.validation_images, test_images=dense.test_images,
        seconds=sum(e.seconds for e in seen),
    )  # fmt: skip


def _with_pruned(row: StudyRow, run: Run) -> StudyRow:
    pruned = result(run, "pruned")
    if pruned.widths.keys() != row.dense_widths.keys() or not all(row.dense_widths.values()):
        raise EdgepruneError(
            str(run.history_path), "the pruned network's layers are not the dense one's", RESTORE
        )
    steps: Sequence[Step] = run.history(Step)
    row = replace(
        row, params=pruned.params, flops=pruned.flops, widths=pruned.widths,
        validation=pruned.validation_accuracy, test=pruned.test_accuracy,
        steps=sum(s.kept for s in steps), stopped=pruned.stopped,
        seconds=sum(s.seconds or 0.0 for s in steps),
    )  # fmt: skip
    told = do.measured(run)
    if told is None or told.summary is None:
        return row
    times = {n.name: n for n in told.summary.networks}
    dense, small = times["dense"].latency.median_s, times["pruned"].latency.median_s
    return replace(
        row, dense_ms=None if dense is None else 1e3 * dense, ms=None if small is None else 1e3 * small,
        contended=any(n.contended for n in times.values()),
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
