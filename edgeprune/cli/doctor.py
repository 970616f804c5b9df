"""``edgeprune doctor``: why a network is as fast as it is, and which width brings the speed back."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import extras
from ..errors import EdgepruneError
from . import complete, options, output
from .named import shapes, targets
from .typed import typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..doctor import Case, Finding
    from ..doctor.ledger import Ledger, Rows
    from ..runs import Run
    from ..runtime.device import Device

SHOWN = 10  # findings on the terminal; all of them are in the JSON


@dataclass(frozen=True)
class Doctor:
    """Everything that can be typed after ``edgeprune doctor``."""

    what: options.RUN_OR_FILES = None
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="FILE.onnx", help="The same as MODEL.onnx."),
    ] = None
    device: Annotated[
        str,
        typer.Option(
            "--device",
            autocompletion=complete.devices,
            help="Where to look: cpu; with --probe any device of bench.",
        ),
    ] = "cpu"
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Measure the device once, some minutes, and keep it: which multiple of channels it "
            "computes in (--round-to auto), and what predicts its times.",
        ),
    ] = False
    threads: Annotated[
        int,
        typer.Option("--threads", min=1, help="With --probe: threads whose times are predicted."),
    ] = 1
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Write the run NAME-fixed: widths rounded up again, same answers; and time it.",
        ),
    ] = False
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the ledger as .md, .csv, .png and all values as .json; default: doctor/ in "
            "the run.",
        ),
    ] = None
    shape: options.SHAPE = None
    as_json: options.JSON = False

    @property
    def named(self) -> list[str]:
        """Everything to look at; :class:`EdgepruneError` for a network of which there is no file yet."""
        for word in self.model or []:
            if Path(word).suffix != ".onnx":
                raise EdgepruneError(
                    f"--model {word}", "doctor looks at .onnx files and runs",
                    "edgeprune prune makes a run of it, edgeprune export its files",
                )  # fmt: skip
        return [*(self.what or []), *(self.model or [])]


@typed
def doctor(asked: Doctor) -> None:
    """Say where the time goes, layer by layer, what holds each back, and what to do next.

    Reads the graph as the runtime optimised it for this machine and its profile, and measures on the spot
    what this core can attain. Findings come most expensive first, each with the time it costs and the
    width that brings it back.

    Example: [b]edgeprune doctor model.onnx[/b]
    """
    if asked.probe:
        extras.check("probe", "--probe")
        swept, known = sweep(asked.device), profile(asked.device, asked.threads)
        if asked.device != "cpu" or not asked.named:
            if asked.as_json:
                output.show_json(swept | {"predictor": asdict(known.error)})
            return
    run, models, names = targets(asked.named)
    if asked.fix and (run is None or not run.has("pruned")):
        raise EdgepruneError(
            "--fix", "needs a run with a pruned network", "edgeprune doctor RUN --fix"
        )
    case = look(asked, run, models, names)
    if asked.fix and run is not None:
        repair(run, case, asked.as_json)


def look(asked: Doctor, run: Run | None, models: list[Path], names: list[str] | None) -> Case:
    """Profile the networks, tell and write what was found; the last one's case, of a run's in float."""
    from .. import doctor as room
    from ..records import parent_of
    from ..runs import TELLING

    sizes = shapes(asked.shape or [], models)
    counted = {name: _counted(run, name) for name in names or []}  # a refusal comes first
    predicts = kept(asked.device)
    cases = [room.foretold(c, predicts) for c in examined(models, names, asked.device, sizes)]
    by_name = {c.network.name: c for c in cases}
    beside = [by_name.get(parent_of(c.network.name), cases[0]) for c in cases]
    beside = [cases[0] if b is c else b for b, c in zip(beside, cases, strict=True)]
    found = [room.findings(c, None if b is c else b) for c, b in zip(cases, beside, strict=True)]
    entries = ledger(cases, counted)
    told = document(cases, found, predicts, entries, models)
    folder = asked.out or (run.path / "doctor" if run is not None else None)
    if folder is not None:
        with run.lock(TELLING) if run is not None else nullcontext():
            write(folder, told, entries)
    if not asked.as_json:
        show(cases, found, predicts, entries)
    elif not asked.fix:  # stdout is one document: then it is the repair's
        output.show_json(told)
    if folder is not None:
        output.note(
            f"the ledger as .md, .csv and, with edgeprune[plots], .png; every value: {folder}"
        )
    floats = [c for c in cases if not c.network.int8]
    return (floats or cases)[-1]


def examined(
    models: list[Path],
    names: list[str] | None,
    device: str = "cpu",
    sizes: Mapping[str, Sequence[int]] | None = None,
) -> list[Case]:
    """A case a network, with a forecast and a bar on stderr: it takes a while."""
    from .. import doctor as room
    from .. import units
    from ..bench import subject
    from . import progress

    subject.check_sized(subject.inspect(models, shapes=sizes or {}))  # a refusal comes first
    shown = units.duration(room.forecast(len(models)))
    which = ", ".join(names or [model.name for model in models])
    output.note(f"profiling {which}: about {shown}, longer where other work runs")
    with progress.watch() as watch:
        return room.examine(
            models, names=names, device=device, shapes=sizes or {}, watch=watch.on_progress
        )


def sweep(device: str) -> Any:
    """Measure which multiple of channels the device computes in, and tell."""
    from .. import records
    from ..doctor import rounding
    from . import progress

    output.note(f"sweeping widths on {device}: about half a minute")
    with progress.watch() as watch:
        swept = rounding.probe(device, watch=watch.on_progress)
    how = "measured" if swept.how == "measured" else "known; the sweep was too noisy to tell"
    output.note(f"{device}: --round-to auto is {swept.multiple} ({how})")
    return records.plain(swept)


def write(folder: Path, told: dict[str, Any], entries: Ledger) -> None:
    """The ledger for people (Markdown, PNG), for spreadsheets (CSV), and all of it (JSON)."""
    from .. import files
    from ..report import ledger as room

    table = room.table(entries)
    files.write_text(folder / "ledger.md", table.markdown() + "\n")
    files.write_text(folder / "ledger.csv", table.csv())
    if extras.there("plots"):
        files.write_bytes(folder / "ledger.png", picture(entries))
    files.write_json(folder / "doctor.json", told)


def picture(entries: Ledger) -> bytes:
    """The ledger as a PNG."""
    from ..report import figures

    panels = {
        name: figures.LayerTimes(
            list(layers),
            [entry.measured for entry in layers.values()],
            [entry.roofline for entry in layers.values()],
            [entry.predicted for entry in layers.values()],
        )
        for name, layers in zip(entries.networks, entries.layers, strict=True)
    }
    return figures.png(figures.layer_times(panels))


def profile(device: str, threads: int = 1) -> Device:
    """What predicts times there, measured anew."""
    from ..doctor import probe
    from . import progress

    with progress.watch() as watch:
        found = probe.measure(device, watch.note, watch.on_progress, threads)
    output.note(f"predicted times: {found.sentence()}")
    return found


def kept(device: str) -> Device | None:
    """What predicts times there, if it was ever measured."""
    from ..runtime import device as known

    return known.kept(device)


def ledger(cases: list[Case], counted: dict[str, Rows | None]) -> Ledger:
    from ..doctor import ledger as room

    predictions = [c.said.prediction if c.said else None for c in cases]
    return room.ledger(cases, predictions, [counted.get(c.network.name) for c in cases])


def _counted(run: Run | None, network: str) -> Rows | None:
    """The paper's counts by layer, for a network of a run."""
    if run is None or not run.has(network):
        return None
    from .. import checkpoint, graph

    loaded = checkpoint.load(run, network)
    return {row.layer: row for row in graph.cost(graph.trace(loaded.model, loaded.example)).rows}


def show(
    cases: list[Case], found: list[list[Finding]], known: Device | None, entries: Ledger
) -> None:
    from ..report import ledger as room

    for case, findings in zip(cases, found, strict=True):
        output.show(room.layers(case))
        if findings:
            output.show(room.told(findings[:SHOWN]))
        else:
            output.note(f"{case.network.name}: no findings")
        if len(findings) > SHOWN:
            output.note(f"and {len(findings) - SHOWN} cheaper findings: --json shows all")
    output.show(room.totals(entries))
    if known is None:
        output.note("no prediction: edgeprune doctor --probe measures this device, two minutes")
    else:
        output.note(f"predicted times: {known.sentence()}")


def document(
    cases: list[Case], found: list[list[Finding]], known: Device | None, entries: Ledger,
    models: list[Path],
) -> dict[str, Any]:  # fmt: skip
    """Everything, as values: peaks, each network's layers and findings, the ledger."""
    from hashlib import sha256

    from .. import records, runs
    from ..report import diagnosis
    from ..report import ledger as room

    return {
        "format": diagnosis.FORMAT,
        "version": diagnosis.VERSION,
        "created": runs.now(),
        "peaks": records.plain(cases[0].peaks),
        "block": cases[0].network.block,
        "networks": [
            {
                "name": c.network.name,
                "sha256": sha256(model.read_bytes()).hexdigest(),
                "seconds": c.network.seconds,
                "layers": room.layers(c).records(),
                "others": [asdict(o) for o in c.network.others],
                "findings": records.plain(findings),
            }
            for c, findings, model in zip(cases, found, models, strict=True)
        ],
        "ledger": room.table(entries).records(),
        "predictor": asdict(known.error) if known else None,
    }


def repair(run: Run, case: Case, as_json: bool) -> None:
    """Write the fixed run, export it, and say whether the promised milliseconds came."""
    from .. import doctor as room
    from ..doctor import fix as mend
    from ..ways import exporting

    block = max(case.network.block, 1)
    fixed, changed = mend.fix(run, block)
    if fixed is None:
        output.note(f"nothing to fix: all widths of {run.name} are multiples of {block}")
        if as_json:
            output.show_json({"run": None, "widths": {}})
        return
    with fixed.lock():
        (pruned,) = exporting.loaded(fixed, ["pruned"]).values()
        exporting.write(fixed, pruned, "pruned", exporting.judging(fixed), None)
    before, after = examined(
        [run.onnx_path("pruned"), fixed.onnx_path("pruned")], ["pruned", "fixed"]
    )
    kinds = ("depthwise off layout", "off layout")
    promised = sum(f.seconds for f in room.findings(before) if f.kind in kinds)
    came = before.network.seconds - after.network.seconds
    result = {
        "run": str(fixed.path),
        "widths": {name: list(pair) for name, pair in changed.items()},
        "before": before.network.seconds,
        "after": after.network.seconds,
        "promised": promised,
        "came": came,
    }
    if as_json:
        output.show_json(result)
        return
    widths = ", ".join(f"{name} {a} → {b}" for name, (a, b) in changed.items())
    output.note(f"widths rounded up, answers unchanged: {widths}")
    output.note(
        f"{1e3 * before.network.seconds:.3g} ms → {1e3 * after.network.seconds:.3g} ms a run: "
        f"{1e3 * came:.3g} ms back of {1e3 * promised:.3g} promised"
    )
    output.note(f"next: edgeprune bench {fixed.word}")
