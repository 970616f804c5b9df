"""A job, done: its run trained, pruned or measured by the commands' own functions; and whether it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import files, records, runs, ways
from ..bench import Request, measure, protocol
from ..errors import EdgepruneError
from ..prune import Plan
from ..records import Epoch, Words
from ..runs import Run
from ..ways import Wanted, Watch, exporting
from ..ways.table import fingerprint
from .flat import Rise, rise
from .jobs import Job

PRECISION = "fp32"  # where none is said: what "auto" measures may differ from worker to worker
MEASURED = "cpu-1t"  # how a measurement here, on one thread, is called


@dataclass(frozen=True)
class Hands:
    """What a worker does jobs with."""

    jobs: Mapping[str, Job]
    watch: Watch
    argv: Sequence[str] = ()  # the command, for the recipes


def do(job: Job, hands: Hands) -> None:
    """Do ``job``, or go on with it; its runs are whole when this returns."""
    DOING[job.kind](job, hands)


def is_done(job: Job) -> bool:
    """Whether its run says so."""
    if job.kind == "train":
        return baseline(job) is not None
    run = runs.named(job.run)
    if not run.has("pruned") or run.state_folder.exists():
        return False
    return job.kind == "prune" or measured(run) is not None


def baseline(job: Job) -> Run | None:
    """The run of a training that is over: the first length at which it is flat, else the longest."""
    lengths = job.words.epochs or [0]
    for epochs in lengths:
        run = runs.named(job.trained_in(epochs))
        if not run.has("dense"):
            return None
        if epochs == lengths[-1] or risen(run, job).flat:
            return run
    return None


def risen(run: Run, job: Job) -> Rise:
    """Of the run's dense training."""
    seen = [e for e in run.history(Epoch) if (e.network, e.phase) == ("dense", "train")]
    return rise([e.validation_accuracy for e in seen], job.flat)


def measured(run: Run) -> records.Bench | None:
    """The latest whole measurement of the run's networks on this machine; others lie beside it."""
    whole = [p for p in sorted(run.bench_folder.glob(f"{MEASURED}-*.json")) if _whole(p)]
    return protocol.load(whole[-1]).told if whole else None


def _whole(path: Path) -> bool:
    try:
        summary = protocol.load(path).told.summary
        return summary is not None and {n.name for n in summary.networks} >= set(runs.NETWORKS)
    except EdgepruneError:
        return False


def _train(job: Job, hands: Hands) -> None:
    for epochs in job.words.epochs or [0]:
        run = ways.train(_wanted(job, hands, epochs), hands.watch)
        if (found := risen(run, job)).flat:
            return
        hands.watch.note(
            f"{run.name} still rises: {found.points:.1f} points in as many epochs as its last ones"
        )


def _wanted(job: Job, hands: Hands, epochs: int) -> Wanted:
    """The words of ``edgeprune train`` that make this run."""
    words: Words = job.words
    init = job.first.init
    if job.of is not None:
        init = str(_trained(hands.jobs[job.of]).path)
    return Wanted(
        name=job.trained_in(epochs), argv=tuple(hands.argv), model=job.model, data=job.data, init=init,
        partial=job.first.partial, head=words.head, size=words.size, limit=words.limit,
        skip_bad=bool(words.skip_bad), seed=job.seed, epochs=epochs or None,
        recipe=words.recipe or "default", batch_size=words.batch_size, lr=words.lr,
        precision=words.precision or PRECISION,
    )  # fmt: skip


def _trained(job: Job) -> Run:
    run = baseline(job)
    if run is None:
        raise EdgepruneError(f"run {job.name}", "is not trained to its end")
    return run


def _prune(job: Job, hands: Hands) -> None:
    assert job.pruning is not None
    way = ways.way_told(job.pruning)
    assert way is not None
    given = None
    if job.of is not None:
        given = Plan.from_json(files.read_json(runs.named(job.of).plan_path))
        way = replace(way, plan=fingerprint(given))  # type: ignore[call-arg, type-var]
    parent = _trained(hands.jobs[job.baseline])
    wanted = Wanted(run=str(parent.path), name=job.name, argv=tuple(hands.argv), seed=job.seed)
    ways.prune(wanted, way, given, hands.watch)


def _bench(job: Job, hands: Hands) -> None:
    """Export both networks and measure them beside each other on this machine, on one thread."""
    run = runs.named(job.run)
    with run.lock():
        images = exporting.judging(run)
        for network, loaded in exporting.loaded(run, runs.NETWORKS).items():
            exporting.write(run, loaded, network, images, None)
        out = run.bench_folder / f"{MEASURED}-{time.strftime('%Y%m%d-%H%M%S')}.json"
        models = [run.onnx_path(network) for network in runs.NETWORKS]
        measure(models, out=out, request=Request(), names=runs.NETWORKS)


DOING: dict[str, Callable[[Job, Hands], None]] = {"train": _train, "prune": _prune, "bench": _bench}
