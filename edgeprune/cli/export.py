"""``edgeprune export``: the run's networks as .onnx files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import options, output
from .typed import typed

HELD = 0.8  # share of the outputs' variance; less is no network of use

if TYPE_CHECKING:
    from ..checkpoint import Loaded
    from ..export import Exported
    from ..export.parity import Parity
    from ..records import Int8, Output
    from ..report.tables import Table
    from ..runs import Run
    from ..ways.exporting import Judging
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
            help="How 8 bits are found (with --int8): equalise, bias, lstsq, then minmax or mse.",
        ),
    ] = None
    card: Annotated[
        bool,
        typer.Option("--card", help="And README.md: a model card in Hugging Face's form."),
    ] = False
    as_json: options.JSON = False

    def __post_init__(self) -> None:
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

    With --int8 each also comes in 8 bits, as dense-int8.onnx and pruned-int8.onnx (QDQ, uint8 maps, int8
    weights with a step a filter); how often it gives the float file's answer on the same images is told
    before it is there.

    Example: [b]edgeprune export --int8[/b]
    """
    from .. import runs

    run = runs.find(asked.run)
    written, eight = made(run, asked)
    if asked.card:
        from ..report import card, results

        output.note(f"the card: {card.write(results.read(run))}")
    if asked.as_json:
        show_json(run, written, eight)
    else:
        tables = [in_8_bits([e.told for e in eight.values()])] if eight else []
        output.show(table(run, written), *beside(written), *tables)
    tell(run, written)


def made(run: Run, asked: Export) -> tuple[dict[str, Exported], dict[str, Written]]:
    """The files of each network of the run, and those in 8 bits, by the networks' names."""
    from .. import checkpoint, runs
    from ..ways import exporting

    present = [network for network in runs.NETWORKS if run.has(network)]
    if not present:
        checkpoint.load(run, "dense")  # says which command makes one
    networks, images = exporting.loaded(run, present), exporting.judging(run)
    written = {}
    with run.lock(), output.aside():
        for name, network in networks.items():
            output.note(f"exporting {name} …")
            written[name] = exporting.write(run, network, name, images, asked.opset, asked.axes)
        eight = quantised(run, networks, images, asked) if asked.int8 else {}
    return written, eight


def show_json(run: Run, written: dict[str, Exported], eight: dict[str, Written]) -> None:
    from .. import records
    from ..ways import exporting

    documents = {name: records.plain(e) for name, e in written.items()}
    documents |= {name: document(e) for name, e in eight.items()}
    head = {"run": str(run.path), "labelled": exporting.labelled(run)}
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


def quantised(
    run: Run, networks: dict[str, Loaded], images: Judging, asked: Export
) -> dict[str, Written]:
    """The int8 file of each network; what it gives is told before it is there."""
    from .. import quantise
    from ..ways import quantising

    examples = quantising.calibrating(run, asked.calibrate or quantising.CALIBRATED)
    written = {}
    for network, loaded in networks.items():
        output.note(f"exporting {network} in 8 bits …")
        one = quantising.write(
            run, loaded, network, examples, images, told, asked.method or quantise.USUAL
        )
        written[one.told.network] = one
    return written


def told(name: str, found: Int8) -> None:
    """One line on what 8 bits keep, and one where they do not hold the network."""
    from .. import units

    if found.note:
        output.note(f"{name}: {found.note}")
    least = min(
        (o.variance_kept for o in found.beside_float if o.variance_kept is not None), default=1.0
    )
    if least < HELD:
        layers = (
            ", ".join(k.layer for k in found.worst) or "unknown (--int8-method lstsq+minmax tells)"
        )
        output.note(
            f"{name}: 8 bits do not hold this network, {units.percent(max(least, 0.0), 0)} of its outputs' "
            f"variance is kept; furthest off: {layers}. Deploy the float file"
        )
    first = main_figure(found.beside_float)
    kept = f"{first[0].lower()} kept to {first[1]}, " if first else ""
    size = f"{units.size(found.bytes)} of {units.size(found.float_bytes)}"
    if found.in_float:
        layers = ", ".join(f"{k.layer} ({units.percent(k.loss, 1)})" for k in found.in_float)
        output.note(f"{name}: left in float, with what their 8 bits would lose: {layers}")
    output.note(f"{name}: {kept}on {found.images:,} held-out examples; {size}")


def main_figure(outputs: list[Output]) -> tuple[str, str] | None:
    """What is told first of a network's outputs beside another's: how it is called, and its value."""
    from ..report.outputs import figures

    found = figures(outputs)
    return (found[0].key.replace("_", " "), found[0].text) if found else None


def document(written: Written) -> dict[str, Any]:
    """Of an int8 file; the ranges are in its record."""
    from .. import records

    found: dict[str, Any] = records.plain(written.told)
    return {"path": str(written.path), **{k: v for k, v in found.items() if k != "ranges"}}


def in_8_bits(found: list[Int8]) -> Table:
    """The int8 files beside their float ones."""
    from .. import units
    from ..report.tables import Column, Table

    def row(one: Int8) -> dict[str, Any]:
        own, dense = main_figure(one.beside_float), main_figure(one.beside_dense)
        return {
            "file": f"{one.network}.onnx", "bytes": one.bytes, "float_bytes": one.float_bytes,
            "float": own[1] if own else None,
            "dense": dense[1] if dense and one.parent != "dense" else None,
            "accuracy": one.accuracy, "float_accuracy": one.float_accuracy,
            "in_float": len(one.in_float),
        }  # fmt: skip

    first = main_figure(found[0].beside_float)
    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("float_bytes", "of float's", units.size),
        Column("float", "as float"),
        Column("dense", "as dense"),
    ]
    if found[0].accuracy is not None:
        columns += [
            Column("accuracy", "score", units.percent),
            Column("float_accuracy", "float's", units.percent),
        ]
    columns.append(Column("in_float", "layers in float"))
    word = first[0] if first else "outputs"
    title = f"In 8 bits: {word} on {found[0].images:,} examples that did not calibrate"
    return Table(title, columns, [row(one) for one in found])


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
