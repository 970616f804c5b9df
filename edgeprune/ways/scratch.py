"""The control: the pruned architecture from random weights (Liu et al. 2019).

    the plan of another pruning says what the network looks like
    random weights in that shape, trained by the recipe of the dense network
    Scratch-E: for as many epochs; Scratch-B: for as much computing, epochs x FLOPs dense / FLOPs pruned

If it comes as far as the network that was pruned and retrained, the widths were worth something and the
weights were not. The run's dense network stays beside it. A killed one goes on from ``state/``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import checkpoint, graph, prune, train
from ..errors import EdgepruneError, closest
from ..graph import Graph
from ..prune import Keep
from ..train import recipes
from . import position, rounds
from .dense import result, trained_in
from .position import Position
from .post_training import Settings
from .record import Recorder
from .rounds import Outcome
from .way import Row, Words, Work, names, own

BUDGETS = ("epochs", "compute")  # Scratch-E, Scratch-B


@dataclass(frozen=True)
class Scratch:
    """The architecture of a plan, trained from random weights."""

    budget: str = "epochs"  # one of BUDGETS: as many as the dense network, or as much computing
    plan: str = ""  # fingerprint of the plan that was given

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise EdgepruneError(f"--budget {self.budget!r}", closest(self.budget, BUDGETS))

    @property
    def settings(self) -> Settings:
        """Nothing is scored and nothing repaired."""
        return Settings(score="random", compensate="none")


def of_words(typed: Words) -> Scratch:
    return Scratch(**own(Scratch, typed))


def page(work: Work[Scratch]) -> str:
    """Train the plan's architecture from random weights; returns for how many epochs, and why so many."""
    if work.given is None:
        raise EdgepruneError(
            "--way scratch", "wants the plan of another pruning", "give --plan runs/NAME/plan.json"
        )
    now = position.read(work.run)
    if now is None:
        groups, keep = work.dense.graph.groups, work.given.keep
        now = _trained(work, {n: list(u) for n, u in keep.items() if len(u) < groups[n].width})
    position.finish(work, now, method=work.given.method)
    assert now.ended
    return now.ended


def _trained(work: Work[Scratch], kept: dict[str, list[int]]) -> Position:
    """The one step: judged, recorded, on disk when it returns."""
    smaller = random(work, kept)
    recipe = recipe_of(work, smaller)
    state = rounds.retrained(work.run)
    done = train.fit(
        smaller.model, work.labelled, work.dense.convention, recipe, state=state,
        watch=Recorder(work.run, work.watch, "pruned", "retrain", 1),
    )  # fmt: skip
    outcome = Outcome(
        accuracy=done.best_validation, baseline=result(work.run, "dense").validation_accuracy,
        seconds=done.seconds,
    )  # fmt: skip
    rounds.record(work, smaller, 1, outcome)
    ended = f"from random weights, {recipe.epochs} epochs at most (equal {work.way.budget})"
    now = position.write(work.run, Position(1, kept, ended), smaller)
    state.unlink(missing_ok=True)
    return now


def recipe_of(work: Work[Scratch], smaller: Graph) -> recipes.Recipe:
    """That of the dense network, as it is for random weights, for the epochs of the budget."""
    recipe = recipes.from_random(work.asked.training)
    share = graph.cost(work.dense.graph).flops / graph.cost(smaller).flops
    longer = longer_by(work.way.budget, share)
    return recipe.but(
        epochs=round(recipe.epochs * longer), patience=round(recipe.patience * longer),
        warmup_epochs=recipe.warmup_epochs * longer, precision=trained_in(work.run),
        seed=work.asked.seed + 1,
    )  # fmt: skip


def longer_by(budget: str, share: float) -> float:
    """How many times as many epochs as the dense network had; ``share``: FLOPs dense / FLOPs pruned.

    >>> longer_by("epochs", 2.5), longer_by("compute", 2.5), longer_by("compute", 0.9)
    (1.0, 2.5, 1.0)
    """
    return max(1.0, share) if budget == "compute" else 1.0


def random(work: Work[Scratch], kept: Keep) -> Graph:
    """The network of ``kept`` with random weights, drawn as its layers draw theirs at that width."""
    seed = work.asked.seed + 1  # other weights than the dense network began with
    fresh = graph.trace(checkpoint.untrained(work.run, seed), work.dense.example)
    smaller = prune.narrow(fresh, kept)
    refanned(smaller.model, dict(fresh.model.named_parameters()))
    return smaller


def refanned(model: nn.Module, dense: Mapping[str, Tensor]) -> None:
    """Scale weights in place, drawn for the inputs of ``dense``, to the fewer inputs that ``model`` has.

    Layers draw weights and biases with a deviation of 1/sqrt(inputs) (torch's default, He et al. 2015).
    """
    own_parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, p in own_parameters.items():
            if p.ndim < 2 or name not in dense:
                continue
            factor = math.sqrt(dense[name][0].numel() / p[0].numel())
            p.mul_(factor)
            bias = own_parameters.get(name.removesuffix("weight") + "bias")
            if bias is not None and bias.ndim == 1:
                bias.mul_(factor)


ROW = Row(
    name="scratch",
    title="--way scratch",
    value=Scratch,
    of_words=of_words,
    words=names(Scratch),
    lacks=("does not apply to training from random weights", "leave it out"),
    page=page,
)
