"""To a target that was set: look, plan, cut, repair, retrain; in one round or in several.

    repeat: the target of this round, on the way from 1 to what --keep-flops (or another price) says
            scores, from them a plan (or the plan that was given)
            cut, repaired in closed form before any training
            retrain the whole network

One round is one-shot pruning (Li et al. 2017, section 3.4); several are its iterative form. There is
no stop by accuracy: the target decides, and what it cost is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import prune
from ..errors import EdgepruneError
from ..graph import Graph
from ..prices import visits as decide
from ..prune import Plan
from ..prune.images import Images
from . import position, rounds, schedules, sensitivity
from .position import Position
from .post_training import Settings
from .rounds import Means, Outcome
from .sensitivity import Curve
from .visiting import Visiting
from .way import SETTINGS, Row, Words, Work, between, check_heal, names, own, settings_of


@dataclass(frozen=True)
class Target:
    """To a target in one round (one-shot) or several; retrained after each."""

    settings: Settings = field(default_factory=Settings)  # what leaves and how it is repaired
    rounds: int = 1
    schedule: str = "constant"  # how the target falls from round to round: schedules.SCHEDULES
    retrain_epochs: int = 5  # after each round
    heal: str = "restart"  # one of way.HEALS
    distil: bool = False
    images: int = 512  # training images, labels unused, that scores and repair look at
    sensitivity_images: int = 1000  # validation images, with method "sensitivity"
    plan: str = ""  # fingerprint of a plan that was given

    def __post_init__(self) -> None:
        between("rounds", self.rounds, 1, 1000)
        between("retrain_epochs", self.retrain_epochs, 0, 10_000)
        check_heal(self.heal)
        schedules.named(self.schedule)
        if self.plan and self.rounds > 1:
            raise EdgepruneError("--plan and --rounds", "a plan is one round", "leave one out")


def of_words(typed: Words) -> Target:
    return Target(settings_of(typed), **own(Target, typed))


def page(work: Work[Target]) -> str:
    """Prune the run's dense network to its target; returns how closely the target was met.

    A killed one goes on from ``state/``.
    """
    means = rounds.means(work)
    curves = () if work.given else measured(work, means.images, means.recipe.precision)
    now = position.begin(work)
    while now.ended is None:
        now = _round(work, means, curves, now)
    position.finish(work, now, method=work.given.method if work.given else None)
    return now.ended


def _round(work: Work[Target], means: Means, curves: Sequence[Curve], now: Position) -> Position:
    """One round; the new position is on disk when it returns."""
    way, number, started = work.way, now.step + 1, time.perf_counter()
    traced = position.read_network(work, now)
    if work.given is None:
        share = schedules.kept(way.schedule, number / way.rounds, goal_of(work))
        plan_at = planner(work, traced, share, means.images, curves)
        last = number == way.rounds
        keep = (at_last(work, plan_at, now.kept) if last else plan_at(share, work.prices)).keep
    else:
        keep = work.given.keep
    kept = prune.compose(now.kept, keep)
    smaller = rounds.smaller(traced, keep, means.images, way.settings)
    before, accuracy = rounds.judged(work, means, smaller, number)
    outcome = Outcome(
        before=before, accuracy=accuracy, baseline=means.baseline,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    rounds.record(work, smaller, number, outcome)
    ended = None
    if number == way.rounds:
        made = position.plan_of(work.dense.graph, kept, "", work.goal, work.prices)
        ended = reached(work, made)
    after = position.write(work.run, Position(number, kept, ended), smaller)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def dry(work: Work[Target]) -> Plan:
    """What would be applied, all rounds at once, from the dense network; nothing is written."""
    if work.given is not None:
        return work.given
    images: Images | None = None
    curves: Sequence[Curve] = ()
    if work.dataset is not None:
        images = rounds.images_to_look_at(work)
        curves = measured(work, images, "fp32", keep=False)
    elif work.way.settings.method == "sensitivity":
        raise EdgepruneError("--method sensitivity", "is measured on images", "name --data")
    return plan_towards(work, work.dense.graph, goal_of(work), images, curves)


def at_once(work: Work[Any]) -> Plan:
    """What ways of many small removals come to, all at once from the dense network; nothing is written."""
    images = rounds.images_to_look_at(work) if work.dataset is not None else None
    goal = goal_of(work)
    return rounds.planner(work, work.dense.graph, goal, images)(goal, work.prices)


def measured(
    work: Work[Target], images: Images | None, precision: str, keep: bool = True
) -> Sequence[Curve]:
    """The sensitivity of every group of the dense network, where the plan is to follow it."""
    if work.way.settings.method != "sensitivity":
        return ()
    return sensitivity.measure(work, list(work.dense.graph.groups), images, precision, keep)


def plan_towards(
    work: Work[Target], traced: Graph, share: float, images: Images | None, curves: Sequence[Curve]
) -> Plan:
    """A plan for the present network ``traced`` that leaves ``share`` of the *dense* one."""
    return planner(work, traced, share, images, curves)(share, work.prices)


def planner(
    work: Work[Target], traced: Graph, share: float, images: Images | None, curves: Sequence[Curve]
) -> rounds.PlanAt:
    """What makes the plans of a round from one look."""
    losses = sensitivity.losses(curves, rounds.widths(traced), rounds.widths(work.dense.graph))
    return rounds.planner(work, traced, share, images, losses)


def goal_of(work: Work[Any]) -> float:
    return next(iter(work.goal.values()))


def at_last(work: Work[Any], plan_at: rounds.PlanAt, kept: Mapping[str, list[int]]) -> Plan:
    """The plan that ends at the target, beside what is left by earlier rounds: the device judges a time."""
    goal = goal_of(work)
    return Visiting(work, kept).plan(
        lambda share, table: plan_at(goal if share is None else share, table)
    )


def reached(work: Work[Any], made: Plan) -> str:
    """How a way to a target ends, in words."""
    target, visits = work.way.settings.target, work.visits
    if target is None or not made.target:
        return "the plan is applied"
    if not visits:
        return f"target reached: {made.sentence()}"
    chosen = visits[decide.best(target, visits)]
    head = "target reached" if decide.kept(target, chosen) else "as near as the visits came"
    return f"{head}: {decide.sentence(target, visits, chosen)}"


ROW = Row(
    name="target",
    title="a target that is reached by retraining",
    value=Target,
    of_words=of_words,
    words=names(Target, *SETTINGS) - {"images", "sensitivity_images", "distil_steps"},
    lacks=("does not apply to a target that is reached by retraining", "leave it out"),
    page=page,
    dry=dry,
    dry_note=lambda way: "" if way.rounds == 1 else rounds.ALL_AT_ONCE,
    formerly="targeted",
)
