"""Pruning a network that describes images (Manek et al. 2017), judged by what is found: results/retrieval.md.

    EDGEPRUNE_HOME=... python benchmarks/retrieval.py [--seeds 0] [--cache DIR]
    EDGEPRUNE_HOME=... python benchmarks/retrieval.py --times        milliseconds of what was made

MobileNetV1-0.75 with ImageNet weights as it comes, its classifier left out; descriptors pooled from the last
maps (mean, max, R-MAC). Two sets: Caltech101, where an image asks for the others of its class; and photos
of the ImageNet sample, each under crops, rotations and light, where an image asks for the other views of
its photo. Edges (a kernel between an input and an output) are masked, by their L1 norm or by what they
carry on calibrating photos; filters are cut, by L1 or by reconstruction with repair; without labels and
training, and fine-tuned by a triplet loss. Resumable.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compensation import by, code, pretrained, read, said, write_down
from torch import Tensor, nn
from torchvision.transforms import v2

from edgeprune import bench, data, export, files, prices
from edgeprune.data.transforms import centre, normalise
from edgeprune.fetch import home
from edgeprune.graph import Graph, cost, trace
from edgeprune.models import Convention, ModelSpec
from edgeprune.prune.evidence import gather
from edgeprune.prune.scores import criterion
from edgeprune.tasks.retrieval import POOLS, mean_average_precision, triplet_loss
from edgeprune.ways import post_training as pt
from edgeprune.ways.examples import Photos, calibration

RESULTS = Path(__file__).parent / "results"
KEPT = RESULTS / "retrieval.json"
SIZE, CALIBRATE = 96, 200  # pixels, photos
CLASSES, EACH = 25, 14  # of Caltech101
PHOTOS, VIEWS = 60, 6  # with instances
SHARES = (0.7, 0.5)


@dataclass(frozen=True)
class Row:
    """``of``: edges (masked) or filters (cut); ``score``: by what they are chosen."""

    of: str
    score: str
    compensate: str = "none"
    taught: bool = False  # then fine-tuned with a triplet loss, masks fixed

    @property
    def name(self) -> str:
        repaired = ", repaired" if self.compensate == "lstsq" else ""
        taught = ", triplets" if self.taught else ""
        return (
            f"{self.of} by {self.score}{repaired}{taught}" if self.score else f"{self.of}{taught}"
        )


ROWS = (
    Row("filters", "reconstruction", "lstsq"),
    Row("filters", "l1", "lstsq"),
    Row("filters", "l1"),
    Row("edges", "norm"),
    Row("edges", "what they carry"),
    Row("filters", "reconstruction", "lstsq", taught=True),
    Row("edges", "norm", taught=True),
)
DENSE = Row("dense", "", taught=True)
STEPS, GROUP, RATE = (
    16,
    (8, 4),
    1e-4,
)  # of triplets: batches, labels and photos of each, Adam's rate
Sets = Mapping[str, tuple[list[Tensor], Any]]


@dataclass(frozen=True, eq=False)
class Seen:
    """Images that ask and are asked for, with labels; photos to calibrate with, and to learn from."""

    judging: Sets
    calibrating: Any
    teaching: data.Split


def sets(convention: Convention, seed: int) -> Seen:
    caltech = data.load("caltech101", size=SIZE, seed=seed, limit=500)
    labels = caltech.test.labels
    chosen = [c for c in np.unique(labels) if (labels == c).sum() >= EACH][:CLASSES]
    at = np.concatenate([np.flatnonzero(labels == c)[:EACH] for c in chosen])
    sample = data.load("imagenet-sample", size=SIZE, seed=seed)
    photos = sample.test.images(np.arange(min(PHOTOS, len(sample.test))))
    plain = centre(photos, SIZE)
    views = np.concatenate([plain, *(seen(photos, seed, k) for k in range(1, VIEWS))])
    found = {
        "Caltech101": (split(caltech.test.images(at), convention), labels[at]),
        "instances": (split(views, convention), np.tile(np.arange(len(photos)), VIEWS)),
    }
    some = sample.train.take(CALIBRATE)
    return Seen(found, some.images(np.arange(len(some))), caltech.train)


def seen(photos: Any, seed: int, view: int) -> Any:
    """The photos once more: turned by up to 20 degrees, 50 to 90 % of the area, in other light."""
    change = v2.Compose([
        v2.RandomRotation(20, v2.InterpolationMode.BILINEAR),
        v2.RandomResizedCrop(SIZE, (0.5, 0.9), (0.8, 1.25), antialias=True),
        v2.ColorJitter(0.4, 0.4, 0.2),
    ])  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * seed + view)
        x = torch.from_numpy(photos).movedim(-1, 1)
        return torch.stack([change(image) for image in x]).movedim(1, -1).numpy()


def split(pixels: Any, convention: Convention) -> list[Tensor]:
    parts = np.array_split(centre(pixels, SIZE), -(-len(pixels) // 64))
    return [normalise(part, convention) for part in parts]


def found(net: nn.Module, judging: Sets) -> dict[str, float]:
    """mAP of every set and pool."""
    out = {}
    for name, (images, labels) in judging.items():
        with torch.no_grad():
            maps = torch.cat([net.eval()(x) for x in images])
        for pool, of in POOLS.items():
            out[f"{name} | {pool}"] = mean_average_precision(of(maps), labels)
    return out


# -- edges -----------------------------------------------------------------------------------------


def edges(net: nn.Module, row: Row, share: float, images: Sequence[Tensor]) -> nn.Module:
    """The network with the lowest edges of each convolution (no depthwise) set to zero."""
    masked = copy.deepcopy(net)
    carried = inputs(masked, images) if row.score != "norm" else {}
    for name, conv in dense_convolutions(masked).items():
        W = conv.weight.detach()
        size = W.abs().sum((2, 3))
        if carried:  # |W x|, by the norm of what the input brings
            size = W.flatten(2).norm(dim=2) * carried[name]
        least = size.flatten().kthvalue(max(1, round((1 - share) * size.numel()))).values
        with torch.no_grad():
            conv.weight *= (size > least)[:, :, None, None]
    return masked


def dense_convolutions(net: nn.Module) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}


def inputs(net: nn.Module, images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Root mean square of each channel that a convolution reads."""
    sums: dict[str, Tensor] = {}

    def look(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor]) -> None:
            sums[name] = sums.get(name, torch.zeros(())) + given[0].square().mean((2, 3)).sum(0)

        return hook

    hooks = [m.register_forward_pre_hook(look(n)) for n, m in dense_convolutions(net).items()]
    with torch.no_grad():
        for x in images:
            net.eval()(x)
    for hook in hooks:
        hook.remove()
    return {n: s.sqrt() for n, s in sums.items()}


# -- triplets --------------------------------------------------------------------------------------


def taught(net: nn.Module, seen: Seen, convention: Convention, seed: int) -> nn.Module:
    """In place: `STEPS` batches of the triplet loss on GAP of Caltech101's training part, whose images judge
    nothing; statistics of batch norms and what is zero stay."""
    labels = np.asarray(seen.teaching.labels)
    enough = [c for c in np.unique(labels) if (labels == c).sum() >= GROUP[1]]
    rng = np.random.default_rng(seed)
    zero = {n: c.weight == 0 for n, c in dense_convolutions(net).items()}
    optimizer = torch.optim.Adam(net.eval().parameters(), RATE)
    for _ in range(STEPS):
        chosen = rng.choice(enough, min(GROUP[0], len(enough)), replace=False)
        at = np.concatenate([
            rng.choice(np.flatnonzero(labels == c), GROUP[1], replace=False) for c in chosen
        ])  # fmt: skip
        x = normalise(centre(seen.teaching.images(at), SIZE), convention)
        loss = triplet_loss(POOLS["GAP"](net(x)), torch.from_numpy(labels[at]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, conv in dense_convolutions(net).items():
                conv.weight[zero[name]] = 0
    return net


# -- measuring -------------------------------------------------------------------------------------


def measure(seed: int, cache: Path) -> None:
    spec = ModelSpec("mobilenetv1-0.75", 1000, "original", padding="same", bn_eps=1e-3)
    whole, convention = pretrained(spec, "imagenet")
    convention = replace(convention, size=SIZE)
    net = whole.get_submodule("features")
    seen = sets(convention, seed)
    judging = seen.judging
    graph = trace(net, torch.zeros(2, 3, SIZE, SIZE))
    images = calibration(Photos(seen.calibrating, convention), 1, seed)
    folder = cache / "retrieval" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    about = {n: f"{len(labels):,} images" for n, (_, labels) in judging.items()}
    if f"{seed} | dense" not in read(KEPT):
        note(
            seed, "dense", 1.0, {"map": found(net, judging), "about": about, **counts(graph, graph)}
        )
        export(net, folder / "dense.onnx", [judging["instances"][0][0]])
    if f"{seed} | {DENSE.name} | 1.0" not in read(KEPT):
        learnt = taught(copy.deepcopy(net), seen, convention, seed)
        note(seed, DENSE.name, 1.0, {"map": found(learnt, judging), **counts(graph, graph)})
    for share in SHARES:
        for row in ROWS:
            if f"{seed} | {row.name} | {share}" in read(KEPT):
                continue
            begun = time.process_time()
            if row.taught and share != SHARES[-1]:
                continue
            if row.of == "edges":
                made = edges(net, row, share, images.batches)
                zeros = sum(int((c.weight == 0).sum()) for c in dense_convolutions(made).values())
                more = counts(graph, graph) | {"zeros": zeros / cost(graph).params}
            else:
                small = pruned(graph, row, share, images)
                made, more = small.model, counts(small, graph)
            if row.taught:
                taught(made, seen, convention, seed)
            more["cpu_seconds"] = round(time.process_time() - begun, 1)
            path = folder / f"{'-'.join(row.name.replace(',', '').split())}-{share}.onnx"
            export(made, path, [judging["instances"][0][0]])
            note(seed, row.name, share, {"map": found(made, judging), "file": path.name, **more})


def pruned(graph: Graph, row: Row, share: float, images: Any) -> Graph:
    """To this share of the parameters, so that edges and filters are compared at what is stored."""
    settings = pt.Settings(
        target=prices.Target("params", share), score=row.score, compensate=row.compensate
    )
    evidence = gather(graph, images, parts=criterion(row.score).parts)
    plan = pt.ranked(graph, evidence, settings).plan(graph, settings)
    return pt.repair(graph, plan.keep, images, settings)[0]


def counts(small: Graph, graph: Graph) -> dict[str, float]:
    a, b = cost(small), cost(graph)
    return {"params": a.params / b.params, "flops": a.flops / b.flops}


def note(seed: int, name: str, share: float, what: Mapping[str, Any]) -> None:
    key = f"{seed} | {name}" + ("" if name == "dense" else f" | {share}")
    write_down(KEPT, key, {"seed": seed, "row": name, "share": share, "code": code(), **what})
    print(key, what["map"], flush=True)


def times(cache: Path) -> None:
    """All files of seed 0 side by side."""
    folder = cache / "retrieval" / "0"
    known = {k: r for k, r in read(KEPT).items() if r["seed"] == 0}
    known = {k: r for k, r in known.items() if "file" in r or r["row"] == "dense"}
    names = {k: r.get("file", "dense.onnx") for k, r in known.items()}
    paths = [folder / name for name in names.values()]
    result = bench(
        *paths, rounds=30, seconds=1.0, passes=3, limit=15.0, out=folder / "t.bench.json"
    )
    busy = any(n.contended for n in result.networks)
    for key, network in zip(names, result.networks, strict=True):
        write_down(KEPT, key, known[key] | {"ms": 1e3 * network.latency.median_s, "busy": busy})


# -- the page ----------------------------------------------------------------------------------


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    rows = list(known.values())
    lines = [
        "# Pruning a network that describes images (Manek et al. 2017)",
        "",
        *INTRODUCTION,
        "",
    ]
    if not rows:
        return "\n".join([*lines, "Not measured yet."]) + "\n"
    about = next(r["about"] for r in rows if r["row"] == "dense")
    timed = [r for r in rows if "ms" in r]
    busy = "busy" if any(r["busy"] for r in timed) else "quiet"
    seeds, codes = (", ".join(sorted({str(r[what]) for r in rows})) for what in ("seed", "code"))
    lines += [
        f"MobileNetV1-0.75, ImageNet weights as they come, {SIZE} px; {CALIBRATE} photos calibrate. "
        f"Caltech101: {about['Caltech101']} of its test part, {EACH} of each of {CLASSES} classes; "
        f"instances: {about['instances']}, {VIEWS} of each photo. Seeds: {seeds}. Measured with {codes}"
        + (f"; times on a {busy} machine, all files in one bench." if timed else "; not timed yet."),
    ]  # fmt: skip
    pools = list(rows[0]["map"])
    lines += [
        "",
        "| what leaves | parameters | FLOPs | "
        + " | ".join(p.replace(" | ", ", ") for p in pools)
        + " | ms |",
        "| :-- | --: | --: |" + " --: |" * (len(pools) + 1),
    ]
    order = ["dense", DENSE.name, *(r.name for r in ROWS)]
    groups = by(rows, lambda r: (str(r["row"]), float(r["share"])))
    for name, share in sorted(groups, key=lambda k: (-k[1], order.index(k[0]))):
        own = groups[name, share]
        first = own[0]
        zeros = f" ({100 * (1 - first['zeros']):.0f} % not zero)" if "zeros" in first else ""
        cells = [name, f"{first['params']:.2f}{zeros}", f"{first['flops']:.2f}"]
        cells += [said([r["map"][p] for r in own]) for p in pools]
        ms = [r["ms"] for r in own if "ms" in r]
        lines.append(f"| {' | '.join(cells)} | {f'{ms[0]:.2f}' if ms else ''} |")
    return "\n".join(lines) + "\n"


INTRODUCTION = (
    "Made by `python benchmarks/retrieval.py` from retrieval.json beside it; not edited by hand. Mean",
    "average precision in % of descriptors pooled from the last maps (an image asks for all others of",
    "its class, or of its photo). Edges are kernels between an input and an output: the lowest of each",
    "layer are set to zero, in a file as large and as slow as before; filters are really cut. Nothing is",
    "trained, no labels are seen, but where triplets are named: then",
    f"{STEPS} batches of {GROUP[0]} classes x {GROUP[1]} photos of Caltech101's training part teach by the",
    "triplet loss on GAP (zeros stay zero, batch norms as they are).",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--cache", type=Path, help="folder for networks")
    words = parser.parse_args()
    cache = (words.cache or home() / "cache").resolve()
    torch.set_num_threads(1)
    for seed in words.seeds:
        measure(seed, cache)
    if words.times:
        times(cache)
    files.write_text(RESULTS / "retrieval.md", page(read(KEPT)))


if __name__ == "__main__":
    main()
