"""``edgeprune cost``: parameters, FLOPs in the paper's convention, MACs and bytes, layer by
layer.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .named import followed

if TYPE_CHECKING:
    from ..graph import Cost, Graph
    from ..report.tables import Table
    from ..runtime.device import Device


def cost(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's name or path: its dense and pruned networks.",
            autocompletion=complete.runs,
        ),
    ] = None,
    model: Annotated[str | None, options.model()] = None,
    classes: Annotated[
        int, typer.Option("--classes", min=2, help="Classes of the last layer.")
    ] = 10,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=16, max=1024, help="Side of the input in pixels (32; others 224)."
        ),
    ] = None,
    head: options.HEAD = "paper",
    shape: options.EXAMPLE = None,
    widths: Annotated[
        str | None,
        typer.Option(
            "--widths", help="Widths of the groups in order, such as 64,64,128 (the rest as built)."
        ),
    ] = None,
    the_run: Annotated[str | None, typer.Option("--run", hidden=True)] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            autocompletion=complete.devices,
            help="Also predict the milliseconds there: cpu, or any device that "
            "edgeprune doctor --probe has measured.",
        ),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """Count a network without building the smaller one.

    FLOPs are the paper's: 2 x (weights + biases) x output positions of convolutions and dense
    layers. MACs are multiply-adds of the same layers. Both on the network as trained (batch norm
    not folded).

    Example: [b]edgeprune cost --model vgg16 --widths
    64,64,128,128,256,256,256,192,192,192,128,128,128[/b]
    """
    from .. import graph as room

    run = run or the_run  # as it was said before runs were a word here as elsewhere
    if (run is None) == (model is None):
        raise EdgepruneError("edgeprune cost", "wants one network", "give --model NAME or a run")
    if run is not None:
        counted = _of_run(run)
    else:
        assert model is not None
        traced, names = followed(model, classes, size, head, shape)
        asked = _widths(traced, widths)
        counted = {model: (room.cost(traced, asked), names, traced.inputs.said)}
    known = None if device is None else profile(device)
    if as_json:
        documents = {name: document(value, known) for name, (value, *_) in counted.items()}
        output.show_json(
            {"networks": documents} if run is not None else next(iter(documents.values()))
        )
        return
    output.show(
        *(
            table(f"{name}, input {takes}", value, names, known)
            for name, (value, names, takes) in counted.items()
        )
    )
    if known is not None:
        output.note(f"predicted for {device}, 1 thread, batch 1: {known.sentence()}")


def profile(device: str) -> Device:
    """What predicts times on ``device``; refused where it was never measured."""
    from ..runtime import device as room

    known = room.kept(device)
    if known is None:
        raise EdgepruneError(
            f"--device {device}", "was never probed",
            f"edgeprune doctor --probe --device {device}",
        )  # fmt: skip
    return known


def predicted(cost: Cost, known: Device) -> tuple[list[float | None], float]:
    """Seconds of each row (None: it costs nothing of its own) and of the whole network."""
    from ..runtime import predictor

    said = predictor.predict(known.model, cost.rows)
    layers = iter(said.layers)
    return [next(layers) if r.kind in predictor.COUNTED else None for r in cost.rows], said.seconds


def document(cost: Cost, known: Device | None = None) -> Any:
    """The JSON of one network: totals, then rows; seconds are predicted ones."""
    totals = {"params": cost.params, "flops": cost.flops, "macs": cost.macs, "bytes": cost.bytes}
    rows = [asdict(row) for row in cost.rows]
    if known is None:
        return totals | {"layers": rows}
    each, whole = predicted(cost, known)
    rows = [row | {"predicted_s": s} for row, s in zip(rows, each, strict=True)]
    error = {"median": known.error.median, "worst": known.error.worst}
    return totals | {"predicted_s": whole, "predictor_error": error, "layers": rows}


def table(title: str, cost: Cost, names: dict[str, str], known: Device | None = None) -> Table:
    from .. import units
    from ..models import layer_said
    from ..report.tables import Column, Table

    rows = [asdict(row) | {"layer": layer_said(row.layer, names)} for row in cost.rows]
    last = Column("bytes", "weights", units.size)
    times: dict[str, Any] = {}
    if known is not None:
        each, whole = predicted(cost, known)
        rows = [row | {"predicted": s} for row, s in zip(rows, each, strict=True)]
        last, times = Column("predicted", show=units.milliseconds), {"predicted": whole}
    columns = [
        Column("layer", align="left"),
        Column("kind", align="left", spare=True),
        Column("width_out", "width"),
        Column("params", "parameters", units.count),
        Column("flops", "FLOPs", units.count),
        Column("macs", "MACs", units.count),
        last,  # both at once are too wide for a terminal
    ]
    total = {"layer": "total", "params": cost.params, "flops": cost.flops, "macs": cost.macs}
    return Table(title, columns, rows, total=total | {"bytes": cost.bytes} | times)


def _of_run(wanted: str) -> dict[str, tuple[Cost, dict[str, str], str]]:
    """Of each network of a run: what it costs, its layers' names, its inputs in words."""
    from .. import checkpoint, graph, models, runs

    run = runs.find(wanted)
    found = {}
    for network in ("dense", "pruned"):
        if run.has(network):
            loaded = checkpoint.load(run, network)
            cost, names = graph.cost(loaded.graph), models.layer_names(loaded.spec)
            found[f"{run.name} {network}"] = (cost, names, loaded.graph.inputs.said)
    if not found:
        checkpoint.load(run, "dense")  # says what is missing
    return found


def _widths(traced: Graph, text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    groups = list(traced.groups)
    try:
        values = [int(word) for word in text.split(",")]
    except ValueError:
        raise EdgepruneError(f"--widths {text}", "not whole numbers separated by commas") from None
    if len(values) > len(groups) or min(values) < 0:
        raise EdgepruneError(
            f"--widths {text}", f"the network has {len(groups)} groups, each 0 or wider",
            "see edgeprune inspect",
        )  # fmt: skip
    return dict(zip(groups, values, strict=False))
