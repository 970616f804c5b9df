"""``edgeprune cost``: parameters, FLOPs in the paper's convention, MACs and bytes, layer by
layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .named import followed
from .typed import typed

if TYPE_CHECKING:
    from ..graph import Cost, Graph
    from ..report.tables import Table
    from ..runtime.device import Device


class Counted(NamedTuple):
    """A network's costs, what its layers are called, and what it takes, in words."""

    cost: Cost
    names: Mapping[str, str]
    takes: str


@dataclass(frozen=True)
class Words:
    """What was typed."""

    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's name or path: its dense and pruned networks.",
            autocompletion=complete.runs,
        ),
    ] = None
    model: Annotated[str | None, options.model()] = None
    classes: Annotated[int, typer.Option("--classes", min=2, help="Classes of the last layer.")] = (
        10
    )
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=16, max=1024, help="Side of the input in pixels (32; others 224)."
        ),
    ] = None
    head: options.HEAD = "paper"
    shape: options.EXAMPLE = None
    widths: Annotated[
        str | None,
        typer.Option(
            "--widths", help="Widths of the groups in order, such as 64,64,128 (the rest as built)."
        ),
    ] = None
    the_run: Annotated[str | None, typer.Option("--run", hidden=True)] = None
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            autocompletion=complete.devices,
            help="Also predict the milliseconds there: cpu, or any device that "
            "edgeprune doctor --probe has measured.",
        ),
    ] = None
    as_json: options.JSON = False

    def __post_init__(self) -> None:
        if (self.named is None) == (self.model is None):
            raise EdgepruneError(
                "edgeprune cost", "wants one network", "give --model NAME or a run"
            )

    @property
    def named(self) -> str | None:
        """The run; ``--run`` is as it was said before runs were a word here as elsewhere."""
        return self.run or self.the_run


@typed
def cost(asked: Words) -> None:
    """Count a network without building the smaller one.

    FLOPs are the paper's: 2 x (weights + biases) x output positions of convolutions and dense
    layers. MACs are multiply-adds of the same layers. Both on the network as trained (batch norm
    not folded).

    Example: [b]edgeprune cost --model vgg16 --widths
    64,64,128,128,256,256,256,192,192,192,128,128,128[/b]
    """
    known = None if asked.device is None else profile(asked.device)
    counted = _counted(asked)
    if asked.as_json:
        documents = {name: document(c.cost, known) for name, c in counted.items()}
        one = asked.named is None
        output.show_json(next(iter(documents.values())) if one else {"networks": documents})
        return
    output.show(*(table(name, c, known) for name, c in counted.items()))
    if known is not None:
        output.note(f"predicted for {asked.device}, 1 thread, batch 1: {known.sentence()}")


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


def table(name: str, counted: Counted, known: Device | None = None) -> Table:
    from .. import units
    from ..models import layer_said
    from ..report.tables import Column, Table

    cost = counted.cost
    rows = [asdict(row) | {"layer": layer_said(row.layer, counted.names)} for row in cost.rows]
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
    title = f"{name}, input {counted.takes}"
    return Table(title, columns, rows, total=total | {"bytes": cost.bytes} | times)


def _counted(asked: Words) -> Mapping[str, Counted]:
    """The networks that are asked for, by their names."""
    from .. import graph as room

    if asked.named is not None:
        return _of_run(asked.named)
    assert asked.model is not None
    traced, names = followed(asked.model, asked.classes, asked.size, asked.head, asked.shape)
    said = traced.inputs.said
    return {asked.model: Counted(room.cost(traced, _widths(traced, asked.widths)), names, said)}


def _of_run(wanted: str) -> Mapping[str, Counted]:
    """The networks of a run."""
    from .. import checkpoint, graph, models, runs

    run = runs.find(wanted)
    found = {}
    for network in ("dense", "pruned"):
        if run.has(network):
            loaded = checkpoint.load(run, network)
            cost, names = graph.cost(loaded.graph), models.layer_names(loaded.spec)
            found[f"{run.name} {network}"] = Counted(cost, names, loaded.graph.inputs.said)
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
        raise EdgepruneError(
            f"--widths {text}", "not whole numbers separated by commas", "such as --widths 16,32,64"
        ) from None
    if len(values) > len(groups) or min(values) < 0:
        raise EdgepruneError(
            f"--widths {text}", f"the network has {len(groups)} groups, each 0 or wider",
            "see edgeprune inspect",
        )  # fmt: skip
    return dict(zip(groups, values, strict=False))
