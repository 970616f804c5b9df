"""Pictures by number, from files or from arrays, and a data set before it is split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import EdgepruneError
from .archives import Tree
from .faults import Faults
from .transforms import Pixels, decode, fit, side

Labels = NDArray[np.int64]
PARTS = ("train", "validation", "test")


class Pictures(Protocol):
    """Pictures by number, each as a square of pixels."""

    def __len__(self) -> int: ...

    def get(self, i: int, canvas: int) -> Pixels:
        """uint8 RGB [canvas, canvas, 3]; :class:`BadImageError` if there is none to be had."""
        ...

    def side(self, i: int) -> int:
        """The shorter side in pixels, as stored."""
        ...

    def name(self, i: int) -> str: ...

    def whole(self, canvas: int) -> Pixels | None:
        """All as one array [n, canvas, canvas, 3], where they are stored like that already."""
        ...


@dataclass(frozen=True)
class Files:
    """Encoded images in a tree."""

    tree: Tree
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def get(self, i: int, canvas: int) -> Pixels:
        return decode(self.tree.read(self.names[i]), canvas)

    def side(self, i: int) -> int:
        return side(self.tree.read(self.names[i]))

    def name(self, i: int) -> str:
        return self.names[i]

    def whole(self, canvas: int) -> Pixels | None:
        return None


@dataclass(frozen=True)
class Arrays:
    """Decoded images: uint8 or uint16, [n, H, W], [n, H, W, 1] or [n, H, W, 3]."""

    pixels: NDArray[Any]
    origin: str

    def __len__(self) -> int:
        return len(self.pixels)

    def get(self, i: int, canvas: int) -> Pixels:
        one = self.pixels[i]
        if one.dtype == np.uint16:  # Pillow knows no 16-bit RGB
            one = ((one.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if one.ndim == 3 and one.shape[2] == 1:
            one = one[:, :, 0]
        return fit(Image.fromarray(np.ascontiguousarray(one)), canvas)

    def side(self, i: int) -> int:
        return min(self.pixels.shape[1:3])

    def name(self, i: int) -> str:
        return f"image {i} of {self.origin}"

    def whole(self, canvas: int) -> Pixels | None:
        as_asked = self.pixels.shape[1:] == (canvas, canvas, 3) and self.pixels.dtype == np.uint8
        return self.pixels if as_asked else None


@dataclass
class Found:
    """A data set before it is split: what it holds, part by part, as it says itself."""

    classes: tuple[str, ...]
    parts: Mapping[
        str, tuple[Pictures, Labels]
    ]  # "train" always; the others where the set has them
    origin: dict[str, Any]  # JSON-able: kind, path, fingerprint
    notes: list[str] = field(default_factory=list)


def number_classes(
    labels: dict[str, list[Any]], where: str, faults: Faults
) -> tuple[list[Any], dict[str, NDArray[np.bool_]]]:
    """``(classes sorted, which images of each part belong to them)``.

    A class is what has training images; an image of any other class is a fault.
    """
    classes = sorted(set(labels["train"]))
    known = set(classes)
    mine = {part: np.array([v in known for v in own], bool) for part, own in labels.items()}
    for part, own in labels.items():
        for value in sorted(set(own) - known):
            n = own.count(value)
            faults.add(f"class {value} of {part}", f"{n:,} images, but none in training")
    if len(classes) < 2:
        raise EdgepruneError(where, f"only one class ({classes[0]})", "at least two are needed")
    return classes, mine
