"""Run folders made of numbers: VGG16 as the paper has it, pruned to its Network-A on CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune import files, records
from edgeprune.runs import Run

CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
DENSE = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
PRUNED = (64, 64, 128, 128, 256, 256, 256, 192, 192, 192, 128, 128, 128)
COUNTS = {  # the paper's table 2, exact
    "dense": {"params": 14_982_474, "flops": 627_481_620, "macs": 313_463_808, "bytes": 59_929_896},
    "pruned": {"params": 3_429_642, "flops": 421_199_892, "macs": 210_342_912, "bytes": 13_718_568},
}
IMAGES = (5_000, 10_000)  # validation, test
ACCURACY = {"dense": (0.9112, 0.9073), "pruned": (0.9048, 0.8992)}  # validation, test


def widths(values: tuple[int, ...]) -> dict[str, int]:
    return {f"features.{k}": w for k, w in zip(CONVS, values, strict=True)} | {"classifier.0": 512}


def run(path: Path, *parts: str, classes: tuple[str, ...] = ("cat", "dog"), **recipe: Any) -> Run:
    """A run with the ``parts`` asked for: spec, dense, sensitivity, pruned, onnx, bench."""
    made = Run(path)
    write_recipe(made, **recipe)
    for part in parts:
        {"spec": _spec, "dense": _dense, "sensitivity": _sensitivity, "pruned": _pruned,
         "onnx": _onnx, "bench": bench}[part](made)  # fmt: skip
    if made.spec_path.is_file():
        spec = files.read_json(made.spec_path) | {"classes": list(classes)}
        files.write_json(made.spec_path, spec)
    return made


def whole(path: Path, **more: Any) -> Run:
    return run(path, "spec", "dense", "sensitivity", "pruned", "onnx", "bench", **more)


def write_recipe(made: Run, **changes: Any) -> None:
    value = {
        "command": "prune",
        "argv": ["prune", "--model", "vgg16", "--init", "imagenet"],
        "created": "2026-11-20T19:25:21+0000",
        "model": "vgg16", "init": "imagenet", "head": "paper", "partial": False,
        "data": "cifar10", "size": 32, "limit": 5000, "skip_bad": False, "seed": 0,
        "recipe": {
            "epochs": 40, "batch_size": 128, "optimizer": "adamw", "lr": 3e-4,
            "schedule": "cosine", "warmup_epochs": 2.0, "weight_decay": 0.02,
            "label_smoothing": 0.1, "augment": "small", "precision": "auto", "patience": 15,
        },
        "pruning": {
            "step": 0.125, "max_drop": 1.0, "retrain_epochs": 5, "max_steps": None,
            "round_to": 16, "sensitivity_images": 1000,
        },
        "versions": {"python": "3.12.1", "edgeprune": "0.1.0", "torch": "2.15.0"},
        "fresh": ["classifier.0.weight", "classifier.3.weight"],
    }  # fmt: skip
    files.write_json(made.recipe_path, value | changes)


def _spec(made: Run) -> None:
    files.write_json(
        made.spec_path,
        {
            "format": 1,
            "model": {"model": "vgg16", "classes": 10, "head": "paper"},
            "input": {"size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                      "channels": "RGB"},
            "classes": [],
            "dense": widths(DENSE),
            "kept": {},
        },
    )  # fmt: skip


def _dense(made: Run) -> None:
    for epoch in range(1, 9):
        made.append(records.Epoch(network="dense", phase="train", step=None, epoch=epoch, epochs=8,
                    lr=3e-4, train_loss=2 / epoch, validation_loss=2.1 / epoch,
                    validation_accuracy=0.92 - 0.5 / epoch, seconds=31.0))  # fmt: skip
    _result(made, "dense", DENSE)


def _sensitivity(made: Run) -> None:
    shares = [0.0, 0.125, 0.25, 0.5, 0.75]
    for i, k in enumerate(CONVS):
        fall = [0.91 * s**2 * (1 - i / 14) for s in shares]
        made.append(records.Sensitivity(layer=f"features.{k}", shares=shares,
                    accuracy=[0.91 - f for f in fall], baseline=0.91))  # fmt: skip


def _pruned(made: Run) -> None:
    now, step = list(DENSE), 0
    order = [i for i in range(12, 6, -1) for _ in range(5 if i < 10 else 6)]
    total = len(order)
    for i in order:
        step += 1
        now[i] -= 64
        left = {k: int(COUNTS["dense"][k] + (COUNTS["pruned"][k] - COUNTS["dense"][k]) * step / total)
                for k in ("params", "flops", "macs")}  # fmt: skip
        _step(
            made,
            step,
            i,
            now,
            left,
            before=0.9 - 0.004 * step,
            after=0.9112 - 0.0064 * step / total,
        )
    now[3] -= 16
    _step(made, step + 1, 3, now, left, before=0.61, after=0.8991, kept=False, taken=16)
    spec = files.read_json(made.spec_path)
    kept = {f"features.{k}": list(range(w)) for k, w in zip(CONVS, PRUNED, strict=True)}
    files.write_json(made.spec_path, spec | {"kept": kept})
    _result(made, "pruned", PRUNED, steps=step, stopped="more than 1.0 points below the baseline")


def _step(
    made: Run, step: int, i: int, now: list[int], left: dict[str, int], before: float, after: float,
    kept: bool = True, taken: int = 64,
) -> None:  # fmt: skip
    made.append(records.Step(step=step, layer=f"features.{CONVS[i]}", removed=list(range(taken)),
                widths=widths(tuple(now)), **left, before=before, accuracy=after, baseline=0.9112,
                kept=kept, seconds=160.0))  # fmt: skip


def _result(made: Run, network: str, values: tuple[int, ...], **more: Any) -> None:
    validation, test = ACCURACY[network]
    made.append(records.Result(
        network=network, validation_accuracy=validation, validation_images=IMAGES[0],
        test_accuracy=test, test_images=IMAGES[1], **COUNTS[network], widths=widths(values), **more,
    ))  # fmt: skip
    _hollow(made.weights_path(network), COUNTS[network]["bytes"])


def _onnx(made: Run) -> None:
    for network, counts in COUNTS.items():
        _hollow(made.onnx_path(network), counts["bytes"] + 20_000)


def _hollow(path: Path, size: int) -> None:
    """A file of that size that takes no space."""
    with open(path, "wb") as f:
        f.truncate(size)


def bench(made: Run, name: str = "cpu.json", **changes: Any) -> None:
    """A whole result file with its summary (edgeprune.bench.protocol), without the raw samples."""
    value = {
        "format": "edgeprune-bench", "version": 1, "status": "complete",
        "created": "2026-11-20T20:01:00+0000", "device": "cpu", "request": {"threads": 1},
        "models": [], "measured": {},
        "summary": {
            "baseline": "dense",
            "networks": [
                _network("dense", 5.21e-3, 210 << 20),
                _network("pruned", 4.19e-3, 87 << 20) | {
                    "speedup": 1.243, "speedup_interval": [1.214, 1.273], "verdict": "faster",
                    "promised_speedup": 1.4897, "realised_speedup": 0.8344,
                    "realised_speedup_interval": [0.815, 0.8545],
                },
            ],
            "warnings": [],
        },
    }  # fmt: skip
    files.write_json(made.bench_folder / name, value | changes)


def _network(name: str, seconds: float, peak: int) -> dict[str, Any]:
    counts = COUNTS[name]
    return {
        "name": name, "bytes": counts["bytes"] + 20_000, "params": counts["params"],
        "macs": counts["macs"], "flops": counts["flops"], "counted_by": "edgeprune",
        "latency": {
            "median_s": seconds, "median_interval_s": [seconds * 0.99, seconds * 1.01],
            "min_s": seconds * 0.97, "p90_s": seconds * 1.04, "p99_s": None, "samples": 214,
            "kept_share": 0.93, "clock": "wall",
        },
        "load": {"import_s": 0.06, "load_s": 0.118, "first_run_s": seconds * 1.3},
        "memory": {"bare": 10 << 20, "imported": 44 << 20, "loaded": peak - 1000, "peak": peak},
        "top1": ACCURACY[name][1], "images": 10_000, "energy_j": None,
        "unswitched_share": 0.93, "contended": False,
        "speedup": None, "speedup_interval": None, "promised_speedup": None,
        "realised_speedup": None, "realised_speedup_interval": None, "verdict": "baseline",
    }  # fmt: skip
