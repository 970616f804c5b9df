"""A worker: takes the next job that is free, does it, and goes on until none is left.

Any number of workers, started at any time on the same study, share its storage and its runs. One that is
killed leaves a job that the next to look takes up, where the run itself stands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import files, runs
from ..errors import EdgepruneError, raised
from ..records import Epoch, Step, Study
from ..train import Progress
from ..ways import Watch
from . import forecast, storage
from .do import Hands, do, is_done
from .jobs import Job, blocked, jobs, ready
from .storage import Attempt, Board

POLL = 1.0  # seconds between two looks while others are at work
FOLDER = Path("studies")  # relative to where the command is typed


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    jobs: Sequence[Job]
    done: frozenset[str]
    failed: dict[str, str]  # job -> why
    running: dict[str, str] = field(default_factory=dict)  # job -> host
    left: float = float("nan")  # seconds, about

    @property
    def over(self) -> bool:
        return not ready(self.jobs, self.done, self.failed.keys())

    def why_not(self, job: Job) -> str | None:
        """Why it is not done."""
        if job.name in self.failed:
            return self.failed[job.name]
        wants = blocked(self.jobs, self.failed.keys()).get(job.name)
        return f"waits for {wants}, which failed" if wants else None


class Worker:
    """One worker of a study."""

    def __init__(
        self, study: Study, *, url: str | None = None, retry: bool = False, watch: Watch | None = None,
        argv: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """``retry``: take up again what has failed until now."""
        self.study, self.jobs, self.argv = study, jobs(study), argv
        self.watch = watch or Watch()
        self.folder = FOLDER / study.name
        self.board = Board(study.name, self.folder, url)
        self.done: set[str] = set()  # once done, it stays so
        past = [a.number for a in self.board.attempts()]
        self.retried = (
            max(past, default=-1) if retry else -1
        )  # failures up to that number are forgotten

    def look(self) -> Standing:
        """How far the study is now."""
        self.done |= {j.name for j in self.jobs if j.name not in self.done and is_done(j)}
        attempts = self.board.attempts()
        failed = {
            name: why for name, why in self._failed(attempts).items() if name not in self.done
        }
        running = {a.job: a.host for a in attempts if a.state == storage.RUNNING}
        left = forecast.left(
            self.jobs, self.done, failed, forecast.spent(attempts), max(1, len(running))
        )
        return Standing(self.jobs, frozenset(self.done), failed, running, left)

    def work(self) -> Standing:
        """Until every job is done, has failed or waits for one that failed."""
        while True:
            now = self.look()
            if now.over:
                return now
            if not self._one(now):
                self._tell(now, "others are at work")
                time.sleep(POLL)

    def _one(self, now: Standing) -> bool:
        """Do the first job that is free; False where none is."""
        for job in ready(self.jobs, now.done, now.failed.keys()):
            with self.board.claimed(job.name) as attempt:
                if attempt is None or job.name in self._failed(self.board.attempts()):
                    continue
                self._do(job, attempt, now)
                return True
        return False

    def _do(self, job: Job, attempt: Attempt, now: Standing) -> None:
        heard = JobWatch(self, job, now)
        heard.line(f"-- {runs.now()} on {attempt.host}")
        try:
            if not is_done(job):  # another was faster
                do(job, Hands({j.name: j for j in self.jobs}, heard, self.argv))
        except EdgepruneError as e:
            why = str(e)
        except Exception as e:  # a fault of one job must not end the others
            why = raised(e)
        else:
            self.board.done(attempt)
            return
        heard.line(f"failed: {why}")
        self.watch.note(f"{job.name} failed: {why}")
        self.board.failed(attempt, why)

    def _failed(self, attempts: Sequence[Attempt]) -> dict[str, str]:
        """Jobs whose last whole attempt failed, and why."""
        last = {a.job: a for a in attempts if a.state in (storage.DONE, storage.FAILED)}
        return {
            name: a.why for name, a in last.items()
            if a.state == storage.FAILED and a.number > self.retried
        }  # fmt: skip

    def _tell(self, now: Standing, what: str) -> None:
        self.watch.on_progress(
            f"{self.study.name}: {what}", len(now.done), len(self.jobs), now.left
        )


class JobWatch(Watch):
    """Hears one job: its lines go into the job's log, the study's progress to the person."""

    def __init__(self, worker: Worker, job: Job, now: Standing) -> None:
        self.worker, self.job, self.now = worker, job, now
        self.log = worker.folder / "jobs" / f"{job.name}.log"
        self.begun = time.monotonic()
        self._tell("")

    def line(self, text: str) -> None:
        with files.said(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with files.to_append(self.log) as f:
                f.write(f"{text}\n".encode(errors="replace"))

    def note(self, text: str) -> None:
        self.line(text)

    def on_batch(self, now: Progress) -> None:
        self._tell(f" epoch {now.epoch}/{now.epochs}")

    def on_epoch(self, record: Epoch) -> None:
        self.line(
            f"epoch {record.epoch}/{record.epochs}: validation {record.validation_accuracy:.4f}"
        )

    def on_progress(self, what: str, done: int, of: int, left: float = float("nan")) -> None:
        self._tell(f" {what}")

    def on_step(self, record: Step, layer: str | None) -> None:
        self.line(
            f"step {record.step}: {layer or 'all'}, {record.params:,} parameters, accuracy {record.accuracy}"
        )
        self._tell(f" step {record.step}")

    def _tell(self, what: str) -> None:
        now, gone = self.now, time.monotonic() - self.begun
        left = now.left if math.isnan(now.left) else max(1.0, now.left - gone)
        self.worker.watch.on_progress(f"{self.job.name}{what}", len(now.done), len(now.jobs), left)
