"""How far off are predicted milliseconds, on networks that the probe did not see?

    EDGEPRUNE_HOME=... python benchmarks/predictor.py [--device cpu] [--fresh 12] [--kept] [--real] [--more]

Probes the device (kept in EDGEPRUNE_HOME, as `edgeprune doctor --probe` does), then times with bench:
random networks of another seed, and MobileNetV1 at 224 pixels, dense and cut to other widths
(`widths.py`). With --real: networks of torchvision, timm and `targets.py` instead, as they are exported, with
random weights; what they do beside layers (activations, sums, pooling) was no part of the probe.
Aim: off by less than 4 % in the median, by less than 12 % at worst, on both.
Table and figures go to benchmarks/results/predictor-DEVICE[-real].{md,json} (--out FOLDER: elsewhere), after
every few networks; with --more those that it holds, of the same profile, are not timed again.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from widths import DENSE, ROUNDED, draw, mobilenet, rounded

from edgeprune import bench, files
from edgeprune.doctor import probe
from edgeprune.doctor.layers import counted
from edgeprune.report import Column, Table
from edgeprune.runtime import device, predictor
from edgeprune.units import milliseconds

RESULTS = Path(__file__).parent / "results"
REQUEST = bench.Request(rounds=12, passes=3, seconds=1.0, samples=32, limit=20)
HEAVY = bench.Request(rounds=8, passes=2, seconds=1.0, samples=32, limit=20)  # of real networks
TOGETHER = 5


def batched(values: Collection[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def unseen(fresh: int, block: int) -> dict[str, Any]:
    random = np.random.default_rng(1_000)  # the probe's is 0
    models = {f"random {i}": probe.random_network(random, block) for i in range(fresh)}
    models["MobileNetV1"] = mobilenet(DENSE)
    for share in (0.4, 0.23):
        drawn = draw(share)
        for how in ROUNDED:
            models[f"MobileNetV1 {share:g} {how}"] = mobilenet(rounded(drawn, how))
    return models


REAL = {  # torchvision's or timm's name; pixels
    "mobilenetv1_100": 224, "mobilenetv2_100": 224, "mobilenetv3_large_100": 224,
    "tf_efficientnet_lite0": 224, "efficientnet_b0": 224, "resnet18": 224, "resnet50": 224,
    "vgg16": 224, "regnetx_008": 224, "mnasnet_100": 224, "densenet121": 224,
}  # fmt: skip


def real(folder: Path, without: Collection[str]) -> dict[str, Any]:
    """Files as torch writes them: batch norms folded, activations as the network has them."""
    import onnxsim
    import timm
    import torch
    from targets import YOLO, UNet

    torch.manual_seed(0)
    networks = {f"{n}, {px} px": (timm.create_model(n), px) for n, px in REAL.items()}
    networks |= {"U-Net, 128 px": (UNet(), 128), "YOLOv8n-like, 320 px": (YOLO(), 320)}
    found = {}
    for i, (name, (model, size)) in enumerate(networks.items()):
        if name in without:
            continue
        path = folder / f"{i}.onnx"
        torch.onnx.export(
            model.eval(),
            (torch.randn(1, 3, size, size),),
            str(path),
            dynamo=False,
            opset_version=17,
        )
        found[name] = onnxsim.simplify(onnx.load(path))[0]  # sizes that are computed, as numbers
    return found


def measured(
    models: dict[str, Any], device: str, request: bench.Request
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each, beside each other."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.onnx" for i in range(len(models))]
        for path, model in zip(paths, models.values(), strict=True):
            onnx.save(model, path)
        result = bench.measure(
            paths, out=Path(folder) / "r.json", device=device, request=request, names=list(models)
        )
    found = {n.name: n.latency.median_s for n in result.networks}
    return found, result.document["measured"]


def write(path: Path, known: device.Device, rows: list[dict[str, Any]], where: str) -> None:
    """``path`` without its suffix."""
    missed = [abs(row["off"]) for row in rows]
    columns = [
        Column("network", align="left"), Column("measured", show=milliseconds),
        Column("predicted", show=milliseconds), Column("off", show=lambda v: f"{100 * v:+.1f} %"),
    ]  # fmt: skip
    notes = [
        f"{where}: {known.cpu}, onnxruntime {known.onnxruntime}, 1 thread, batch 1; load "
        f"{max(row['load'] for row in rows):.1f} before.",
        f"Off by {100 * statistics.median(missed):.1f} % in the median, "
        f"{100 * max(missed):.1f} % at worst (aims: 4 and 12).",
        f"The probe's own cross-validation: {known.sentence()}.",
    ]
    text = Table("Predicted against measured, on networks not seen", columns, rows, notes)
    print(text.text())
    files.write_text(path.with_suffix(".md"), text.markdown() + "\n")
    error = {"median": statistics.median(missed), "worst": max(missed)}
    told = {"rows": rows, "error": error, "notes": notes, "profile": known.created}
    files.write_json(path.with_suffix(".json"), told)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fresh", type=int, default=12)
    parser.add_argument("--kept", action="store_true", help="use the kept probe, make none")
    parser.add_argument("--real", action="store_true", help="real files instead of random networks")
    parser.add_argument("--more", action="store_true", help="go on where the table stands")
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args()
    known = device.kept(words.device) if words.kept else None
    if known is None:
        known = probe.measure(words.device, lambda text: print(text, file=sys.stderr))
    stem = "predictor-" + re.sub(r"[^A-Za-z0-9]+", "-", words.device).strip("-")
    path = words.out / (stem + ("-real" if words.real else ""))
    rows: list[dict[str, Any]] = []
    if words.more and path.with_suffix(".json").is_file():
        told = json.loads(path.with_suffix(".json").read_text())
        rows = told["rows"] if told.get("profile") == known.created else []
    there = {row["network"] for row in rows}
    if words.real:
        with tempfile.TemporaryDirectory() as folder:
            models = real(Path(folder), there)
    else:
        models = {n: m for n, m in unseen(words.fresh, 8).items() if n not in there}
    for some in batched(models.items(), TOGETHER):
        times, about = measured(dict(some), words.device, HEAVY if words.real else REQUEST)
        for name, model in some:
            said = predictor.predict(known.model, counted(model)).seconds
            rows.append({
                "network": name, "measured": times[name], "predicted": said,
                "off": said / times[name] - 1, "load": (about["before"]["load"] or [0.0])[0],
            })  # fmt: skip
        write(path, known, rows, words.device)


if __name__ == "__main__":
    main()
