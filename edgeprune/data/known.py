"""The sets known by name: where each lies in torchvision's layout, or is downloaded from."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import extras
from ..errors import EdgepruneError
from . import archives
from .faults import Faults
from .folders import read_tree
from .pictures import Arrays, Found
from .transforms import Pixels

Fetch = Callable[..., Path]  # fetch.fetch with progress bound; refuses where nothing may be fetched


@dataclass(frozen=True)
class Known:
    """A set with a name. ``read(folder, faults, fetch)`` gets it from ``EDGEPRUNE_HOME/data``."""

    about: str
    read: Callable[[Path, Faults, Fetch], Found]
    places: tuple[str, ...]  # torchvision's layout under EDGEPRUNE_HOME/data; any one will do
    side: int = 32  # pixels, of the images as published (Caltech101: the median)
    leave_out: frozenset[str] = frozenset()  # folders that are no classes

    def lies_in(self, folder: Path) -> Path | None:
        return next((folder / p for p in self.places if os.path.exists(folder / p)), None)


def _digits(folder: Path, faults: Faults, get: Fetch) -> Found:
    """scikit-learn's copy of UCI's handwritten digits: 1,797 of 8x8, 17 grey levels."""
    with extras.needed("train", "--data digits"):
        from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
    origin = {"kind": "embedded", "path": "scikit-learn", "fingerprint": _digest(pixels)}
    parts = {"train": (Arrays(pixels, "digits"), found.target.astype(np.int64))}
    return Found(tuple(str(d) for d in range(10)), parts, origin)


# CIFAR (Krizhevsky 2009)


def _cifar10(folder: Path, faults: Faults, get: Fetch) -> Found:
    with extras.needed("torchvision", "--data cifar10"):
        from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, "labels", folder, get)


def _cifar100(folder: Path, faults: Faults, get: Fetch) -> Found:
    with extras.needed("torchvision", "--data cifar100"):
        from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, "fine_labels", folder, get)


def _cifar(published: Any, key: str, folder: Path, get: Fetch) -> Found:
    """``published`` is torchvision's class: its address, file names and md5 are what is asked."""
    unpacked = folder / published.base_folder
    if unpacked.is_dir():
        tree = archives.open_tree(unpacked, Faults(str(unpacked)))
        prefix = ""
    else:
        packed = get(published.url, folder / published.filename, md5=published.tgz_md5)
        tree = archives.open_tree(packed, Faults(str(packed)))
        prefix = published.base_folder + "/"

    def batch(name: str, md5: str) -> dict[bytes, Any]:
        where = f"{tree.path}: {name}"
        if prefix + name not in tree.sizes:
            raise EdgepruneError(where, "not there", f"remove {tree.path} and download again")
        raw = tree.read(prefix + name)
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise EdgepruneError(where, "not the published file (md5)", f"remove {tree.path}")
        return read_batch(raw, where)

    def part(batches: list[list[str]]) -> tuple[Arrays, Any]:
        read = [batch(name, md5) for name, md5 in batches]
        flat = np.concatenate([b[b"data"] for b in read])  # [n, 3 * 32 * 32], channel by channel
        pixels = flat.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = [label for b in read for label in b[key.encode()]]
        return Arrays(np.ascontiguousarray(pixels), tree.path.name), np.array(labels, np.int64)

    meta = batch(published.meta["filename"], published.meta["md5"])
    classes = tuple(c.decode() for c in meta[published.meta["key"].encode()])
    origin = {"kind": "cifar", "path": str(tree.path), "fingerprint": f"md5:{published.tgz_md5}"}
    parts = {"train": part(published.train_list), "test": part(published.test_list)}
    return Found(classes, parts, origin)


class _Array:
    """Stands in for numpy.ndarray while a batch is read: holds the state, runs nothing."""

    shape: tuple[int, ...] = ()
    raw = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, _, _, self.raw = state


class _Dtype:
    def __init__(self, *code: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass


STAND_INS: dict[str, Any] = {
    "_reconstruct": lambda *_: _Array(),
    "ndarray": _Array,
    "dtype": _Dtype,
}


class _Batch(pickle.Unpickler):
    """CIFAR's batches are Python pickles. Nothing they name is ever called: the few NumPy names
    in them get stand-ins from this file, any other name ends the reading."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in STAND_INS:
            return STAND_INS[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_batch(raw: bytes, where: str) -> dict[bytes, Any]:
    """A CIFAR batch as a dict of bytes keys; its array comes back as uint8 [n, 3072]."""
    try:
        value = _Batch(io.BytesIO(raw), encoding="bytes").load()
        for key, item in value.items():
            if isinstance(item, _Array):
                value[key] = np.frombuffer(item.raw, np.uint8).reshape(item.shape)
        return value
    except Exception as e:  # a pickle from outside can fail in any way; none of them runs code
        raise EdgepruneError(where, f"not a CIFAR batch ({e})", "download it again") from None


# SVHN (Netzer et al. 2011), format 2: cropped digits


def _svhn(folder: Path, faults: Faults, get: Fetch) -> Found:
    with extras.needed("torchvision", "--data svhn"):
        from torchvision.datasets import SVHN

    parts = {}
    for part in ("train", "test"):
        url, name, md5 = SVHN.split_list[part]
        path = get(url, folder / name, md5=md5)
        raw = path.read_bytes()
        if hashlib.md5(raw, usedforsecurity=False).hexdigest() != md5:
            raise EdgepruneError(str(path), "not the published file (md5)", "remove it")
        parts[part] = _svhn_part(raw, path)
    fingerprint = "md5:" + SVHN.split_list["train"][2]
    origin = {"kind": "svhn", "path": str(folder), "fingerprint": fingerprint}
    return Found(tuple(str(d) for d in range(10)), parts, origin)


def _svhn_part(raw: bytes, path: Path) -> tuple[Arrays, Any]:
    from scipy.io import loadmat

    try:
        mat = loadmat(io.BytesIO(raw), variable_names=["X", "y"])
        pixels, labels = mat["X"], mat["y"].astype(np.int64).reshape(-1)
        if pixels.dtype != np.uint8 or pixels.shape != (32, 32, 3, len(labels)):
            raise ValueError(f"X is {pixels.dtype} {pixels.shape}, y {labels.shape}")
    except Exception as e:  # scipy's reader raises whatever it stumbles over
        raise EdgepruneError(str(path), f"not SVHN's .mat ({e})", "remove it") from None
    labels %= 10  # the digit 0 is labelled 10
    return Arrays(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), path.name), labels


# Caltech101 (Fei-Fei et al. 2004)

# torchvision keeps these two inside Caltech101.download, out of reach.
CALTECH101_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
CALTECH101_MD5 = "3138e1922a9193bfa496528edbbc45d0"
BACKGROUND = frozenset({"BACKGROUND_Google"})  # clutter, no class


def _caltech101(folder: Path, faults: Faults, get: Fetch) -> Found:
    images = folder / "caltech101" / "101_ObjectCategories"
    if not images.is_dir():
        packed = get(CALTECH101_URL, images.parent / "caltech-101.zip", md5=CALTECH101_MD5)
        _unpack_caltech101(packed, images)
        packed.unlink()  # as torchvision does
    return read_tree(archives.open_tree(images, faults), faults, BACKGROUND)


def _unpack_caltech101(packed: Path, images: Path) -> None:
    """The .tar.gz in the .zip becomes the folder that torchvision makes of it, or nothing does."""
    inner = "caltech-101/101_ObjectCategories.tar.gz"
    strict = Faults(str(packed))
    try:
        with tempfile.TemporaryDirectory(dir=images.parent, prefix=".unpacking-") as name:
            part = Path(name)
            with (
                zipfile.ZipFile(packed) as outer,
                outer.open(inner) as source,
                open(part / "images.tar.gz", "wb") as out,
            ):
                shutil.copyfileobj(source, out, 1 << 20)
            tree = archives.open_tree(part / "images.tar.gz", strict)
            strict.settle()
            for member in tree.sizes:
                target = part / "images" / member
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tree.read(member))
            (part / "images" / images.name).rename(images)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise EdgepruneError(str(packed), f"no whole {inner} in it ({e})", "remove it") from None
    except OSError as e:
        raise EdgepruneError(
            f"cannot unpack {packed}",
            e.strerror or str(e),
            "is there room? delete the file and run it once more",
        ) from None


def _digest(pixels: Pixels) -> str:
    return "sha256:" + hashlib.sha256(pixels.tobytes()).hexdigest()[:32]


KNOWN = {
    "digits": Known("1,797 handwritten digits, 8x8 grey, embedded in scikit-learn", _digits, ()),
    "cifar10": Known(
        "60,000 colour images 32x32, 10 classes",
        _cifar10,
        ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    ),
    "cifar100": Known(
        "60,000 colour images 32x32, 100 classes",
        _cifar100,
        ("cifar-100-python", "cifar-100-python.tar.gz"),
    ),
    "svhn": Known(
        "99,289 house-number digits 32x32 in colour", _svhn, ("train_32x32.mat", "test_32x32.mat")
    ),
    "caltech101": Known(
        "8,677 photographs, 101 classes",
        _caltech101,
        ("caltech101/101_ObjectCategories", "caltech101/caltech-101.zip"),
        224,
        BACKGROUND,
    ),
}
