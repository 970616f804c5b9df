"""Networks beyond classifiers through the commands: prune --post-training, export, bench, as they are typed.

    python benchmarks/cases.py [NAME ...]      # writes benchmarks/results/cases.md and .json

Sixteen small networks with random weights and shaken statistics (benchmarks/cases_networks.py) on images
that are drawn here, on arrays, and on what functions make. The figures say that every command follows
each network and speaks of what it answers; they say nothing of trained ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cases_networks as networks  # noqa: E402

from edgeprune.records import Output, value  # noqa: E402
from edgeprune.report.outputs import figures  # noqa: E402

QUICK = ("--rounds", "8", "--passes", "4", "--seconds", "0.4")


@dataclass(frozen=True)
class Case:
    """A network by its function, and the words that say what it takes and answers."""

    name: str
    function: str
    images: str  # after --images
    words: tuple[str, ...] = ()


CASES = (
    Case("U-Net", "UNet", "photos", ("--size", "48", "--task", "segmentation")),
    Case("YOLOv8-like", "YOLOv8", "photos", ("--size", "64")),
    Case("multi-task", "MultiTask", "photos", ("--size", "48", "--task", "kind=classification")),
    Case("age", "Age", "photos", ("--size", "48")),
    Case("features", "Features", "photos", ("--size", "48")),
    Case("O-Net", "ONet", "photos", ("--size", "48")),
    Case("YOLOv5-like", "YOLOv5", "photos", ("--size", "64")),
    Case("autoencoder", "autoencoder", "photos", ("--size", "32")),
    Case("embedding", "Embedding", "photos", ("--size", "48")),
    Case("multi-label", "Labels", "photos", ("--size", "48")),
    Case("ESPCN", "espcn", "photos", ("--shape", "1x24x40")),
    Case("ECG", "ecg", "waves.npy"),
    Case("DS-CNN", "dscnn", "keywords.npz"),
    Case("CRNN", "CRNN", "cases_networks.py:lines"),
    Case("siamese", "Siamese", "cases_networks.py:pairs"),
    Case("LR-ASPP", "lraspp", "photos", ("--size", "64")),
)


@dataclass(frozen=True)
class Found:
    """What the commands said of one case; ``error`` is the line that ended them."""

    name: str
    task: str = ""
    flops: float = 0.0  # share that is kept
    told: tuple[str, ...] = ()  # by bench: each figure of each output
    parity: float = 0.0  # of both files, the larger
    speedup: float | None = None
    verdict: str = ""
    error: str = ""


def prepared(folder: Path, size: int = 72, photos: int = 120) -> None:
    """The networks' file, photos and arrays in ``folder``."""
    from PIL import Image

    (folder / "cases_networks.py").write_text(Path(networks.__file__).read_text())
    (folder / "photos").mkdir()
    pixels = networks.blobs(photos, 3, size, size).mul(50).add(128).clamp(0, 255).byte()
    for i, one in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(one).save(folder / "photos" / f"{i:03}.png")
    np.save(folder / "waves.npy", networks.waves().numpy())
    np.savez(folder / "keywords.npz", input=networks.blobs(160, 1, 49, 10).numpy())


def shaken(model: nn.Module) -> nn.Module:
    """Statistics and vectors that are not trivial."""
    torch.manual_seed(1)
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0, 0.1)
        if name.endswith("running_var"):
            b.uniform_(0.5, 1.5)
    for p in model.parameters():
        if p.ndim == 1:
            p.data.add_(0.1 * torch.randn_like(p))
    return model


def typed(folder: Path, *words: str) -> Any:
    """A command's JSON; what it says when it fails is raised."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def through(case: Case, folder: Path) -> Found:
    """One case through the three commands."""
    torch.manual_seed(0)
    model = shaken(getattr(networks, case.function)())
    torch.save(model.state_dict(), folder / f"{case.function}.pth")
    name = case.function.lower()
    words = (
        "prune", "--post-training", "--model", f"cases_networks.py:{case.function}", "--weights",
        f"{case.function}.pth", "--images", case.images, "--keep-flops", "0.7", "--round-to", "1",
        "--name", name, *case.words,
    )  # fmt: skip
    try:
        dense, pruned = typed(folder, *words)["results"]
        exported = typed(folder, "export", name)["networks"]
        bench = typed(folder, "bench", name, "--device", "cpu", *QUICK)
    except RuntimeError as e:
        return Found(case.name, error=str(e))
    outputs = bench["networks"][1]["outputs"] or pruned["outputs"]
    outputs = [value(o, Output, "output") for o in outputs]
    return Found(
        case.name,
        task=json.loads((folder / "runs" / name / "recipe.json").read_text())["task"],
        flops=pruned["flops"] / dense["flops"],
        told=tuple(f"{f.quantity}: {f.text}" for f in figures(outputs)),
        parity=max(e["parity"]["difference"] for e in exported.values()),
        speedup=bench["speedup"],
        verdict=bench["verdict"],
    )


HEAD = """# Networks beyond classifiers through the commands

Sixteen small networks (`benchmarks/cases_networks.py`) with random weights and shaken statistics through
`prune --post-training --keep-flops 0.7 --round-to 1`, `export` and `bench --device cpu`, as they are typed.
Figures: the pruned .onnx file beside the dense one, on held-out examples, in onnxruntime. Difference: torch
against onnxruntime, of the largest value of an output. The figures say that every command follows each
network and speaks of what it answers; they say nothing of trained ones. Free widths are slow on x86.

| network | compared as | FLOPs kept | figures | difference | speed-up |
| --- | --- | ---: | --- | ---: | ---: |
"""


def table(found: list[Found]) -> str:
    lines = []
    for f in found:
        speed = f"{f.speedup:.2f}x" if f.speedup else ""
        cells = (
            f.task.replace(",", ", "), f"{100 * f.flops:.0f} %", "; ".join(f.told),
            f"{f.parity:.0e}", speed,
        )  # fmt: skip
        lines.append(f"| {f.name} | {' | '.join(cells) if not f.error else f.error + ' | ' * 4} |")
    done = sum(not f.error for f in found)
    tail = f"{done} of {len(found)} came through all three commands."
    return HEAD + "\n".join([*lines, "", tail, ""])


def main(names: list[str]) -> None:
    chosen = [c for c in CASES if not names or c.name in names]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder))
        for case in chosen:
            found.append(through(case, Path(folder)))
            print(found[-1], flush=True)
    if not names:
        results = HERE / "results"
        (results / "cases.md").write_text(table(found))
        (results / "cases.json").write_text(json.dumps([asdict(f) for f in found], indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
