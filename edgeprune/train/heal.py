"""Healing: retrain a pruned network better than at the lowest rate of its dense training.

The paper retrains 5 epochs at the lowest learning rate that the dense training reached. Here the
rate restarts high and decays to (nearly) nothing, and the dense network may teach: its answers are
labels for whatever image there is (Hinton et al. 2015).
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..data import Dataset
from ..errors import EdgepruneError
from ..models import Convention
from .loop import Fit, fit
from .recipes import Recipe
from .watch import SILENT, Watch

RESTART = 0.3  # share of the dense training's highest learning rate (assumption)
TAUGHT = 0.9  # share of the teacher's loss; 1 needs no labels


def healing(recipe: Recipe, epochs: int, *, distil: bool) -> Recipe:
    """``recipe`` of the dense training as a recipe for ``epochs`` epochs of healing."""
    if epochs < 1:
        raise EdgepruneError(f"--retrain-epochs {epochs}", "healing takes at least one epoch")
    changes = {"teacher_share": TAUGHT} if distil else {}
    return recipe.but(
        epochs=epochs,
        lr=RESTART * recipe.lr,
        schedule="cosine",
        floor=0.01,
        warmup_epochs=0.1,
        patience=0,
        **changes,
    )


def heal(
    pruned: nn.Module,
    dense: nn.Module | None,
    dataset: Dataset,
    convention: Convention,
    recipe: Recipe,
    *,
    state: Path | None = None,
    watch: Watch = SILENT,
) -> Fit:
    """Train ``pruned`` in place by a :func:`healing` recipe; ``dense`` teaches where it is given."""
    return fit(pruned, dataset, convention, recipe, state=state, watch=watch, teacher=dense)
