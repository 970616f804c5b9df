"""``edgeprune inspect``: which channels leave together, and what cannot leave and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .named import followed

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
        traced, names = followed(title, classes, size, head)
    value = document(title, traced, names)
    if as_json:
        output.show_json(value)
        return
    output.show(groups_table(value))
    if any(row["operator"] != "output" for row in value["refusals"]):  # outputs always stay
        print()
        output.show(refusals_table(value))


def document(title: str, traced: Graph, names: dict[str, str]) -> dict[str, Any]:
    """Everything as JSON: totals, groups in execution order, refusals."""
    from .. import graph

    whole = graph.cost(traced)
    free = {layer for group in traced.groups.values() for layer in group.producers}
    rows = []
    for name, group in traced.groups.items():
        rows.append(
            {
                "group": name,
                "paper": names.get(name),
                "width": group.width,
                "layers": list(group.producers),
                "tensors": sorted({site.tensor for site in group.sites}),
                **_shares(traced, name, whole),
            }
        )
    refusals = [
        {"layer": r.where, "operator": r.operator, "reason": r.reason, "source": r.source}
        for r in traced.refusals
    ]
    return {
        "network": title,
        "input": list(traced.example[1:]),
        "params": whole.params,
        "flops": whole.flops,
        "macs": whole.macs,
        "groups": rows,
        "whole": [r.layer for r in whole.rows if r.flops and r.layer not in free],
        "refusals": refusals,
    }


def _shares(traced: Graph, name: str, whole: Cost) -> dict[str, float]:
    """What would go with all of a group: costs are quadratic in its width, read off at width 0."""
    from .. import graph

    W = traced.groups[name].width
    middle = (W + 1) // 2
    one, half = (graph.cost(traced, {name: w}) for w in (1, middle))
    found = {}
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
        found[f"{what}_share"] = 1 - none / c if c else 0.0
    return found


def groups_table(value: dict[str, Any]) -> Table:
    from .. import units
    from ..report.tables import Column, Table

    rows = [
        {
            **row,
            "name": f"{row['paper']} ({row['group']})" if row["paper"] else row["group"],
            "others": [layer for layer in row["layers"] if layer != row["group"]],
        }
        for row in value["groups"]
    ]
    columns = [
        Column("name", "group", align="left", wraps=True),
        Column("width"),
        Column("params_share", "params", units.percent),
        Column("flops_share", "FLOPs", units.percent),
        Column("others", "tied to it", ", ".join, align="left", wraps=True),
    ]
    shape = " x ".join(map(str, value["input"]))
    channels = sum(row["width"] for row in rows)
    notes = [
        f"input {shape}: {units.count(value['params'])} parameters, "
        f"{units.count(value['flops'])} FLOPs",
        f"{len(rows)} groups, {channels:,} units that can leave" if rows else "nothing can leave",
    ]
    if value["whole"]:
        notes.append(f"all filters stay in: {', '.join(value['whole'])}")
    return Table(str(value["network"]), columns, rows, notes)


def refusals_table(value: dict[str, Any]) -> Table:
    from ..report.tables import Column, Table

    columns = [
        Column("layer", align="left", wraps=True),
        Column("operator", align="left"),
        Column("reason", align="left", wraps=True),
        Column("source", "where", _short, align="left", wraps=True),
    ]
    return Table("What must stay, and why", columns, value["refusals"])


def _short(source: str) -> str:
    """``.../torchvision/models/resnet.py:280`` by its last three parts; JSON has the whole path."""
    return "/".join(Path(source).parts[-2:]) if source else ""


def _of_run(wanted: str) -> tuple[str, Graph, dict[str, str]]:
    from .. import checkpoint, models, runs

    run = runs.find(wanted)
    loaded = checkpoint.load(run, "dense")
    return run.name, loaded.graph, models.layer_names(loaded.spec)
