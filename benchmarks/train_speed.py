"""Training images per second: `edgeprune.train.fit` against a bare PyTorch loop.

The bare loop has its batches in memory already, normalised, in channels_last, and does nothing but
forward, loss, backward, clip, update: no loading, no augmentation, no progress, no NaN check. Same
network, optimizer, batch size, precision and threads. Both work in turns on the same process, so
that a busy machine slows both; the ratio is taken turn by turn. What is claimed: at least 0.9.

    python benchmarks/train_speed.py [--rounds 12] [--batches 16] [--only vgg16]

writes benchmarks/results/train_speed.md and .json (every sample).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line sets it

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import files, models, runs
from edgeprune.data import Dataset, Loader
from edgeprune.data.transforms import canvas_for
from edgeprune.models import Convention, ModelSpec
from edgeprune.train import Progress, Recipe, Watch, fit, measure
from edgeprune.train.step import optimizer

CASES = {"vgg16": (32, 64), "mobilenetv1": (128, 32)}  # side in pixels, images in a batch
RESULTS = Path(__file__).parent / "results"


class Noise:
    """A split in memory: random pixels cost what photographs cost."""

    def __init__(self, n: int, size: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.canvas = canvas_for(size)
        self.labels = rng.integers(0, 10, n)
        self.pixels = rng.integers(0, 256, (n, self.canvas, self.canvas, 3), np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: np.ndarray) -> np.ndarray:
        return self.pixels[indices]


class Stopwatch(Watch):
    """Seconds from the start of the epoch, its loading threads included, to its last step."""

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        self.begun = time.perf_counter()

    def on_batch(self, now: Progress) -> None:
        self.seconds = time.perf_counter() - self.begun


def ours(model: nn.Module, data: Dataset, convention: Convention, recipe: Recipe) -> float:
    watch = Stopwatch()
    fit(model, data, convention, recipe, watch=watch)
    return watch.seconds


def bare(model: nn.Module, batches: list[tuple[Tensor, Tensor]], recipe: Recipe) -> float:
    update = optimizer(model, recipe)
    model.train()
    begun = time.perf_counter()
    for x, y in batches:
        with autocast(recipe.precision):
            loss = F.cross_entropy(model(x), y, label_smoothing=recipe.label_smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        update.step()
        update.zero_grad()
    loss.item()
    return time.perf_counter() - begun


def autocast(precision: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast("cpu", torch.bfloat16)


def case(name: str, rounds: int, batches: int) -> dict[str, Any]:
    size, batch_size = CASES[name]
    convention = Convention(size)
    data = Dataset("noise", tuple("0123456789x"), *(
        Noise(n, size, seed) for seed, n in enumerate((batches * batch_size, 8, 8))
    ))  # fmt: skip
    recipe = Recipe(epochs=1, batch_size=batch_size)
    model = models.build(ModelSpec(name, classes=11)).to(memory_format=torch.channels_last)
    recipe = recipe.but(
        precision=measure(model, data, convention, recipe.but(epochs=300)).precision
    )
    ready = Loader(data.train, convention, batch_size=batch_size)
    held = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in ready.epoch(1)]
    samples: list[dict[str, float]] = []
    for turn in range(rounds + 1):
        pair = {"ours": 0.0, "bare": 0.0}
        for who in ("ours", "bare") if turn % 2 else ("bare", "ours"):
            trial = copy.deepcopy(model)
            if who == "ours":
                pair[who] = ours(trial, data, convention, recipe)
            else:
                pair[who] = bare(trial, held, recipe)
        if turn:  # the first warms up
            samples.append(pair)
            print(f"{name} {turn}/{rounds}: {pair['bare'] / pair['ours']:.3f}", flush=True)
    images = batches * batch_size
    ratio, low, high = interval(samples)
    return {
        "network": name,
        "size": size,
        "batch_size": batch_size,
        "precision": recipe.precision,
        "images_per_turn": images,
        "turns": rounds,
        "images_per_second": images / float(np.median([s["ours"] for s in samples])),
        "bare_images_per_second": images / float(np.median([s["bare"] for s in samples])),
        "ratio": ratio,
        "low": low,
        "high": high,
        "samples": samples,
    }


def interval(samples: list[dict[str, float]], draws: int = 10_000) -> tuple[float, float, float]:
    """Median over turns of bare/ours seconds, with its 95 % bootstrap interval over turns."""
    ratios = np.array([s["bare"] / s["ours"] for s in samples])
    drawn = np.random.default_rng(0).choice(ratios, (draws, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def machine() -> dict[str, Any]:
    """What decides the figures; no names of hosts."""
    return {
        "cores": runs.cores(),
        "threads": torch.get_num_threads(),
        "cpu": next(_cpuinfo("model name"), platform.processor()),
        "flags": sorted(
            set(next(_cpuinfo("flags"), "").split())
            & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"}
        ),
        "load_before": os.getloadavg()[0],
        "spin": os.environ["GOMP_SPINCOUNT"],
        **runs.versions(),
    }


def _cpuinfo(key: str) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.split(":")[0].strip() == key:
                yield line.split(":", 1)[1].strip()


def page(result: dict[str, Any]) -> str:
    where = result["machine"]
    lines = [
        "# Training speed: edgeprune's loop against a bare PyTorch loop",
        "",
        "Images per second in training, medians over turns; `fit` (loading from memory, augmentation,",
        "progress, checks) against forward, loss, backward, clip, update on tensors that are ready.",
        "Ratio: median over turns run one after the other in one process, 95 % bootstrap interval",
        "over turns. Made by `python benchmarks/train_speed.py`; every sample in train_speed.json.",
        "",
        "| network | side | batch | precision | edgeprune, images/s | bare, images/s | ratio | 95 % |",
        "|---|---:|---:|---|---:|---:|---:|---|",
    ]
    for c in result["cases"]:
        lines.append(
            f"| {c['network']} | {c['size']} | {c['batch_size']} | {c['precision']} "
            f"| {c['images_per_second']:.1f} | {c['bare_images_per_second']:.1f} "
            f"| {c['ratio']:.3f} | {c['low']:.3f} .. {c['high']:.3f} |"
        )
    c = result["cases"][0]
    lines += [
        "",
        f"Scale: {c['turns']} turns of each; pixels are random (they cost what photographs cost).",
        f"Machine: {where['cpu']}, {where['cores']} cores ({', '.join(where['flags'])}), "
        f"{where['threads']} threads, load {where['load_before']:.1f} before the start; "
        f"torch {where['torch']}, Python {where['python']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    words.add_argument("--rounds", type=int, default=12, help="turns of each loop")
    words.add_argument("--batches", type=int, default=16, help="batches in a turn")
    words.add_argument("--only", choices=CASES, help="one network")
    asked = words.parse_args()
    result = {"machine": machine(), "cases": []}
    for name in [asked.only] if asked.only else CASES:
        result["cases"].append(case(name, asked.rounds, asked.batches))
    files.write_json(RESULTS / "train_speed.json", result)
    files.write_text(RESULTS / "train_speed.md", page(result))
    print(page(result))


if __name__ == "__main__":
    main()
