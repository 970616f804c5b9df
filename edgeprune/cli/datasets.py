"""``edgeprune datasets``: which data sets there are, and what is in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    found = _listed() if name is None else _looked_into(name, seed, limit, download)
    if as_json:
        output.show_json(asdict(found))
    else:
        output.show(_list(found) if isinstance(found, Listed) else _summary(found))


@dataclass(frozen=True)
class Known:
    """A set by its name."""

    data: str
    about: str
    path: str | None  # None: not there
    bytes: int | None


@dataclass(frozen=True)
class Listed:
    """The home folder, and the sets with a name."""

    home: str
    datasets: list[Known]


@dataclass(frozen=True)
class Looked:
    """What is in a set: images of each class, in the order of the classes, by part."""

    data: str
    classes: list[str]
    counts: dict[str, list[int]]
    natural_size: int
    source: Mapping[str, Any]  # as a run's recipe has it
    notes: list[str]


def _listed() -> Listed:
    from .. import data, fetch

    rows = [
        Known(
            known.name, known.about,
            str(known.path) if known.path else None,
            _size(known.path) if known.path else None,
        )
        for known in data.listed()
    ]  # fmt: skip
    return Listed(str(fetch.home()), rows)


def _looked_into(name: str, seed: int, limit: int | None, download: bool) -> Looked:
    from .. import data
    from . import progress

    size = data.natural_size(name)
    with progress.watch() as watch:
        loaded = data.load(
            name, size=size, seed=seed, limit=limit, skip_bad=True, download=download,
            progress=watch.on_progress,
        )  # fmt: skip
    counts = _counts(loaded)
    classes = list(loaded.classes) if _of_classes(loaded) else ["examples"]
    return Looked(name, classes, counts, size, loaded.source, loaded.notes)


def _of_classes(dataset: Dataset) -> bool:
    """Whether an example has one class; else its label is a mask, a number, ..."""
    return bool(dataset.classes) and dataset.train.labels.ndim == 1


def _counts(dataset: Dataset) -> dict[str, list[int]]:
    """Images of each class, in the order of the classes; of other labels all examples as one."""
    import numpy as np

    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    if not _of_classes(dataset):
        return {part: [len(split)] for part, split in parts.items()}
    return {
        part: np.bincount(split.labels, minlength=len(dataset.classes)).tolist()
        for part, split in parts.items()
    }


def _list(found: Listed) -> Table:
    from .. import units
    from ..report.tables import Column, Table

    columns = [
        Column("data", "--data", align="left"),
        Column("about", "", align="left", wraps=True),
        Column("path", "in the home folder", _place, align="left", wraps=True),
        Column("bytes", "size", units.size),
    ]
    notes = [
        f"Home folder: {found.home} (EDGEPRUNE_HOME). What is not there is downloaded when used.",
        "Also a path: a folder of class folders, a .zip or .tar.gz of one, an .npz with MedMNIST's keys, "
        "an .npz of x and y for any network, a folder of images/ and masks/.",
    ]
    return Table("Data sets", columns, [asdict(row) for row in found.datasets], notes)


def _place(path: str) -> str:
    return Path(path).name


def _summary(found: Looked) -> Table:
    from ..report.tables import Column, Table

    counts, split = found.counts, found.source["split"]
    columns = [Column("class", align="left"), *(Column(part) for part in counts)]
    rows = [
        {"class": name, **{part: own[i] for part, own in counts.items()}}
        for i, name in enumerate(found.classes)
    ]
    notes = [
        f"{found.source['kind']}: {found.source['path']}",
        *(f"{part}: {how}" for part, how in split.items()),
        *found.notes,
    ]
    total = {"class": "all", **{part: sum(own) for part, own in counts.items()}}
    what = f"{len(rows)} classes" if found.classes != ["examples"] else "labels that are no classes"
    return Table(f"{found.data}: {what}", columns, rows, notes, total)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
