"""Pruned and in 8 bits: what both keep, what both gain, and the order of the steps: results/int8_pruned.md.

    EDGEPRUNE_HOME=... python benchmarks/int8_pruned.py [v1 lite v2] [--seeds 0] [--orders] [--time]

Networks with real weights (benchmarks/int8.py) without labels or training: 500 of the 1,000 photos look and
calibrate (200 of them), 500 others judge; widths in multiples of 16. ``int8`` is the tool's usual way.
``--orders``: the usual one (prune, repair, 8 bits with their repair) beside one without the second repair,
and one that repairs for 8 bits first and prunes then. ``--time``: dense and pruned, float and int8,
interleaved by bench's protocol, one thread; of the product: the gain of both over the product of each alone.
Each result is written down at once (results/int8_pruned.jsonl) and not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import int8 as own
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune import bench, data, export, models, quantise
from edgeprune.prices import Target
from edgeprune.quantise.network import network as network_of
from edgeprune.ways.examples import Photos
from edgeprune.ways.post_training import Settings, post_training

HERE = Path(__file__).parent / "results"
ROWS, PAGE = HERE / "int8_pruned.jsonl", HERE / "int8_pruned.md"
SHARES = {"v1": (0.7,), "lite": (0.7, 0.85), "v2": (0.7,)}
CALIBRATE, LOOK, SIXTEEN = 200, 500, 16
USUAL = "prune, repair, int8 with repair"
ORDERS = {
    USUAL: quantise.USUAL,
    "prune, repair, int8 without": "minmax",
    "repair for int8, prune, repair, int8 without": "minmax",
}


@dataclass(frozen=True, eq=False)
class Photographs:
    """What looks and what judges, of one network and seed."""

    photos: Photos
    look: NDArray[Any]
    judging: Sequence[Tensor]
    labels: NDArray[Any]

    def calibrating(self) -> list[Tensor]:
        few = self.look[np.linspace(0, len(self.look) - 1, CALIBRATE).round().astype(int)]
        return [self.photos.view(few[i : i + 8], 0) for i in range(0, len(few), 8)]

    def top1(self, path: Path) -> tuple[float, NDArray[Any]]:
        said = own.answers(path, self.judging).argmax(1)
        return float((said == self.labels).mean()), said


def photographs(spec: Any, seed: int) -> tuple[Photographs, Any]:
    source = models.find(spec, "imagenet")
    if source is None:
        raise SystemExit(f"no weights {spec.model}_imagenet in EDGEPRUNE_HOME")
    found = data.load("imagenet-sample", size=source.input.size)
    parts = [found.train, found.validation, found.test]
    pixels = np.concatenate([p.images(np.arange(len(p))) for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    order = np.random.default_rng(seed).permutation(len(labels))
    photos, judging = Photos(pixels, source.input), np.sort(order[-LOOK:])
    batches = [photos.view(judging[i : i + 8], 0) for i in range(0, LOOK, 8)]
    return Photographs(photos, np.sort(order[:LOOK]), batches, labels[judging]), source


def files(name: str, share: float, seed: int, order: str, cache: Path) -> list[Path]:
    """dense, pruned, dense-int8, pruned-int8; made if they are not there."""
    folder = cache / f"{name}-{share}-{seed}-{list(ORDERS).index(order)}"
    paths = [folder / f"{n}.onnx" for n in ("dense", "pruned", "dense-int8", "pruned-int8")]
    if all(p.exists() for p in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    spec = own.CASES[name][1]
    shots, source = photographs(spec, seed)
    calibrating = shots.calibrating()
    network = models.fresh(spec, 0)
    models.fill(network, spec, source, partial=False)
    network.eval()
    export(network, paths[0], calibrating)
    if order.startswith("repair"):
        first = folder / "repaired.onnx"
        proto = quantise.prepared(paths[0])
        found = network_of(proto, calibrating)
        for step in quantise.USUAL.split("+")[:-1]:
            quantise.STEPS[step](found, quantise.RANGES[quantise.USUAL.split("+")[-1]])
        quantise.save(found.written(), first)
        network = models.fresh(replace(spec, model=str(first)), 0)
    settings = Settings(target=Target("flops", share), multiple=SIXTEEN, seed=seed)
    looked = replace(shots.photos, pixels=shots.photos.pixels[shots.look])
    export(post_training(network, looked, settings).model, paths[1], calibrating)
    for path, eight in zip(paths[:2], paths[2:], strict=True):
        method = ORDERS[order] if eight is paths[3] else quantise.USUAL
        if eight is paths[2] and order != USUAL:
            method = "minmax"
        quantise.save(quantise.of_file(path, calibrating, method).proto, eight)
    return paths


def judged(name: str, share: float, seed: int, order: str, cache: Path) -> dict[str, Any]:
    begun = time.process_time()
    paths = files(name, share, seed, order, cache)
    spent = time.process_time() - begun
    shots, _ = photographs(own.CASES[name][1], seed)
    found = [shots.top1(p) for p in paths]
    return {
        "case": name, "share": share, "seed": seed, "order": order, "method": quantise.USUAL,
        "top1": [top1 for top1, _ in found],
        "as_dense": [float((said == found[0][1]).mean()) for _, said in found],
        "as_float": float((found[3][1] == found[1][1]).mean()),
        "bytes": [p.stat().st_size for p in paths], "cpu": spent,
    }  # fmt: skip


def timed(name: str, share: float, cache: Path, seed: int) -> dict[str, Any]:
    paths = files(name, share, seed, USUAL, cache)
    result = bench(
        *paths, out=cache / f"{name}-{share}-bench.json", seconds=2.0, passes=4, rounds=24
    )
    return {
        "case": name, "share": share, "timed": True, "processor": own.processor(),
        "ms": [1e3 * (n.latency.median_s or 0) for n in result.networks],
        "peak": [n.memory.peak for n in result.networks],
        "contended": any(n.contended for n in result.networks),
    }  # fmt: skip


def known() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def keep(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)
    with ROWS.open("a") as f:
        f.write(json.dumps(found) + "\n")
    PAGE.write_text(page(known()))


def page(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["# Pruned and in 8 bits", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
    usual = [r for r in rows if r.get("order") == USUAL]
    if usual:
        heads = ("network", "FLOPs", "seeds", "dense", "pruned", "dense int8", "pruned int8",
                 "pruned int8 as pruned", "MB: dense, pruned, int8 of both")  # fmt: skip
        lines += ["## What both keep: top-1", "", own.row(heads), own.row([":--", *["--:"] * 8])]
        for key in dict.fromkeys((r["case"], r["share"]) for r in usual):
            some = [r for r in usual if (r["case"], r["share"]) == key]
            top1 = np.mean([r["top1"] for r in some], 0)
            size = np.mean([r["bytes"] for r in some], 0) / 1e6
            cells = [
                own.CASES[key[0]][0], f"{key[1]:g}", own.seeds(some),
                *(f"{t:.1%}" for t in top1), f"{np.mean([r['as_float'] for r in some]):.1%}",
                ", ".join(f"{m:.1f}" for m in size),
            ]  # fmt: skip
            lines.append(own.row(cells))
        lines.append("")
    lines += times([r for r in rows if "timed" in r]) + orders(rows)
    return "\n".join(lines)


def times(rows: Sequence[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    heads = ("network", "FLOPs", "ms: dense, pruned, int8 of both", "pruning", "int8", "both",
             "of the product", "peak MB of all four", "machine")  # fmt: skip
    lines = ["## What both gain", "", own.row(heads), own.row([":--", *["--:"] * 8])]
    for r in {(r["case"], r["share"]): r for r in rows}.values():
        a, b, c, d = r["ms"]
        peak = ", ".join(f"{p / 1e6:.0f}" if p else "?" for p in r["peak"])
        busy = "contended" if r["contended"] else "quiet"
        cells = [
            own.CASES[r["case"]][0], f"{r['share']:g}", ", ".join(f"{ms:.2f}" for ms in r["ms"]),
            f"{a / b:.2f}x", f"{a / c:.2f}x", f"{a / d:.2f}x", f"{(b * c) / (a * d):.2f}", peak,
            f"{r['processor']}, {busy}",
        ]  # fmt: skip
        lines.append(own.row(cells))
    return [*lines, ""]


def orders(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where every order was made."""
    several = {r["case"] for r in rows if r.get("order", USUAL) != USUAL}
    if not several:
        return []
    heads = ("network", "order", "seeds", "top-1", "as the dense float network", "CPU s")
    lines = ["## The order of the steps", "", own.row(heads), own.row([":--"] * 2 + ["--:"] * 4)]
    for name in several:
        for order in ORDERS:
            some = [r for r in rows if (r.get("case"), r.get("order")) == (name, order)]
            some = [r for r in some if r["share"] == SHARES[name][0]]
            if some:
                cells = [
                    own.CASES[name][0], order, own.seeds(some),
                    f"{np.mean([r['top1'][3] for r in some]):.1%}",
                    f"{np.mean([r['as_dense'][3] for r in some]):.1%}",
                    f"{np.mean([r['cpu'] for r in some]):.0f}",
                ]  # fmt: skip
                lines.append(own.row(cells))
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--cache", type=Path, default=Path("/tmp/edgeprune-int8-pruned"))
    parser.add_argument("--orders", action="store_true")
    parser.add_argument("--time", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.cases:
        for share in SHARES[name]:
            for order in list(ORDERS) if asked.orders and share == SHARES[name][0] else [USUAL]:
                for seed in asked.seeds:
                    key = (name, share, seed, order)
                    there = {
                        tuple(r.get(k) for k in ("case", "share", "seed", "order")) for r in known()
                    }
                    if key not in there:
                        keep(judged(name, share, seed, order, asked.cache))
            if asked.time:
                keep(timed(name, share, asked.cache, asked.seeds[0]))
    PAGE.write_text(page(known()))


if __name__ == "__main__":
    main()
