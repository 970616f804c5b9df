"""``edgeprune train``: the dense network alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from . import options, output, words
from .typed import typed


@dataclass(frozen=True)
class Train:
    """Everything that can be typed after ``edgeprune train``."""

    model: Annotated[str | None, options.model(" Default: vgg16, or what --weights says.")] = None
    init: options.INIT = "scratch"
    weights: options.WEIGHTS = None
    data: options.DATA = "cifar10"
    task: options.TASK = None
    shape: options.EXAMPLE = None
    test: options.TEST = None
    size: options.SIZE = None
    head: options.HEAD = "paper"
    epochs: options.EPOCHS = None
    recipe: options.RECIPE = "default"
    batch_size: options.BATCH = None
    lr: options.LR = None
    precision: options.PRECISION = "auto"
    limit: options.LIMIT = None
    seed: options.SEED = 0
    partial: options.PARTIAL = False
    skip_bad: options.SKIP_BAD = False
    name: options.NAME = None
    as_json: options.JSON = False


@typed
def train(asked: Train) -> None:
    """Train or fine-tune a network; the run that it makes is what prune, export and bench work on.

    Killed, it goes on where it was when the same command is typed again.

    Example: [b]edgeprune train --model mobilenetv1 --init imagenet --data cifar10 --limit 5000[/b]
    """
    from .. import ways
    from . import progress

    with output.aside(), progress.watch() as watch:
        run = ways.train(words.wanted(asked), watch)
    output.networks(run, asked.as_json)
    output.note(f"next: edgeprune prune {run.name}")
