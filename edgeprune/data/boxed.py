"""Images with boxes as COCO's .json writes them: of images, annotations and categories.

A part is a .json with its images beside it or in ``images/``; ``train/``, ``val/`` and ``test/`` hold parts
of their own. Images are cut square as all are; of a box that is cut the rest counts, and one of which less
than half is left counts neither for nor against.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import EdgepruneError
from ..records import Convention
from . import archives, splits
from .faults import Faults
from .folders import PART_NAMES
from .loaders import Random, Split
from .pictures import Files
from .transforms import (
    FORMATS,
    ORIENTATION,
    Augment,
    BadImageError,
    canvas_for,
    centre,
    normalise,
    reason,
)

LEFT = 0.5  # share of a box that must be left of it
FILLED = (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # a row without a box
FURTHEST = 1e7  # pixels
MOST_ROWS = 20_000_000  # of boxes, as many of each image as of the fullest
KEYS = ("images", "annotations", "categories")


class Still(Split):
    """Images whose labels are of places in them: they have one view, the middle, and labels of that."""

    def batch(
        self, at: splits.Indices, convention: Convention, augment: Augment, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """x float32 [N, 3, S, S] and its labels."""
        x = normalise(centre(self.images(at), convention.size), convention)
        return x, torch.from_numpy(self.labels[at])


def seen(boxes: NDArray[Any], corner: float, size: int) -> NDArray[np.float32]:
    """The boxes [..., 6] as a square window shows them, whose corner lies at ``corner``, ``corner``."""
    middle, extent = boxes[..., 1:3] - corner, boxes[..., 3:5]
    low, high = (np.clip(middle + s * extent / 2, 0, size) for s in (-1, 1))
    rest = high - low
    whole = np.maximum(extent.prod(-1), 1e-12)
    there = (boxes[..., 0] >= 0) & (rest.prod(-1) > 0)
    aside = np.maximum(boxes[..., 5], rest.prod(-1) < LEFT * whole)
    shown = np.concatenate(
        [boxes[..., :1], (low + high) / 2, rest, aside[..., None].astype(boxes.dtype)], -1
    )
    return np.where(there[..., None], shown, np.array(FILLED)).astype(np.float32)


@dataclass(frozen=True)
class Annotated:
    """A part: image files, the boxes of each in pixels of the file, and the classes by their numbers."""

    images: Files
    boxes: tuple[NDArray[np.float64], ...]  # [k, 6] of each
    classes: Mapping[int, str]

    def on(self, size: int, faults: Faults) -> tuple[NDArray[np.float32], splits.Indices]:
        """All boxes as rows [n, most, 6] in pixels of the middle view, and which images could be read: class
        (-1 fills up), centre x, y, width, height, 1 where it counts neither for nor against.
        """
        canvas = canvas_for(size)
        found, rows = [], []
        for i, boxes in enumerate(self.boxes):
            try:
                width, height = upright(self.images.tree.read(self.images.name(i)))
            except BadImageError as e:
                faults.add(self.images.name(i), str(e))
                continue
            side = min(width, height)
            placed = boxes.copy()
            placed[:, 1:3] -= (np.array([width, height]) - side) / 2
            placed[:, 1:5] *= canvas / side
            found.append(placed)
            rows.append(i)
        most = max([1, *map(len, found)])
        if len(found) * most > MOST_ROWS:
            fullest = max(rows, key=lambda i: len(self.boxes[i]))
            raise EdgepruneError(
                f"{self.images.tree.path}: {self.images.name(fullest)}",
                f"{most:,} boxes, of which {len(found):,} images cannot all hold as many",
                "leave the image out",
            )
        whole = np.full((len(found), most, 6), FILLED, np.float32)
        for row, placed in zip(whole, found, strict=True):
            row[: len(placed)] = seen(placed, (canvas - size) // 2, size)
        return whole, np.array(rows, np.int64)


def upright(raw: bytes) -> tuple[int, int]:
    """Width and height as stored; labels of pixels do not turn with a photo that its EXIF note turns."""
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.getexif().get(ORIENTATION, 1) != 1:
                raise BadImageError("turned by its EXIF note, its labels are not: store it upright")
            return image.size
    except BadImageError:
        raise
    except Exception as e:  # decoders of broken files raise whatever they stumble over
        raise BadImageError(reason(e)) from None


# -- reading ---------------------------------------------------------------------------------------


def annotated(tree: archives.Tree) -> dict[str, str]:
    """The .json of each part, ``train`` first; empty: it is another set."""
    found: dict[str, str] = {}
    for name in sorted(tree.sizes):
        *folders, file = name.split("/")
        part = PART_NAMES.get(folders[0].lower()) if folders else "train"
        if len(folders) > 1 or not file.lower().endswith(".json") or part is None:
            continue
        try:
            raw = tree.read(name)
        except BadImageError as e:
            raise EdgepruneError(f"{tree.path}: {name}", str(e)) from None
        if all(f'"{key}"'.encode() in raw for key in KEYS):
            if part in found:
                raise EdgepruneError(
                    str(tree.path),
                    f"two files of annotations, {found[part]} and {name}",
                    "keep one",
                )
            found[part] = name
    return found if "train" in found else {}


def read_boxes(tree: archives.Tree, faults: Faults) -> dict[str, Annotated]:
    """The parts of a tree of images and COCO's .json."""
    parts = {part: _part(tree, name, faults) for part, name in annotated(tree).items()}
    names = [part.classes for part in parts.values()]
    if any(own != names[0] for own in names):
        raise EdgepruneError(
            str(tree.path),
            "its parts have other categories than each other",
            "give all parts the same categories",
        )
    return parts


def _part(tree: archives.Tree, name: str, faults: Faults) -> Annotated:
    try:
        told = json.loads(tree.read(name))
        categories = sorted((int(c["id"]), str(c["name"])) for c in told["categories"])
        images = {int(i["id"]): str(i["file_name"]) for i in told["images"]}
        boxes = [
            (
                int(a["image_id"]),
                int(a["category_id"]),
                [*map(float, a["bbox"])],
                bool(a.get("iscrowd")),
            )
            for a in told["annotations"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as e:
        raise EdgepruneError(
            f"{tree.path}: {name}", f"no annotations of COCO ({type(e).__name__}: {e})",
            "images of id and file_name, annotations of image_id, category_id and bbox [x, y, w, h]",
        ) from None  # fmt: skip
    number = {key: i for i, (key, _) in enumerate(categories)}
    rows: dict[int, list[tuple[float, ...]]] = {key: [] for key in images}
    for image, category, box, crowd in boxes:
        if image not in images or category not in number or len(box) != 4:
            raise EdgepruneError(
                f"{tree.path}: {name}",
                "a box of no image or category that it lists",
                "each is to have the image_id of an image and the category_id of a category",
            )
        x, y, w, h = box
        if not all(abs(v) <= FURTHEST for v in box) or w <= 0 or h <= 0:
            faults.add(images[image], f"a box of {w:g}x{h:g} pixels at {x:g}, {y:g}")
            continue
        rows[image].append((number[category], x + w / 2, y + h / 2, w, h, float(crowd)))
    folder = name[: name.rfind("/") + 1]
    places = {key: _place(tree, folder, file) for key, file in sorted(images.items())}
    for key, place in places.items():
        if place is None:
            faults.add(images[key], "no such image")
    there = {key: place for key, place in places.items() if place is not None}
    return Annotated(
        Files(tree, tuple(there.values())),
        tuple(np.array(rows[key], np.float64).reshape(-1, 6) for key in there),
        {i: label for i, (_, label) in enumerate(categories)},
    )


def _place(tree: archives.Tree, folder: str, file: str) -> str | None:
    return next((p for p in (f"{folder}images/{file}", folder + file) if p in tree.sizes), None)
