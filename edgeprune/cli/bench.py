"""``edgeprune bench``: what the reduction is worth, in seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .named import shapes, targets
from .typed import typed

if TYPE_CHECKING:
    from ..bench import Images, Request, Result
    from ..bench.devices.profiles import Profile
    from ..records import Event, Judged, Output
    from ..report.tables import Table
    from ..runs import Run
    from ..ways import Watch

    Shown = Callable[[Judged], str | None]  # a figure of a network, as people read it


@dataclass(frozen=True)
class Bench:
    """Everything that can be typed after ``edgeprune bench``."""

    what: options.RUN_OR_FILES = None
    device: Annotated[
        str,
        typer.Option(
            "--device",
            autocompletion=complete.devices,
            help="Where to measure: cpu, ssh://user@host, adb, browser, arm64, or a profile's name; "
            "see edgeprune devices.",
        ),
    ] = "cpu"
    python: Annotated[
        str | None,
        typer.Option(
            "--python",
            metavar="PATH",
            help="Over ssh: the interpreter there; default ~/.edgeprune/bin/python, else python3.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Threads inside an operator; default 1, or the profile's counts.",
        ),
    ] = None
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Interleaved rounds in all.")] = 50
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Seconds of runs per network.")
    ] = 5.0
    passes: Annotated[int, typer.Option("--passes", min=1, help="Fresh processes per network.")] = (
        10
    )
    mlperf: Annotated[
        bool, typer.Option("--mlperf", help="At least 1024 runs and 60 s per network.")
    ] = False
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images per run where the model leaves it open.")
    ] = 1
    shape: options.SHAPE = None
    test: options.TEST = None
    no_accuracy: Annotated[
        bool, typer.Option("--no-accuracy", help="Leave out the test split.")
    ] = False
    out: Annotated[
        Path | None, typer.Option("--out", help="Result file; default: in the run's bench/ folder.")
    ] = None
    as_json: options.JSON = False

    def request(self, profile: Profile | None) -> Request:
        """What is asked of the device, threads and shapes apart."""
        from ..bench import Request

        asked = Request(
            rounds=self.rounds, seconds=self.seconds, passes=min(self.passes, self.rounds),
            batch=self.batch,
        )  # fmt: skip
        if profile is not None:
            asked = profile.over(asked)
        return replace(asked, samples=1024, seconds=60.0, limit=600.0) if self.mlperf else asked

    def counts(self, profile: Profile | None) -> tuple[int, ...]:
        """Of threads: each is measured."""
        found = (self.threads,) if self.threads else profile.threads if profile else (1,)
        if self.out is not None and len(found) > 1:
            raise EdgepruneError(
                f"--out {self.out}", f"profile {self.device} measures {len(found)} counts of threads",
                "add --threads N",
            )  # fmt: skip
        return found

    def images(self, run: Run | None, models: list[Path]) -> Images | None:
        """The test images that judge, or None."""
        if self.no_accuracy or run is None:
            return None
        return test_images(run, models, self.test)

    def answers(self, run: Run | None, models: list[Path]) -> list[list[Output]]:
        """What the networks answer to what was held out, unless the device counts it."""
        from ..export import answers as room
        from ..ways import exporting

        if self.no_accuracy or run is None or not exporting.compared(run):
            return []
        from .. import checkpoint

        signature = checkpoint.load(run, "dense").signature
        batches = exporting.judging(run).batches(exporting.BATCH)
        rows, judged = exporting.rows_of(run, signature), exporting.judged_of(run, signature)
        return room.beside(models, batches, signature, rows, judged)

    def check_test(self, run: Run | None) -> None:
        """Refuse --test where nothing is judged."""
        if self.test is not None and (run is None or self.no_accuracy):
            why = (
                "--no-accuracy judges nothing"
                if self.no_accuracy
                else "the files do not say their classes"
            )
            raise EdgepruneError(f"--test {self.test}", why, "edgeprune bench RUN --test FOLDER")


@typed
def bench(asked: Bench) -> None:
    """Measure networks side by side: time, load, memory, accuracy, and what became of the promise.

    Fresh processes, interleaved rounds, warm-up until stable; runs that the system interrupted are left
    out. realised speed-up = (t dense / t pruned) / (FLOPs dense / FLOPs pruned). Every sample is kept.

    Example: [b]edgeprune bench --device cpu --threads 1[/b]
    """
    from ..bench import devices
    from ..bench.devices import profiles

    profile = profiles.find(asked.device)
    request, counts = asked.request(profile), asked.counts(profile)
    place = devices.reach(asked.device, asked.python)
    run, models, names = targets(asked.what or [])
    request = replace(request, shapes=shapes(asked.shape or [], models, request.batch))
    asked.check_test(run)
    with run.lock() if run is not None else nullcontext():  # its networks stay what they are
        results = [
            one(asked, run, models, names, place, replace(request, threads=count))
            for count in counts
        ]
    if asked.as_json:
        found = [document(r) for r in results]
        output.show_json(found if len(found) > 1 else found[0])
    else:
        for result in results:
            tell(result)
    if run is not None:
        output.note(f"next: edgeprune report {run.word}")


def one(
    asked: Bench, run: Run | None, models: list[Path], names: list[str] | None, place: Any,
    request: Request,
) -> Result:  # fmt: skip
    """One measurement, with the bar on stderr."""
    from ..bench import measure
    from . import progress

    images, answers = asked.images(run, models), asked.answers(run, models)
    out = asked.out or _result_path(run, asked.device, request.threads)
    with progress.watch() as watch:
        return measure(
            models, out=out, device=place, label=asked.device, request=request, names=names,
            accuracy=images, answers=answers, watch=partial(heard, watch, request, names),
        )  # fmt: skip


def tell(result: Result) -> None:
    output.show(table(result))
    for warning in result.summary.warnings:
        output.note(f"note: {warning.seen} — {warning.cause}; {warning.next}")
    output.note(f"every sample: {result.path}")


def test_images(run: Run, models: list[Path], test: str | None) -> Images | None:
    """The run's test split, or the images of ``test``; None: no labels.

    In the convention that the files were exported with.
    """
    from ..bench import images_of, subject
    from ..records import parent_of
    from ..ways import exporting

    for known in subject.inspect(models, [p.stem for p in models]):
        made_from, parent = known.metadata.get("edgeprune.weights"), parent_of(known.name)
        if run.has(parent) and made_from not in (None, exporting.fingerprint(run, parent)):
            raise EdgepruneError(
                f"{known.path} was made from other weights than the run has now",
                next=f"edgeprune export {run.word}" + ("" if parent == known.name else " --int8"),
            )
        convention = subject.convention(known)
    if test is None and exporting.compared(run):
        return None  # `answers` compares them
    if convention is None:
        raise EdgepruneError(
            f"{models[-1]} does not say how its input is made",
            next=f"edgeprune export {run.word}, or --no-accuracy",
        )
    if not (task := exporting.task_of(run)).counted:
        output.note(f"{task.title} is left out: the runner on a device counts classes alone")
        return None
    return images_of(exporting.of_test(run, test, output.note), convention)


def document(result: Result) -> Any:
    """The command's JSON: each network's figures, and the last one's against the baseline on top."""
    judged = ("speedup", "speedup_interval", "promised_speedup", "realised_speedup",
              "realised_speedup_interval", "verdict")  # fmt: skip
    from .. import records

    last, told = records.plain(result.networks[-1]), result.told
    return {
        "file": str(result.path),
        "device": told.device,
        "threads": told.request.threads,
        **{key: last[key] for key in judged},
        **records.plain(result.summary),
    }


def table(result: Result) -> Table:
    """Quantities downwards, networks across: three of them fit 80 columns, more follow below."""
    from ..report.tables import Column, Table

    keys = [f"network{i}" for i in range(len(result.networks))]
    rows = [
        {
            "quantity": quantity,
            **{k: _cell(show, n) for k, n in zip(keys, result.networks, strict=True)},
        }
        for quantity, show in QUANTITIES
    ]
    rows = [r for r in rows if any(r[k].text != "–" for k in keys)]
    rows[-4:-4] = answered(result, keys)
    columns = [Column("quantity", " ", align="left")]
    columns += [Column(k, n.name, wraps=True) for k, n in zip(keys, result.networks, strict=True)]
    request = result.told.request
    threads = "1 thread" if request.threads == 1 else f"{request.threads} threads"
    images = "1 image" if request.batch == 1 else f"{request.batch} images"
    title = f"{result.told.device}, {threads}, {images} a run"
    return Table(title, columns, rows)


def answered(result: Result, keys: list[str]) -> list[dict[str, Any]]:
    """A row for each figure of the outputs, in the words of their tasks."""
    from ..report.outputs import figures
    from ..report.tables import ABSENT, Cell

    found: dict[str, dict[str, Any]] = {}
    for key, network in zip(keys, result.networks, strict=True):
        for figure in figures(network.outputs):
            row = found.setdefault(figure.quantity, {"quantity": figure.quantity})
            row[key] = Cell(figure.value, figure.text)
    absent = {key: Cell(None, ABSENT) for key in keys}
    return [absent | row for row in found.values()]


def _cell(show: Shown, network: Judged) -> Any:
    from ..report.tables import ABSENT, Cell

    text = show(network)
    return Cell(text, text or ABSENT)


def _seconds(group: str, key: str) -> Shown:
    from .. import units

    def show(network: Judged) -> str | None:
        value = getattr(getattr(network, group), key)
        return None if value is None else units.duration(value)

    return show


def _bytes(value: float | None) -> str | None:
    from .. import units

    return None if value is None else units.size(value)


def _times(network: Judged, key: str) -> str | None:
    """``1.97x (1.95 to 1.99)``."""
    value = getattr(network, key)
    if value is None:
        return None
    low, high = getattr(network, f"{key}_interval", None) or (None, None)
    return f"{value:.2f}x" + (f" ({low:.2f} to {high:.2f})" if low and high else "")


def _flops(network: Judged) -> str | None:
    from .. import units

    return units.count(network.flops) if network.flops else None


def _top1(network: Judged) -> str | None:
    from .. import units

    top1 = network.top1
    return None if top1 is None else f"{units.percent(top1, 2)} of {network.images}"


def _samples(network: Judged) -> str | None:
    from .. import units

    latency = network.latency
    if latency.kept_share is None:
        return None
    share = units.percent(latency.kept_share, 0)
    return f"{latency.samples} ({share} kept, {latency.clock})"


def _verdict(network: Judged) -> str:
    return network.verdict + (" (contended)" if network.contended else "")


QUANTITIES: list[tuple[str, Shown]] = [
    ("latency, median", _seconds("latency", "median_s")),
    ("latency, minimum", _seconds("latency", "min_s")),
    ("latency, p90", _seconds("latency", "p90_s")),
    ("latency, p99", _seconds("latency", "p99_s")),
    ("runs", _samples),
    ("load", _seconds("load", "load_s")),
    ("first run", _seconds("load", "first_run_s")),
    ("peak memory", lambda n: _bytes(n.memory.peak)),
    ("file size", lambda n: _bytes(n.bytes)),
    ("FLOPs", _flops),
    ("top-1", _top1),
    ("energy per run", lambda n: f"{n.energy_j:.3g} J" if n.energy_j else None),
    ("promised speed-up", lambda n: _times(n, "promised_speedup")),
    ("measured speed-up", lambda n: _times(n, "speedup")),
    ("realised speed-up", lambda n: _times(n, "realised_speedup")),
    ("verdict", _verdict),
]


def heard(watch: Watch, request: Request, names: list[str] | None, event: Event) -> None:
    """The runner's rounds, and whose answers it counts, as progress."""
    if event.event == "accuracy":
        known_as = names[event.model] if names else f"model {event.model + 1}"
        watch.on_progress(f"top-1 of {known_as}", event.model, event.model + 1)
    elif event.round is not None and event.model == 0:
        done = min(event.round.round + 1, request.rounds)
        watch.on_progress("measuring", done, request.rounds)


def _result_path(run: Run | None, device: str, threads: int) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    place = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-")
    name = f"{place}-{threads}t-{stamp}.json"
    return run.bench_folder / name if run is not None else Path(f"bench-{name}")
