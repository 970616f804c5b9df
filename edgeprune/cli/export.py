"""``edgeprune export``: the run's networks as .onnx files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options, output

if TYPE_CHECKING:
    from ..export import Exported
    from ..export.parity import Parity
    from ..report.tables import Table
    from ..runs import Run

NETWORKS = ("dense", "pruned")


def export(
    run: options.RUN = None,
    opset: Annotated[
        int | None,
        typer.Option(
            "--opset",
            min=18,
            max=23,
            help="ONNX operator set (18, which runs everywhere; of a network from an .onnx file its own).",
        ),
    ] = None,
    opened: Annotated[
        str,
        typer.Option(
            "--open",
            metavar="AXES",
            help="Axes that may have another size besides the batch: height,width (depth, length, steps, "
            "or their numbers).",
        ),
    ] = "",
    as_json: options.JSON = False,
) -> None:
    """Write dense.onnx and pruned.onnx into the run: one file each, dynamic batch, simplified, checked.

    torch and onnxruntime must give the same outputs, all of them, on real examples (and at another size of
    what is open), and choose the same class for every image of the test split (without labels: of what was
    held out); otherwise no file is left and the exit code is 2.

    Example: [b]edgeprune export --open height,width[/b]
    """
    from .. import checkpoint, runs
    from ..ways import exporting

    found = runs.find(run)
    present = [network for network in NETWORKS if found.has(network)]
    if not present:
        checkpoint.load(found, "dense")  # says which command makes one
    networks = exporting.loaded(found, present)
    words = [word.strip() for word in opened.split(",") if word.strip()]
    images = exporting.judging(found)
    written = {}
    with found.lock(), output.aside():
        for network, loaded in networks.items():
            output.note(f"exporting {network} …")
            written[network] = exporting.write(found, loaded, network, images, opset, words)
    if as_json:
        documents = {network: e.to_json() for network, e in written.items()}
        head = {"run": str(found.path), "labelled": exporting.labelled(found)}
        output.show_json(head | {"networks": documents})
    else:
        output.show(table(found, written), *beside(written))
    tell(found, written)


def tell(run: Run, written: dict[str, Exported]) -> None:
    """What the table does not show, and the next command."""
    tell_open(written)
    for e in written.values():
        if e.parity.rounding is not None:
            output.note(rounded(e))
    if all(e.simplified == 0 for e in written.values()):
        output.note("onnx-simplifier changed nothing: the exporter's graph was simple already")
    if "pruned" not in written:
        output.note(f"only the dense network so far; next: edgeprune prune {run.word}")
    else:
        output.note(f"next: edgeprune bench {run.word} --device cpu")


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
