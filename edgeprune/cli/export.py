"""``edgeprune export``: the run's networks as .onnx files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError, closest
from . import options, output
from .typed import typed

FORMATS = ("onnx", "ort")

if TYPE_CHECKING:
    from ..export import Exported
    from ..export.mobile import Mobile
    from ..export.parity import Parity
    from ..report.tables import Table
    from ..runs import Run
    from ..ways.quantising import Written


@dataclass(frozen=True)
class Export:
    """Everything that can be typed after ``edgeprune export``."""

    run: options.RUN = None
    opset: Annotated[
        int | None,
        typer.Option(
            "--opset",
            min=18,
            max=23,
            help="ONNX operator set (18, which runs everywhere; of a network from an .onnx file its own).",
        ),
    ] = None
    opened: Annotated[
        str,
        typer.Option(
            "--open",
            metavar="AXES",
            help="Axes that may have another size besides the batch: height,width (depth, length, steps, "
            "or their numbers).",
        ),
    ] = ""
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="And each network in 8 bits beside it, calibrated on images that it was made from.",
        ),
    ] = False
    calibrate: Annotated[
        int | None,
        typer.Option(
            "--calibrate", min=1, metavar="N", help="Of so many images (with --int8; default 200)."
        ),
    ] = None
    method: Annotated[
        str | None,
        typer.Option(
            "--int8-method",
            metavar="STEPS+RANGES",
            help="How 8 bits are found (with --int8): equalise, bias, lstsq, fitted, then minmax or mse.",
        ),
    ] = None
    card: Annotated[
        bool,
        typer.Option("--card", help="And README.md: a model card in Hugging Face's form."),
    ] = False
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, or ort: each file in onnxruntime's mobile format too, and the operators for a "
            "build with no others.",
        ),
    ] = "onnx"
    as_json: options.JSON = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise EdgepruneError(f"--format {self.format}", closest(self.format, FORMATS))
        for option, value in (("--calibrate", self.calibrate), ("--int8-method", self.method)):
            if value is not None and not self.int8:
                raise EdgepruneError(f"{option} {value}", "is of int8 alone", "add --int8")
        if self.method is not None:
            from .. import quantise

            quantise.checked(self.method)

    @property
    def axes(self) -> list[str]:
        """The words of ``--open``."""
        return [word.strip() for word in self.opened.split(",") if word.strip()]


@typed
def export(asked: Export) -> None:
    """Write dense.onnx and pruned.onnx into the run: one file each, dynamic batch, simplified, checked.

    torch and onnxruntime must give the same outputs, all of them, on real examples (and at another size of
    what is open), and choose the same class for every image of the test split (without labels: of what was
    held out); otherwise no file is left and the exit code is 2.

    With --format ort each also comes in onnxruntime's mobile format, loaded and compared before it is there.

    With --int8 each also comes in 8 bits, as dense-int8.onnx and pruned-int8.onnx (QDQ, uint8 maps, int8
    weights with a step a filter); how often it gives the float file's answer on the same images is told
    before it is there.

    Example: [b]edgeprune export --int8[/b]
    """
    from .. import runs
    from ..report import eight_bits

    run = runs.find(asked.run)
    written, eight = made(run, asked)
    if asked.card:
        from ..report import card, results

        output.note(f"the card: {card.write(results.read(run))}")
    small = mobile(run) if asked.format == "ort" else []
    if asked.as_json:
        show_json(run, written, eight, small)
    else:
        tables = [eight_bits.table([e.told for e in eight.values()])] if eight else []
        tables += [in_mobile(small)] if small else []
        output.show(table(run, written), *beside(written), *tables)
    tell(run, written)


def made(run: Run, asked: Export) -> tuple[dict[str, Exported], dict[str, Written]]:
    """The files of each network of the run, and those in 8 bits, by the networks' names."""
    from .. import checkpoint, runs
    from ..ways import exporting, quantising

    present = [network for network in runs.NETWORKS if run.has(network)]
    if not present:
        checkpoint.load(run, "dense")  # says which command makes one
    networks, images = exporting.loaded(run, present), exporting.judging(run)
    written = {}
    with run.lock(), output.aside():
        for name, network in networks.items():
            output.note(f"exporting {name} …")
            written[name] = exporting.write(run, network, name, images, asked.opset, asked.axes)
        eight: dict[str, Written] = {}
        if asked.int8:
            eight = quantising.beside(
                run, networks, images, output.note, output.in_8_bits, asked.calibrate, asked.method
            )
    return written, eight


def mobile(run: Run) -> list[Mobile]:
    """Every .onnx file of the run in onnxruntime's mobile format, beside it."""
    from .. import records
    from ..export import mobile as room
    from ..ways import exporting

    names, samples = run.exported, exporting.judging(run).samples
    with run.lock(), output.aside():
        output.note("writing the mobile format …")
        found, listed = room.write(
            [run.onnx_path(name) for name in names], samples,
            [records.parent_of(name) != name for name in names],
        )  # fmt: skip
    output.note(f"the operators that they need: {listed}")
    return found


def in_mobile(found: list[Mobile]) -> Table:
    from .. import records, units
    from ..report.tables import Column, Table

    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("difference", "from .onnx", lambda v: f"{v:.1e}"),
    ]
    rows = [{**records.plain(one), "file": one.path.name} for one in found]
    return Table("In onnxruntime's mobile format, loaded and compared", columns, rows)


def show_json(
    run: Run, written: dict[str, Exported], eight: dict[str, Written], small: list[Mobile]
) -> None:
    from .. import records
    from ..ways import exporting

    documents = {name: records.plain(e) for name, e in written.items()}
    documents |= {name: document(e) for name, e in eight.items()}
    head: dict[str, Any] = {"run": str(run.path), "labelled": exporting.labelled(run)}
    if small:
        head["mobile"] = records.plain(small)
    output.show_json(head | {"networks": documents})


def tell(run: Run, written: dict[str, Exported]) -> None:
    """What the table does not show, and the next command."""
    tell_open(written)
    for e in written.values():
        if e.parity.rounding is not None:
            output.note(rounded(e))
    if all(e.simplified == 0 for e in written.values()):
        output.note("onnx-simplifier changed nothing: the exporter's graph was simple already")
    if "pruned" not in written:
        output.note(f"only the dense network so far; next: {run.go_on()}")
    else:
        output.note(f"next: edgeprune bench {run.word} --device cpu")


def document(written: Written) -> dict[str, Any]:
    """Of an int8 file; the ranges are in its record."""
    from .. import records

    found: dict[str, Any] = records.plain(written.told)
    return {"path": str(written.path), **{k: v for k, v in found.items() if k != "ranges"}}


def tell_open(written: dict[str, Exported]) -> None:
    """Which axes are open besides the batch, and at which size they were tried."""
    last = list(written.values())[-1]
    if last.parity.also:
        sizes = ", ".join("x".join(map(str, shape)) for shape in last.parity.also)
        output.note(f"open: {', '.join(last.open)}; compared at {sizes} too")
    for name, e in written.items():
        for axis, why in e.shut.items():
            output.note(f"{name}.onnx has one {axis} only, which the file left open: {why}")


def same(parity: Parity) -> str | None:
    """How many images get the same answer; None where an answer is no choice."""
    return None if parity.ties is None else f"{parity.images - parity.ties} of {parity.images}"


def rounded(e: Exported) -> str:
    """Why a file may differ by more than others."""
    return (
        f"{e.path.name} differs by {e.parity.difference:.1e}, more than rounding usually leaves: this "
        f"network loses digits in float32 (torch's own is {e.parity.rounding:.1e} from float64; "
        "onnxruntime is at most twice as far)"
    )


def score(parity: Parity) -> float | None:
    """The task's score in onnxruntime, 0..1."""
    if parity.onnx_correct is None or not parity.images:
        return None
    return parity.onnx_correct / parity.images


def beside(written: dict[str, Exported]) -> list[Table]:
    """What the pruned file's outputs are beside the dense network's, in the words of the task."""
    from ..report.outputs import figures
    from ..report.tables import Column, Table

    outputs = written["pruned"].parity.outputs if "pruned" in written else ()
    if not outputs:
        return []
    rows = [{"quantity": f.quantity, "value": f.text} for f in figures(outputs)]
    columns = [Column("quantity", " ", align="left"), Column("value", "pruned", str)]
    n = written["pruned"].parity.images
    return [
        Table(f"pruned.onnx beside the dense network, on {n:,} held-out examples", columns, rows)
    ]


def table(run: Run, written: dict[str, Exported]) -> Table:
    from .. import units
    from ..report.tables import Column, Table
    from ..ways import exporting

    def row(network: str, e: Exported) -> dict[str, Any]:
        return {
            "file": e.path.name,
            "bytes": e.bytes,
            "nodes": e.nodes,
            "simplified": e.simplified,
            "difference": e.parity.difference,
            "same": same(e.parity),
            "score": score(e.parity),
        }

    known, task = exporting.labelled(run), exporting.task_of(run)
    choices: list[Column] = []
    if any(e.parity.ties is not None for e in written.values()):
        choices = [
            Column("same", "same class" if task.counted else "same answer"),
            Column("score", task.title if known else "as dense", units.percent),
        ]
    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("nodes"),
        Column("simplified", "dropped"),
        Column("difference", "difference", lambda v: f"{v:.1e}"),
        *choices,
    ]
    what = "images" if task.classifies else "examples"
    agree = ": agreement with dense" if task.classifies else ""
    where = "the test split" if known else f"the {what} held out (no labels{agree})"
    title = f"{run.path}: torch and onnxruntime agree on {where}"
    return Table(title, columns, [row(network, e) for network, e in written.items()])
