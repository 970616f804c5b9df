"""Class folders: which folder is a wrapping, which a part of the set, which a class."""

from __future__ import annotations

import numpy as np

from ..errors import EdgepruneError
from ..units import some
from .archives import Tree
from .faults import Faults
from .pictures import Files, Found, number_classes

PART_NAMES = {  # what people call the parts
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
LAYOUT = "expected CLASS/image.jpg, or train/CLASS/image.jpg and test/CLASS/image.jpg"


def read_tree(tree: Tree, faults: Faults, leave_out: frozenset[str] = frozenset()) -> Found:
    """The classes and parts in a tree of class folders; ``leave_out`` names folders not wanted."""
    notes = faults.settle()  # whatever the tree itself found: said before "no images in it"
    names = sorted(tree.sizes)
    images = [n for n in names if n.lower().endswith(SUFFIXES)]
    others = [n for n in names if not n.lower().endswith(SUFFIXES)]
    if not images:
        raise EdgepruneError(str(tree.path), "no images in it", LAYOUT)
    top = _wrapping(images)
    deep = int(_has_parts(images, top))  # how many folders lie above the class folders
    found: dict[str, list[tuple[str, str]]] = {}  # part -> (class, name)
    strays, unwanted = [], []
    for name in images:
        folders = name.removeprefix(top).split("/")[:-1] if name.startswith(top) else []
        part = PART_NAMES.get(folders[0].lower()) if deep and folders else "train"
        if part is None or len(folders) <= deep:
            strays.append(name)
        elif folders[deep] in leave_out:
            unwanted.append(name)
        else:
            found.setdefault(part, []).append((folders[deep], name))
    if "train" not in found:
        raise EdgepruneError(str(tree.path), "no class folders with training images", LAYOUT)
    _empty_classes(tree, top, deep, faults)
    classes, mine = number_classes(
        {part: [c for c, _ in pairs] for part, pairs in found.items()}, str(tree.path), faults
    )
    for name in classes:
        if not _is_text(name):  # it could be written into no file and into no .onnx
            raise EdgepruneError(
                f"{tree.path}: class folder {name!a}", "its name is not UTF-8", "rename it"
            )
    number = {c: i for i, c in enumerate(classes)}
    for what, which in (
        ("files are no images by their names", others),
        ("images lie in no class folder and are not used", strays),
        (f"images are left out on purpose ({', '.join(sorted(leave_out))})", unwanted),
    ):
        if which:
            notes.append(f"{len(which):,} {what}: {some(which)}")
    parts = {}
    for part, pairs in found.items():
        kept = [pair for pair, ok in zip(pairs, mine[part], strict=True) if ok]
        if absent := sorted(set(classes) - {c for c, _ in kept}):
            notes.append(f"{part} has no images of {len(absent):,} classes: {some(absent)}")
        labels = np.array([number[c] for c, _ in kept], np.int64)
        parts[part] = (Files(tree, [n for _, n in kept]), labels)
    origin = {"kind": type(tree).__name__.lower(), "path": str(tree.path)}
    return Found(tuple(classes), parts, origin | {"fingerprint": tree.fingerprint}, notes)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 come as lone surrogates
        return False
    return True


def _wrapping(images: list[str]) -> str:
    """The folders around everything (``photos-main/``), as they come in downloaded archives.

    A common top folder is a wrapping only while class folders lie inside it.
    """
    top = ""
    while True:
        below = [n.removeprefix(top).split("/") for n in images if n.startswith(top)]
        heads = {parts[0] for parts in below if len(parts) > 1}
        deepest = max(len(parts) for parts in below)
        if len(heads) != 1 or deepest < 3:
            return top
        top += heads.pop() + "/"


def _has_parts(images: list[str], top: str) -> bool:
    """Whether the top folders are parts of the set: train/ is there and holds class folders.

    A class may be called "train" as well (CIFAR-100 has one): then images lie right in it.
    """
    depths = [
        len(parts) - 1
        for n in images
        if n.startswith(top)
        and PART_NAMES.get((parts := n.removeprefix(top).split("/"))[0].lower()) == "train"
    ]
    return bool(depths) and max(depths) > 1


def _empty_classes(tree: Tree, top: str, deep: int, faults: Faults) -> None:
    """Class folders without a single file in any part."""
    level = top.count("/") + deep + 1
    folders = {f for f in tree.folders if f.startswith(top) and f.count("/") + 1 == level}
    if deep:  # only those under train/, test/ ...
        folders = {f for f in folders if f.split("/")[-2].lower() in PART_NAMES}
    filled = {"/".join(n.split("/")[:level]).rpartition("/")[2] for n in tree.sizes}
    for name in sorted({f.rpartition("/")[2] for f in folders} - filled):
        faults.add(f"class folder {name}", "it is empty")
