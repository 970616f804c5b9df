"""Post-training pruning: a trained network and unlabelled images in, a smaller network out.

No labels, no training: look at the images through the dense network, choose what leaves by what its
readers would lose, cut, and repair in closed form (``prune.compensate``). A fifth of the images
takes no part in it: on them the loss to expect is measured before anything is applied.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .. import prices, tasks, units
from ..errors import EdgepruneError, closest
from ..graph import Graph, trace
from ..graph.inputs import Example, call, example_of, inputs_of, named
from ..graph.kept import kept_classes
from ..graph.modes import evaluating
from ..graph.probe import probe
from ..graph.tensors import floating
from ..memory import give_back, kept
from ..prices import Price, Target
from ..prune import SCORES, Plan, narrow, own, plan
from ..prune.blocks import blocks, distil
from ..prune.compensate import Repaired, lstsq, mean, recalibrate
from ..prune.compensate import Told as Part
from ..prune.evidence import Evidence, gather
from ..prune.images import Images
from ..prune.plan import OWN, Limits
from ..prune.readers import find_readers, not_repaired
from ..prune.scores import criterion, is_own, sound
from ..prune.search import Weights, search, weighted
from ..records import Output, Port
from ..tasks import TASKS, Comparison, Task
from . import aim, drop
from .examples import BATCH, Examples, Rows, calibration, endless, plain, split
from .remaining import Amounts, Remaining, Told, work_of

COMPENSATIONS = ("none", "mean", "lstsq", "blocks")
TRIED = (
    4  # batches that repair a trial of the search, and as many others that judge it (assumption)
)
FEWEST = 64  # examples; fewer say too little of any layer (assumption)
Rowed = Sequence[tuple[Port, Task]]  # each output that is compared, with its task


def silent(what: str, done: int, of: int, left: float = math.nan) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Settings:
    """How to prune after training; the defaults are those of benchmarks/results/compensation.md."""

    target: Target | None = None  # what is to be left; None where a plan says so, or the accuracy
    score: str = "reconstruction"  # one of prune.SCORES
    method: str = ""  # one of prune.plan.METHODS; "": each group its own share where the score
    # says what each width loses (reconstruction), else the same share everywhere (uniform)
    compensate: str = "lstsq"  # one of COMPENSATIONS
    views: int = 1  # of each image: plain, mirrored, then random crops
    trials: int = 40  # with method "search": weights of the layers that are tried
    block_steps: int = 80  # with "blocks": batches for each block
    distil_steps: int = 0  # batches of distillation at the end; still without labels
    floor: float = 0.1  # least share of a group's width
    multiple: int = 1
    keep: tuple[str, ...] = ()  # globs of groups that stay whole
    own_class: bool = False  # what the network's Python wants whole stays whole (prune.own)
    unequal: bool = False  # the parts of a split may differ in width
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.method:
            own = self.score == "reconstruction"
            object.__setattr__(self, "method", "reconstruction" if own else "uniform")
        if self.compensate not in COMPENSATIONS:
            raise EdgepruneError(
                f"--compensate {self.compensate!r}", closest(self.compensate, COMPENSATIONS)
            )
        if self.score not in SCORES and not is_own(self.score):
            raise EdgepruneError(f"--score {self.score!r}", closest(self.score, list(SCORES)))
        if self.method == "search" and self.score != "reconstruction":
            raise EdgepruneError(
                f"--method search --score {self.score}", "searches among what reconstruction says",
                "leave --score out",
            )  # fmt: skip
        self._suits()
        if not 2 <= self.trials <= 10_000:
            raise EdgepruneError(f"--trials {self.trials}", "must lie in 2..10000")
        if self.views < 1 or self.block_steps < 1 or self.distil_steps < 0:
            raise EdgepruneError("views, block_steps, distil_steps", "too small")

    def _suits(self) -> None:
        """Refuse a method that wants what the score does not say."""
        row = SCORES.get(self.score)
        if self.method == "threshold" and (row is None or row.lost is None):
            able = " or ".join(f"--score {n}" for n, r in SCORES.items() if r.lost is not None)
            raise EdgepruneError(
                f"--method threshold --score {self.score}", "does not say what a width loses", able
            )
        if self.method == OWN and (row is None or row.width is None):
            able = " or ".join(f"--score {n}" for n, r in SCORES.items() if r.width is not None)
            raise EdgepruneError(
                f"--method own --score {self.score}", "has no widths of its own", able
            )
        if self.method == OWN and self.target is not None:
            raise EdgepruneError(
                "--method own",
                "keeps what the score says, whatever it costs",
                "leave the target out",
            )

    def towards(self, share: float) -> Settings:
        """The same with ``share`` (0..1) of its price as the target."""
        target = self.target or Target("flops", 1.0)
        return replace(self, target=replace(target, share=share, value=None))

    def limits(self, whole: Mapping[str, int] | None = None) -> Limits:
        """What bounds the widths; ``whole``: the dense ones, where the network was pruned before."""
        return Limits(
            self.floor,
            self.multiple,
            self.keep,
            whole=whole or {},
            equal=not self.unequal,
            most=self.target is not None and self.target.form.most,
        )


@dataclass(frozen=True)
class Forecast:
    """What the pruned network is expected to lose, measured on examples that took no part."""

    images: int
    outputs: tuple[Output, ...]

    @property
    def agreement(self) -> float | None:
        """Share of images that get the dense network's class; None of another task."""
        return self.outputs[0].measures.get("agreement") if self.classifies else None

    @property
    def variance_kept(self) -> float | None:
        """``1 - |logits - dense logits|^2 / variance of the dense logits``; None of several outputs."""
        return self.outputs[0].variance_kept if len(self.outputs) == 1 else None

    @property
    def classifies(self) -> bool:
        return len(self.outputs) == 1 and TASKS[self.outputs[0].task].classifies

    def sentence(self) -> str:
        if self.classifies and self.agreement is not None and self.variance_kept is not None:
            return (
                f"on {self.images:,} held-out images it gives the dense network's answer to "
                f"{100 * self.agreement:.1f} % and keeps {100 * self.variance_kept:.1f} % of the "
                "logits' variance"
            )
        return f"on {self.images:,} held-out examples {tasks.sentence(self.outputs, TASKS)}"


@dataclass(frozen=True, eq=False)
class PostTraining:
    """The smaller network, how it came about, and what it is expected to lose."""

    graph: Graph
    plan: Plan
    repaired: list[Repaired]
    forecast: Forecast
    seconds: float
    notes: tuple[str, ...] = ()  # what the result suffers from, one line each

    @property
    def model(self) -> nn.Module:
        return self.graph.model


@dataclass(frozen=True, eq=False)
class Look:
    """A network and what there is to look at: enough to plan, repair and judge as often as is wanted."""

    dense: Graph
    examples: Examples
    calibrating: Rows  # of the examples, that are looked at
    images: Images  # their views
    judge: Sequence[Example]  # batches of those held out
    rows: Rowed  # the outputs that are compared, each with its task

    @property
    def judges(self) -> int:
        return len(self.examples) - len(self.calibrating)


def look(
    model: nn.Module, examples: Examples, settings: Settings, rows: Rowed | None = None
) -> Look:
    """Everything that is refused before any work, and the split of the examples.

    Raises :class:`EdgepruneError` for too few examples and weights that are not numbers.
    """
    if len(examples) < FEWEST:
        raise EdgepruneError(
            f"{len(examples)} calibration images", f"{FEWEST} are the least", "give a few hundred"
        )
    sound(model)
    calibrating, judging = split(len(examples))
    judge = Images(plain(examples, judging)).batches
    rows = seen(model, judge[0]) if rows is None else rows
    _sound(answers(model, judge[0], rows))
    _trained(rows, settings)
    images = calibration(examples, settings.views, settings.seed, calibrating)
    dense = trace(model, example_of(inputs_of(model, judge[0]), 2, floating(model)))
    return Look(dense, examples, calibrating, images, judge, rows)


@kept()
def post_training(
    model: nn.Module,
    examples: Examples,
    settings: Settings,
    told: Told = silent,
    given: Plan | None = None,
    rows: Rowed | None = None,
    settle: aim.Settle = aim.at_once,
    within: drop.Within | None = None,
) -> PostTraining:
    """Prune ``model`` with unlabelled ``examples``; it is left as it is.

    ``given`` is a plan for this network, applied instead of making one; ``rows`` are the outputs that
    are compared, each by its task (default: as they are seen); ``settle`` makes
    the plan, from what it would be for any share of any price. ``within``: how many of the dense network's
    answers may be lost, with their interval (drop.py); without a target the smallest such network.
    Raises :class:`EdgepruneError` for too few examples, weights that are not numbers, and targets that
    cannot be reached.
    """
    begun = time.perf_counter()
    start = look(model, examples, settings, rows)
    if within is not None:
        answerable(start, within.points)
    looking, choosing, trying, repairing, distilling, judged = _phases(start, settings, told)
    ranking: Ranking | None = None
    if given is None:
        evidence = gather(start.dense, start.images, parts=parts_of(settings), told=looking)
        ranking = ranked(
            start.dense, evidence, settings, told=choosing, trying=trying,
            table=aim.rows(settings.target),
        )  # fmt: skip
        del evidence
        give_back()  # by what was looked at, to the maps of the repair
        if within is not None and settings.target is None:
            done = smallest(start, ranking, settings, within)
            return replace(done, seconds=time.perf_counter() - begun)
        plan_at = partial(ranking.towards, start.dense, settings)
        made = settle(plan_at)
    else:
        made = given
    done = applied(start, made, settings, (repairing, distilling, judged))
    if within is not None and lost(start, done) > within.points:
        done = instead(start, done, ranking, settings, within)
    return replace(done, seconds=time.perf_counter() - begun)


def answerable(start: Look, points: float) -> None:
    """Refuse --max-drop where answers are not counted, or the held-out images are too few to show it."""
    if len(start.rows) != 1 or not start.rows[0][1].trains:
        raise EdgepruneError(
            f"--max-drop {points:g}", f"counts answers, and these outputs are {tasks.told(start.rows)}",
            "give a target instead",
        )  # fmt: skip
    drop.check(points, start.judges)


def lost(start: Look, done: PostTraining) -> float:
    """Points of the dense network's answers that ``done`` is expected to lose at most."""
    return 100 * drop.lost(done.forecast.agreement or 0.0, start.judges)


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search for the smallest network tried, in which price, and what it found."""

    row: Price
    tried: Sequence[drop.Tried]
    best: PostTraining | None  # None: all of them lose too much

    @property
    def share(self) -> float:
        """Of the dense network's price that the smallest one has left, of those that lose few enough."""
        assert self.best is not None
        return self.best.plan.promised[self.row.name] / self.best.plan.dense[self.row.name]


def looked_for(
    start: Look, ranking: Ranking, settings: Settings, within: drop.Within, most: float = 1.0
) -> Searched:
    """The smallest network up to the share ``most`` that loses few enough; ``settings.target`` says of which
    price, else it is that of ``within``."""
    goal, table = aim.counted_in(within.place)
    if settings.target is not None:
        goal, table = settings.target, aim.rows(settings.target)
    settings, row = replace(settings, target=goal), prices.price_of(goal.price, table)
    least = min(most, plan.least(start.dense, settings.limits(), row))
    tried: list[drop.Tried] = []
    best: PostTraining | None = None
    while (share := drop.next_share(tried, within.points, least, most)) is not None:
        done = applied(start, ranking.towards(start.dense, settings, share, table), settings)
        tried.append(drop.Tried(share, lost(start, done) / 100))
        if drop.best(tried, within.points) == len(tried) - 1:
            best = done
    return Searched(row, tried, best)


def smallest(
    start: Look, ranking: Ranking, settings: Settings, within: drop.Within
) -> PostTraining:
    """The network that takes the least time (or FLOPs) and loses few enough of the dense one's answers."""
    found = looked_for(start, ranking, settings, within)
    if found.best is not None:
        note = (
            f"the smallest of {len(found.tried)} networks: {units.percent(found.share)} of the "
            f"{found.row.word}" + (f" on {within.place}" if found.row.name == "ms" else "")
        )
        done = found.best  # no share of a price was asked for
        return replace(done, plan=replace(done.plan, target={}), notes=(*done.notes, note))
    nearest = min(found.tried, key=lambda t: t.lost)
    raise EdgepruneError(
        f"--max-drop {within.points:g}",
        f"with {units.percent(nearest.share, 0)} of the {found.row.word} up to "
        f"{100 * nearest.lost:.1f} points may be lost (on {start.judges:,} held-out images)",
        f"ask for --max-drop {_points(100 * nearest.lost)}, or give more images",
    )


def instead(
    start: Look,
    done: PostTraining,
    ranking: Ranking | None,
    settings: Settings,
    within: drop.Within,
) -> PostTraining:
    """A smaller network than ``done``, which meets its target, that loses few enough; else it is told
    what is possible of both."""
    target, points = settings.target, within.points
    remedy = f"ask for --max-drop {_points(lost(start, done))}"
    if target is not None and ranking is not None:
        share = done.plan.reached().get(target.price, 1.0)
        if target.place is None:  # a device has measured the one network, and no other
            below = looked_for(start, ranking, settings, within, share)
            if below.best is not None:
                return below.best
        above = looked_for(
            start, ranking, replace(settings, target=replace(target, **WHOLE)), within
        )
        if above.best is not None:
            dense = above.best.plan.dense[target.price]
            remedy += f", or for {target.at_least(above.share, dense)}"
    raise EdgepruneError(
        f"{target or 'the plan'} and --max-drop {points:g}",
        f"cannot both be met: at the first up to {lost(start, done):.1f} points of the answers may be lost "
        f"(on {start.judges:,} held-out images)",
        remedy,
    )


WHOLE: Any = {"share": 1.0, "value": None}


def _points(most: float) -> str:
    """Points that would be enough, to a tenth above."""
    return f"{math.ceil(10 * most - 1e-9) / 10:.1f}"


def applied(
    start: Look, made: Plan, settings: Settings, told: Sequence[Part] = (silent,) * 3
) -> PostTraining:
    """The network of a plan, repaired and judged; ``told`` hears of the repair, distillation, judging."""
    begun = time.perf_counter()
    dense, repairing, distilling, judged = start.dense, *told
    pruned, repaired = repair(dense, made.keep, start.images, settings, repairing)
    distilled(dense, pruned, made.keep, start.examples, start.calibrating, settings, distilling)
    judged("judging", 0, 1)
    found = forecast(dense.model, pruned.model, start.judge, start.rows)
    judged("judging", 1, 1)
    notes = (
        *too_few(dense, len(start.calibrating), settings),
        *unrepaired(dense, made.keep, settings),
    )
    return PostTraining(pruned, made, repaired, found, time.perf_counter() - begun, notes)


def _phases(start: Look, settings: Settings, told: Told) -> list[Part]:
    """What tells of looking, choosing, repairing, distilling, judging, with the time left of all."""
    amounts = Amounts(
        calibrate=len(start.images),
        fit=settings.block_steps * BATCH if settings.compensate == "blocks" else 0,
        distil=settings.distil_steps * BATCH,
        judge=start.judges,
        trials=settings.trials if settings.method == "search" else 0,
        tried=TRIED * BATCH,
        share=(settings.target and settings.target.share) or 1.0,
    )
    phases = work_of(start.dense, amounts)
    remaining = Remaining(phases, told, time.perf_counter)
    return [remaining.phase(number) for number in range(len(phases))]


def _sound(outputs: Sequence[Tensor]) -> None:
    """The dense network's answers, refused before any work where nothing can be learnt from them."""
    given = [t for t in outputs if t.is_floating_point()]
    if not all(bool(t.isfinite().all()) for t in given):
        raise EdgepruneError(
            "the network's answers to these images", "NaN or infinite values",
            "check the weights and how the images are normalised",
        )  # fmt: skip
    if given and all(_same(t) for t in given):
        raise EdgepruneError(
            "the network's answers to these images", "are all the same: nothing can be kept of them",
            "give the weights of a trained network",
        )  # fmt: skip


def _same(t: Tensor) -> bool:
    """Whether all examples get the same."""
    return not t.numel() or float((t - t[:1]).abs().max()) <= 1e-6 * float(t.abs().max())


def _trained(rows: Rowed, settings: Settings) -> None:
    """Refuse distillation where the answers are no class scores."""
    if settings.distil_steps and any(not task.classifies for _, task in rows):
        raise EdgepruneError(
            "--distill-steps", f"teaches class scores, and these outputs are {tasks.told(rows)}",
            "leave it out",
        )  # fmt: skip


def unrepaired(
    dense: Graph, keep: Mapping[str, Sequence[int]], settings: Settings
) -> tuple[str, ...]:
    """A line for each layer that loses inputs and that no least squares is solved for."""
    if settings.compensate not in ("lstsq", "blocks"):
        return ()
    return tuple(
        f"{name} reads channels that left and is not repaired: its weights are shared, or it is "
        "neither a convolution nor a linear layer"
        for name in not_repaired(dense, kept_classes(dense, keep))
    )


def too_few(dense: Graph, images: int, settings: Settings) -> tuple[str, ...]:
    """A line for each layer that reads one vector an image and more channels than there are images."""
    wide = [
        f"{images:,} calibration images are fewer than the {channels:,} channels that "
        f"{reader.layer} reads: give more, it is repaired from little"
        for reader in find_readers(dense)
        if reader.window is None and reader.labels is not None
        and (channels := len(reader.labels)) > images
    ]  # fmt: skip
    return tuple(wide) if settings.compensate in ("lstsq", "blocks") else ()


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a look at the images says of every unit; plans to any target are made from it."""

    scores: Mapping[str, Tensor]
    curves: plan.Curves | None  # what each width of a group loses; None: the score does not say
    shares: Mapping[str, float] = field(
        default_factory=dict
    )  # of each group's width, that the score
    # keeps by itself (method own)

    def plan(
        self, dense: Graph, settings: Settings, whole: Mapping[str, int] | None = None,
        table: aim.Rows | None = None, most: bool = False,
    ) -> Plan:  # fmt: skip
        limits = settings.limits(whole)
        limits = replace(limits, most=limits.most or most, shares=self.shares)

        def planned(more: Sequence[str] = ()) -> Plan:
            return plan.make(
                dense, self.scores, settings.target, method=settings.method,
                limits=replace(limits, keep=[*limits.keep, *more]), curves=self.curves,
                prices=table,
            )  # fmt: skip

        return own.own_class(dense, planned) if settings.own_class else planned()

    def towards(
        self, dense: Graph, settings: Settings, share: float | None, table: aim.Rows
    ) -> Plan:
        """The plan to ``share`` of the dense network's price (None: to what the settings say)."""
        wanted = settings if share is None else settings.towards(share)
        return self.plan(dense, wanted, None, table)


def rank(
    dense: Graph, evidence: Evidence, settings: Settings, *, told: Part = silent,
    losses: Mapping[str, Sequence[float]] | None = None,
) -> Ranking:  # fmt: skip
    """The scores; with ``losses`` at every width, if measured (method sensitivity), those as curves."""
    row = criterion(settings.score)
    sound(dense.model)
    scores, curves, shares = {}, {}, {}
    for done, (name, group) in enumerate(dense.groups.items()):
        told("choosing", done, len(dense.groups))
        scores[name] = row(dense, name, evidence)
        if row.lost is not None and settings.method != OWN:
            curves[name] = row.lost(dense, name, evidence)
        if row.width is not None and settings.method == OWN:
            shares[name] = row.width(dense, name, evidence) / group.width
    return Ranking(scores, losses or curves or None, shares)


def ranked(
    dense: Graph, evidence: Evidence, settings: Settings, *, told: Part = silent,
    losses: Mapping[str, Sequence[float]] | None = None, whole: Mapping[str, int] | None = None,
    trying: Part = silent, table: aim.Rows | None = None,
) -> Ranking:  # fmt: skip
    """The ranking that plans are made from; with method search its curves are weighted by trials.

    ``losses`` at every width, if measured (method sensitivity); ``whole``: the widths that the floor
    is a share of, if ``dense`` has been pruned already; ``table`` prices the trials.
    """
    ranking = rank(dense, evidence, settings, told=told, losses=losses)
    if settings.method != "search" or ranking.curves is None:
        return ranking

    def made(curves: plan.Curves) -> Plan:
        return replace(ranking, curves=curves).plan(dense, settings, whole, table)

    curves = searched(dense, evidence.images, ranking.curves, made, settings, trying)
    return replace(ranking, curves=curves)


def searched(
    dense: Graph,
    images: Images,
    curves: plan.Curves,
    made: Callable[[plan.Curves], Plan],
    settings: Settings,
    told: Part = silent,
) -> plan.Curves:
    """The curves, weighted so that the network planned by them keeps most of the outputs' variance.

    Each trial is repaired briefly on some of the images and judged on others of them: never on those
    that are held out to say what the result is worth.
    """
    few, judging = tries(images)
    rows = seen(dense.model, judging[0])
    expected = [answers(dense.model, x, rows) for x in judging]

    def judge(weights: Weights) -> float:
        planned = made(weighted(curves, weights))
        small = narrow(dense, planned.keep)
        lstsq(dense, small, planned.keep, few)
        found = compared(((a, answers(small.model, x, rows)) for a, x in pairs()), rows)
        return sum(o.variance_kept or 0.0 for o in found.outputs) / len(found.outputs)

    def pairs() -> Iterable[tuple[Sequence[Tensor], Example]]:
        return zip(expected, judging, strict=True)

    def tell(done: int) -> None:
        told("trying shares", done, settings.trials)

    return weighted(
        curves, search(list(curves), judge, settings.trials, settings.seed, tell).weights
    )


def tries(images: Images) -> tuple[Images, Sequence[Example]]:
    """First views of some images to repair a trial with, and of as many others to judge it on."""
    different = len(set(images.sources))
    if different < 2:
        raise EdgepruneError(
            "--method search", f"{len(images)} images are too few to judge on others", "give more"
        )
    some = min(TRIED, different // 2)
    return Images(images.batches[:some]), images.batches[some : 2 * some]


def repair(
    dense: Graph,
    keep: Mapping[str, Sequence[int]],
    images: Images,
    settings: Settings,
    told: Part = silent,
) -> tuple[Graph, list[Repaired]]:
    """Cut and compensate; least squares keeps the statistics of the batch norms, the others renew them."""
    pruned = narrow(dense, keep)
    repaired: list[Repaired] = []
    if settings.compensate == "mean":
        repaired = mean(dense, pruned, keep, images, told)
    if settings.compensate in ("none", "mean"):
        recalibrate(pruned.model, images.batches)
        return pruned, repaired
    if settings.compensate == "blocks":
        blocks(dense, pruned, keep, images, settings.block_steps, told=told)
        return pruned, repaired
    return pruned, lstsq(dense, pruned, keep, images, told)


def distilled(
    dense: Graph,
    pruned: Graph,
    keep: Mapping[str, Sequence[int]],
    examples: Examples,
    rows: Rows,
    settings: Settings,
    told: Part = silent,
) -> None:
    """The last touch, in place: the whole network at once learns the dense one's answers."""
    if settings.distil_steps:
        views = endless(examples, rows, settings.seed)
        distil(dense, pruned, keep, views, settings.distil_steps, told=told)


def forecast(
    model: nn.Module, pruned: nn.Module, batches: Sequence[Example], rows: Rowed | None = None
) -> Forecast:
    """Compare two networks on ``batches`` of examples, both in evaluation mode."""
    rows = seen(model, batches[0]) if rows is None else rows
    return compared(((answers(model, x, rows), answers(pruned, x, rows)) for x in batches), rows)


def compared(pairs: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]], rows: Rowed) -> Forecast:
    """What the second network's outputs, those of ``rows``, have kept of the first one's."""
    sums = [Comparison(port, task) for port, task in rows]
    for ours, theirs in pairs:
        for each, a, b in zip(sums, ours, theirs, strict=True):
            each.add(a, b)
    return Forecast(sums[0].n, tuple(each.result() for each in sums))


def seen(model: nn.Module, examples: Example) -> Rowed:
    """The outputs for such examples, each with its task as it is seen."""
    return tasks.judged(probe(model, inputs_of(model, examples)))


@torch.no_grad()
def answers(model: nn.Module, examples: Example, rows: Rowed) -> list[Tensor]:
    """The outputs of ``rows`` in evaluation mode; the model's mode is left as it was."""
    with evaluating(model):
        given = dict(named(call(model, examples)))
    for port, _ in rows:
        if port.name not in given:  # rows may come from a run that was received
            raise EdgepruneError(
                f"output {port.name!r}", f"the network gives {', '.join(given) or 'none'}",
                "prune it anew: this run is of another network",
            )  # fmt: skip
    return [given[port.name] for port, _ in rows]


def parts_of(settings: Settings) -> list[str]:
    return list(criterion(settings.score).parts)
