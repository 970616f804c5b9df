"""What a name means: a set known by name, a path, or something in the home folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import files
from ..errors import EdgepruneError, closest
from ..fetch import fetch, home
from ..units import some
from . import archives
from .faults import Faults
from .folders import read_tree
from .known import KNOWN
from .npz import read_npz
from .pictures import Found, Labels, Pictures
from .transforms import BadImageError

SUFFIXES = (*archives.SUFFIXES, ".npz")
MAX_DOWNLOAD = 1 << 30  # bytes; the largest is SVHN's 182 MB

Progress = Callable[[str, int, int], None]  # (what, done, total), in images or bytes


@dataclass(frozen=True)
class Listed:
    """A set that can be asked for by name; ``path`` is None where nothing lies in the home folder."""

    name: str
    about: str
    path: Path | None


def find(name: str, faults: Faults, *, download: bool, progress: Progress) -> Found:
    """The data set that ``name`` means.

    A known name first (torchvision's layout in the home folder, then NAME.zip and the like there,
    then the download), else a path, else a name in the home folder.
    """
    if not name:
        raise EdgepruneError("--data ''", "no data set is named", "edgeprune datasets lists them")
    folder = home() / "data"
    kept = in_home(name)
    if name in KNOWN:
        known = KNOWN[name]
        if known.lies_in(folder) is None and kept is not None:
            return read_path(kept, faults, known.leave_out)
        return known.read(folder, faults, partial(_get, download, progress))
    path = files.place(name)
    if os.path.exists(path):  # Path.exists raises where looking is not allowed
        return read_path(path, faults)
    if kept is not None:
        return read_path(kept, faults)
    if "/" in name or path.suffix:
        raise EdgepruneError(
            f"data {name}", "no such file or folder", "edgeprune datasets lists what is there"
        )
    raise EdgepruneError(
        f"data {name}",
        f"no such name, no such path, and no {folder / name} (folder, .zip, .tar.gz, .npz)",
        closest(name, [known.name for known in listed()]),
    )


def judged_by(found: Found, test: str, faults: Faults, progress: Progress) -> Found:
    """``found`` with another test part: the test part of the set ``test``, or all of it."""
    pictures, labels, notes = judges(test, found.classes, faults, progress, but=found)
    if "test" in found.parts:
        notes.append(f"its own {len(found.parts['test'][1]):,} test images are not used (--test)")
    parts = {**found.parts, "test": (pictures, labels)}
    return replace(found, parts=parts, notes=[*found.notes, *notes])


def judges(
    test: str,
    classes: tuple[str, ...],
    faults: Faults,
    progress: Progress,
    but: Found | None = None,
) -> tuple[Pictures, Labels, list[str]]:
    """``(images, labels as ``classes`` count them, notes)`` of a set that judges, none split off.

    Refused are the set ``but`` itself, and classes that ``classes`` has not.
    """
    what = f"--test {test}"
    held = find(test, faults, download=True, progress=progress)
    part = "test" if "test" in held.parts else "train"
    if but is not None and part == "train" and held.origin == but.origin:
        raise EdgepruneError(what, "is the set that is trained on", "name other images")
    numbers = classes == tuple(str(i) for i in range(len(classes)))
    if but is None and numbers and held.classes != classes:
        if len(held.classes) != len(classes):
            raise EdgepruneError(
                what,
                f"{len(held.classes)} classes, and the network has {len(classes)}",
                "give images of the classes that the network was trained on",
            )
        return *held.parts[part], [*held.notes, f"{what}: its classes in alphabetical order"]
    if odd := [c for c in held.classes if c not in classes]:
        raise EdgepruneError(
            what, f"{some(odd)}: no class of the training set", f"it has {some(list(classes))}"
        )
    number = np.array([classes.index(c) for c in held.classes], np.int64)
    pictures, labels = held.parts[part]
    notes = [*held.notes]
    if absent := [c for c in classes if c not in held.classes]:
        notes.append(f"{what} has no images of {len(absent):,} classes: {some(absent)}")
    return pictures, number[labels], notes


def natural_size(name: str) -> int:
    """The side of the input that suits the set: 32 for small images (up to 64 px), else 224."""
    if name in KNOWN:
        sides = [KNOWN[name].side]
    else:
        found = find(name, Faults(name, skip=True), download=False, progress=lambda *_: None)
        pictures = found.parts["train"][0]
        sides = []
        for i in range(0, len(pictures), max(1, len(pictures) // 9)):
            with suppress(BadImageError):  # `load` will say so
                sides.append(pictures.side(i))
    return 224 if sides and sorted(sides)[len(sides) // 2] > 64 else 32


def listed() -> list[Listed]:
    """Every set that can be asked for by name: the known ones, then what lies in the home folder."""
    folder = home() / "data"
    known = [Listed(name, k.about, k.lies_in(folder) or in_home(name)) for name, k in KNOWN.items()]
    theirs = {place.split("/")[0] for k in KNOWN.values() for place in k.places}
    found = []
    for path in sorted(folder.glob("*")):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), "")
        name = path.name.removesuffix(suffix)
        if path.name not in theirs and name not in KNOWN and in_home(name) == path:
            found.append(Listed(name, "in the home folder", path))
    return known + found


def in_home(name: str) -> Path | None:
    """``EDGEPRUNE_HOME/data/NAME`` as a folder, an archive or an .npz, where one lies there."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        return None
    path = home() / "data" / name
    if os.path.isdir(path) and any(path.glob("[!.]*")):  # a failed download leaves an empty one
        return path
    there = (path.with_name(name + suffix) for suffix in SUFFIXES)
    return next((p for p in there if os.path.isfile(p)), None)


def read_path(path: Path, faults: Faults, leave_out: frozenset[str] = frozenset()) -> Found:
    """A folder, an archive or an .npz."""
    if path.suffix == ".npz" and os.path.isfile(path):
        return read_npz(path, faults)
    return read_tree(archives.open_tree(path, faults), faults, leave_out)


def _get(download: bool, progress: Progress, url: str, path: Path, *, md5: str) -> Path:
    if not (download or path.is_file()):
        raise EdgepruneError(f"{path} is not there", "nothing is fetched here", f"from {url}")

    def told(done: int, total: int | None) -> None:
        progress(f"downloading {path.name}", done, total or done)

    return fetch(url, path, md5=md5, max_bytes=MAX_DOWNLOAD, progress=told)
