"""Accuracy right after cutting, repaired without labels: writes benchmarks/results/compensation.md.

    EDGEPRUNE_HOME=... python benchmarks/compensation.py imagenet caltech101

(a) caltech101: MobileNetV1 with ImageNet weights (the float file; its last pointwise and its head
start fresh), fine-tuned on the training photos; calibrated on 500 of them, judged on the test photos.
(b) imagenet: MobileNetV1-0.75 as published, 192 px, on the sample of 1,000 photos; one half
calibrates, without labels, the other half judges and chooses nothing.

Measurements are kept beside the weights' home (``compensation.json``), so that a run can be broken
off and gone on with; the page is made from them alone.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune import data, files, models, train
from edgeprune.data.transforms import Pixels
from edgeprune.fetch import home
from edgeprune.graph import cost, trace
from edgeprune.models import Convention, ModelSpec
from edgeprune.procedures import post_training as pt
from edgeprune.prune.blocks import distil
from edgeprune.prune.evidence import gather

RESULTS = Path(__file__).parent / "results" / "compensation.md"


@dataclass(frozen=True)
class Way:
    """One row of the table: how it is chosen and repaired."""

    name: str
    score: str
    method: str
    compensate: str
    views: int
    distil_steps: int = 0


WAYS = (
    Way("L1, statistics renewed", "l1", "uniform", "none", 1),
    Way("L1, mean folded", "l1", "uniform", "mean", 1),
    Way("L1, least squares", "l1", "uniform", "lstsq", 1),
    Way("elimination, least squares", "reconstruction", "uniform", "lstsq", 1),
    Way("the same, shares by error", "reconstruction", "reconstruction", "lstsq", 1),
    Way("uniform, 4 views", "reconstruction", "uniform", "lstsq", 4),
    Way("uniform, 4 views, blocks", "reconstruction", "uniform", "blocks", 4),
    Way("uniform, 4 views, distilled", "reconstruction", "uniform", "lstsq", 4, 240),
)


@dataclass(frozen=True, eq=False)
class Case:
    """A trained network, photos to calibrate with (no labels) and photos to judge with."""

    name: str
    model: nn.Module
    convention: Convention
    calibrating: Pixels
    judging: list[Tensor]
    labels: Tensor
    shares: tuple[float, ...]  # of the FLOPs


def imagenet(images: int, seed: int) -> Case:
    spec = ModelSpec("mobilenetv1-0.75", 1000, "original", padding="same", bn_eps=1e-3)
    model, convention = pretrained(spec, "imagenet")
    dataset = data.load("imagenet-sample", size=convention.size)
    parts = [dataset.train, dataset.validation, dataset.test]
    pixels = np.concatenate([p.images(np.arange(len(p))) for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    order = np.random.default_rng(seed).permutation(len(labels))
    half = len(order) // 2
    calibrate, judge = np.sort(order[:half])[:images], np.sort(order[half:])[:images]
    return Case(
        f"imagenet, {images} + {images} photos, seed {seed}",
        model,
        convention,
        pixels[calibrate],
        batches(pixels[judge], convention),
        torch.from_numpy(labels[judge]),
        (0.85, 0.7, 0.5),
    )


def caltech101(images: int, seed: int) -> Case:
    spec = ModelSpec("mobilenetv1", 101, "original", padding="same", bn_eps=1e-3)
    size = 128
    dataset = data.load("caltech101", size=size, seed=seed, limit=3500)
    model, convention = pretrained(spec, "imagenet-float", partial=True)
    convention = replace(convention, size=size)
    cached = home() / "cache" / f"compensation-caltech101-{seed}.safetensors"
    if cached.is_file():
        model.load_state_dict(files.read_tensors(cached)[0])
    else:
        recipe = train.named("default", pretrained=True)
        recipe = recipe.but(epochs=6, batch_size=32, augment="photos", lr=1e-3, seed=seed)
        train.fit(model, dataset, convention, recipe)
        cached.parent.mkdir(exist_ok=True)
        files.write_tensors(cached, model.state_dict(), {})
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.train))[:images])
    test = dataset.test.take(2 * images)
    return Case(
        f"caltech101, {images} + {len(test)} photos, seed {seed}",
        model.eval(),
        convention,
        dataset.train.images(chosen),
        batches(test.images(np.arange(len(test))), convention),
        torch.from_numpy(test.labels),
        (0.75, 0.5, 0.3),
    )


CASES = {"imagenet": imagenet, "caltech101": caltech101}


def pretrained(spec: ModelSpec, init: str, partial: bool = False) -> tuple[nn.Module, Convention]:
    model = models.fresh(spec, 0)
    source = models.find(spec, init)
    if source is None:
        raise SystemExit(f"no weights {spec.model}_{init} in EDGEPRUNE_HOME")
    models.fill(model, spec, source, partial=partial)
    return model.eval(), source.input


def batches(pixels: Pixels, convention: Convention) -> list[Tensor]:
    return [pt.plain(pixels[i : i + 50], convention) for i in range(0, len(pixels), 50)]


# -- measuring ---------------------------------------------------------------------------------


def measure(case: Case, ways: list[Way], shares: list[float], kept: Path) -> None:
    """All rows that are not there yet; each is written down as soon as it is known."""
    known = read(kept)
    dense_logits = pt.answers(case.model, case.judging)
    dense = right(dense_logits, case.labels)
    size = case.convention.size
    graph = trace(case.model, torch.zeros(2, 3, size, size))
    evidence: dict[tuple[int, str], Any] = {}
    for way in ways:
        for share in shares:
            key = f"{case.name} | {way.name} | {share}"
            if key in known:
                continue
            settings = pt.Settings(
                keep_flops=share,
                score=way.score,
                method=way.method,
                compensate=way.compensate,
                views=way.views,
            )
            begun, work = time.perf_counter(), time.process_time()
            images = pt.calibration(case.calibrating, case.convention, way.views, 0)
            need = pt.parts_of(settings)
            looked = evidence.setdefault((way.views, way.score), gather(graph, images, parts=need))
            plan = pt.choose(graph, looked, settings)
            pruned, _ = pt.repair(graph, plan.keep, images, settings)
            if way.distil_steps:
                views = pt.endless(case.calibrating, case.convention, 0)
                distil(graph, pruned, plan.keep, views, way.distil_steps)
            seconds, cpu = time.perf_counter() - begun, time.process_time() - work
            logits = pt.answers(pruned.model, case.judging)
            known[key] = {
                "case": case.name,
                "way": way.name,
                "share": share,
                "flops": cost(pruned).flops / cost(graph).flops,
                "dense": dense,
                "accuracy": right(logits, case.labels),
                "agreement": right(logits, dense_logits.argmax(1)),
                "seconds": seconds,
                "cpu_seconds": cpu,
                "threads": torch.get_num_threads(),
                "how": asdict(way),
            }
            files.write_json(kept, known)
            print(key, {k: v for k, v in known[key].items() if isinstance(v, float)}, flush=True)


def right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def read(kept: Path) -> dict[str, Any]:
    return json.loads(kept.read_text()) if kept.is_file() else {}


# -- the page ----------------------------------------------------------------------------------


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Accuracy after cutting, repaired without labels",
        "",
        "Made by `python benchmarks/compensation.py`; not edited by hand. FLOPs: what is kept of the",
        "dense network's. Accuracy and agreement (same answer as the dense network) in % on photos",
        "that chose and calibrated nothing; one seed. Seconds of processor time, choosing included",
        "(each way's look at the images is shared by its rows).",
        "",
    ]
    for case in dict.fromkeys(row["case"] for row in known.values()):
        rows = [row for row in known.values() if row["case"] == case]
        lines += [
            f"## {case}: dense {100 * rows[0]['dense']:.1f} %",
            "",
            "| way | FLOPs | accuracy | of dense | agreement | CPU s |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in sorted(rows, key=lambda r: -r["share"]):
            lines.append(
                f"| {row['way']} | {row['flops']:.3f} | {100 * row['accuracy']:.1f} | "
                f"{100 * row['accuracy'] / row['dense']:.1f} | {100 * row['agreement']:.1f} | "
                f"{row['cpu_seconds']:.0f} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="none: only the page")
    parser.add_argument("--ways", type=int, nargs="*", help="rows of WAYS; default all")
    parser.add_argument("--shares", type=float, nargs="*", help="of the FLOPs kept")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    kept = home() / "cache" / "compensation.json"
    kept.parent.mkdir(exist_ok=True)
    ways = [WAYS[i] for i in words.ways] if words.ways else list(WAYS)
    for name in words.cases:
        case = CASES[name](words.images, words.seed)
        measure(case, ways, words.shares or list(case.shares), kept)
    RESULTS.parent.mkdir(exist_ok=True)
    files.write_text(RESULTS, page(read(kept)))


if __name__ == "__main__":
    main()
