"""What an installation weighs, and that the core alone prunes, exports and measures.

    python benchmarks/install.py

The wheel and the sdist are built; the wheel goes into a fresh environment that holds what the core
depends on and nothing else (linked from the environment that this runs in, so nothing is downloaded).
There a network of a FILE.py is pruned without labels, exported and measured. Sizes are of the files that
each package installed here; what an environment without CUDA's libraries takes is counted from them, not
tried. Writes ``benchmarks/results/install.md``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CUDA = ("nvidia-", "cuda-", "triton")  # distributions
CUDA_FILES = ("libtorch_cuda", "libc10_cuda", "libtorch_nvshmem")  # in torch's own
EXTRAS = ("train", "probe", "plots", "torchvision", "timm", "boxes", "lan")
FILE = """
from torch import nn

def net(classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes),
    )
"""
FIRST = """
import numpy as np, sys
from PIL import Image
from safetensors.torch import save_file
import net, torch
torch.manual_seed(0)
save_file(net.net().state_dict(), "net.safetensors")
rng = np.random.default_rng(0)
for i in range(80):
    Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(f"photos/{i}.png")
"""
JOB = (
    "prune --post-training --model net.py:net --weights net.safetensors --images photos --size 32 "
    "--keep-flops 0.6 --name small",
    "export small",
    "bench small --seconds 0.2 --rounds 4 --passes 2",
)


def built(folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist; the wheel is made of the sdist's own files."""
    made = []
    for kind in ("sdist", "wheel"):
        source = ROOT if kind == "sdist" else unpacked(made[0], folder)
        code = f"from hatchling import build; print(build.build_{kind}({str(folder)!r}))"  # PEP 517
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=source, check=True, capture_output=True, text=True
        )
        made.append(folder / done.stdout.split()[-1])
    return made[1], made[0]


def unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    return next((folder / "source").iterdir())


def wanted(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as z:
        name = next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))
        lines = z.read(name).decode().splitlines()
    return [Requirement(line[15:]) for line in lines if line.startswith("Requires-Dist: ")]


def closure(requirements: Iterable[Requirement], extra: str = "") -> set[str]:
    """Names of all distributions that they bring, as they are installed here."""
    found: set[str] = set()
    todo = [(r, extra) for r in requirements]
    while todo:
        one, asked = todo.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": asked}):
            continue
        name = canonicalize_name(one.name)
        if name in found or name == "edgeprune":
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another system, or an extra that is not here
        found.add(name)
        todo += [
            (Requirement(text), e) for text in here.requires or [] for e in one.extras or ("",)
        ]
    return found


def weight(name: str, cuda: bool = True) -> int:
    """Bytes that a distribution's files take here."""
    if not cuda and name.startswith(CUDA):
        return 0
    total = 0
    for file in metadata.distribution(name).files or ():
        if cuda or not file.name.startswith(CUDA_FILES):
            path = Path(file.locate())
            total += path.stat().st_size if path.is_file() else 0
    return total


def environment(folder: Path, names: Iterable[str], wheel: Path) -> Path:
    """A virtual environment with the wheel and what is named; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in names:
        here = metadata.distribution(name)
        for top in {file.parts[0] for file in here.files or () if file.parts[0] not in ("..", "")}:
            if top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(Path(here.locate_file(top)))
    python = folder / "bin" / "python"
    install = ["-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q"]
    subprocess.run([sys.executable, *install, "--no-deps", "--no-index", str(wheel)], check=True)
    return python


def job(python: Path, folder: Path) -> list[dict[str, object]]:
    """The three commands in the clean environment; what each gave as JSON, and its seconds."""
    (folder / "photos").mkdir(parents=True)
    (folder / "net.py").write_text(FILE)
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    clean = kept | {"EDGEPRUNE_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", FIRST], cwd=folder, check=True, env=clean | {"PYTHONPATH": "."})
    told = []
    for words in JOB:
        began = time.perf_counter()
        done = subprocess.run(
            [python.parent / "edgeprune", *words.split(), "--json"], cwd=folder, env=clean,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"edgeprune {words}: exit {done.returncode}\n{done.stderr}")
        told.append({"seconds": time.perf_counter() - began, "given": json.loads(done.stdout)})
    return told


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheel, sdist = built(folder)
        asked = wanted(wheel)
        core = closure(asked)
        python = environment(folder / "venv", core, wheel)
        done = job(python, folder / "work")
        lines = [
            "# Installation",
            "",
            "Made by `python benchmarks/install.py`; do not edit. Sizes are of the files that each",
            f"package installed here (Python {sys.version.split()[0]}, torch {metadata.version('torch')});",
            "the column without CUDA is counted from them: no CPU-only wheel of PyTorch was tried.",
            "",
            "| installed | packages | with CUDA's libraries | without |",
            "| :-- | --: | --: | --: |",
        ]
        rows = {"`edgeprune` (core)": core}
        rows |= {f"`edgeprune[{e}]`": core | closure(asked, e) for e in EXTRAS}
        everything = core.union(*(closure(asked, e) for e in EXTRAS))
        rows["`edgeprune[all]` (version 0.1.0 brought all but timm and boxes)"] = everything
        for name, names in rows.items():
            with_cuda, without = (sum(weight(n, c) for n in names) for c in (True, False))
            lines.append(
                f"| {name} | {len(names)} | {with_cuda / 1e9:.2f} GB | {without / 1e9:.2f} GB |"
            )
        seconds = ", ".join(
            f"{words.split()[0]} {one['seconds']:.1f} s"
            for words, one in zip(JOB, done, strict=True)
        )
        lines += [
            "",
            f"Wheel {wheel.stat().st_size / 1e6:.2f} MB, sdist {sdist.stat().st_size / 1e6:.2f} MB.",
            "In a fresh environment of the core alone, a network of two convolutions in a FILE.py:",
            f"{seconds} (wall, machine busy).",
        ]
    (ROOT / "benchmarks/results/install.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
