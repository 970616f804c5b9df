"""The methods of the literature on one trained network, in one table: results/methods.md.

    EDGEPRUNE_HOME=... python benchmarks/methods.py mobilenetv1 [vgg16] [--seeds 0] [--shares 0.5 0.7 0.3]
    EDGEPRUNE_HOME=... python benchmarks/methods.py --times        milliseconds of what was made
    EDGEPRUNE_HOME=... python benchmarks/methods.py mobilenetv1 --greedy    CAR on single layers

ImageNet weights fine-tuned to CIFAR-10 by ``edgeprune train``; each method then chooses what leaves, at the
same shares of the FLOPs: right after the cut (batch norm taken again), after repair by least squares
without labels, after a short training with labels. The ways that train while they prune are the commands
themselves. Every measurement is written down at once (results/methods.json): the command goes on where it
was killed (``--minutes 5``: it begins nothing after these). Networks and .onnx files lie in ``--cache``
(default: EDGEPRUNE_HOME/cache).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compensation import batches, by, code, read, right, said, write_down
from torch import Tensor, nn

from edgeprune import bench, checkpoint, data, export, files, prices, runs
from edgeprune.checkpoint import Loaded
from edgeprune.data import Dataset
from edgeprune.fetch import home
from edgeprune.graph import Graph, cost
from edgeprune.prune import narrow
from edgeprune.prune.evidence import Evidence, gather
from edgeprune.prune.scores import criterion
from edgeprune.train import heal
from edgeprune.ways import asked_of, low_rank
from edgeprune.ways import post_training as pt
from edgeprune.ways.examples import calibration, of_split
from edgeprune.ways.low_rank import LowRank

RESULTS = Path(__file__).parent / "results"
CALIBRATE, JUDGE = 256, 1000  # images
HEAL, CHECK = 1000, 200  # images of the one epoch that heals, of the validation behind it
SIZES = {"mobilenetv1": ("mobilenetv1-0.75", 2000, 6), "vgg16": ("vgg16", 1000, 3)}


@dataclass(frozen=True)
class Method:
    """One row: how it is chosen, in the words of `Settings`; or a way, in the command's."""

    name: str
    words: Mapping[str, Any] = field(default_factory=dict)
    way: str = ""
    ranks: bool = False  # layers as pairs, as `edgeprune prune --way low-rank`
    energy: float | None = None  # of theirs, before filters leave; None: ranks alone


def by_score(name: str, score: str, method: str = "uniform") -> Method:
    return Method(name, {"score": score, "method": method})


INTERLEAVED = "--way interleaved --rounds 10 --updates 5"
METHODS = [  # the most telling first
    by_score("random", "random"),
    by_score("Li 2017: L1", "l1"),
    by_score("ours: reconstruction, shares by error", "reconstruction", "reconstruction"),
    by_score("OBS of channels: reconstruction, uniform", "reconstruction"),
    by_score("Molchanov 2017: Taylor", "taylor"),
    by_score("Molchanov 2017: Taylor, global", "taylor", "global"),
    by_score("Molchanov 2019: gate", "taylor_gate"),
    by_score("OBD: Fisher", "obd"),
    by_score("Suau 2018: PFA, uniform", "pfa"),
    by_score("Suau 2018: PFA, its widths (energy)", "pfa", "threshold"),
    by_score("Hu 2016: APoZ", "apoz"),
    by_score("Wang 2018: subspace clusters", "subspaces"),
    by_score("after Wang 2018: linear redundancy", "linear_redundancy"),
    by_score("He 2019: FPGM", "fpgm"),
    by_score("Liu 2017: batch-norm scale", "bn_scale"),
    Method("Denton 2014, Jaderberg 2014: low rank", ranks=True),
    Method("low rank at 0.99 of the energy, then reconstruction", ranks=True, energy=0.99),
    Method("Molchanov 2017: interleaved", way=f"{INTERLEAVED} --retrain-epochs 1"),
    Method("Frankle 2019: lottery, filters", way="--way lottery --rounds 2 --retrain-epochs 2"),
]


@dataclass(frozen=True, eq=False)
class Case:
    """A run's dense network, and the images that judge."""

    name: str
    seed: int
    run: runs.Run
    dense: Loaded
    dataset: Dataset
    judging: list[Tensor]
    labels: Tensor
    cache: Path

    @property
    def about(self) -> str:
        model, _, epochs = SIZES[self.name]
        return (
            f"{model} with ImageNet weights, fine-tuned on {len(self.dataset.train):,} photos of "
            f"CIFAR-10 for {epochs} epochs, 32 px; {CALIBRATE} of them calibrate, {len(self.labels):,} "
            f"test photos judge; healing: one epoch on {min(HEAL, len(self.dataset.train)):,}, rate restarted"
        )

    def accuracy(self, model: nn.Module) -> float:
        with torch.no_grad():
            return right(torch.cat([model.eval()(x) for x in self.judging]), self.labels)


def case_of(name: str, seed: int, cache: Path) -> Case:
    """Trained by the command, once."""
    model, limit, epochs = SIZES[name]
    folder = cache / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    run = runs.Run(folder / "runs" / f"{name}-{seed}")
    if not run.has("dense"):
        command(
            folder, f"train --model {model} --init imagenet --data cifar10 --size 32 --limit {limit} "
            f"--epochs {epochs} --batch-size 32 --lr 1e-3 --seed {seed} --precision fp32 "
            f"--name {name}-{seed}",
        )  # fmt: skip
    dense = checkpoint.load(run, "dense")
    asked = asked_of(run)
    dataset = data.load("cifar10", size=32, seed=seed, limit=asked.limit)
    test = dataset.test.take(JUDGE)
    pixels = batches(test.images(np.arange(len(test))), dense.convention)
    return Case(name, seed, run, dense, dataset, pixels, torch.from_numpy(test.labels), folder)


def command(folder: Path, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", *words.split()], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"edgeprune {words}: {done.stderr.strip()[-400:]}")


# -- measuring -------------------------------------------------------------------------------------


def measure(case: Case, shares: Sequence[float], kept: Path, until: float) -> None:
    """What is not there yet, each written down as soon as it is known; nothing begun after ``until``."""
    graph = case.dense.graph
    some = case.dataset.train.take(CALIBRATE)
    shown = of_split(some, case.dense.convention, case.dense.signature.inputs)
    images = calibration(shown, 1, case.seed, labels=some.labels)
    dense = case.accuracy(case.dense.model)
    seen: dict[str, tuple[Evidence, float]] = {}
    for share in shares:
        for method in METHODS:
            key = f"{case.name} | {case.seed} | {method.name} | {share}"
            if key in read(kept):
                continue
            if time.monotonic() > until:
                return
            begun = time.process_time() + children()
            if method.way:
                found = by_way(case, method, share)
            elif method.ranks:
                found = by_ranks(case, method, share, images)
            else:
                parts = criterion(method.words["score"]).parts
                if (of := "".join(parts)) not in seen:
                    at = time.process_time()
                    seen[of] = gather(graph, images, parts=parts), time.process_time() - at
                found = by_plan(case, method, share, seen[of][0])
                begun -= seen[of][1]
            seconds = time.process_time() + children() - begun
            write_down(kept, key, {
                "case": case.name, "about": case.about, "seed": case.seed, "method": method.name,
                "share": share, "dense": dense, "cpu_seconds": round(seconds, 1), "code": code(), **found,
            })  # fmt: skip
            print(key, found, flush=True)


def children() -> float:
    """Seconds of processor time of the commands that were waited for."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_plan(case: Case, method: Method, share: float, seen: Evidence) -> dict[str, Any]:
    """Chosen at once; then bare, repaired, healed. ``choosing``: seconds without repair and healing."""
    graph = case.dense.graph
    settings = pt.Settings(target=prices.Target("flops", share), floor=0.03, **method.words)
    begun = time.process_time()
    plan = pt.ranked(graph, seen, settings).plan(graph, settings)
    choosing = time.process_time() - begun
    none = pt.Settings(compensate="none", **method.words)
    bare, _ = pt.repair(graph, plan.keep, seen.images, none)
    repaired, _ = pt.repair(graph, plan.keep, seen.images, settings)
    found = {
        "flops": cost(repaired).flops / cost(graph).flops,
        "params": cost(repaired).params / cost(graph).params,
        "bare": case.accuracy(bare.model),
        "repaired": case.accuracy(repaired.model),
        "choosing": round(choosing, 1),
    }
    return found | {"healed": healed(case, method, share, repaired.model)}


def healed(case: Case, method: Method, share: float, model: nn.Module) -> float:
    """Accuracy after the one epoch; the network is written for ``--times``."""
    recipe = heal.healing(asked_of(case.run).training, 1, distil=False).but(
        seed=case.seed, precision="fp32"
    )
    train, validation = case.dataset.train.take(HEAL), case.dataset.validation.take(CHECK)
    few = replace(case.dataset, train=train, validation=validation)
    heal.heal(model, None, few, case.dense.convention, recipe)
    written(case, method, share, model)
    return case.accuracy(model)


def by_ranks(case: Case, method: Method, share: float, images: Any) -> dict[str, Any]:
    """Layers as pairs at full rank, cut to their ranks; with an energy, filters leave besides."""
    dense = case.dense.graph
    way = LowRank(
        pt.Settings(target=prices.Target("flops", share), floor=0.03, **method.words), method.energy
    )
    begun = time.process_time()
    made = low_rank.decomposed(dense, way)
    keep = low_rank.filters(dense, made, way, images)
    choosing = time.process_time() - begun
    bare, _ = pt.repair(made.graph, keep, images, replace(way.settings, compensate="none"))
    repaired, _ = pt.repair(made.graph, keep, images, way.settings)
    found = {
        "flops": cost(repaired).flops / cost(dense).flops,
        "params": cost(repaired).params / cost(dense).params,
        "bare": case.accuracy(bare.model),
        "repaired": case.accuracy(repaired.model),
        "choosing": round(choosing, 1),
    }
    return found | {"healed": healed(case, method, share, repaired.model)}


def by_way(case: Case, method: Method, share: float) -> dict[str, Any]:
    """A command of its own, from the same dense network."""
    name = f"{case.name}-{case.seed}-{slug(method, share)}"
    run = runs.Run(case.cache / "runs" / name)
    if not run.has("pruned"):
        command(
            case.cache,
            f"prune {case.run.path.name} --name {name} --keep-flops {share} {method.way} "
            "--round-to 1 --floor 0.03",
        )
    pruned = checkpoint.load(run, "pruned")
    written(case, method, share, pruned.model)
    flops, dense = cost(pruned.graph), cost(case.dense.graph)
    return {
        "flops": flops.flops / dense.flops,
        "params": flops.params / dense.params,
        "healed": case.accuracy(pruned.model),
    }


def slug(method: Method, share: float) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in f"{method.name} {share}").split())


def written(case: Case, method: Method | None, share: float, model: nn.Module) -> None:
    """The network as .onnx, for ``--times``."""
    name = "dense" if method is None else slug(method, share)
    path = case.cache / "onnx" / f"{case.name}-{case.seed}" / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    export(model, path, [case.judging[0]])


def times(cache: Path, kept: Path) -> None:
    """Milliseconds of the networks of seed 0, all beside the dense one, with what bench says of them."""
    known = read(kept)
    rows = {k: r for k, r in known.items() if r["seed"] == 0 and "ms" not in r and "share" in r}
    for name, own in by(rows.items(), lambda kr: str(kr[1]["case"])).items():
        folder = cache / "methods" / "onnx" / f"{name}-0"
        if not (folder / "dense.onnx").is_file():
            case = case_of(name, 0, cache)
            written(case, None, 1.0, case.dense.model)
        paths, keys = [folder / "dense.onnx"], []
        for key, row in own:
            path = folder / f"{slug(Method(row['method']), row['share'])}.onnx"
            if path.is_file():
                paths.append(path)
                keys.append(key)
        result = bench(*paths, rounds=20, seconds=0.5, passes=2, limit=10.0,
                       out=folder / "times.bench.json")  # fmt: skip
        base, *others = result.networks
        for key, network in zip(keys, others, strict=True):
            row = known[key] | {
                "ms": 1e3 * network.latency.median_s, "dense_ms": 1e3 * base.latency.median_s,
                "contended": any(n.contended for n in result.networks),
            }  # fmt: skip
            write_down(kept, key, row)


# -- CAR on single layers --------------------------------------------------------------------------


def greedy(case: Case, kept: Path) -> None:
    """Half of one layer by L1, CAR and greedy CAR, nothing repaired; the seconds that each took."""
    from edgeprune.prune import largest

    graph: Graph = case.dense.graph
    some = case.dataset.train.take(200)
    shown = of_split(some, case.dense.convention, case.dense.signature.inputs)
    images = calibration(shown, 1, case.seed, labels=some.labels)
    seen = gather(graph, images, parts=())
    names = list(graph.groups)
    for name in (names[1], names[len(names) // 2], names[-2]):
        width = graph.groups[name].width
        for score in ("l1", "car", "car_greedy"):
            key = f"{case.name} | {case.seed} | greedy | {name} | {score}"
            if key in read(kept):
                continue
            begun = time.process_time()
            scores = criterion(score)(graph, name, seen)
            seconds = time.process_time() - begun
            small = narrow(graph, {name: largest(scores, width // 2)})
            write_down(kept, key, {
                "case": case.name, "about": case.about, "seed": case.seed, "layer": name, "width": width,
                "score": score, "accuracy": case.accuracy(small.model),
                "dense": case.accuracy(case.dense.model), "cpu_seconds": round(seconds, 1), "code": code(),
            })  # fmt: skip
            print(key, f"{seconds:.0f} s", flush=True)


# -- the page ----------------------------------------------------------------------------------


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Methods of the literature on one network",
        "",
        "Made by `python benchmarks/methods.py` from methods.json beside it; not edited by hand. Accuracy",
        "in % on test photos; mean ± standard deviation where there is more than one seed. `cut`: right",
        "after the cut, batch norm taken again. `repaired`: least squares without labels instead. `healed`:",
        "trained after the repair, with labels (the two ways that train while they prune: what they end",
        "with; interleaved: 10 cuts, 5 batches after each, then an epoch on all training photos; lottery:",
        "two rounds of two epochs from the first weights). CPU s: one thread of a busy machine, all of it",
        "together; choosing alone in brackets. ms: median of one image, one thread, beside the dense",
        "network's in the same bench (seed 0; a busy machine is said). Criteria that look at a loss have",
        "the labels of the calibrating photos here.",
        "",
    ]
    for case, rows in by(
        (r for r in known.values() if "share" in r), lambda r: str(r["case"])
    ).items():
        seeds = sorted({r["seed"] for r in rows})
        dense = [next(r["dense"] for r in rows if r["seed"] == s) for s in seeds]
        codes = ", ".join(sorted({str(r["code"]) for r in rows}))
        lines += [
            f"## {case}: dense {said(dense)} %",
            "",
            f"{rows[0]['about']}. Seeds: {', '.join(map(str, seeds))}. Measured with {codes}.",
        ]
        for share, own in sorted(by(rows, lambda r: float(r["share"])).items(), reverse=True):
            lines += [
                "",
                f"### {share:g} of the FLOPs",
                "",
                "| method | FLOPs | parameters | cut | repaired | healed | CPU s | ms |",
                "| :-- | --: | --: | --: | --: | --: | --: | --: |",
            ]
            groups = by(own, lambda r: str(r["method"]))
            lines += [line(groups[m.name]) for m in METHODS if m.name in groups]
        lines.append("")
    lines += single(known)
    return "\n".join(lines).rstrip() + "\n"


def line(rows: Sequence[Mapping[str, Any]]) -> str:
    def mean(name: str) -> str:
        values = [r[name] for r in rows if name in r]
        return said(values) if values else ""

    seconds = statistics.median(r["cpu_seconds"] for r in rows)
    choosing = [r["choosing"] for r in rows if "choosing" in r]
    took = f"{seconds:.0f}" + (f" ({statistics.median(choosing):.0f})" if choosing else "")
    timed = [r for r in rows if "ms" in r]
    ms = "; ".join(
        f"{r['ms']:.2f} of {r['dense_ms']:.2f}{' (busy)' if r['contended'] else ''}" for r in timed
    )
    shares = (f"{statistics.mean(r[n] for r in rows):.2f}" for n in ("flops", "params"))
    cells = (rows[0]["method"], *shares, mean("bare"), mean("repaired"), mean("healed"), took, ms)
    return f"| {' | '.join(cells)} |"


def single(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [r for r in known.values() if "layer" in r]
    if not rows:
        return []
    lines = [
        "## CAR on single layers",
        "",
        "Half of one layer's units leave, nothing is repaired; 200 calibrating photos with labels. `car`:",
        "each unit's once (masks, many at a time; what comes before the layer's reader is computed once);",
        "`car_greedy`: taken again after each that leaves.",
        "",
        "| network | layer | units | score | accuracy | dense | CPU s |",
        "| :-- | :-- | --: | :-- | --: | --: | --: |",
    ]
    return lines + [
        f"| {r['case']} (seed {r['seed']}) | {r['layer']} | {r['width']} | {r['score']} | "
        f"{100 * r['accuracy']:.1f} | {100 * r['dense']:.1f} | {r['cpu_seconds']:.0f} |"
        for r in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(SIZES)}; none: only the page")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.7, 0.3])
    parser.add_argument("--greedy", action="store_true", help="CAR on single layers instead")
    parser.add_argument("--times", action="store_true", help="milliseconds of what was made")
    parser.add_argument("--minutes", type=float, default=inf, help="begin nothing after these")
    parser.add_argument("--cache", type=Path, help="folder for networks")
    begun = time.monotonic()
    words = parser.parse_args()
    cache = (words.cache or home() / "cache").resolve()
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "methods.json"
    for seed in words.seeds:
        for name in words.cases:
            case = case_of(name, seed, cache)
            if words.greedy:
                greedy(case, kept)
            else:
                measure(case, words.shares, kept, begun + 60 * words.minutes)
            files.write_text(RESULTS / "methods.md", page(read(kept)))
    if words.times:
        times(cache, kept)
    files.write_text(RESULTS / "methods.md", page(read(kept)))


if __name__ == "__main__":
    main()
