"""``edgeprune train``: the dense network alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import options, output

if TYPE_CHECKING:
    from ..data import Dataset
    from ..ways import Asked
    from ..ways.asked import Way


def train(
    model: options.MODEL = "vgg16",
    init: options.INIT = "scratch",
    weights: options.WEIGHTS = None,
    data: options.DATA = "cifar10",
    size: options.SIZE = None,
    head: options.HEAD = "paper",
    epochs: options.EPOCHS = None,
    recipe: options.RECIPE = "default",
    batch_size: options.BATCH = None,
    lr: options.LR = None,
    precision: options.PRECISION = "auto",
    limit: options.LIMIT = None,
    seed: options.SEED = 0,
    partial: options.PARTIAL = False,
    skip_bad: options.SKIP_BAD = False,
    name: options.NAME = None,
    as_json: options.JSON = False,
) -> None:
    """Train or fine-tune a network; the run that it makes is what prune, export and bench work on.

    Killed, it goes on where it was when the same command is typed again.

    Example: [b]edgeprune train --model mobilenetv1 --init imagenet --data cifar10 --limit 5000[/b]
    """
    from .. import ways
    from . import progress

    words: dict[str, Any] = {
        "model": model, "init": options.first_weights(init, weights), "data": data,
        "size": size, "head": head, "epochs": epochs, "recipe": recipe, "batch_size": batch_size, "lr": lr,
        "precision": precision, "limit": limit, "seed": seed, "partial": partial,
        "skip_bad": skip_bad,
    }  # fmt: skip
    with progress.watch() as watch:
        asked, dataset = resolve(words, None, watch)
        run = ways.open_run(asked, name or default_name(asked), sys.argv[1:])
        with ways.working(run):
            ways.dense(run, asked, dataset, watch)
    show(run, as_json)
    output.note(f"next: edgeprune prune {run.name}")


def resolve(words: dict[str, Any], pruning: Way | None, watch: Any) -> tuple[Asked, Dataset]:
    """Words -> what is asked, with all defaults in place, and the data set; refuses before any work."""
    from .. import data as room
    from .. import models
    from .. import train as training
    from ..ways import Asked

    models.check_name(words["model"])
    source = models.find(models.ModelSpec(words["model"]), words["init"])
    size = words["size"] or room.natural_size(words["data"])
    dataset = load_data(
        words["data"], size, words["seed"], words["limit"], words["skip_bad"], watch
    )
    spec = models.ModelSpec(words["model"], len(dataset.classes), words["head"])
    recipe = training.named(
        words["recipe"],
        pretrained=source is not None,
        normalised=models.has_norm(models.fresh(spec, 0)),
        images=len(dataset.train),
    )
    chosen = {k: words[k] for k in ("epochs", "batch_size", "lr", "precision", "seed")}
    recipe = recipe.but(**{k: v for k, v in chosen.items() if v is not None})
    asked = Asked(
        words["model"], words["init"], words["head"], words["partial"], words["data"], size,
        words["limit"], words["skip_bad"], words["seed"], recipe, pruning,
    )  # fmt: skip
    return asked, dataset


def load_data(
    name: str, size: int, seed: int, limit: int | None, skip_bad: bool, watch: Any
) -> Dataset:
    from .. import data as room

    return room.load(
        name, size=size, seed=seed, limit=limit, skip_bad=skip_bad, notes=watch.note,
        progress=watch.on_progress,
    )  # fmt: skip


def default_name(asked: Asked) -> str:
    """``mobilenetv1-cifar10-imagenet``: the same command finds the same run again."""
    import re
    from pathlib import Path

    file, _, function = asked.model.rpartition(":")
    model = f"{Path(file).stem}-{function}" if file else asked.model
    images = Path(asked.data or asked.images or "images").name.split(".")[0]
    words = [model, images, Path(asked.init).stem]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")[:100]


def show(run: Any, as_json: bool) -> None:
    """Dense against pruned, as far as the run has come."""
    from .. import report

    table = report.comparison(run)
    if as_json:
        output.show_json({"run": str(run.path), "results": run.history("result")})
    else:
        output.show(table)
