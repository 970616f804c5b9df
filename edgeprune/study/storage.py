"""Who works at what: attempts at jobs, as trials in Optuna's storage, which many workers share.

The run folders say what is done; the storage only says who is at work, and what failed and why. An
attempt is a trial: created running, ended as complete or failed. A job is free where no attempt runs. Two
workers that begin an attempt at one job at the same time both see the other's: the lower number stays.

On one machine a lock on ``jobs/NAME.lock`` tells whether the worker of a running attempt lives: the lock
goes with the process, however it dies. Of another machine's worker its heartbeat tells, a number that
rises; it is watched with one's own clock, so that no two clocks need to agree.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import extras, files
from ..errors import EdgepruneError, first_line, told

BEAT = 15.0  # seconds between two heartbeats
SILENT = 120.0  # seconds without one, after which another machine's worker counts as dead
RUNNING, DONE, FAILED, GIVEN_UP = "running", "done", "failed", "given up"


@dataclass(frozen=True)
class Attempt:
    """One go at a job."""

    number: int
    job: str
    state: str  # RUNNING, DONE, FAILED, GIVEN_UP (its worker died, or another was first)
    host: str
    beat: int
    why: str  # it failed
    seconds: float  # until it ended; while it runs NaN
    key: int  # in the storage


class Board:
    """The attempts of one study."""

    def __init__(self, name: str, folder: Path, url: str | None = None) -> None:
        """``url``: of a database (``sqlite:///…``, ``postgresql://…``); None: a journal in ``folder``."""
        self.folder, self.host = folder, platform.node()
        self.over: set[int] = set()  # attempts that this worker has ended
        self.seen: dict[int, tuple[int, float]] = {}  # attempts of other machines: beat, since when
        optuna = library()
        self.states = optuna.trial.TrialState
        self.where = f"--storage {shown(url)}" if url else str(folder / "journal.log")
        with told(self.where, REMEDY):
            self.storage = _opened(folder, url)
            study = optuna.create_study(storage=self.storage, study_name=name, load_if_exists=True)
            self.study = self.storage.get_study_id_from_name(study.study_name)

    def attempts(self) -> list[Attempt]:
        """All of them, the first one first."""
        with told(self.where, REMEDY):
            trials = self.storage.get_all_trials(self.study, deepcopy=False)
            return [self._attempt(trial) for trial in trials]

    def _attempt(self, trial: Any) -> Attempt:
        names = {self.states.RUNNING: RUNNING, self.states.COMPLETE: DONE}
        words, begun, ended = trial.user_attrs, trial.datetime_start, trial.datetime_complete
        state = names.get(trial.state, FAILED if words.get("why") else GIVEN_UP)
        seconds = (ended - begun).total_seconds() if ended and begun else float("nan")
        return Attempt(
            trial.number, str(words.get("job")), state, str(words.get("host")),
            int(words.get("beat", 0)), str(words.get("why", "")), seconds, trial._trial_id,
        )  # fmt: skip

    @contextmanager
    def claimed(self, job: str) -> Iterator[Attempt | None]:
        """An attempt at ``job`` that is this worker's, or None: somebody is at it.

        It runs as long as this block; an exception in it is no failure but this worker's end.
        """
        with locked(self.folder / "jobs" / f"{job}.lock") as mine:
            attempt = self._begin(job) if mine else None
            if attempt is None:
                yield None
                return
            stop = threading.Event()
            beating = threading.Thread(target=self._beat, args=(attempt.key, stop), daemon=True)
            beating.start()
            try:
                yield attempt
            finally:
                stop.set()
                beating.join()
                if attempt.key not in self.over:  # the worker itself ends
                    self._end(attempt.key, self.states.FAIL)

    def done(self, attempt: Attempt) -> None:
        self._end(attempt.key, self.states.COMPLETE)

    def failed(self, attempt: Attempt, why: str) -> None:
        self.storage.set_trial_user_attr(attempt.key, "why", why or "failed")
        self._end(attempt.key, self.states.FAIL)

    def _begin(self, job: str) -> Attempt | None:
        """A new attempt, unless another machine's worker lives that is at it. The job's lock is held."""
        for other in self._running(job):
            if other.host == self.host or self._silent(other):
                self._end(other.key, self.states.FAIL)
            else:
                return None
        made = library().trial.create_trial(
            state=self.states.RUNNING,
            user_attrs={"job": job, "host": self.host, "pid": os.getpid()},
        )
        with told(self.where, REMEDY):
            key = self.storage.create_new_trial(self.study, made)
        mine = next(a for a in self.attempts() if a.key == key)
        if any(other.number < mine.number for other in self._running(job)):
            self._end(key, self.states.FAIL)
            return None
        return mine

    def _running(self, job: str) -> list[Attempt]:
        return [a for a in self.attempts() if a.job == job and a.state == RUNNING]

    def _silent(self, attempt: Attempt) -> bool:
        beat, since = self.seen.get(attempt.key, (-1, 0.0))
        if beat != attempt.beat:
            self.seen[attempt.key] = (attempt.beat, time.monotonic())
            return False
        return time.monotonic() - since > SILENT

    def _beat(self, key: int, stop: threading.Event) -> None:
        beat = 0
        while not stop.wait(BEAT):
            beat += 1
            try:
                self.storage.set_trial_user_attr(key, "beat", beat)
            except Exception as e:  # a server that is away comes back; others take over if not
                logging.getLogger(__name__).debug("no heartbeat: %s", e)

    def _end(self, key: int, state: Any) -> None:
        """End an attempt that runs; one that has ended stays as it is."""
        self.over.add(key)
        from optuna.exceptions import UpdateFinishedTrialError

        values = [0.0] if state == self.states.COMPLETE else None
        with told(self.where, REMEDY), suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(key, state, values)


REMEDY = "a journal's path, sqlite:///FILE.db or postgresql+psycopg://USER@HOST/NAME"


def library() -> Any:
    """Optuna, quiet."""
    with extras.needed("study", "a study"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def shown(url: str) -> str:
    """Without the password."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.split(':')[0]}@{tail}" if at else url


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock; it goes with the process."""
    with files.said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(held)


def _opened(folder: Path, url: str | None) -> Any:
    from optuna.storages import JournalStorage, RDBStorage

    if url is None or "://" not in url:
        path = Path(url) if url else folder / "journal.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_journal(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is experimental there
        waits = (
            {"connect_args": {"timeout": 60}}
            if url.startswith("sqlite")
            else {"pool_pre_ping": True}
        )
        try:
            return RDBStorage(url, engine_kwargs=waits)
        except ImportError as e:
            raise EdgepruneError(
                f"--storage {shown(url)}",
                first_line(e),
                "pip install 'psycopg[binary]', for PostgreSQL",
            ) from None


BEGINS = b'{"op_code"'  # a journal's first line; nothing is cut off another file


def _journal(path: Path) -> Any:
    """Optuna's journal with a lock that a killed worker cannot leave behind."""
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    class Lock(JournalFileOpenLock):  # type: ignore[misc]
        held = threading.local()

        def acquire(self) -> bool:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self.held.fd = os.open(f"{path}.lock", flags, 0o666)
            fcntl.flock(self.held.fd, fcntl.LOCK_EX)
            return True

        def release(self) -> None:
            os.close(self.held.fd)

    lock = Lock(str(path))
    lock.acquire()
    try:
        if path.is_file():  # a line that a kill has torn
            raw = path.read_bytes()
            if raw[: len(BEGINS)] != BEGINS[: len(raw)]:
                raise EdgepruneError(str(path), "is no journal of a study", "name another file")
            if raw and not raw.endswith(b"\n"):
                os.truncate(path, raw.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalFileBackend(str(path), lock)
