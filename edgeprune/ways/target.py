"""To a target that was set: look, plan, cut, repair, retrain; in one round or in several.

    repeat: the target of this round, on the way from 1 to --keep-flops (or --keep-params)
            scores, from them a plan (or the plan that was given)
            cut, repaired in closed form before any training
            retrain the whole network

One round is one-shot pruning (Li et al. 2017, section 3.4); several are its iterative form. There is
no stop by accuracy: the target decides, and what it cost is told.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import graph, prune
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..prune import Plan
from ..prune.images import Images
from ..runs import Run
from ..train import Recipe
from . import position, rounds, schedules, sensitivity
from .asked import Asked, Targeted
from .dense import refuse_early, result
from .position import Position
from .record import Watch
from .sensitivity import Curve

if TYPE_CHECKING:
    from ..data import Dataset


def targeted(
    run: Run, asked: Asked, dense: Loaded, dataset: Dataset, watch: Watch, given: Plan | None = None
) -> str:
    """Prune the run's dense network to its target; returns how closely the target was met.

    ``given`` is a plan to apply instead of making one. A killed one goes on from ``state/``.
    """
    settings = asked.pruning
    assert isinstance(settings, Targeted)
    if (stopped := position.pruned_already(run, watch)) is not None:
        return stopped
    refuse_early(dense.graph, settings)
    precision = result(run, "dense")["precision"]
    baseline = rounds.accuracy(dense.model, dataset, dense, precision)
    epochs = max(1, settings.retrain_epochs)
    recipe = rounds.retraining(run, asked, epochs, settings.heal, distil=settings.distil)
    images = rounds.images_to_look_at(dataset, dense.convention, settings.images, settings.settings)
    curves = () if given else measured(run, dense, dataset, images, settings, precision, watch)
    now = position.read(run) or position.write(run, Position(0, {}), dense.graph)
    while now.ended is None:
        now = _round(
            run, asked, dense, dataset, images, curves, recipe, baseline, now, given, watch
        )
    method = given.method if given else settings.settings.method
    position.finish(run, dense, dataset, now, method=method, target=target_of(settings.settings))
    return now.ended


def _round(
    run: Run, asked: Asked, dense: Loaded, dataset: Dataset, images: Images | None,
    curves: Sequence[Curve], recipe: Recipe, baseline: float, now: Position, given: Plan | None,
    watch: Watch,
) -> Position:  # fmt: skip
    """One round; the new position is on disk when it returns."""
    settings, number, started = asked.pruning, now.step + 1, time.perf_counter()
    assert isinstance(settings, Targeted)
    traced = position.read_network(run, dense, now)
    if given is None:
        share = schedules.kept(
            settings.schedule, number / settings.rounds, goal_of(settings.settings)
        )
        keep = dict(plan_towards(dense, traced, share, images, curves, settings).keep)
    else:
        keep = dict(given.keep)
    kept = prune.compose(now.kept, keep)
    smaller = rounds.smaller(traced, keep, images, settings.settings)
    before, accuracy = rounds.judged(
        run, smaller, dense, dataset, recipe.but(seed=asked.seed + number), number, watch,
        distil=settings.distil, train=settings.retrain_epochs > 0,
    )  # fmt: skip
    rounds.record(
        run, watch, smaller, number, before=before, accuracy=accuracy, baseline=baseline,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    ended = None
    if number == settings.rounds:
        made = position.plan_of(dense.graph, kept, "", target_of(settings.settings))
        ended = f"target reached: {made.sentence()}" if made.target else "the plan is applied"
    after = position.write(run, Position(number, kept, ended), smaller)
    rounds.retrained(run).unlink(missing_ok=True)
    return after


def measured(
    run: Run | None, dense: Loaded, dataset: Dataset, images: Images | None, settings: Targeted,
    precision: str, watch: Watch,
) -> Sequence[Curve]:  # fmt: skip
    """The sensitivity of every group of the dense network, where the plan is to follow it."""
    if settings.settings.method != "sensitivity":
        return ()
    return sensitivity.measure(
        run, dense, dataset, list(dense.graph.groups), settings.settings, images,
        settings.sensitivity_images, precision, watch,
    )  # fmt: skip


def plan_towards(
    dense: Loaded, traced: graph.Graph, share: float, images: Images | None,
    curves: Sequence[Curve], settings: Targeted,
) -> Plan:  # fmt: skip
    """A plan for the present network that leaves ``share`` of the *dense* one."""
    what = "params" if settings.settings.keep_params is not None else "flops"
    whole, now = (getattr(graph.cost(g), what) for g in (dense.graph, traced))
    widths, left = rounds.widths(dense.graph), min(1.0, share * whole / now)
    losses = sensitivity.losses(curves, rounds.widths(traced), widths)
    return rounds.plan_to(traced, left, images, settings.settings, widths, losses)


def goal_of(settings: rounds.Settings) -> float:
    return next(iter(target_of(settings).values()))


def target_of(settings: rounds.Settings) -> dict[str, float]:
    """``{"flops": 0.5}``, ``{"params": 0.5}``, or {} where a plan was given."""
    asked = {"flops": settings.keep_flops, "params": settings.keep_params}
    return {what: share for what, share in asked.items() if share is not None}


def dry(asked: Asked, dense: Loaded, dataset: Dataset | None, watch: Watch) -> Plan:
    """What would be applied, all rounds at once, from the dense network; nothing is written."""
    settings = asked.pruning
    assert isinstance(settings, Targeted)
    images: Images | None = None
    curves: Sequence[Curve] = ()
    if dataset is not None:
        images = rounds.images_to_look_at(
            dataset, dense.convention, settings.images, settings.settings
        )
        curves = measured(None, dense, dataset, images, settings, "fp32", watch)
    elif settings.settings.method == "sensitivity":
        raise EdgepruneError("--method sensitivity", "is measured on images", "name --data")
    one = replace(settings, rounds=1)
    return plan_towards(dense, dense.graph, goal_of(one.settings), images, curves, one)
