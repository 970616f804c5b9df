"""Training on batches of anybody's: no data set of ours, no validation, no state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EdgepruneError
from .recipes import Recipe, learning_rate
from .step import Stepper

SEED = 1


def fit_batches(
    model: nn.Module,
    batches: Iterable[Any],
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    told: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train ``model`` in place for ``recipe.epochs`` passes over ``batches``; each epoch's mean loss.

    A batch is (x, y), or x alone where the ``teacher`` alone is listened to (``recipe.teacher_share`` 1).
    ``batches`` is gone through once an epoch, so a generator will not do. ``told`` hears the number of
    each epoch and its loss. Comes back in evaluation mode, on the device where it was. Raises
    :class:`EdgepruneError` for batches that are not such, and where the loss is no number any more.
    """
    home = next(model.parameters()).device
    stepper = Stepper(model.to(home), recipe, "fp32", teacher)
    losses: list[float] = []
    count = 0  # batches of an epoch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + recipe.seed)
        for epoch in range(recipe.epochs):
            model.train()
            total = torch.zeros((), device=stepper.device)
            done = 0
            for done, batch in enumerate(batches, 1):
                x, y = _pair(batch, recipe)
                share = (done - 1) / max(count, done)
                total += stepper.step(x, y, learning_rate(recipe, epoch + share))
            if not done:
                raise EdgepruneError(
                    "training", f"no batches in epoch {epoch + 1}", "give a list or a loader"
                )
            count = done
            losses.append(float(total) / count)
            if not math.isfinite(losses[-1]):
                raise EdgepruneError(
                    "training: the loss is no longer a number",
                    "the steps were too large",
                    "use a lower lr",
                )
            if told is not None:
                told(epoch + 1, losses[-1])
    model.eval().to(home)
    return losses


def _pair(batch: Any, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Input and labels of a batch."""
    x, *labels = batch if isinstance(batch, list | tuple) else (batch,)
    if isinstance(x, Tensor) and len(labels) == 1 and isinstance(labels[0], Tensor):
        return x, labels[0]
    if isinstance(x, Tensor) and not labels and recipe.teacher_share == 1:
        return x, torch.zeros(len(x), dtype=torch.long)
    raise EdgepruneError(
        f"a batch of type {type(batch).__name__}",
        "training wants (x, y), or x alone where a dense classifier teaches",
        "give such batches, or train in a loop of your own: what cut returned is an ordinary module",
    )
