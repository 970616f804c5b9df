"""``edgeprune inspect``: which channels leave together, and what cannot leave and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .named import followed

SHOWN = 6  # names in a sentence; --json has all

if TYPE_CHECKING:
    from ..graph import Cost, Graph
    from ..report.tables import Table


def inspect(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's name or path: its dense network.",
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
    as_json: options.JSON = False,
) -> None:
    """Show a network's groups of channels: what leaves together, how much hangs on it, what must stay.

    A group's share of the parameters (FLOPs) is what would go if all of it could. A filter that
    leaves takes the same filter of every layer of its group along, and the kernels that read it.

    Example: [b]edgeprune inspect --model torchvision/resnet18[/b]
    """
    if (run is None) == (model is None):
        raise EdgepruneError("edgeprune inspect", "wants one network", "give --model NAME or a run")
    if run is not None:
        title, traced, names = _of_run(run)
    else:
        title = str(model)
        traced, names = followed(title, classes, size, head, shape)
    found = inspected(title, traced, names)
    if as_json:
        output.show_json(asdict(found))
        return
    output.show(groups_table(found))
    if any(r.operator != "output" for r in found.refusals):  # outputs always stay
        print()
        output.show(refusals_table(found))


@dataclass(frozen=True)
class Held:
    """A group: what leaves together; its shares are what would go if all of it could."""

    group: str
    paper: str | None  # the paper's name of it
    width: int
    layers: list[str]
    tensors: list[str]
    params_share: float
    flops_share: float
    can_vanish: bool  # whole, exactly: its branch is then a constant

    @property
    def name(self) -> str:
        return f"{self.paper} ({self.group})" if self.paper else self.group


@dataclass(frozen=True)
class Refused:
    """What must stay, and why."""

    layer: str
    operator: str
    reason: str
    source: str


@dataclass(frozen=True)
class Inspected:
    """Totals, groups in execution order, refusals; ``whole``: layers all of whose filters stay."""

    network: str
    input: list[int]
    takes: str  # all inputs, in words
    params: int
    flops: int
    macs: int
    groups: list[Held]
    whole: list[str]
    refusals: list[Refused]


def inspected(title: str, traced: Graph, names: dict[str, str]) -> Inspected:
    from .. import graph

    whole = graph.cost(traced)
    free = {layer for group in traced.groups.values() for layer in group.producers}
    groups = [
        Held(
            name, names.get(name), group.width, list(group.producers),
            sorted({site.tensor for site in group.sites}), *_shares(traced, name, whole),
            graph.can_vanish(traced, [name]),
        )
        for name, group in traced.groups.items()
    ]  # fmt: skip
    return Inspected(
        network=title,
        input=list(traced.inputs.ports[0].shape),
        takes=traced.inputs.said,
        params=whole.params,
        flops=whole.flops,
        macs=whole.macs,
        groups=groups,
        whole=[r.layer for r in whole.rows if r.flops and r.layer not in free],
        refusals=[Refused(r.where, r.operator, r.reason, r.source) for r in traced.refusals],
    )


def _shares(traced: Graph, name: str, whole: Cost) -> tuple[float, float]:
    """Of the parameters, and of the FLOPs: what would go with all of a group.

    Costs are quadratic in its width, and read off at width 0.
    """
    from .. import graph

    W = traced.groups[name].width
    middle = (W + 1) // 2
    one, half = (graph.cost(traced, {name: w}) for w in (1, middle))
    found = []
    for what in ("params", "flops"):
        c, a, b = (getattr(cost, what) for cost in (whole, one, half))
        if W > 2:  # Lagrange through (W, c), (1, a), (middle, b)
            none = (
                c * middle / ((W - 1) * (W - middle))
                + a * W * middle / ((1 - W) * (1 - middle))
                + b * W / ((middle - W) * (middle - 1))
            )
        else:
            none = a - (c - a) / (W - 1)
        found.append(1 - none / c if c else 0.0)
    params, flops = found
    return params, flops


def groups_table(found: Inspected) -> Table:
    from .. import units
    from ..report.tables import Column, Table

    rows = [
        asdict(g) | {"name": g.name, "others": [x for x in g.layers if x != g.group]}
        for g in found.groups
    ]
    columns = [
        Column("name", "group", align="left", wraps=True),
        Column("width"),
        Column("params_share", "params", units.percent),
        Column("flops_share", "FLOPs", units.percent),
        Column("others", "tied to it", ", ".join, align="left", wraps=True),
    ]
    shape = (
        " x ".join(map(str, found.input))
        if "," not in found.takes.partition("]")[2]
        else found.takes
    )
    channels = sum(g.width for g in found.groups)
    notes = [
        f"input {shape}: {units.count(found.params)} parameters, {units.count(found.flops)} FLOPs",
        f"{len(rows)} groups, {channels:,} units that can leave" if rows else "nothing can leave",
    ]
    free = [g.name for g in found.groups if g.can_vanish]
    if free:
        what = "a branch" if len(free) == 1 else f"{len(free)} branches"
        notes.append(f"--floor 0 lets {what} vanish: {units.some(free, SHOWN)}")
    if found.whole:
        notes.append(f"all filters stay in: {units.some(found.whole, SHOWN)}")
    return Table(found.network, columns, rows, notes)


def refusals_table(found: Inspected) -> Table:
    from ..report.tables import Column, Table

    columns = [
        Column("layer", align="left", wraps=True),
        Column("operator", align="left"),
        Column("reason", align="left", wraps=True),
        Column("source", "where", _short, align="left", wraps=True),
    ]
    return Table("What must stay, and why", columns, [asdict(r) for r in found.refusals])


def _short(source: str) -> str:
    """``.../torchvision/models/resnet.py:280`` by its last three parts; JSON has the whole path."""
    return "/".join(Path(source).parts[-2:]) if source else ""


def _of_run(wanted: str) -> tuple[str, Graph, dict[str, str]]:
    from .. import checkpoint, models, runs

    run = runs.find(wanted)
    loaded = checkpoint.load(run, "dense")
    return run.name, loaded.graph, models.layer_names(loaded.spec)
