"""The paper's stop rule, reached with fewer retraining steps: writes results/stop_rule.md.

    EDGEPRUNE_HOME=... python benchmarks/stop_rule.py [--seed 0] [--cache FOLDER]

MobileNetV1-0.75 with ImageNet weights, fine-tuned on 4,000 images of CIFAR-10. First the paper's
procedure (Hubens et al. 2020): one layer at a time, 5 epochs at the lowest learning rate after each
step, until validation accuracy falls more than one point below the dense network's. Then, at the
FLOPs that it reached: choice by reconstruction, repair by least squares on 500 of the images without
labels, and healing with the dense network as the teacher for 0, 1, 2, ... epochs, until the same rule
holds. A retraining step is one batch of 32 images. Seeds that were measured before stay on the page.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeprune import data, files, prices, records, train
from edgeprune.fetch import home
from edgeprune.graph import cost
from edgeprune.prune.evidence import gather
from edgeprune.runs import Run
from edgeprune.train import heal
from edgeprune.ways import Asked, Watch, Work, paper
from edgeprune.ways import dense as dense_network
from edgeprune.ways import post_training as pt
from edgeprune.ways.examples import Photos, calibration
from edgeprune.ways.opening import write_recipe

RESULTS = Path(__file__).parent / "results"
LIMIT, CALIBRATE, VALIDATE, EPOCHS, BATCH = 4000, 500, 1000, 12, 32
RETRAIN, DROP = 5, 1.0  # the paper's epochs after a step, and its points of accuracy
MOST_EPOCHS = 6


def recipe_for(seed: int) -> train.Recipe:
    return train.named("default", pretrained=True).but(
        epochs=EPOCHS, batch_size=BATCH, lr=1e-3, seed=seed, patience=0, precision="bf16"
    )


def asked(seed: int, step: float) -> Asked:
    return Asked(
        model="mobilenetv1-0.75",
        init="imagenet",
        head="original",
        partial=False,
        data="cifar10",
        size=32,
        limit=LIMIT,
        skip_bad=False,
        seed=seed,
        recipe=recipe_for(seed),
        pruning=paper.Paper(step=step, retrain_epochs=RETRAIN, max_drop=DROP),
    )


def compare(run: Run, words: Asked) -> list[dict[str, Any]]:
    recipe = recipe_for(words.seed)
    dataset = data.load("cifar10", size=32, seed=words.seed, limit=LIMIT)
    dataset = replace(dataset, validation=dataset.validation.take(VALIDATE))
    if not run.recipe_path.exists():
        write_recipe(run, words, [])
    whole = dense_network(run, words, dataset, Watch())
    if not run.has("pruned") or run.state_folder.exists():
        paper.page(Work(run, words, words.pruning, whole, dataset, Watch()))
    steps = run.history(records.Step)
    taken = [r for r in steps if r.kept]
    batches = -(-len(dataset.train) // BATCH)  # of an epoch
    flops = taken[-1].flops if taken else cost(whole.graph).flops
    share = flops / cost(whole.graph).flops
    baseline = steps[0].baseline
    rows = [
        {
            "way": f"paper: {len(taken)} steps taken, {len(steps) - len(taken)} taken back",
            "flops": share,
            "accuracy": taken[-1].accuracy if taken else baseline,
            "steps": RETRAIN * batches * len(steps),
        }
    ]
    rng = np.random.default_rng(words.seed)
    pixels = dataset.train.images(np.sort(rng.permutation(len(dataset.train))[:CALIBRATE]))
    images = calibration(Photos(pixels, whole.convention), 2, words.seed)
    settings = pt.Settings(target=prices.Target("flops", share), compensate="lstsq", views=2)
    looked = gather(whole.graph, images, parts=pt.parts_of(settings))
    plan = pt.ranked(whole.graph, looked, settings).plan(whole.graph, settings)
    for epochs in range(MOST_EPOCHS + 1):
        pruned, _ = pt.repair(whole.graph, plan.keep, images, settings)
        if epochs:
            healing = heal.healing(recipe, epochs, distil=True)
            heal.heal(pruned.model, whole.model, dataset, whole.convention, healing)
        accuracy = train.evaluate(
            pruned.model, dataset.validation, whole.convention, precision=recipe.precision
        ).score
        rows.append(
            {
                "way": f"repair, {epochs} epochs of healing",
                "flops": cost(pruned).flops / cost(whole.graph).flops,
                "accuracy": accuracy,
                "steps": epochs * batches,
            }
        )
        if baseline - accuracy <= DROP / 100 + 1e-9:
            break
    return [row | {"seed": words.seed, "dense": baseline} for row in rows]


def page(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# The paper's stop rule, with fewer retraining steps",
        "",
        "Made by `python benchmarks/stop_rule.py` from stop_rule.json beside it; not edited by hand.",
        f"MobileNetV1-0.75 with ImageNet weights, fine-tuned on {LIMIT:,} images of CIFAR-10 for "
        f"{EPOCHS} epochs at 32 px;",
        f"accuracies on {VALIDATE:,} validation images (the rule's). The paper's procedure retrains 5",
        "epochs at the lowest rate after each step and stops at the first step that ends more than",
        f"one point below the dense network. Repair: least squares on {CALIBRATE} images without "
        "labels, then",
        "healing (rate restarted, cosine, the dense network teaches), at the FLOPs that the paper's",
        "procedure reached. A step is one batch of 32 images.",
        "",
        "| seed | way | FLOPs kept | accuracy, % | drop, points | retraining steps |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        lines.append(
            f"| {r['seed']} | {r['way']} | {r['flops']:.3f} | {100 * r['accuracy']:.1f} | "
            f"{100 * (r['dense'] - r['accuracy']):.1f} | {r['steps']:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", type=float, default=0.25, help="share of a layer in one step")
    parser.add_argument("--cache", type=Path, help="folder for the runs")
    words = parser.parse_args()
    torch.set_num_threads(1)
    run = Run((words.cache or home() / "cache") / f"stop-rule-{words.seed}-{words.step:g}")
    run.path.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / "stop_rule.json"
    known = files.read_json(kept) if kept.is_file() else {}
    known[f"{words.seed} {words.step:g}"] = compare(run, asked(words.seed, words.step))
    files.write_json(kept, known)
    files.write_text(RESULTS / "stop_rule.md", page([r for rows in known.values() for r in rows]))


if __name__ == "__main__":
    main()
