"""A run is a folder under ``runs/`` that holds everything asked, done and measured; no other
state.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from . import files, loggers, records
from .errors import EdgepruneError, UnknownRunError, closest

RUNS = Path("runs")  # relative to where the command is typed, as the user wrote it
FIRST = "make one: edgeprune prune --model mobilenetv1 --data digits"
IDENTITY = ("kind", "network", "phase", "step", "epoch", "layer")  # what a history record is about
R = TypeVar("R")
TELLING = ".telling.lock"  # of what reads a run and adds a page or a picture
NETWORKS = ("dense", "pruned")  # in float, with weights of their own
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Run:
    """One run folder. Paths are where things lie; whatever lies there is whole."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def word(self) -> str:
        """What to type for this run: its name under runs/, else its path, quoted for the shell."""
        return shlex.quote(self.name if self.path == RUNS / self.name else str(self.path))

    @property
    def recipe_path(self) -> Path:
        """What was asked: all defaults resolved, versions, seed."""
        return self.path / "recipe.json"

    @property
    def history_path(self) -> Path:
        """One JSON line for each epoch, sensitivity curve, pruning step and result (`records`)."""
        return self.path / "history.jsonl"

    @property
    def spec_path(self) -> Path:
        """How to build the networks: model, input convention, classes, kept channels."""
        return self.path / "spec.json"

    @property
    def plan_path(self) -> Path:
        """What stays in each group of the dense network, why, and what that promises."""
        return self.path / "plan.json"

    @property
    def frontier_path(self) -> Path:
        """What `edgeprune frontier` found: a row a network; beside it their plans and every sample."""
        return self.path / "frontier" / "frontier.json"

    def frontier_plan_path(self, number: int) -> Path:
        return self.frontier_path.with_name(f"{number}.plan.json")

    @property
    def frontier_state(self) -> Path:
        """What a killed `edgeprune frontier` needs to go on; removed when it is done."""
        return self.frontier_path.with_name("state")

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def bench_folder(self) -> Path:
        """One JSON file a measurement, every sample in it."""
        return self.path / "bench"

    def visit_path(self, number: int) -> Path:
        """Every sample of a visit that was made to the device while planning."""
        return self.path / "visits" / f"{number}.json"

    @property
    def code_folder(self) -> Path:
        """The user's own FILE.py and what it imports from beside it, where the model is that."""
        return self.path / "code"

    @property
    def score_folder(self) -> Path:
        """The user's own ``--score FILE.py`` and what it imports from beside it, where there is one."""
        return self.path / "score"

    @property
    def state_folder(self) -> Path:
        """What a killed command needs to go on; removed when it is done."""
        return self.path / "state"

    def weights_path(self, network: str) -> Path:
        """``network`` is ``"dense"`` or ``"pruned"``."""
        return self.path / f"{network}.safetensors"

    def onnx_path(self, network: str) -> Path:
        """``network`` may be ``"dense-int8"`` or ``"pruned-int8"`` too."""
        return self.path / f"{network}.onnx"

    def record_path(self, network: str) -> Path:
        """How a network without weights of its own was made: ``pruned-int8.json``."""
        return self.path / f"{network}.json"

    @property
    def exported(self) -> list[str]:
        """The networks that are there as .onnx files, the float ones first."""
        known = [*NETWORKS, *map(records.int8_of, NETWORKS)]
        return [network for network in known if self.onnx_path(network).is_file()]

    def recipe(self) -> records.Recipe:
        """What was asked; `ways.asked.of_run` makes of it what a way works with."""
        return records.read(self.recipe_path, records.Recipe)

    def go_on(self) -> str:
        """The command that takes the run to its end, or to its next network."""
        recipe, _ = records.read_leniently(self.recipe_path, records.Recipe)
        return recipe.go_on(self.word, self.has("dense"), self.frontier_path.is_file())

    def history(self, kind: type[R]) -> list[R]:
        """The records of one type (`records.Epoch`, `Sensitivity`, `Step`, `Result`)."""
        return [r for r in self.told()[0] if isinstance(r, kind)]

    def told(self) -> tuple[list[records.Record], list[str]]:
        """All records, and a sentence where lines have not the form of one.

        A command that was killed may write a record again; of those that say the same thing the
        last one counts. What a kill has torn is no line.
        """
        said: dict[tuple[Any, ...], records.Record] = {}
        odd: list[str] = []
        for line in files.lines_of(self.history_path):
            try:
                record = records.of_line(line)
            except EdgepruneError as e:
                odd.append(str(e))
                continue
            if record is not None:
                told = record.line if isinstance(record, records.Other) else vars(record)
                said[tuple(repr(told.get(k)) for k in IDENTITY)] = record
        name = self.history_path.name
        some = [f"{name}: {len(odd)} records left out: not their form ({odd[0]})"] if odd else []
        return list(said.values()), some

    def append(self, record: records.Record) -> None:
        files.append_line(self.history_path, records.line_of(record))
        loggers.tell(self.path, record)

    def has(self, network: str) -> bool:
        return self.weights_path(network).is_file()

    def touched(self) -> float:
        """Seconds since the epoch of the last change to anything in the run's own folder."""
        return max((p.stat().st_mtime for p in self.path.glob("*") if p.is_file()), default=0.0)

    @contextmanager
    def lock(self, name: str = ".lock") -> Iterator[None]:
        """One command at a time writes to a run; the lock goes with the process, even killed.

        What only tells of a run (report, plot) takes `TELLING` instead: a run at work can be looked at.
        """
        with files.said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.check()
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(self.path / name, flags, 0o666)
        try:
            with files.said(self.path):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise EdgepruneError(
                        f"run {self.name}", "another command is working on it", "wait for it to end"
                    ) from None
            files.clear_abandoned(self.path)  # half-written when a command was killed
            yield
        finally:
            os.close(lock)

    def check(self) -> Run:
        """Itself; :class:`EdgepruneError` where something in it is a link that leads out, or no file.

        A run that was received must not make a command read, or write, what lies elsewhere.
        """
        inside = Path(os.path.realpath(self.path))
        for folder, folders, names in os.walk(self.path):
            for name in (*folders, *names):
                path = Path(folder, name)
                mode = path.lstat().st_mode
                real = Path(os.path.realpath(path))  # which ends where links go round
                if stat.S_ISLNK(mode) and not real.is_relative_to(inside):
                    raise EdgepruneError(
                        str(path), "a link that leads out of the run", "put the file itself there"
                    )
                if not (stat.S_ISLNK(mode) or stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                    raise EdgepruneError(str(path), "neither a file nor a folder", "remove it")
        return self


def named(name: str) -> Run:
    """The run of that name under ``runs/``, whether or not it exists."""
    if not NAME.fullmatch(name):
        raise EdgepruneError(
            f"--name {name!r}", "not a run name", "use letters, digits, '.', '_' and '-'"
        )
    run = Run(RUNS / name)
    return run.check() if run.path.is_dir() else run


def existing() -> list[Run]:
    """All runs, the latest first."""
    found = [Run(p.parent) for p in RUNS.glob("*/recipe.json")]
    return sorted(found, key=lambda r: (r.touched(), r.name), reverse=True)


def find(wanted: str | None = None) -> Run:
    """A run by name or path; without one, the latest. Errors name what there is."""
    if wanted is None:
        runs = existing()
        if not runs:
            raise EdgepruneError(f"no run in {RUNS.resolve()}", next=FIRST)
        return runs[0].check()
    for path in (RUNS / wanted, Path(wanted)):
        if (path / "recipe.json").is_file():
            return Run(path).check()
    known = [r.name for r in existing()]
    if not known:
        raise UnknownRunError(wanted, f"there are none in {RUNS.resolve()}", FIRST)
    raise UnknownRunError(wanted, closest(wanted, known))


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def versions() -> dict[str, str]:
    """Versions of what decides a result, for the recipe."""
    import platform
    from importlib import metadata

    names = ("edgeprune", "torch", "torchvision", "numpy", "onnx", "onnxruntime")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            from .version import __version__

            found[name] = __version__ if name == "edgeprune" else "absent"
    return found


def cores() -> int:
    """Cores that this process may use (the affinity mask counts, not the machine)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
