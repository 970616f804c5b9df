"""YOLO of ultralytics, pruned: it stays a DetectionModel, so its own trainer and its own exporter go on.

    pip install ultralytics
    python benchmarks/ultralytics_yolo.py                                # the table, on a set drawn here
    python benchmarks/ultralytics_yolo.py yolov8n.pt --data mine.yaml --size 640 --epochs 50

For each network: cut to --keep-flops of its FLOPs by L1 norm (its class kept), the cut network compared with
the masked one in float64, fine-tuned by ultralytics' trainer, loaded again from the best.pt that it wrote,
exported by ultralytics' exporter, and best.onnx compared with torch in onnxruntime. A minute each on two
cores. The table goes to benchmarks/results/ultralytics_yolo.md (--out FOLDER: elsewhere).
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune import cut, plan, trace
from edgeprune.graph import Graph
from edgeprune.graph.inputs import flat
from edgeprune.prune import Plan, masked
from edgeprune.report import Column, Table

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml")
NAMES = ("disc", "square")


def drawn(folder: Path, images: int = 8, size: int = 64) -> Path:
    """A data set of discs and squares as ultralytics reads it; its data.yaml."""
    from PIL import Image, ImageDraw

    random, side = np.random.default_rng(0), size // 4
    for part, n in (("train", images), ("val", images // 2)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for i in range(n):
            label = int(random.integers(2))
            x, y = (int(v) for v in random.integers(0, size - side, 2))
            image = Image.new("RGB", (size, size), (40, 40, 40))
            shape = ImageDraw.Draw(image)
            (shape.rectangle if label else shape.ellipse)((x, y, x + side, y + side), fill="white")
            image.save(folder / "images" / part / f"{i}.png")
            box = ((x + side / 2) / size, (y + side / 2) / size, side / size, side / size)
            words = " ".join(map(str, (label, *box)))
            (folder / "labels" / part / f"{i}.txt").write_text(f"{words}\n")
    told = folder / "data.yaml"
    names = ", ".join(f"{i}: {name}" for i, name in enumerate(NAMES))
    told.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {{{names}}}\n")
    return told


def loaded(name: str, classes: int) -> Any:
    """ultralytics' YOLO of a checkpoint; of a yaml with random weights, for that many classes."""
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    yolo = YOLO(name, verbose=False)
    if name.endswith(".yaml"):
        torch.manual_seed(0)
        yolo.model = DetectionModel(name, nc=classes, verbose=False)
    return yolo


def pruned(model: nn.Module, share: float, size: int) -> tuple[Graph, Plan, nn.Module]:
    """The ten lines: followed, planned so that its class comes back, cut."""
    graph = trace(model, torch.randn(2, 3, size, size))
    planned = plan(graph, keep_flops=share, own_class=True)
    return graph, planned, cut(graph, planned)


def trained(yolo: Any, small: nn.Module, data: Path, folder: Path, **words: Any) -> Path:
    """ultralytics' own training of the pruned network; its best.pt."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            return small  # where ultralytics would build the whole network from its yaml

    yolo.model = small
    yolo.train(data=str(data), trainer=Trainer, project=str(folder), name="run", **words)
    return Path(yolo.trainer.best)


def exactness(graph: Graph, planned: Plan, size: int) -> float:
    """Cut against masked in float64, at another size than the recorded one: the largest difference of any
    output, of its largest value."""
    wide = copy.deepcopy(graph.model).double().eval()
    again = trace(wide, torch.randn(2, 3, size, size, dtype=torch.float64))
    x = torch.randn(1, 3, 2 * size, size, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = (flat(f(x)) for f in (cut(again, planned.keep), masked(again, planned.keep)))
    return max(_far(a, b) for a, b in zip(ours, theirs, strict=True))


def in_onnxruntime(best: Path, size: int) -> tuple[nn.Module, float]:
    """The network out of best.pt, and how far ultralytics' best.onnx is from it."""
    import onnxruntime
    from ultralytics import YOLO

    yolo = YOLO(best)
    running = onnxruntime.InferenceSession(
        yolo.export(format="onnx", imgsz=size, simplify=False, verbose=False)
    )
    x = torch.rand(1, 3, size, size)
    with torch.no_grad():
        ours = flat(yolo.model.float().eval()(x))[0]
    (theirs,) = running.run(None, {running.get_inputs()[0].name: x.numpy()})
    return yolo.model, _far(torch.from_numpy(theirs), ours)


def _far(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def through(
    name: str, data: Path, folder: Path, share: float, size: int, **words: Any
) -> dict[str, Any]:
    """One network from end to end: a row of the table."""
    import yaml

    classes = len(yaml.safe_load(data.read_text())["names"])
    yolo = loaded(name, classes)
    graph, planned, small = pruned(yolo.model, share, size)
    told = exactness(graph, planned, size)
    best = trained(yolo, small, data, folder, imgsz=size, **words)
    again, difference = in_onnxruntime(best, size)
    whole = [n for n, why in planned.reasons.items() if "Python" in why]
    return {
        "name": Path(name).stem,
        "class": type(small).__name__,
        "params": sum(p.numel() for p in graph.model.parameters()),
        "left": sum(p.numel() for p in small.parameters()),
        "flops": planned.reached()["flops"],
        "whole": len(whole),
        "exact": told,
        "trained": f"{type(again).__name__}, {sum(p.numel() for p in again.parameters()):,}",
        "onnx": difference,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    columns = [
        Column("name", "network", align="left"),
        Column("class", "class after the cut", align="left"),
        Column("params", "parameters", lambda v: f"{v:,}"),
        Column("left", "left", lambda v: f"{v:,}"),
        Column("flops", "FLOPs", lambda v: f"{100 * v:.1f} %"),
        Column("whole", "groups kept whole for its Python"),
        Column("exact", "cut - masked", lambda v: f"{v:.1e}"),
        Column("trained", "out of ultralytics' best.pt", align="left"),
        Column("onnx", "best.onnx - torch", lambda v: f"{v:.1e}"),
    ]
    return Table(
        "YOLO of ultralytics, pruned, fine-tuned and exported by ultralytics", columns, rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--data", type=Path, help="a data.yaml; default: discs and squares, drawn")
    parser.add_argument("--keep-flops", type=float, default=0.6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    os.environ.setdefault("YOLO_OFFLINE", "true")
    with tempfile.TemporaryDirectory() as made:
        data = asked.data or drawn(Path(made) / "set")
        words = {"epochs": asked.epochs, "plots": False, "workers": 0, "amp": False}
        rows = [
            through(name, data, Path(made) / Path(name).stem, asked.keep_flops, asked.size, **words)
            for name in asked.networks
        ]
    import ultralytics

    told = table(rows)
    print(told.text())
    head = f"`python benchmarks/ultralytics_yolo.py`, ultralytics {ultralytics.__version__}, "
    head += f"torch {torch.__version__}, {asked.size} pixels, {asked.epochs} epoch, random weights "
    head += "where a .yaml is named\n\n"
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "ultralytics_yolo.md").write_text(head + told.markdown() + "\n")


if __name__ == "__main__":
    main()
