"""What the shell offers after TAB: runs, networks, data sets, criteria, devices. Quick: no torch.

Names that stand in tables of rooms with torch are listed here once more; a test compares them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

MODELS = ("vgg16", "mobilenetv1", "mobilenetv1-0.5", "mobilenetv1-0.75", "mobilenetv2")
LIBRARIES = ("torchvision/", "timm/")
DATA = ("digits", "cifar10", "cifar100", "svhn", "caltech101")
SCORES = (
    "l1", "l2", "fpgm", "bn_scale", "apoz", "mean_response", "linear_redundancy", "subspaces", "pfa",
    "taylor", "taylor_gate", "obd", "car", "car_greedy", "reconstruction", "random",
)  # fmt: skip
TASKS = (
    "classification", "embedding", "labels", "number", "boxes", "sequence", "segmentation",
    "restoration", "depth", "values",
)  # fmt: skip
DEVICES = ("cpu", "ssh://", "adb", "browser", "browser:headless", "browser:lan", "arm64")

Complete = Callable[[str], list[str]]


def runs(incomplete: str) -> list[str]:
    """The runs of this folder, the latest first."""
    found = sorted(Path("runs").glob("*/recipe.json"), key=_changed, reverse=True)
    return _beginning(incomplete, [p.parent.name for p in found])


def runs_or_files(incomplete: str) -> list[str]:
    return [*runs(incomplete), *_paths(incomplete, (".onnx",))]


def models(incomplete: str) -> list[str]:
    """The own names; after ``torchvision/`` and ``timm/`` that library's (it is asked, some seconds)."""
    if incomplete.startswith("torchvision/"):
        try:
            from torchvision import models as library
        except ImportError:
            return []
        names: list[str] = [f"torchvision/{n}" for n in library.list_models(module=library)]
        return _beginning(incomplete, names)
    if incomplete.startswith("timm/"):
        try:
            import timm
        except ImportError:
            return []
        return _beginning(incomplete, [f"timm/{n}" for n in timm.list_models()])
    return _beginning(incomplete, [*MODELS, *LIBRARIES]) + _paths(incomplete, (".py",))


def tasks(incomplete: str) -> list[str]:
    """After ``OUTPUT=``, too."""
    before, equals, name = incomplete.rpartition("=")
    return [f"{before}{equals}{found}" for found in _beginning(name, TASKS)]


def inits(incomplete: str) -> list[str]:
    """``scratch``, ``imagenet``, files, runs."""
    suffixes = (".safetensors", ".pth", ".pt", ".ckpt")
    named = _beginning(incomplete, ["scratch", "imagenet"])
    return [*named, *runs(incomplete), *_paths(incomplete, suffixes)]


def data(incomplete: str) -> list[str]:
    """The sets known by name, those in the home folder, and paths."""
    from ..fetch import home

    mine = [p.name.split(".")[0] for p in sorted((home() / "data").glob("[!.]*"))]
    suffixes = (".zip", ".tar.gz", ".tgz", ".tar", ".npz")
    return _beginning(incomplete, dict.fromkeys([*DATA, *mine])) + _paths(incomplete, suffixes)


def scores(incomplete: str) -> list[str]:
    return _beginning(incomplete, SCORES)


def devices(incomplete: str) -> list[str]:
    """Kinds of devices, and the profiles' names: shipped ones and those in the home folder."""
    from ..fetch import home

    package = Path(__file__).resolve().parents[1]
    folders = (package / "_deploy/devices", package.parent / "deploy/devices", home() / "devices")
    profiles = sorted({p.stem for folder in folders for p in folder.glob("*.toml")})
    return _beginning(incomplete, [*DEVICES, *profiles])


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    """Folders and files of these kinds whose path begins so; none unless something was typed."""
    if not incomplete:
        return []
    head, _, tail = incomplete.rpartition("/")
    folder = Path(f"{head}/" if head or incomplete.startswith("/") else ".").expanduser()
    prefix = f"{head}/" if head or incomplete.startswith("/") else ""
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:
        return []
    return [
        f"{prefix}{e.name}{'/' if e.is_dir() else ''}"
        for e in entries
        if e.name.startswith(tail) and (e.is_dir() or e.name.endswith(suffixes))
    ]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
