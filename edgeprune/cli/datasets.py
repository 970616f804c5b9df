"""``edgeprune datasets``: which data sets there are, and what is in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options, output

if TYPE_CHECKING:
    from ..data import Dataset
    from ..report.tables import Table


def datasets(
    name: Annotated[
        str | None,
        typer.Argument(help="A data set to look into: a name, a folder, a .zip, .tar.gz or .npz."),
    ] = None,
    seed: options.SEED = 0,
    limit: options.LIMIT = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it into EDGEPRUNE_HOME if it is not there.")
    ] = False,
    as_json: options.JSON = False,
) -> None:
    """List the data sets that --data takes, or check one: classes, splits, what must be skipped.

    Looking into a set reads every image in it.

    Example: [b]edgeprune datasets photos.zip[/b]
    """
    value = _listed() if name is None else _looked_into(name, seed, limit, download)
    if as_json:
        output.show_json(value)
    else:
        output.show(_list(value) if name is None else _summary(value))


def _listed() -> dict[str, Any]:
    from .. import data, fetch

    rows = [
        {
            "data": known.name,
            "about": known.about,
            "path": str(known.path) if known.path else None,
            "bytes": _size(known.path) if known.path else None,
        }
        for known in data.listed()
    ]
    return {"home": str(fetch.home()), "datasets": rows}


def _looked_into(name: str, seed: int, limit: int | None, download: bool) -> dict[str, Any]:
    from .. import data
    from . import progress

    size = data.natural_size(name)
    with progress.watch() as watch:
        loaded = data.load(
            name, size=size, seed=seed, limit=limit, skip_bad=True, download=download,
            progress=watch.on_progress,
        )  # fmt: skip
    return {
        "data": name,
        "classes": list(loaded.classes),
        "counts": _counts(loaded),
        "natural_size": size,
        "source": loaded.source,
        "notes": loaded.notes,
    }


def _counts(dataset: Dataset) -> dict[str, list[int]]:
    """Images of each class, in the order of the classes."""
    import numpy as np

    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {
        part: np.bincount(split.labels, minlength=len(dataset.classes)).tolist()
        for part, split in parts.items()
    }


def _list(value: dict[str, Any]) -> Table:
    from .. import units
    from ..report.tables import Column, Table

    columns = [
        Column("data", "--data", align="left"),
        Column("about", "", align="left", wraps=True),
        Column("path", "in the home folder", _place, align="left", wraps=True),
        Column("bytes", "size", units.size),
    ]
    notes = [
        f"Home folder: {value['home']} (EDGEPRUNE_HOME). What is not there is downloaded when used.",
        "Also a path: a folder of class folders, a .zip or .tar.gz of one, an .npz with MedMNIST's keys.",
    ]
    return Table("Data sets", columns, value["datasets"], notes)


def _place(path: str) -> str:
    return Path(path).name


def _summary(value: dict[str, Any]) -> Table:
    from ..report.tables import Column, Table

    counts, split = value["counts"], value["source"]["split"]
    columns = [Column("class", align="left"), *(Column(part) for part in counts)]
    rows = [
        {"class": name, **{part: own[i] for part, own in counts.items()}}
        for i, name in enumerate(value["classes"])
    ]
    notes = [
        f"{value['source']['kind']}: {value['source']['path']}",
        *(f"{part}: {how}" for part, how in split.items()),
        *value["notes"],
    ]
    total = {"class": "all", **{part: sum(own) for part, own in counts.items()}}
    return Table(f"{value['data']}: {len(rows)} classes", columns, rows, notes, total)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
