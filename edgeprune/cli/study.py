"""``edgeprune study``: a table of runs, and the paper's claims about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import files
from ..errors import EdgepruneError
from . import options, output
from .typed import typed

if TYPE_CHECKING:
    from .. import records
    from ..study import Standing, Worker


@dataclass(frozen=True)
class Study:
    """Everything that can be typed after ``edgeprune study``."""

    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE.toml]", help="Models x inits x data x ways x seeds."),
    ] = None
    paper: Annotated[
        bool, typer.Option("--paper", help="The built-in study: Hubens et al. 2020, A against B.")
    ] = False
    smoke: Annotated[
        bool, typer.Option("--smoke", help="With --paper: all of it at its smallest, in a minute.")
    ] = False
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="With --paper: so many of its seeds.")
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="With --paper: training images of each set."),
    ] = None
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Jobs at the same time, each in its process.")
    ] = 1
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Of each worker; default: the cores, shared out."),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Where the workers of several machines meet: sqlite:///FILE.db, postgresql://…; "
            "default: a journal in studies/NAME. All must see the same runs/.",
        ),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take up again what has failed until now.")
    ] = False
    work_only: Annotated[
        bool, typer.Option("--work-only", help="One more worker: leave the tables to another.")
    ] = False
    tables: Annotated[
        bool, typer.Option("--tables", help="Do nothing, write the tables of what is there.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the jobs, do nothing.")] = False
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for tables and plots; default: studies/NAME."),
    ] = None
    as_json: options.JSON = False

    def study(self) -> records.Study:
        """What is asked for, checked."""
        from .. import study as room

        if (self.file is None) != self.paper:
            why = "both name a study" if self.paper else "no study is named"
            raise EdgepruneError(
                "FILE.toml and --paper", why, "edgeprune study FILE.toml, or --paper"
            )
        scaled = (("--smoke", self.smoke), ("--seeds", self.seeds), ("--limit", self.limit))
        if self.file is not None:
            for flag, given in scaled:
                if given:
                    raise EdgepruneError(flag, "belongs to --paper", "write it into the file")
            return room.read(self.file)
        found = room.smoke() if self.smoke else room.built_in()
        return room.checked(room.scaled(found, seeds=self.seeds, limit=self.limit), "--paper")


@typed
def study(asked: Study) -> None:
    """Run a table of trainings and prunings, and say what it shows: Markdown, HTML, CSV, plots.

    Killed, it goes on where it was when the same command is typed again; typed in another terminal
    meanwhile, it is one more worker. What has failed is kept and told; --retry-failed tries again.
    Baselines whose accuracy still rises are marked, and not compared.

    Example: [b]edgeprune study --paper --smoke[/b]
    """
    from .. import study as room
    from ..report import study as drawn
    from . import progress

    found = asked.study()
    if asked.dry_run:
        return listed(found, asked.as_json)
    share_out(asked)
    with output.aside(), progress.watch() as watch:
        worker = room.Worker(
            found, url=asked.storage, retry=asked.retry_failed, watch=watch, argv=sys.argv[1:]
        )
        with others(asked, worker):
            now = worker.look() if asked.tables else worker.work()
        if asked.work_only:
            return None
        told = drawn.write(found, now, asked.out or worker.folder)
    if asked.as_json:
        output.show_json(told.json())
    else:
        output.show(told.table, told.claims)
    for path in told.paths:
        output.note(f"written: {path}")
    ended(now)
    return None


def ended(now: Standing) -> None:
    """What is left to do, told; failures end the command as such."""
    if now.failed:
        name, why = next(iter(now.failed.items()))
        raise EdgepruneError(
            f"{len(now.failed)} of {len(now.jobs)} jobs failed", f"{name}: {why}",
            "the same command with --retry-failed",
        )  # fmt: skip


def listed(study: records.Study, as_json: bool) -> None:
    """The jobs in their order."""
    from ..report.tables import Column, Table
    from ..study.do import is_done
    from ..study.jobs import jobs

    rows = [
        {"job": job.name, "kind": job.kind, "done": "yes" if is_done(job) else "no"}
        for job in jobs(study)
    ]
    if as_json:
        return output.show_json({"jobs": rows})
    columns = [
        Column("job", align="left"),
        Column("kind", align="left"),
        Column("done", align="left"),
    ]
    return output.show(Table(f"{study.name}: {len(rows)} jobs", columns, rows))


def share_out(asked: Study) -> None:
    """The threads that this worker computes in; those that it starts inherit the number."""
    from .. import runs

    count = asked.threads or max(1, runs.cores() // asked.workers)
    if asked.threads or asked.workers > 1:
        import torch

        os.environ["OMP_NUM_THREADS"] = str(count)
        torch.set_num_threads(count)


@contextmanager
def others(asked: Study, worker: Worker) -> Iterator[None]:
    """The other workers of ``--workers``, each a process; ended with this one."""
    started = [] if asked.tables else [_another(worker, n) for n in range(2, asked.workers + 1)]
    try:
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            process.terminate()


def _another(worker: Worker, number: int) -> subprocess.Popen[bytes]:
    words = [*alone(worker.argv), "--work-only"]
    path = worker.folder / f"worker-{number}.log"
    with files.said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        log = files.to_append(path)
    with log:
        return subprocess.Popen([sys.executable, "-m", "edgeprune", *words], stdout=log, stderr=log)


def alone(argv: Sequence[str]) -> list[str]:
    """The same command for one worker."""
    kept, words = [], iter(argv)
    for word in words:
        if word == "--workers":
            next(words, None)
        elif not word.startswith("--workers="):
            kept.append(word)
    return kept
