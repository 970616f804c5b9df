"""The parts of one prune-and-retrain round, shared by the ways that retrain: look, cut, retrain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import graph, models, prune, records, train
from ..prices import price_of
from ..prune.evidence import Evidence, gather
from ..prune.images import Images
from ..prune.scores import criterion, scored
from ..runs import Run
from ..train import Recipe
from ..train.heal import TAUGHT, heal, healing
from ..train.step import answer_of
from .aim import Rows
from .dense import result, trained_in
from .examples import calibration, of_split
from .position import widths
from .post_training import Settings, parts_of, ranked, repair
from .record import Recorder
from .way import Work

if TYPE_CHECKING:
    from torch import nn

    from ..graph import Graph
    from ..prune import Plan

Losses = Mapping[str, Sequence[float]]
ALL_AT_ONCE = "later rounds plan anew, from the weights as they are then: this is all at once"


@dataclass(frozen=True)
class Means:
    """What every round of a way that retrains works with."""

    recipe: Recipe  # to retrain by; its precision judges too
    images: Images | None  # to look at; None where neither score nor repair looks
    baseline: float  # validation accuracy of the dense network, 0..1


@dataclass(frozen=True)
class Outcome:
    """How a round ended; accuracies on validation, 0..1, None where the training goes on."""

    layer: str | None = None  # that lost units; None: all of them gave
    removed: Sequence[int] = ()  # units of the dense network
    before: float | None = None  # right after the cut
    accuracy: float | None = None  # retrained
    baseline: float | None = None
    kept: bool = True  # False: taken back
    seconds: float | None = None


def means(work: Work[Any]) -> Means:
    """For a way with ``retrain_epochs``, ``heal``, ``distil`` and ``images``."""
    way = work.way
    recipe = retraining(work, max(1, way.retrain_epochs), way.heal)
    baseline = accuracy(work.dense.model, work, recipe.precision)
    return Means(recipe, images_to_look_at(work), baseline)


def images_to_look_at(work: Work[Any]) -> Images | None:
    """``way.images`` training images, with their labels; None where neither score nor repair looks."""
    settings = work.way.settings
    if not criterion(settings.score).needs and settings.compensate == "none":
        return None
    some = work.labelled.train.take(work.way.images)
    dense = work.dense
    shown = of_split(some, dense.convention, dense.signature.inputs)
    task = work.task
    if task.classifies:
        return calibration(shown, settings.views, settings.seed, labels=some.labels)
    images = calibration(
        shown, 1, settings.seed, labels=some.labels
    )  # labels are of the first view
    images.loss = lambda outputs, labels: task.loss(answer_of(outputs, task), labels, 0.0)
    return images


def look(traced: Graph, images: Images | None, settings: Settings) -> Evidence | None:
    """What the score needs to know; None where the weights tell it all."""
    if images is None or not criterion(settings.score).needs:
        return None
    return gather(traced, images, parts=parts_of(settings))


def score(traced: Graph, group: str, evidence: Evidence | None, settings: Settings) -> Tensor:
    """The score of a group's units, [width], higher = keep."""
    return scored(traced, criterion(settings.score), evidence, [group])[group]


PlanAt = Callable[
    [float, Rows], "Plan"
]  # how much of the dense network's price stays, by which table


def planner(
    work: Work[Any],
    traced: Graph,
    share: float,
    images: Images | None,
    losses: Losses | None = None,
) -> PlanAt:
    """What makes plans for the present network ``traced`` from one look at the images.

    ``share``: of the dense network's price, about as much as the plans will leave.
    ``losses``: of each group at every width, where they were measured (sensitivity.py).
    """
    settings, dense = work.way.settings, work.dense.graph
    seen = look(traced, images, settings)
    whole = widths(dense)
    about = settings.towards(share_left(settings, dense, traced, share, work.prices))
    ranking = ranked(traced, seen, about, losses=losses, whole=whole, table=work.prices)  # type: ignore[arg-type]

    def plan_at(share: float, table: Rows) -> Plan:
        wanted = settings.towards(share_left(settings, dense, traced, share, table))
        return ranking.plan(traced, wanted, whole, table, most=settings.limits().most)

    return plan_at


def share_left(settings: Settings, dense: Graph, now: Graph, share: float, table: Rows) -> float:
    """``share`` of what the dense network costs, as a share of what the present one costs."""
    price = price_of(settings.target.price if settings.target else "flops", table)
    whole, present = (price.of(g).dense for g in (dense, now))
    return min(1.0, share * whole / present)


def smaller(traced: Graph, keep: prune.Keep, images: Images | None, settings: Settings) -> Graph:
    """Cut, and repaired where that is asked."""
    if images is None or settings.compensate == "none":
        return prune.narrow(traced, keep)
    whole = {name: list(range(group.width)) for name, group in traced.groups.items()}
    return repair(traced, {**whole, **keep}, images, settings)[0]


def retraining(work: Work[Any], epochs: int, kind: str) -> Recipe:
    """How to retrain: "paper", at the lowest rate of the dense training; or "restart" (heal.py)."""
    dense, distil = result(work.run, "dense"), work.way.distil
    trained = work.asked.training
    if kind == "restart":
        return healing(trained, epochs, distil=distil).but(precision=trained_in(work.run))
    return trained.but(
        epochs=epochs, schedule="constant", warmup_epochs=0, patience=0,
        lr=dense.lowest_lr, precision=trained_in(work.run),
        **({"teacher_share": TAUGHT} if distil else {}),
    )  # fmt: skip


def judged(work: Work[Any], means: Means, smaller: Graph, number: int) -> tuple[float, float]:
    """Validation accuracy after the cut, and after training in place (where it retrains at all)."""
    before = accuracy(smaller.model, work, means.recipe.precision)
    if not work.way.retrain_epochs:
        return before, before
    done = heal(
        smaller.model,
        work.dense.model if work.way.distil else None,
        work.labelled,
        work.dense.convention,
        means.recipe.but(seed=work.asked.seed + number),
        state=retrained(work.run),
        watch=Recorder(work.run, work.watch, "pruned", "retrain", number),
    )
    return before, done.best_validation


def retrained(run: Run) -> Path:
    """Where a retraining that was killed goes on from; gone when its step is on disk."""
    return run.state_folder / "retrain.safetensors"


def record(work: Work[Any], smaller: Graph, number: int, outcome: Outcome | None = None) -> None:
    """Write one step into the run's history, and tell it."""
    cost, how = graph.cost(smaller), outcome or Outcome()
    step = records.Step(
        step=number, layer=how.layer, removed=list(how.removed), widths=widths(smaller),
        params=cost.params, flops=cost.flops, macs=cost.macs, before=how.before,
        accuracy=how.accuracy, baseline=how.baseline, kept=how.kept, seconds=how.seconds,
        images=None if how.accuracy is None else len(work.labelled.validation),
    )  # fmt: skip
    work.run.append(step)
    names = models.layer_names(work.dense.spec)
    work.watch.on_step(step, None if step.layer is None else models.layer_said(step.layer, names))


def accuracy(model: nn.Module, work: Work[Any], precision: str) -> float:
    """On validation, for choices: in the training's precision, the same for all that is compared."""
    split, convention = work.labelled.validation, work.dense.convention
    return train.evaluate(model, split, convention, precision=precision, task=work.task).score
