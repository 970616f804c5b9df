"""Regular patterns inside kernels, measured honestly: results/patterns.md.

    EDGEPRUNE_HOME=... python benchmarks/patterns.py [--limit 2000] [--epochs 5] [--seeds 0] [--cache DIR]
    EDGEPRUNE_HOME=... python benchmarks/patterns.py --times        milliseconds of what was made

A small VGG (six 3 x 3 convolutions) is trained on CIFAR-10; every kernel but the first layer's is left t of
its 9 places, in one of P patterns of its layer (Yang et al. 2018), and is trained on with its mask fixed
(`torch.nn.utils.prune`). What onnxruntime makes of the zeros, what zip makes of the file; and, where one
pattern is a row, a column or every second place, the exact smaller convolution. Resumable.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compensation import batches, by, code, read, right, said, write_down
from torch import Tensor, nn
from torch.nn.utils import prune as masks

from edgeprune import bench, data, export, files, train
from edgeprune.fetch import home
from edgeprune.models import Convention
from edgeprune.prune import patterns
from edgeprune.train.heal import healing

RESULTS = Path(__file__).parent / "results"
KEPT = RESULTS / "patterns.json"
JUDGE, CHECK, AFTER = 1000, 200, 1  # test images, validation images, epochs with the masks
WIDTHS = (32, 64, 64, 128, 128, 128)


def vgg(classes: int = 10) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for i, width in enumerate(WIDTHS):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in (0, 2, 4) else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


Patterns = Callable[[Tensor], Tensor]


def free(t: int, most: int) -> Patterns:
    return lambda W: patterns.dictionary(W, t, most)


def regular(name: str) -> Patterns:
    return lambda W: patterns.rows(*W.shape[2:])[name]


@dataclass(frozen=True)
class Row:
    name: str
    patterns: Patterns | None  # None: the dense network, trained on as long


ROWS = (  # the most telling first
    Row("all 9 places", None),
    Row("4 places, 8 patterns", free(4, 8)),
    Row("the middle row (1 x 3)", regular("middle row")),
    Row("every second place (2 x 2, dilated)", regular("every second")),
    Row("the middle (1 x 1)", regular("middle")),
    Row("2 places, 8 patterns", free(2, 8)),
    Row("4 places, 32 patterns", free(4, 32)),
    Row("6 places, 8 patterns", free(6, 8)),
    Row("1 place, 9 patterns", free(1, 9)),
    Row("the middle column (3 x 1)", regular("middle column")),
)


def convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    """All but the first, which reads the image."""
    found = {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d)}
    return dict(list(found.items())[1:])


def measure(limit: int, epochs: int, seed: int, cache: Path) -> None:
    convention = Convention(32)
    dataset = data.load("cifar10", size=32, seed=seed, limit=limit)
    dataset = replace(dataset, validation=dataset.validation.take(CHECK))
    test = dataset.test.take(JUDGE)
    judging = batches(test.images(np.arange(len(test))), convention)
    labels = torch.from_numpy(test.labels)
    recipe = train.named("default", pretrained=False).but(
        epochs=epochs, batch_size=32, lr=2e-3, seed=seed, patience=0, precision="fp32"
    )
    folder = cache / "patterns" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dense-{limit}-{epochs}.safetensors"
    torch.manual_seed(seed)
    dense = vgg()
    if path.is_file():
        dense.load_state_dict(files.read_tensors(path)[0])
    else:
        train.fit(dense, dataset, convention, recipe)
        files.write_tensors(path, dense.state_dict())
    dense.eval()
    about = (
        f"a VGG of widths {', '.join(map(str, WIDTHS))} trained on {len(dataset.train):,} photos of "
        f"CIFAR-10 for {epochs} epochs, {AFTER} more with the masks; {len(labels):,} test photos judge"
    )

    def accuracy(net: nn.Module) -> float:
        with torch.no_grad():
            return right(torch.cat([net.eval()(x) for x in judging]), labels)

    for row in ROWS:
        key = f"{seed} | {row.name}"
        if key in read(KEPT):
            continue
        begun = time.process_time()
        net = vgg()
        net.load_state_dict(dense.state_dict())
        before, kept = mask(net, row, accuracy)
        again = healing(recipe, AFTER, distil=False)
        train.fit(net, dataset, convention, again)
        for conv in convolutions(net).values() if row.patterns else ():
            masks.remove(conv, "weight")
        found = {"before": before, "accuracy": accuracy(net), "dense": accuracy(dense), **kept}
        found |= written(net, folder, row, judging[0])
        found["cpu_seconds"] = round(time.process_time() - begun, 1)
        write_down(
            KEPT, key, {"seed": seed, "row": row.name, "about": about, "code": code(), **found}
        )
        print(key, found, flush=True)


def mask(
    net: nn.Module, row: Row, accuracy: Callable[[nn.Module], float]
) -> tuple[float, dict[str, Any]]:
    """Masks in place; the accuracy right then, and the share of the weights that stays."""
    total = bits = left = 0
    for conv in convolutions(net).values():
        W = conv.weight.detach()
        total += W.numel()
        if row.patterns is None:
            left, bits = left + W.numel(), bits + 32 * W.numel()
            continue
        own = row.patterns(W)
        at = patterns.mask_of(W, own)
        left, bits = left + int(at.sum()), bits + patterns.stored_bits(W, own)
        masks.custom_from_mask(conv, "weight", at)
    return accuracy(net), {"weights": left / total, "bits": bits / (32 * total)}


def written(net: nn.Module, folder: Path, row: Row, x: Tensor) -> dict[str, Any]:
    """The file with zeros, what zip makes of it, and the file of smaller convolutions where there is one."""
    name = "-".join("".join(c if c.isalnum() else " " for c in row.name).split())
    path = folder / f"{name}.onnx"
    net.eval()
    export(net, path, [x])
    found: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size}
    found["zipped"] = len(zlib.compress(path.read_bytes(), 9))
    with torch.no_grad():
        expected, changed = net(x), 0
        for conv_name, conv in convolutions(net).items():
            small = patterns.smaller(conv)
            if small is not None:
                net.set_submodule(conv_name, small)
                changed += 1
        if changed:
            found["off"] = float((net(x) - expected).abs().max() / expected.abs().max())
    if changed:
        path = folder / f"{name}-smaller.onnx"
        export(net, path, [x])
        found |= {"smaller": path.name, "smaller_bytes": path.stat().st_size}
    return found


def times(cache: Path) -> None:
    """All files of seed 0 side by side, the dense one first."""
    folder = cache / "patterns" / "0"
    known = {k: r for k, r in read(KEPT).items() if r["seed"] == 0}
    files_of = [r[what] for r in known.values() for what in ("file", "smaller") if what in r]
    paths = [folder / name for name in files_of]
    result = bench(
        *paths, rounds=30, seconds=1.0, passes=3, limit=15.0, out=folder / "t.bench.json"
    )
    ms = {p.name: 1e3 * n.latency.median_s for p, n in zip(paths, result.networks, strict=True)}
    busy = any(n.contended for n in result.networks)
    for key, row in known.items():
        timed = {"ms": ms[row["file"]], "busy": busy}
        timed |= {"smaller_ms": ms[row["smaller"]]} if "smaller" in row else {}
        write_down(KEPT, key, row | timed)


# -- the page ----------------------------------------------------------------------------------


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    rows = list(known.values())
    timed = [r for r in rows if "ms" in r]
    lines = [
        "# Regular patterns inside kernels (Yang et al. 2018)",
        "",
        "Made by `python benchmarks/patterns.py` from patterns.json beside it; not edited by hand. Every",
        "kernel but the first layer's is left t of 9 places, in one of P patterns of its layer. `at once`:",
        "accuracy right after that, `trained`: with the masks fixed. `weights`: share that is not zero;",
        "`stored`: values and numbers of patterns, against 32 bits a weight (what hardware made for it",
        "would read); `zip`: the dense .onnx file, deflated, against the dense network's. `ms`: the file",
        "with zeros in onnxruntime, one image, one thread; `smaller`: with convolutions that leave the",
        "empty rows and columns out, exactly (`off`: largest relative difference of the answers in",
        "float32).",
        "",
    ]
    if not rows:
        return "\n".join([*lines, "Not measured yet."]) + "\n"
    codes = ", ".join(sorted({str(r["code"]) for r in rows}))
    seeds = ", ".join(sorted({str(r["seed"]) for r in rows}))
    busy = "busy" if any(r["busy"] for r in timed) else "quiet"
    lines += [
        f"{rows[0]['about']}. Seeds: {seeds}. Measured with {codes}"
        + (
            f"; times on a {busy} machine, all files in one bench." if timed else "; not timed yet."
        ),
        "",
        "| kernels | at once | trained | weights | stored | zip | ms | smaller: ms | smaller: file | off |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    groups = by(rows, lambda r: str(r["row"]))
    dense = groups.get(ROWS[0].name, rows)[0]
    for row in ROWS:
        own = groups.get(row.name, [])
        if not own:
            continue
        first = own[0]
        lines.append(
            f"| {row.name} | {said([r['before'] for r in own])} | {said([r['accuracy'] for r in own])} | "
            f"{100 * first['weights']:.0f} % | {100 * first['bits']:.0f} % | "
            f"{100 * first['zipped'] / dense['zipped']:.0f} % | {_ms(first, 'ms')} | "
            f"{_ms(first, 'smaller_ms')} | "
            + (
                f"{100 * first['smaller_bytes'] / dense['bytes']:.0f} %"
                if "smaller" in first
                else ""
            )
            + f" | {format(first['off'], '.0e') if 'off' in first else ''} |"
        )
    return "\n".join([*lines, "", *verdict(groups)]) + "\n"


def _ms(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.2f}" if name in row else ""


def verdict(groups: Mapping[str, Any]) -> list[str]:
    """What onnxruntime gains, in one sentence, from the figures above."""
    dense = groups.get(ROWS[0].name, [{}])[0]
    zeros = [
        r[0]["ms"] / dense["ms"] for n, r in groups.items() if n != ROWS[0].name and "ms" in r[0]
    ]
    small = [r[0]["smaller_ms"] / dense["ms"] for r in groups.values() if "smaller_ms" in r[0]]
    if not zeros or not small:
        return []
    return [
        f"Zeros inside kernels: {min(zeros):.2f} to {max(zeros):.2f} of the dense network's time, since the "
        "runtime multiplies them like any number (its kernels are dense, and Winograd's transform mixes the "
        "nine places). Rows, columns and single places cut out exactly: "
        f"{min(small):.2f} to {max(small):.2f}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--cache", type=Path, help="folder for networks")
    words = parser.parse_args()
    cache = (words.cache or home() / "cache").resolve()
    torch.set_num_threads(1)
    for seed in words.seeds:
        measure(words.limit, words.epochs, seed, cache)
    if words.times:
        times(cache)
    files.write_text(RESULTS / "patterns.md", page(read(KEPT)))


if __name__ == "__main__":
    main()
