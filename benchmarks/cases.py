"""Networks beyond classifiers through the commands: prune --post-training, export, bench, as they are typed.

    python benchmarks/cases.py [NAME ...]      # all, or these anew: results/cases.md and .json

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
    labels: str = ""  # after --data, where its task has labels
    deep: bool = False  # random statistics let its maps die out: it gets those of the photos


CASES = (
    Case("U-Net", "UNet", "photos", ("--size", "48", "--task", "segmentation"), "masks"),
    Case("YOLOv8-like", "YOLOv8", "photos", ("--size", "64"), "boxes"),
    Case("multi-task", "MultiTask", "photos", ("--size", "48", "--task", "kind=classification")),
    Case("age", "Age", "photos", ("--size", "48"), "Age.npz"),
    Case("features", "Features", "photos", ("--size", "48")),
    Case("O-Net", "ONet", "photos", ("--size", "48")),
    Case("YOLOv5-like", "YOLOv5", "photos", ("--size", "64")),
    Case("autoencoder", "autoencoder", "photos", ("--size", "32"), "autoencoder.npz"),
    Case("embedding", "Embedding", "photos", ("--size", "48")),
    Case("multi-label", "Labels", "photos", ("--size", "48"), "Labels.npz"),
    Case("ESPCN", "espcn", "photos", ("--shape", "1x24x40"), "espcn.npz"),
    Case("ECG", "ecg", "waves.npy", labels="ecg.npz"),
    Case("DS-CNN", "dscnn", "keywords.npz", labels="dscnn.npz"),
    Case("CRNN", "CRNN", "cases_networks.py:lines"),
    Case("siamese", "Siamese", "cases_networks.py:pairs"),
    Case("LR-ASPP", "lraspp", "photos", ("--size", "64"), "masks", deep=True),
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


def labelled(folder: Path) -> None:
    """Sets with labels in ``folder``: arrays, masks that say where a photo is bright, COCO's boxes."""
    from PIL import Image

    for name in ("Age", "Labels", "autoencoder", "espcn", "ecg", "dscnn"):
        x, y = networks.labelled(name)
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.numpy())
    told: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    told["categories"] = [{"id": i, "name": f"kind {i}"} for i in range(6)]
    for kind in ("masks/images", "masks/masks", "boxes/images"):
        (folder / kind).mkdir(parents=True)
    for path in sorted((folder / "photos").glob("*.png")):
        image = Image.open(path)
        image.save(folder / "masks" / "images" / path.name)
        image.save(folder / "boxes" / "images" / path.name)
        bright = (np.asarray(image).mean(2) > 128).astype(np.uint8)
        Image.fromarray(bright).save(folder / "masks" / "masks" / path.name)
        number = len(told["images"])
        told["images"].append({"id": number, "file_name": path.name, "width": 72, "height": 72})
        rows = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        (top, bottom), (left, right) = ((int(r[0]), int(r[-1]) + 1) for r in rows)
        told["annotations"].append({
            "id": number, "image_id": number, "category_id": number % 6,
            "bbox": [left, top, right - left, bottom - top],
        })  # fmt: skip
    (folder / "boxes" / "annotations.json").write_text(json.dumps(told))


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


@torch.no_grad()
def settled(model: nn.Module, folder: Path) -> nn.Module:
    """Filters that keep a map's size, and the statistics of the photos."""
    from PIL import Image

    images = [Image.open(p).resize((64, 64)) for p in sorted((folder / "photos").glob("*.png"))]
    x = torch.tensor(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2) / 128 - 1
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
    for m in norms:
        m.reset_running_stats()
    model.train()
    for batch in x.split(30) * 10:
        model(batch)
    return model.eval()


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
    model = settled(model, folder) if case.deep else model
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


@dataclass(frozen=True)
class ByLabels:
    """What bench said of both files by labels; ``error`` is the line that ended the commands."""

    name: str
    trained: bool = False
    dense: tuple[str, ...] = ()  # each figure
    pruned: tuple[str, ...] = ()
    error: str = ""


def by_labels(case: Case, folder: Path) -> ByLabels:
    """Trained on labels, pruned with retraining, exported and measured; a detector is judged alone."""
    name, file = f"{case.function.lower()}-labels", f"cases_networks.py:{case.function}"
    data = ("--model", file, "--data", case.labels, *(() if "." in case.labels else case.words))
    smaller, trains = ("--keep-flops", "0.7", "--round-to", "1"), case.labels != "boxes"
    try:
        if trains:
            quick = ("--epochs", "12", "--batch-size", "16", "--lr", "0.01", "--precision", "fp32")
            typed(folder, "train", *data, *quick, "--name", name)
            typed(folder, "prune", name, *smaller, "--retrain-epochs", "2")
        else:
            weights = ("--weights", f"{case.function}.pth", "--name", name)
            typed(folder, "prune", "--post-training", *data, *weights, *smaller)
        typed(folder, "export", name)
        bench = typed(folder, "bench", name, "--device", "cpu", *QUICK)
    except RuntimeError as e:
        return ByLabels(case.name, trains, error=str(e))
    told = []
    for network in bench["networks"]:
        outputs = [value(o, Output, "output") for o in network["outputs"]]
        shown = [f for f in figures(outputs) if f.key.startswith("test_")]
        told.append(tuple(f"{f.quantity}: {f.text}" for f in shown))
    return ByLabels(case.name, trains, *told)


HEAD = """# Networks beyond classifiers through the commands

Sixteen small networks (`benchmarks/cases_networks.py`) with random weights and shaken statistics (LR-ASPP,
which is deep: with those of the photos) through `prune --post-training --keep-flops 0.7 --round-to 1`,
`export` and `bench --device cpu`, as they are typed. Figures: the pruned .onnx file beside the dense one, on
held-out examples, in onnxruntime. Difference: torch against onnxruntime, of the largest value of an output.
The figures say that every command follows each network and speaks of what it answers; they say nothing of
trained ones. Free widths are slow on x86.

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


LABELS = """
## With labels

The same networks on small sets that are drawn here: `train` (12 epochs from scratch), `prune
--keep-flops 0.7` with two epochs of retraining, `export`, `bench`; the detector, which is not trained here,
has random weights and boxes in COCO's .json, and is pruned after training. Figures: each .onnx file by the
labels of the test part, in onnxruntime.

| network | trained | dense | pruned |
| --- | --- | --- | --- |
"""


def table_of_labels(found: list[ByLabels]) -> str:
    lines = []
    for f in found:
        cells = ("yes" if f.trained else "no", "; ".join(f.dense), "; ".join(f.pruned))
        lines.append(f"| {f.name} | {' | '.join(cells) if not f.error else f.error + ' | ' * 2} |")
    done = sum(not f.error for f in found)
    return LABELS + "\n".join([*lines, "", f"{done} of {len(found)} came through.", ""])


def main(names: list[str]) -> None:
    chosen = [c for c in CASES if not names or c.name in names]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder))
        labelled(Path(folder))
        for case in chosen:
            found.append(through(case, Path(folder)))
            print(found[-1], flush=True)
        judged = [by_labels(case, Path(folder)) for case in chosen if case.labels]
        for one in judged:
            print(one, flush=True)
    results = HERE / "results"
    kept = json.loads((results / "cases.json").read_text()) if names else {}
    found = anew([Found(**row) for row in kept.get("compared", [])], found)
    judged = anew([ByLabels(**row) for row in kept.get("by labels", [])], judged)
    (results / "cases.md").write_text(table(found) + table_of_labels(judged))
    told = {"compared": [asdict(f) for f in found], "by labels": [asdict(f) for f in judged]}
    (results / "cases.json").write_text(json.dumps(told, indent=1) + "\n")


def anew(kept: list[Any], made: list[Any]) -> list[Any]:
    """The rows that there were, those that were made now in their places."""
    rows = {row.name: row for row in (*kept, *made)}
    return list(rows.values())


if __name__ == "__main__":
    main(sys.argv[1:])
