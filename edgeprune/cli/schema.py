"""``edgeprune schema``: the form of every record that a run, bench and doctor hold."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from ..errors import EdgepruneError, closest
from . import options, output


def schema(
    record: Annotated[
        str | None,
        typer.Argument(metavar="[RECORD]", help="One of them; without it, all are named."),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """Print the JSON schema (2020-12) of a record, made from the type that writes and reads it.

    Example: [b]edgeprune schema result[/b]
    """
    from .. import records
    from ..report.tables import Column, Table

    known = kinds()
    if record is not None and record not in known:
        raise EdgepruneError(f"record {record!r}", closest(record, list(known)))
    if record is not None or as_json:
        names = [record] if record is not None else list(known)
        output.show_json({"schemas": {name: records.schema(known[name][1]) for name in names}})
        return
    rows = [{"record": n, "where": where, "what": _said(k)} for n, (where, k) in known.items()]
    columns = [
        Column("record", align="left"), Column("where", align="left"),
        Column("what", " ", align="left", wraps=True),
    ]  # fmt: skip
    output.show(Table("Records", columns, rows))


def kinds() -> dict[str, tuple[str, type[Any]]]:
    """Name -> (the file that holds it, its type): one row a record."""
    from .. import records
    from ..doctor.rounding import Rounding
    from ..prune import Plan
    from ..runtime.device import Device

    return {
        "epoch": ("history.jsonl", records.Epoch),
        "sensitivity": ("history.jsonl", records.Sensitivity),
        "step": ("history.jsonl", records.Step),
        "result": ("history.jsonl", records.Result),
        "spec": ("spec.json", records.Spec),
        "recipe": ("recipe.json", records.Recipe),
        "plan": ("plan.json", Plan),
        "frontier": ("frontier/frontier.json", records.Frontier),
        "halfway": ("frontier/state/KEY/N.json", records.Halfway),
        "study": ("FILE.toml of edgeprune study", records.Study),
        "device": ("devices/NAME.json", Device),
        "widths": ("devices/NAME-widths.json", Rounding),
        "int8": ("dense-int8.json, pruned-int8.json", records.Int8),
        "bench": ("bench/*.json", records.Bench),
        "measured": ("bench/*.json, a device's answer", records.Measured),
    }


def _said(kind: type[Any]) -> str:
    """A docstring's first paragraph without its marks of code; on a terminal they are noise."""
    first = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    return " ".join(first.split()).replace("`", "")
