"""int8 by each method: results/int8.md.

    EDGEPRUNE_HOME=... python benchmarks/int8.py [lite v1 v2] [--seeds 0 1 2] [--methods M ...] [--time]

Networks with real weights on the ImageNet sample: EfficientNet-Lite0 (``lite``, 224 px), MobileNetV1-0.75
(``v1``, 192 px), MobileNetV2 (``v2``, 224 px). Of its 1,000 photos 128 calibrate and 500 others judge; a
seed draws both. ``onnxruntime`` is the runtime's own tool (``quant_pre_process``, ``quantize_static``,
min-max) on the same file and photos. ``--time`` measures float and int8 files by bench's protocol,
interleaved, one thread. Each result is written down at once (results/int8.jsonl) and not made again.
Rows name the processor: without VNNI two products are added in 16 bits (``quantise/grid.py``). Those of VNNI
were made before weights heeded that, and before the sums of the last layer stayed in float.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune import bench, data, export, models, quantise
from edgeprune.export import parity
from edgeprune.models import ModelSpec
from edgeprune.ways.examples import Photos

HERE = Path(__file__).parent
ROWS, PAGE = HERE / "results" / "int8.jsonl", HERE / "results" / "int8.md"
CALIBRATE, JUDGE, AT_ONCE = 128, 500, 8
RUNTIME = "onnxruntime"
METHODS = (
    RUNTIME, "minmax", "mse", "bias+minmax", "lstsq+minmax", "equalise+minmax",
    "equalise+lstsq+minmax", "equalise+fitted+minmax", "equalise+lstsq+mse",
)  # fmt: skip
SAME = {"padding": "same", "bn_eps": 1e-3}
CASES = {
    "lite": ("EfficientNet-Lite0", ModelSpec("timm/tf_efficientnet_lite0", 1000, "original")),
    "v1": ("MobileNetV1-0.75", ModelSpec("mobilenetv1-0.75", 1000, "original", **SAME)),  # type: ignore[arg-type]
    "v2": ("MobileNetV2", ModelSpec("mobilenetv2", 1000, **SAME)),  # type: ignore[arg-type]
}


@dataclass(frozen=True, eq=False)
class Case:
    """A float file, photos that calibrate, and others that judge."""

    name: str
    seed: int
    path: Path
    calibrating: Sequence[Tensor]
    judging: Sequence[Tensor]
    labels: NDArray[Any]
    float: NDArray[np.float32]  # what the float file answers to those that judge


def case(name: str, seed: int, cache: Path) -> Case:
    _, spec = CASES[name]
    source = models.find(spec, "imagenet")
    if source is None:
        raise SystemExit(f"no weights {spec.model}_imagenet in EDGEPRUNE_HOME")
    found = data.load("imagenet-sample", size=source.input.size)
    parts = [found.train, found.validation, found.test]
    order = np.random.default_rng(seed).permutation(sum(map(len, parts)))
    labels = np.concatenate([p.labels for p in parts])
    pixels = np.concatenate([p.images(np.arange(len(p))) for p in parts])
    photos = Photos(pixels, source.input)

    def batches(rows: NDArray[Any]) -> list[Tensor]:
        return [photos.view(rows[i : i + AT_ONCE], 0) for i in range(0, len(rows), AT_ONCE)]  # type: ignore[misc]

    few, judging = np.sort(order[:CALIBRATE]), np.sort(order[-JUDGE:])
    path = cache / f"{name}.onnx"
    if not path.exists():
        network = models.fresh(spec, 0)
        models.fill(network, spec, source, partial=False)
        export(network.eval(), path, batches(few[:AT_ONCE]))
    judges = batches(judging)
    return Case(name, seed, path, batches(few), judges, labels[judging], answers(path, judges))


def answers(path: Path, batches: Sequence[Tensor]) -> NDArray[np.float32]:
    running = parity.session(path, 1)
    return np.concatenate([parity.run_on(running, x)[0] for x in batches])


def measured(case: Case, method: str, path: Path) -> dict[str, Any]:
    begun, cpu = time.perf_counter(), time.process_time()
    in_float: list[Any] = []
    if method == RUNTIME:
        by_runtime(case, path)
    else:
        made = quantise.of_file(case.path, case.calibrating, method)
        quantise.save(made.proto, path)
        in_float = [[k.layer, round(k.loss, 4)] for k in made.in_float]
    seconds = time.perf_counter() - begun
    found, own = answers(path, case.judging), case.float
    return {
        "case": case.name, "seed": case.seed, "method": method,
        "float_top1": float((own.argmax(1) == case.labels).mean()),
        "top1": float((found.argmax(1) == case.labels).mean()),
        "same": float((found.argmax(1) == own.argmax(1)).mean()),
        "lost": float(np.square(found - own).sum() / np.square(own - own.mean(0)).sum()),
        "bytes": path.stat().st_size, "float_bytes": case.path.stat().st_size,
        "in_float": in_float, "processor": processor(), "seconds": seconds, "cpu": time.process_time() - cpu,
    }  # fmt: skip


def processor() -> str:
    """VNNI or what there is instead: what decides how products of 8 bits are added, and how fast."""
    told = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].splitlines()[0].split()
    if {"avx512_vnni", "avx_vnni"} & set(told):
        return "VNNI"
    return next((w.upper() for w in ("avx512f", "avx2") if w in told), "other")


def by_runtime(case: Case, path: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader:
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(
                [x[i : i + 1] for x in case.calibrating for i in range(len(x))]
            )

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            x = next(self.left, None)
            return None if x is None else {"images": x.numpy()}

    ready = path.with_suffix(".pre.onnx")
    logging.disable(logging.WARNING)
    quant_pre_process(str(case.path), str(ready))
    quantize_static(
        str(ready), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    logging.disable(logging.NOTSET)


def timed(name: str, paths: Sequence[Path], cache: Path) -> dict[str, Any]:
    """Medians in milliseconds by bench's protocol, all files interleaved."""
    result = bench(
        cache / f"{name}.onnx",
        *paths,
        out=cache / f"{name}-bench.json",
        seconds=2.0,
        passes=4,
        rounds=24,
    )
    return {
        "case": name, "timed": True,
        "ms": {n.name: 1e3 * (n.latency.median_s or 0) for n in result.networks},
        "speedup": {n.name: n.speedup for n in result.networks[1:]},
        "contended": [n.name for n in result.networks if n.contended], "processor": processor(),
    }  # fmt: skip


def known() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def keep(row: dict[str, Any]) -> None:
    with ROWS.open("a") as f:
        f.write(json.dumps(row) + "\n")
    PAGE.write_text(page(known()))


HEADINGS = (
    "method", "processor", "seeds", "float top-1", "int8 top-1", "points lost", "same answer",
    "variance lost", "in float", "CPU s",
)  # fmt: skip


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def seeds(some: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(seed) for seed in sorted(r["seed"] for r in some))


def cells(method: str, some: Sequence[dict[str, Any]]) -> list[str]:
    """Means over the seeds."""

    def mean(key: str) -> float:
        return float(np.mean([r[key] for r in some]))

    return [
        method, some[0].get("processor", "VNNI"), seeds(some),
        f"{mean('float_top1'):.1%}",
        f"{mean('top1'):.1%}", f"{100 * (mean('float_top1') - mean('top1')):+.1f}",
        f"{mean('same'):.1%}", f"{mean('lost'):.2%}",
        f"{max(len(r['in_float']) for r in some)}", f"{mean('cpu'):.0f}",
    ]  # fmt: skip


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The table of all rows that there are: means over the seeds."""
    lines = ["# int8: what each method keeps", "", (__doc__ or "").split("\n\n", 2)[2].strip(), ""]
    for name, (title, _) in CASES.items():
        own = [r for r in rows if r["case"] == name and "method" in r]
        if not own:
            continue
        lines += [f"## {title}", "", row(HEADINGS), row([":--", *["--:"] * 9])]
        places = dict.fromkeys(r.get("processor", "VNNI") for r in own)
        for method in dict.fromkeys([*METHODS, *(r["method"] for r in own)]):
            for place in places:
                some = [
                    r for r in own if (r["method"], r.get("processor", "VNNI")) == (method, place)
                ]
                lines += [row(cells(method, some))] if some else []
        timed = [r for r in rows if r["case"] == name and "timed" in r]
        for r in {r.get("processor", "VNNI"): r for r in timed}.values():
            said = ", ".join(f"{n} {ms:.2f} ms" for n, ms in r["ms"].items())
            gains = ", ".join(f"{n} {x:.2f}x" for n, x in r["speedup"].items() if x)
            busy = " (other work on the machine: contended)" if r["contended"] else ""
            lines += [
                "",
                f"{r.get('processor', 'VNNI')}: medians of one thread, interleaved{busy}: {said}; {gains}.",
            ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/edgeprune-int8"))
    parser.add_argument("--time", action="store_true")
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in asked.cases:
        for seed in asked.seeds:
            here = [r for r in known() if r.get("processor", "VNNI") == processor()]
            done = {(r["case"], r["seed"], r["method"]) for r in here if "method" in r}
            left = [m for m in asked.methods if (name, seed, m) not in done]
            found = case(name, seed, asked.cache) if left else None
            for method in left:
                assert found is not None
                row = measured(found, method, asked.cache / f"{name}-{method}.onnx")
                print(json.dumps(row), flush=True)
                keep(row)
        if asked.time:
            files = [p for m in asked.methods if (p := asked.cache / f"{name}-{m}.onnx").exists()]
            keep(timed(name, files, asked.cache))
    PAGE.write_text(page(known()))


if __name__ == "__main__":
    main()
