"""Sets whose labels are no classes of images: arrays x and y of an .npz, images/ beside masks/, boxes.

An .npz holds ``x``, what the network takes, and ``y``, what it should answer, one row an example; parts
of its own are ``x_val``, ``y_val``, ``x_test``, ``y_test``. In a folder or an archive a mask has its
image's name (any suffix) and size, and a class number a pixel, 255 where none is said; ``test/images``
and ``test/masks`` (``val/...``) are parts of its own. What is missing is drawn from the training part.
Images with boxes are read by :mod:`.boxed`.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .. import files
from ..errors import EdgepruneError
from ..records import Convention
from ..records.network import UNLABELLED
from . import archives, boxed, loaders, sources, splits
from .faults import Faults
from .folders import PART_NAMES, SUFFIXES
from .loaders import MAX_SIZE, Dataset, Random, Split
from .npz import MAX_LABEL, array_of
from .pictures import Files
from .sources import Progress, in_home
from .transforms import (
    FORMATS,
    MAX_PIXELS,
    Augment,
    BadImageError,
    Pixels,
    canvas_for,
    reason,
)

PREFIXES = {"": "train", "_val": "validation", "_test": "test"}  # of x and y


class Rows(Split):
    """Arrays as the network takes them, and a label for each row; they have one view."""

    def __init__(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        self.x, self.labels, self.canvas = x, y, MAX_SIZE
        self._kept = x

    def images(self, indices: Any) -> Pixels:
        raise EdgepruneError(
            "these examples", "are arrays and no images", "give a folder or archive of images"
        )

    def at(self, rows: NDArray[Any]) -> Rows:
        return Rows(self.x[rows], self.labels[rows])

    def batch(
        self, at: splits.Indices, convention: Convention, augment: Augment, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """x and y of these rows, as they are."""
        return torch.from_numpy(self.x[at]), torch.from_numpy(self.labels[at])


@dataclass(frozen=True)
class Masks:
    """Encoded masks in a tree, one for each image of ``images``."""

    tree: archives.Tree
    names: tuple[str, ...]
    images: tuple[str, ...]

    def get(self, i: int, canvas: int) -> NDArray[np.uint8]:
        """A class number a pixel, uint8 [canvas, canvas], cut as the image is; no number is blended."""
        mask = _opened(self.tree.read(self.names[i]))
        if mask.mode not in ("L", "P", "1"):
            raise BadImageError(
                f"a mask of mode {mask.mode}: grey or palette is wanted, a class a pixel"
            )
        if mask.size != boxed.upright(self.tree.read(self.images[i])):
            raise BadImageError(f"{mask.width}x{mask.height} px, and its image is of another size")
        side = min(mask.size)
        left, top = (mask.width - side) / 2, (mask.height - side) / 2
        box = (left, top, left + side, top + side)
        cut = mask.resize((canvas, canvas), Image.Resampling.NEAREST, box=box)
        return np.asarray(cut, np.uint8)


def _opened(raw: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise BadImageError(f"{image.width}x{image.height} px, a decompression bomb")
        image.load()
        return image
    except BadImageError:
        raise
    except Exception as e:  # decoders of broken files raise whatever they stumble over
        raise BadImageError(reason(e)) from None


# -- which layout it is ----------------------------------------------------------------------------


def arrays_of(name: str) -> Path | None:
    """The .npz of x and y that ``name`` means; None: it is another set."""
    path = _place(name)
    if path is None or path.suffix != ".npz" or not os.path.isfile(path):
        return None
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        if {"x.npy", "y.npy"} <= set(archive.namelist()):
            return path
    return None


def takes(name: str) -> tuple[int, ...] | None:
    """The shape of an example of a set of arrays; None: it is of images."""
    path = arrays_of(name)
    return None if path is None else tuple(_arrays(path)["x"].shape[1:])


def tree_of(name: str, faults: Faults) -> archives.Tree | None:
    """The folder or archive that ``name`` means, of images/ and masks/ or with boxes; None: another set."""
    path = _place(name)
    if path is None or path.suffix == ".npz":
        return None
    try:
        tree = archives.open_tree(path, faults)
    except EdgepruneError:
        return None  # whoever reads it says why
    folders = {folder.lower() for folder in tree.folders}
    for top in ("", "train/", "training/"):
        if {f"{top}images", f"{top}masks"} <= folders:
            return tree
    return tree if boxed.annotated(tree) else None


def _place(name: str) -> Path | None:
    path = files.place(name)
    return path if os.path.exists(path) else in_home(name)


# -- reading ---------------------------------------------------------------------------------------


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            known = [f"{kind}{part}" for part in PREFIXES for kind in "xy"]
            return {k: array_of(archive, members[k], path) for k in known if k in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise EdgepruneError(str(path), f"not a whole .npz ({e})", "save it again") from None


def read_arrays(path: Path) -> dict[str, Rows]:
    """The parts of an .npz of x and y."""
    found, parts = _arrays(path), {}
    for suffix, part in PREFIXES.items():
        keys = [f"x{suffix}", f"y{suffix}"]
        there = [k for k in keys if k in found]
        if not there:
            continue
        if len(there) < 2:
            (other,) = set(keys) - set(there)
            raise EdgepruneError(str(path), f"{there[0]} without {other}", f"add {other}")
        x, y = (_numbers(found[k], k, path) for k in keys)
        if len(x) != len(y) or not len(x) or x.shape[1:] != found["x"].shape[1:]:
            raise EdgepruneError(
                str(path),
                f"{keys[0]} {list(x.shape)} and {keys[1]} {list(y.shape)} do not belong together",
                "one row of each an example, one or more, and all parts of one shape",
            )
        parts[part] = Rows(x, y)
    return parts


def _numbers(array: NDArray[Any], key: str, path: Path) -> NDArray[Any]:
    """Floats as float32, integers as int64."""
    if array.dtype.kind not in "fiub" or array.ndim < 1:
        raise EdgepruneError(
            str(path),
            f"{key} is {array.dtype} {list(array.shape)}, not numbers",
            "save it as numbers",
        )
    floats = array.dtype.kind == "f" or key.startswith("x")
    with np.errstate(over="ignore"):  # what is too large for a float32 is told below
        kept = np.ascontiguousarray(array, np.float32 if floats else np.int64)
    if not np.isfinite(kept).all():
        raise EdgepruneError(
            str(path), f"NaN or infinite values in {key}", "leave those examples out"
        )
    if not floats and array.dtype.kind == "u" and bool(np.less(kept, 0).any()):
        raise EdgepruneError(str(path), f"{key} holds {array.max()}", "numbers below 2^63 are read")
    return kept


def read_masks(tree: archives.Tree, faults: Faults) -> dict[str, tuple[Files, Masks]]:
    """The parts of a tree of images/ and masks/, paired by name."""
    found: dict[str, dict[str, dict[str, str]]] = {}  # part -> images, masks -> stem -> name
    for name in sorted(tree.sizes):
        folders = name.lower().split("/")
        part = PART_NAMES.get(folders[0])
        kind, *inside = folders[1:] if part and len(folders) > 2 else folders
        if kind in ("images", "masks") and inside and name.lower().endswith(SUFFIXES):
            stem = "/".join(inside).rpartition(".")[0]
            found.setdefault(part or "train", {}).setdefault(kind, {})[stem] = name
    parts = {}
    for part, kinds in found.items():
        images, masks = kinds.get("images", {}), kinds.get("masks", {})
        for stem in sorted(images.keys() ^ masks.keys()):
            name = images.get(stem) or masks[stem]
            faults.add(name, "no mask of its name" if stem in images else "no image of its name")
        both = sorted(images.keys() & masks.keys())
        names = tuple(images[s] for s in both), tuple(masks[s] for s in both)
        if both:
            parts[part] = (Files(tree, names[0]), Masks(tree, names[1], names[0]))
    if "train" not in parts:
        raise EdgepruneError(
            str(tree.path), "no image with a mask", "expected images/a.jpg, masks/a.png"
        )
    return parts


def _decoded(masks: Masks, size: int, faults: Faults) -> tuple[NDArray[np.uint8], splits.Indices]:
    """All masks, uint8 [n, size, size], and which of them could be read."""
    canvas = canvas_for(size)
    low = (canvas - size) // 2
    found, rows = [], []
    for i, name in enumerate(masks.names):
        try:
            found.append(masks.get(i, canvas)[low : low + size, low : low + size])
        except BadImageError as e:
            faults.add(name, str(e))
        else:
            rows.append(i)
    whole = np.stack(found) if found else np.empty((0, size, size), np.uint8)
    return whole, np.array(rows, np.int64)


def _classes(masks: Sequence[NDArray[Any]]) -> tuple[str, ...]:
    """0 to the largest; masks of 0 and 255 alone become 0 and 1, in place."""
    values = set().union(*(np.unique(each).tolist() for each in masks))
    if values == {0, UNLABELLED}:
        for each in masks:
            np.minimum(each, 1, out=each)
        values = {0, 1}
    return tuple(str(i) for i in range(max(values - {UNLABELLED}, default=0) + 1))


# -- loading ---------------------------------------------------------------------------------------


def load(
    name: str,
    *,
    size: int,
    seed: int = 0,
    limit: int | None = None,
    skip_bad: bool = False,
    test: str | None = None,
    notes: Callable[[str], None] = lambda note: None,
    progress: Progress = lambda what, done, total: None,
    **more: Any,
) -> Dataset:
    """The data set ``name``: arrays, images beside masks, else as `loaders.load` (`loaders.How`)."""
    faults = Faults(name, skip_bad)
    arrays = arrays_of(name)
    tree = None if arrays else tree_of(name, faults)
    if arrays is None and tree is None:
        how = loaders.How(size, seed, limit, skip_bad, test, **more)
        return loaders.load(name, how, notes, progress)
    if test is not None:
        raise EdgepruneError(
            f"--test {test}", f"{name} is no set of classes",
            "a test part of its own judges: x_test and y_test, or test/images and test/masks",
        )  # fmt: skip
    if arrays is not None:
        parts: Mapping[str, Split] = read_arrays(arrays)
        labels = parts["train"].labels
        classes = tuple(str(i) for i in range(int(labels.max()) + 1)) if _numbers_of(labels) else ()
        origin = {"kind": "arrays", "path": str(arrays), "fingerprint": _fingerprint(arrays)}
    else:
        assert tree is not None
        if not 1 <= size <= MAX_SIZE:
            raise EdgepruneError(f"--size {size}", f"1 to {MAX_SIZE} pixels are possible")
        kind, read = ("boxes", _boxed) if boxed.annotated(tree) else ("masks", _masked)
        parts, classes = read(tree, size, faults, progress)
        origin = {"kind": kind, "path": str(tree.path), "fingerprint": tree.fingerprint}
    said = faults.settle()
    for note in said:
        notes(note)
    return _split(name, parts, classes, origin, (seed, limit), said)


def _numbers_of(labels: NDArray[Any]) -> bool:
    """Whether they are class numbers, one an example."""
    if labels.dtype.kind != "i" or labels.size != len(labels):
        return False
    return int(labels.min()) >= 0 and int(labels.max()) < MAX_LABEL  # a class each has a name


def _fingerprint(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return "crc32:" + "-".join(f"{i.CRC:08x}" for i in archive.infolist())


def _masked(
    tree: archives.Tree, size: int, faults: Faults, progress: Progress
) -> tuple[dict[str, Split], tuple[str, ...]]:
    parts: dict[str, Split] = {}
    for part, (images, masks) in read_masks(tree, faults).items():
        whole, rows = _decoded(masks, size, faults)
        parts[part] = boxed.Still(images, rows, whole, canvas_for(size))
    classes = _classes([split.labels for split in parts.values()])
    loaders.decode(list(parts.values()), None, faults, progress)
    return parts, classes


def _boxed(
    tree: archives.Tree, size: int, faults: Faults, progress: Progress
) -> tuple[dict[str, Split], tuple[str, ...]]:
    parts: dict[str, Split] = {}
    read = boxed.read_boxes(tree, faults)
    for part, own in read.items():
        boxes, rows = own.on(size, faults)
        parts[part] = boxed.Still(own.images, rows, boxes, canvas_for(size))
    loaders.decode(list(parts.values()), None, faults, progress)
    return parts, tuple(read["train"].classes.values())


def _split(
    name: str, parts: Mapping[str, Split], classes: tuple[str, ...], origin: dict[str, Any],
    how: tuple[int, int | None], said: list[str],
) -> Dataset:  # fmt: skip
    """Test and validation of the set's own, else drawn from the training part without regard to labels."""
    seed, limit = how
    shares = {"test": splits.TEST_SHARE, "validation": splits.VALIDATION_SHARE}
    shares = {part: share for part, share in shares.items() if part not in parts}
    drawn, _ = splits.carve(np.zeros(len(parts["train"]), np.int64), shares, seed)
    if limit is not None:
        few = splits.subset(np.zeros(len(drawn["train"]), np.int64), limit, seed)
        drawn["train"] = drawn["train"][few]
    own = {part: split for part, split in parts.items() if part != "train"}
    found = own | {part: parts["train"].at(rows) for part, rows in drawn.items()}
    for part, split in found.items():
        if not len(split):
            raise EdgepruneError(
                f"data {name}",
                f"no example left in {part}",
                "give more examples, or a larger --limit",
            )
    source = origin | {
        "split": {p: "drawn by seed" if p in drawn else "its own" for p in found},
        "seed": seed, "limit": limit, "images": {p: len(s) for p, s in found.items()},
        "in_memory": all(s.in_memory for s in found.values()),
    }  # fmt: skip
    return Dataset(name, classes, **found, source=source, notes=said)


def natural_size(name: str) -> int:
    """As `sources.natural_size`; of images beside masks or with boxes by their sides, of arrays any."""
    if arrays_of(name) is not None:
        return 32
    tree = tree_of(name, Faults(name, skip=True))
    if tree is None:
        return sources.natural_size(name)
    faults = Faults(name, skip=True)
    if boxed.annotated(tree):
        images = boxed.read_boxes(tree, faults)["train"].images
    else:
        images, _ = read_masks(tree, faults)["train"]
    sides = []
    for i in range(0, len(images), max(1, len(images) // 9)):
        with suppress(BadImageError):  # `load` will say so
            sides.append(images.side(i))
    return 224 if sides and sorted(sides)[len(sides) // 2] > 64 else 32
