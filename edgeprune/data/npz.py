"""An .npz with MedMNIST's keys: train_images, train_labels, and val_ and test_ likewise.

Source of the layout: Yang et al. 2023, MedMNIST v2 (images uint8, labels [n, 1]).
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import EdgepruneError
from ..units import size as bytes_text
from .faults import Faults
from .pictures import Arrays, Found, number_classes

PREFIXES = {"train": "train", "val": "validation", "test": "test"}
MAX_ARRAY = 64 << 30  # bytes that an array may claim
MAX_LABEL = 100_000
IN_MEMORY = 512 << 20  # a larger array goes through a temporary file, mapped and not loaded


def read_npz(path: Path, faults: Faults) -> Found:
    parts, arrays, crc = _members(path)
    pixels, labels, rows = {}, {}, {}
    for prefix in parts:
        part = PREFIXES[prefix]
        pixels[part] = _pixels(arrays[f"{prefix}_images"], f"{prefix}_images", path)
        own = _labels(arrays[f"{prefix}_labels"], f"{prefix}_labels", path)
        if len(own) != len(pixels[part]):
            raise EdgepruneError(
                str(path),
                f"{prefix}: {len(pixels[part]):,} images but {len(own):,} labels",
                "give each image one label",
            )
        if not len(own) and part == "train":
            raise EdgepruneError(
                str(path),
                "no training images",
                "an .npz holds x and y, or train_images and train_labels",
            )
        ok = (own >= 0) & (own < MAX_LABEL)  # before int64, which would turn 2**63 negative
        for row in np.flatnonzero(~ok):
            faults.add(f"{prefix}_labels[{row}]", f"label {own[row]} out of range")
        rows[part] = np.flatnonzero(ok)
        labels[part] = own[ok].astype(np.int64).tolist()
    if not labels["train"]:
        raise EdgepruneError(
            str(path),
            "no training image with a label in range",
            "labels count from 0 to the number of classes - 1",
        )
    classes, mine = number_classes(labels, str(path), faults)
    for gap in sorted(set(range(max(classes))) - set(classes))[:1000]:
        faults.add(f"class {gap}", "no image has this label")
    number = {c: i for i, c in enumerate(classes)}
    found = {}
    for part, own in labels.items():
        kept = rows[part][mine[part]]
        new = np.array([number[v] for v, ok in zip(own, mine[part], strict=True) if ok], np.int64)
        whole = pixels[part] if len(kept) == len(pixels[part]) else pixels[part][kept]
        if len(new):
            found[part] = (Arrays(whole, f"{path.name} {part}"), new)
    fingerprint = "crc32:" + "-".join(f"{crc[k]:08x}" for k in sorted(crc))
    origin = {"kind": "npz", "path": str(path), "fingerprint": fingerprint}
    return Found(tuple(str(c) for c in classes), found, origin)


def _members(path: Path) -> tuple[list[str], dict[str, NDArray[Any]], dict[str, int]]:
    """The parts that are there, the arrays of each, and their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            parts = [
                p
                for p in PREFIXES
                if p == "train" or f"{p}_images" in members or f"{p}_labels" in members
            ]
            wanted = [f"{p}_{kind}" for p in parts for kind in ("images", "labels")]
            missing = [k for k in wanted if k not in members]
            if missing:
                raise EdgepruneError(
                    str(path),
                    f"no {', '.join(missing)} in it (but {', '.join(sorted(members))})",
                    "expected MedMNIST's keys: train_images, train_labels, val_images, ...",
                )
            arrays = {k: array_of(archive, members[k], path) for k in wanted}
            return parts, arrays, {k: members[k].CRC for k in arrays}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise EdgepruneError(str(path), f"not a whole .npz ({e})", "download it again") from None
    except OSError as e:
        raise EdgepruneError(str(path), e.strerror or str(e)) from None


def array_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    """One array, without pickle; its header is checked before any memory is asked for."""
    name = member.filename
    with archive.open(member) as f:
        try:
            version = npy.read_magic(f)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(f)
        except (ValueError, EOFError, RecursionError, MemoryError) as e:  # it is parsed as Python
            raise EdgepruneError(
                str(path), f"{name} is no array ({e})", "write it with numpy.savez"
            ) from None
        if min(shape, default=0) < 0 or not dtype.itemsize:
            raise EdgepruneError(
                str(path), f"{name} is no array ({dtype} {shape})", "write it with numpy.savez"
            )
        if dtype.hasobject:
            raise EdgepruneError(
                str(path),
                f"{name} holds Python objects, which are not read",
                "save numbers: numpy.asarray(x, dtype='float32')",
            )
        n = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if n > MAX_ARRAY or n > member.file_size:
            raise EdgepruneError(
                str(path),
                f"{name} claims {bytes_text(n)}: cut off, or a bomb",
                "write it anew with numpy.savez",
            )
        order = "F" if fortran else "C"
        if n <= IN_MEMORY:
            raw = f.read(n)
            if len(raw) < n:
                raise EdgepruneError(str(path), f"{name} is cut off", "download it again")
            return np.frombuffer(raw, dtype).reshape(shape, order=order)  # type: ignore[call-overload]
        return _mapped(f, n, path).view(dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _mapped(f: IO[bytes], n: int, path: Path) -> NDArray[np.uint8]:
    """``n`` bytes of ``f`` in a nameless temporary file, mapped: the system keeps what it needs."""
    try:
        with tempfile.TemporaryFile(prefix="edgeprune-") as out:
            left = n
            while left and (block := f.read(min(left, 1 << 20))):
                out.write(block)
                left -= len(block)
            out.flush()
            if left:
                raise EdgepruneError(str(path), "cut off", "download it again")
            return np.memmap(out, np.uint8, "r", shape=(n,))
    except OSError as e:
        raise EdgepruneError(
            f"cannot unpack {path}",
            e.strerror or str(e),
            f"point TMPDIR ({tempfile.gettempdir()}) at a disk with {bytes_text(n)} free",
        ) from None


def _pixels(images: NDArray[Any], key: str, path: Path) -> NDArray[Any]:
    shape = images.shape
    flat = images.ndim == 3 or (images.ndim == 4 and shape[3] in (1, 3))
    if not flat or (len(images) and 0 in shape):
        raise EdgepruneError(
            str(path), f"{key} has shape {shape}", "expected [n, H, W] or [n, H, W, 3]"
        )
    if images.dtype not in (np.uint8, np.uint16):
        raise EdgepruneError(str(path), f"{key} is {images.dtype}", "expected uint8 (0 to 255)")
    return images


def _labels(labels: NDArray[Any], key: str, path: Path) -> NDArray[np.integer[Any]]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise EdgepruneError(
            str(path), f"{key} has shape {labels.shape}", "one label an image is needed"
        )
    if labels.dtype.kind not in "iu":
        raise EdgepruneError(str(path), f"{key} is {labels.dtype}", "integers are needed")
    return labels
