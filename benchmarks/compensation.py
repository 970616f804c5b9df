"""Accuracy after cutting, repaired without labels, and after healing: results/compensation.md.

    EDGEPRUNE_HOME=... python benchmarks/compensation.py cifar10 caltech101 v1 v2 [--seeds 0 1 2] [--rows N]

Networks fine-tuned here: MobileNetV1-0.75 with ImageNet weights on CIFAR-10 at 32 px (``cifar10``) and
MobileNetV1 (the float file; its last pointwise and its head start fresh) on Caltech101 at 128 px
(``caltech101``); calibrated on training photos without their labels, judged on test photos.
Networks as they come: MobileNetV1-0.75 at 192 px (``v1``) and MobileNetV2 at 224 px (``v2``) on the
ImageNet sample; half of the photos calibrate, without labels, the other half judge and choose
nothing.

Every measurement is written down at once (results/compensation.json): a run can be broken off and
gone on with, and the page is made from that file alone (no case named: only the page). Trained
networks lie in ``--cache`` (default: EDGEPRUNE_HOME/cache).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune import data, files, models, prices, train
from edgeprune.data import Dataset
from edgeprune.data.transforms import Pixels
from edgeprune.fetch import home
from edgeprune.graph import Graph, cost, trace
from edgeprune.models import Convention, ModelSpec
from edgeprune.prune import SCORES
from edgeprune.prune.evidence import Evidence, gather
from edgeprune.report.figures import png
from edgeprune.train import heal
from edgeprune.ways import post_training as pt
from edgeprune.ways.examples import Photos, calibration, plain

RESULTS = Path(__file__).parent / "results"
SHARES = (0.85, 0.7, 0.5, 0.3)  # of the FLOPs kept


@dataclass(frozen=True)
class Row:
    """One way: how it is chosen, repaired and healed."""

    score: str
    method: str = "uniform"
    compensate: str = "lstsq"
    views: int = 1
    distil_steps: int = 0
    healing: str = ""  # one of HEALINGS
    epochs: int = 0

    @property
    def name(self) -> str:
        return " ".join(f"{v}" for v in asdict(self).values() if v)


@dataclass(frozen=True, eq=False)
class Case:
    """A trained network, photos to calibrate with (no labels) and photos to judge with."""

    name: str
    about: str
    model: nn.Module
    convention: Convention
    calibrating: Pixels
    judging: list[Tensor]
    labels: Tensor
    rows: Sequence[tuple[Row, float]]
    dataset: Dataset | None = None  # to heal with
    recipe: train.Recipe | None = None  # of the dense training
    lowest_lr: float = 0.0


def imagenet(model: str, images: int, seed: int) -> Case:
    same = {"padding": "same", "bn_eps": 1e-3} if model.startswith("mobilenetv1") else {}
    head = {"head": "original"} if model.startswith("mobilenetv1") else {}
    network, convention = pretrained(ModelSpec(model, 1000, **same, **head), "imagenet")  # type: ignore[arg-type]
    dataset = data.load("imagenet-sample", size=convention.size)
    parts = [dataset.train, dataset.validation, dataset.test]
    pixels = np.concatenate([p.images(np.arange(len(p))) for p in parts])
    labels = np.concatenate([p.labels for p in parts])
    order = np.random.default_rng(seed).permutation(len(labels))
    half = len(order) // 2
    calibrate, judge = order[:half], order[half:][:images]
    return Case(
        "v1" if model.startswith("mobilenetv1") else "v2",
        f"{model} as it comes, ImageNet (1,000 classes), {convention.size} px, {half} photos "
        f"calibrate, {len(judge)} others judge",
        network,
        convention,
        pixels[calibrate],
        batches(pixels[judge], convention),
        torch.from_numpy(labels[judge]),
        AS_THEY_COME if model.startswith("mobilenetv1") else AS_THEY_COME_V2,
    )


def caltech101(cache: Path, images: int, seed: int) -> Case:
    spec = ModelSpec("mobilenetv1", 101, "original", padding="same", bn_eps=1e-3)
    return fine_tuned(
        "caltech101", spec, "imagenet-float", 128, 3500, 6, 32, 1e-3, 3500, images, CALTECH, cache, seed
    )  # fmt: skip


def cifar10(cache: Path, images: int, seed: int) -> Case:
    spec = ModelSpec("mobilenetv1-0.75", 10, "original", padding="same", bn_eps=1e-3)
    return fine_tuned(
        "cifar10", spec, "imagenet", 32, 8000, 8, 32, 1e-3, 500, images, CIFAR, cache, seed
    )


def fine_tuned(
    name: str,
    spec: ModelSpec,
    init: str,
    size: int,
    limit: int,
    epochs: int,
    batch: int,
    lr: float,
    calibrating: int,
    images: int,
    rows: Sequence[tuple[Row, float]],
    cache: Path,
    seed: int,
) -> Case:
    dataset = data.load(name, size=size, seed=seed, limit=limit)
    dataset = replace(dataset, validation=dataset.validation.take(1000))
    model, convention = pretrained(spec, init, partial=init.endswith("float"))
    convention = replace(convention, size=size)
    recipe = train.named("default", pretrained=True).but(
        epochs=epochs, batch_size=batch, lr=lr, seed=seed, patience=0
    )
    path = cache / f"compensation-{name}-{limit}-{epochs}-{seed}.safetensors"
    if path.is_file():
        tensors, about = files.read_tensors(path)
        model.load_state_dict(tensors)
        lowest = float(about["lowest_lr"])
    else:
        lowest = train.fit(model, dataset, convention, recipe).lowest_lr
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_tensors(path, model.state_dict(), {"lowest_lr": str(lowest)})
    chosen = np.random.default_rng(seed).permutation(len(dataset.train))[:calibrating]
    test = dataset.test.take(images)
    return Case(
        name,
        f"{spec.model} with ImageNet weights, fine-tuned on {len(dataset.train):,} photos of {name} "
        f"for {epochs} epochs, {size} px; {len(chosen):,} of them calibrate, without labels; "
        f"{len(test):,} test photos judge",
        model.eval(),
        convention,
        dataset.train.images(np.sort(chosen)),
        batches(test.images(np.arange(len(test))), convention),
        torch.from_numpy(test.labels),
        rows,
        dataset,
        recipe,
        lowest,
    )


def pretrained(spec: ModelSpec, init: str, partial: bool = False) -> tuple[nn.Module, Convention]:
    model = models.fresh(spec, 0)
    source = models.find(spec, init)
    if source is None:
        raise SystemExit(f"no weights {spec.model}_{init} in EDGEPRUNE_HOME")
    models.fill(model, spec, source, partial=partial)
    return model.eval(), source.input


def answers(model: nn.Module, judging: list[Tensor]) -> Tensor:
    """Logits [N, classes]."""
    rows = pt.seen(model, judging[0])
    return torch.cat([pt.answers(model, x, rows)[0] for x in judging])


def batches(pixels: Pixels, convention: Convention) -> list[Tensor]:
    return plain(Photos(pixels, convention))


# -- the rows --------------------------------------------------------------------------------------

VIEWS = (1, 2, 4)  # more of them never cost accuracy: what a layer sees are different images first
DEAR = (
    "car",
    "car_greedy",
    "subspaces",
    "obd",
)  # CAR evaluates the network once for every unit; these
# are measured in methods.py
CHEAP = [name for name in SCORES if name not in DEAR]
SAME = Row("reconstruction")  # the same share of every group
BEST = Row("reconstruction", "reconstruction")


def crossed(rows: Sequence[Row], shares: Sequence[float]) -> list[tuple[Row, float]]:
    return [(row, share) for share in shares for row in rows]


HEALED = [
    replace(BEST, healing=healing, epochs=epochs)
    for healing in ("lowest", "restart", "distil")
    for epochs in (1, 3)
]
CIFAR = [  # the most telling first: a run that is broken off leaves the rest out
    *crossed([BEST, SAME, Row("l1"), Row("l1", compensate="none")], SHARES),
    *crossed([Row(s) for s in CHEAP], (0.5, 0.7)),
    *crossed([Row(s, compensate="none") for s in CHEAP], (0.5, 0.7)),
    *crossed(HEALED, (0.5,)),
    *crossed([Row(s, compensate="mean") for s in ("l1", "reconstruction")], SHARES),
    *crossed([Row("l1", compensate="blocks"), replace(BEST, compensate="blocks")], (0.5, 0.3)),
    *crossed([Row(s) for s in CHEAP], (0.85, 0.3)),
    *crossed([Row(s, compensate="none") for s in CHEAP], (0.85, 0.3)),
    *crossed([Row(s, compensate="mean") for s in CHEAP], SHARES),
    *crossed(HEALED, (0.3,)),
]
CALTECH = [
    *crossed([replace(BEST, distil_steps=200), BEST], (0.5,)),
    *crossed([replace(BEST, compensate="blocks"), Row("l1", compensate="none")], (0.5,)),
    *crossed([Row("l1"), SAME], (0.5,)),
    *crossed([BEST], (0.7, 0.85, 0.3)),
    *crossed(HEALED, (0.5,)),
]
AS_THEY_COME = [
    *crossed([replace(BEST, views=views) for views in VIEWS[:2]], (0.7, 0.85)),
    *crossed([replace(BEST, compensate="blocks")], (0.7, 0.85)),
    *crossed([replace(BEST, views=views) for views in VIEWS[2:]], (0.7, 0.85)),
    *crossed([replace(BEST, method="search")], (0.7, 0.5)),
    *crossed([replace(BEST, method="search", compensate="blocks")], (0.7,)),
    *crossed([SAME, Row("l1"), Row("l1", compensate="none")], (0.7, 0.85)),
    *crossed([replace(BEST, distil_steps=200)], (0.7, 0.85)),
    *crossed([replace(BEST, compensate=way) for way in ("lstsq", "blocks")], (0.5, 0.3)),
]
AS_THEY_COME_V2 = crossed(
    [BEST, replace(BEST, compensate="blocks"), SAME, Row("l1"), Row("l1", compensate="none")],
    (0.85, 0.7),
)


GRID = {"cifar10": CIFAR, "caltech101": CALTECH, "v1": AS_THEY_COME, "v2": AS_THEY_COME_V2}


# -- measuring -------------------------------------------------------------------------------------


def measure(case: Case, seed: int, kept: Path, most: int | None) -> None:
    """Rows (the first ``most``) that are not there yet; each is written down as soon as it is known."""
    known = read(kept)
    keys = {
        f"{case.name} | {seed} | {row.name} | {share}": (row, share)
        for row, share in case.rows[:most]
    }
    missing = {key: what for key, what in keys.items() if key not in known}
    if not missing:
        return
    dense_logits = answers(case.model, case.judging)
    size = case.convention.size
    graph = trace(case.model, torch.zeros(2, 3, size, size))
    seen = Seen(graph, case)
    for key, (row, share) in missing.items():
        settings = pt.Settings(
            target=prices.Target("flops", share),
            score=row.score,
            method=row.method,
            compensate=row.compensate,
            views=row.views,
            distil_steps=row.distil_steps,
        )
        looked, looking = seen.at(settings)
        begun = time.process_time()
        plan = pt.ranked(graph, looked, settings).plan(graph, settings)
        pruned, _ = pt.repair(graph, plan.keep, looked.images, settings)
        pt.distilled(
            graph, pruned, plan.keep, Photos(case.calibrating, case.convention),
            np.arange(len(case.calibrating)), settings,
        )  # fmt: skip
        if row.healing:
            HEALINGS[row.healing](case, pruned.model, row.epochs, seed)
        seconds = time.process_time() - begun + looking
        logits = answers(pruned.model, case.judging)
        found = {
            "case": case.name,
            "about": case.about,
            "seed": seed,
            "row": asdict(row),
            "share": share,
            "flops": cost(pruned).flops / cost(graph).flops,
            "dense": right(dense_logits, case.labels),
            "accuracy": right(logits, case.labels),
            "agreement": right(logits, dense_logits.argmax(1)),
            "cpu_seconds": round(seconds, 1),
            "threads": torch.get_num_threads(),
            "code": code(),
        }
        write_down(kept, key, found)
        print(
            key, f"{found['accuracy']:.3f} of {found['dense']:.3f}", f"{seconds:.0f} s", flush=True
        )


@dataclass
class Seen:
    """What was seen of the calibration images, once for all rows that need the same."""

    graph: Graph
    case: Case
    kept: dict[tuple[int, str], tuple[Evidence, float]] = field(default_factory=dict)

    def at(self, settings: pt.Settings) -> tuple[Evidence, float]:
        """The evidence, and the seconds of processor time that it took."""
        parts = pt.parts_of(settings)
        key = (settings.views, "".join(parts))
        if key not in self.kept:
            begun = time.process_time()
            images = calibration(
                Photos(self.case.calibrating, self.case.convention), settings.views, settings.seed
            )
            found = gather(self.graph, images, parts=parts)
            self.kept[key] = found, time.process_time() - begun
        return self.kept[key]


def at_lowest(case: Case, model: nn.Module, epochs: int, seed: int) -> None:
    """As the paper retrains: the lowest rate of the dense training, with labels."""
    assert case.recipe is not None
    recipe = case.recipe.but(
        epochs=epochs, schedule="constant", lr=case.lowest_lr, warmup_epochs=0, seed=seed
    )
    _heal(case, model, recipe, None)


def restarted(case: Case, model: nn.Module, epochs: int, seed: int) -> None:
    assert case.recipe is not None
    _heal(case, model, heal.healing(case.recipe, epochs, distil=False).but(seed=seed), None)


def taught(case: Case, model: nn.Module, epochs: int, seed: int) -> None:
    assert case.recipe is not None
    _heal(case, model, heal.healing(case.recipe, epochs, distil=True).but(seed=seed), case.model)


def _heal(case: Case, model: nn.Module, recipe: train.Recipe, teacher: nn.Module | None) -> None:
    assert case.dataset is not None
    heal.heal(model, teacher, case.dataset, case.convention, recipe)


HEALINGS: dict[str, Callable[[Case, nn.Module, int, int], None]] = {
    "lowest": at_lowest,
    "restart": restarted,
    "distil": taught,
}


def right(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).double().mean())


def code() -> str:
    """The commit that is measured; "" outside a checkout."""
    words = ["git", "-C", str(RESULTS), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def read(kept: Path) -> dict[str, Any]:
    return json.loads(kept.read_text()) if kept.is_file() else {}


def write_down(kept: Path, key: str, found: Mapping[str, Any]) -> None:
    """One more row. Two cases may be measured at the same time, each on a core of its own."""
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.write_json(kept, read(kept) | {key: found})


# -- the page ----------------------------------------------------------------------------------


ORDER = ("none", "mean", "lstsq", "blocks")


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "# Accuracy after cutting, repaired without labels",
        "",
        "Made by `python benchmarks/compensation.py` from compensation.json beside it; not edited by",
        "hand. Columns: the share of the dense network's FLOPs that is kept. Accuracy in % on images",
        "that chose and calibrated nothing, mean over seeds (± standard deviation; a seed draws the",
        "images, and trains the network where it is trained); in brackets the share of the dense",
        "network's accuracy that it is, in %. Empty: not measured. CPU s: processor time of one thread on a",
        "shared machine, choosing and looking at the images included, labels never; the median over",
        "the line. `shares by error`: each group its own share (method reconstruction); `by search`: 40",
        "weightings of these errors were tried (method search); else the same share everywhere.",
        "Criteria that need a loss take the network's own answers for labels. With",
        "`none` and `mean` the batch-norm statistics are taken again. `heal`: epochs of training with",
        "labels, at the lowest rate of the dense training (the paper's way), at a rate restarted high",
        "with cosine decay (`restart`), the same with the dense network as the teacher (`distil`). CAR is",
        "left out: it evaluates the network once for every channel.",
        "",
    ]
    cases = by(known.values(), lambda r: str(r["case"]))
    for case, grid in GRID.items():
        planned = len(set(grid))
        if case not in cases:
            lines += [f"## {case}: not measured yet ({planned} rows planned for each seed)", ""]
            continue
        rows = cases[case]
        dense = [r["dense"] for r in {r["seed"]: r for r in rows}.values()]
        shares = sorted({r["share"] for r in rows}, reverse=True)
        lines += [
            f"## {case}: dense {said(dense)} %",
            "",
            f"{rows[0]['about']}. Seeds: {', '.join(str(s) for s in sorted({r['seed'] for r in rows}))}. "
            f"{len(set(grid) & {(Row(**r['row']), r['share']) for r in rows})} of the {planned} rows "
            f"planned. {_codes(rows)}",
            "",
            "| criterion | then | " + " | ".join(f"{s:g}" for s in shares) + " | CPU s |",
            "| --- | --- |" + " ---: |" * (len(shares) + 1),
        ]
        groups = by(rows, lambda r: Row(**r["row"]))
        for row in sorted(groups, key=_place):
            found = by(groups[row], lambda r: r["share"])
            cells = [cell(found[s]) if s in found else "" for s in shares]
            seconds = statistics.median(r["cpu_seconds"] for r in groups[row])
            lines.append(f"| {_chosen(row)} | {_then(row)} | {' | '.join(cells)} | {seconds:.0f} |")
        lines += ["", f"![{case}](compensation-{case}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def _codes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which commits the measurements are of; those of before this was written down are "earlier"."""
    counts = Counter(str(r.get("code") or "earlier code") for r in rows)
    return "Measured with " + ", ".join(f"{c} ({n})" for c, n in counts.items()) + "."


def by(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy, and in brackets the share of the dense network's own that it is."""
    kept = statistics.mean(r["accuracy"] / r["dense"] for r in rows)
    return f"{said([r['accuracy'] for r in rows])} ({100 * kept:.1f})"


def said(values: Sequence[float]) -> str:
    """``83.1`` or ``83.1 ± 0.4``, in %."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _place(row: Row) -> tuple[Any, ...]:
    scores = list(SCORES)
    return (row.epochs, row.healing, ORDER.index(row.compensate), row.distil_steps, row.views,
            scores.index(row.score), row.method)  # fmt: skip


SHARED = {"reconstruction": ", shares by error", "search": ", shares by search"}


def _chosen(row: Row) -> str:
    return row.score + SHARED.get(row.method, "")


def _then(row: Row) -> str:
    parts = [row.compensate + (f" ({row.views} views)" if row.views > 1 else "")]
    if row.distil_steps:
        parts.append(f"{row.distil_steps} steps of distillation")
    if row.healing:
        parts.append(f"heal: {row.healing}, {row.epochs} ep.")
    return ", ".join(parts)


def draw(case: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy over FLOPs kept, mean over seeds, for the lines that tell the story."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    groups = by(rows, lambda r: Row(**r["row"]))
    for i, row in enumerate(row for row in sorted(groups, key=_place) if _drawn(row)):
        points = sorted(
            (s, 100 * statistics.mean(r["accuracy"] for r in own))
            for s, own in by(groups[row], lambda r: r["share"]).items()
        )
        style = {"none": ":", "lstsq": "-", "blocks": "--"}[row.compensate]
        style, marker = ("", "x") if row.epochs else (style, "o")
        label = f"{_chosen(row)}; {_then(row)}"
        axes.plot(
            *zip(*points, strict=True), style, marker=marker, ms=5, color=f"C{i}", label=label
        )
    dense = 100 * statistics.mean(r["dense"] for r in rows)
    axes.axhline(dense, color="grey", lw=1, label=f"dense, {dense:.1f} %")
    axes.set(xlabel="FLOPs kept (share of dense)", ylabel="accuracy, %", title=case)
    axes.invert_xaxis()
    axes.legend(fontsize=7)
    files.write_bytes(path, png(figure, 110))


def _drawn(row: Row) -> bool:
    """L1 and reconstruction, the whole way; of the healed ones the longest."""
    known = row.score in ("l1", "reconstruction") and row.compensate != "mean"
    whole = row.score == "l1" or row.method == "reconstruction"
    healed = not row.epochs or (row.epochs == 3 and row.healing in ("lowest", "distil"))
    return known and whole and healed and row.views <= 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; none: only the page")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--images", type=int, default=500, help="that judge")
    parser.add_argument("--rows", type=int, help="only the first so many of the grid's rows")
    parser.add_argument("--cache", type=Path, help="folder for trained networks")
    words = parser.parse_args()
    cache = words.cache or home() / "cache"
    torch.set_num_threads(1)
    for seed in words.seeds:
        for name in words.cases:
            case = CASES[name](cache, words.images, seed)
            measure(case, seed, RESULTS / "compensation.json", words.rows)
    RESULTS.mkdir(exist_ok=True)
    known = read(RESULTS / "compensation.json")
    for case, rows in by(known.values(), lambda r: str(r["case"])).items():
        draw(case, rows, RESULTS / f"compensation-{case}.png")
    files.write_text(RESULTS / "compensation.md", page(known))


CASES: dict[str, Callable[[Path, int, int], Case]] = {
    "cifar10": cifar10,
    "caltech101": caltech101,
    "v1": lambda cache, images, seed: imagenet("mobilenetv1-0.75", images, seed),
    "v2": lambda cache, images, seed: imagenet("mobilenetv2", images, seed),
}


if __name__ == "__main__":
    main()
