"""Small pictures made here, in every form that people hand in."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(colour: tuple[int, int, int] = (200, 100, 50), size: tuple[int, int] = (20, 16)) -> Any:
    """One colour with a little noise of its own; ``size`` is (width, height)."""
    rng = np.random.default_rng([*colour, *size])
    noise = rng.integers(-5, 6, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Any, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


COLOURS = {"blue": (20, 30, 220), "green": (20, 220, 30), "red": (220, 20, 30)}


def photos(classes: int = 3, each: int = 10, top: str = "") -> dict[str, bytes]:
    """``{name: bytes}`` of a set of class folders; every picture differs from every other."""
    files = {}
    for name, colour in list(COLOURS.items())[:classes]:
        for i in range(each):
            shade = (colour[0], colour[1], min(255, colour[2] + i))
            files[f"{top}{name}/{i:03d}.png"] = encoded(picture(shade))
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, raw in files.items():
            z.writestr(name, raw)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: Any = "w:gz") -> Path:
    with tarfile.open(path, mode) as t:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            t.addfile(info, io.BytesIO(raw))
    return path
