"""The paper's procedure (Hubens et al. 2020, section 3.2): one layer at a time, retraining in between.

    repeat: choose (layer, m) from the sensitivity analysis
            remove the m filters of smallest L1 norm (--score: of another criterion's lowest
            scores), with their maps and the next layer's kernels; --compensate repairs
            retrain the whole network, at the lowest learning rate of the dense training
            validation accuracy more than max_drop below the baseline: take the step back and stop

What the paper leaves open is decided here and said: the choice of the layer (`choose`), m
(``step``), "1 %" as points, the failing step rolled back, a fresh optimizer in each step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import graph, prune, train
from ..errors import EdgepruneError
from ..prune import Keep
from ..prune import own as own_class
from . import position, rounds, sensitivity
from .position import Position
from .post_training import Settings
from .rounds import Means, Outcome
from .sensitivity import Curve
from .way import Row, Words, Work, between, check_heal, names, own

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Paper:
    """What the procedure leaves open, made explicit."""

    step: float = 0.125  # share of a layer's dense width that one step removes (at least round_to)
    max_drop: float = (
        1.0  # points of validation accuracy below the baseline that are still accepted
    )
    retrain_epochs: int = 5  # after each step, at the lowest learning rate of the dense training
    max_steps: int | None = None  # None: until the accuracy falls
    round_to: int = 1  # widths are multiples of it
    sensitivity_images: int = 1000  # validation images that the sensitivity analysis looks at
    score: str = "l1"  # which filters of the layer leave: one of prune.SCORES
    compensate: str = "none"  # one of post_training.COMPENSATIONS, before retraining
    heal: str = "paper"  # one of way.HEALS
    distil: bool = False  # the dense network teaches while retraining
    own_class: bool = False  # a layer of which the network's Python wants all stays whole
    images: int = 256  # training images, labels unused, for scores and compensation that look

    def __post_init__(self) -> None:
        between("step", self.step, 0.001, 0.9)
        between("max_drop", self.max_drop, 0, 100)
        between("retrain_epochs", self.retrain_epochs, 0, 10_000)
        between("round_to", self.round_to, 1, 1024)
        check_heal(self.heal)
        _ = self.settings  # refuses a score or a compensation that is not known

    @property
    def settings(self) -> Settings:
        """Score and repair of one step, as all other ways hold them."""
        return Settings(score=self.score, compensate=self.compensate)


def of_words(typed: Words) -> Paper:
    return Paper(**own(Paper, typed))


def page(work: Work[Paper]) -> str:
    """Prune the run's dense network as far as the way allows; returns why it stopped.

    Writes ``pruned.safetensors`` and ``spec.json``; a killed one goes on from ``state/pruning``.
    """
    layers = convolutions(work.dense.graph)
    if not layers:
        raise EdgepruneError(
            "nothing to prune", "no convolution's filters can leave", "edgeprune inspect says why"
        )
    means = rounds.means(work)
    curves = sensitivity.measure(work, layers, means.images, means.recipe.precision)
    _say_forecast(work, means.recipe, len(layers))
    now = position.begin(work)
    while now.ended is None:
        now = _step(work, means, curves, now)
    position.finish(work, now, method=ROW.name)
    return now.ended


def _step(work: Work[Paper], means: Means, curves: Sequence[Curve], now: Position) -> Position:
    """One prune-and-retrain round; the new position is on disk when it returns."""
    way, number, started = work.way, now.step + 1, time.perf_counter()
    traced = position.read_network(work, now)
    dense = rounds.widths(work.dense.graph)
    possible = candidates(curves, rounds.widths(traced), dense, way, saving(traced))
    evidence = rounds.look(traced, means.images, way.settings)
    chosen = decide(number, possible, way)
    while not isinstance(chosen, str):
        layer = chosen.layer
        ranked = rounds.score(traced, layer, evidence, way.settings)
        keep = {layer: prune.largest(ranked, chosen.width)}
        if not way.own_class or own_class.stands(traced, keep):
            break
        possible = [other for other in possible if other.layer != layer]
        chosen = decide(number, possible, way)
    else:
        return position.write(work.run, replace(now, ended=chosen), traced)
    kept = prune.compose(now.kept, keep)
    smaller = rounds.smaller(traced, keep, means.images, way.settings)
    before, accuracy = rounds.judged(work, means, smaller, number)
    good = accepted(accuracy, means.baseline, way)
    outcome = Outcome(
        layer, _removed(dense, now.kept, kept, layer), before, accuracy, means.baseline, good,
        time.perf_counter() - started,
    )  # fmt: skip
    rounds.record(work, smaller, number, outcome)
    after = settle(now, Position(number, kept), good, way)
    position.write(work.run, after, smaller if good else traced)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def _say_forecast(work: Work[Paper], retrain: train.Recipe, layers: int) -> None:
    """How long a step takes at first (a smaller network is faster), and all of them at most."""
    way, dense = work.way, work.dense
    if not way.retrain_epochs:
        return
    pace = train.measure(dense.model, work.labelled, dense.convention, retrain)
    step = pace.seconds(retrain.epochs)
    steps = way.max_steps or round(layers / way.step)
    flags = ("--retrain-epochs", "--limit", "--step", "--max-steps")
    work.watch.note(
        f"each pruning step takes {train.sentence(step, ())}, at most "
        f"{steps} step{'s' * (steps != 1)} "
        f"{train.sentence(step * steps, flags)}"
    )


# -- the decisions: pure, so that a table of accuracies can be played through them -----------------


@dataclass(frozen=True)
class Candidate:
    """A step that could come next: one layer made narrower."""

    layer: str
    width: int  # that it would have
    accuracy: float  # 0..1, by its measured curve; nothing retrained
    saved: float  # shares of the present parameters and FLOPs that leave, added


def decide(number: int, possible: Sequence[Candidate], way: Paper) -> Candidate | str:
    """Step ``number`` (1, 2, ...), or why there is none."""
    if way.max_steps is not None and number > way.max_steps:
        return "--max-steps reached"
    return choose(possible, way.sensitivity_images) or "no layer can give more"


def candidates(
    curves: Sequence[Curve], widths: Mapping[str, int], dense: Mapping[str, int], way: Paper,
    saved: Callable[[str, int], float],
) -> list[Candidate]:  # fmt: skip
    """What each layer could do next: down by ``step`` of its dense width, on the grid of ``round_to``.

    ``saved(layer, width)``: what that layer at that width saves of the present network.
    """
    found = []
    for curve in curves:
        width = next_width(widths[curve.layer], dense[curve.layer], way)
        if width is not None:
            accuracy = curve.at(1 - width / dense[curve.layer])
            found.append(Candidate(curve.layer, width, accuracy, saved(curve.layer, width)))
    return found


def choose(possible: Sequence[Candidate], images: int) -> Candidate | None:
    """Of those whose accuracy falls least the one that saves most; None when there is none.

    Least to within the noise of a sample of ``images``: one standard error of the best accuracy.
    """
    if not possible:
        return None
    best = max(c.accuracy for c in possible)
    noise = (max(best * (1 - best), 0.01) / images) ** 0.5
    return max((c for c in possible if c.accuracy >= best - noise), key=lambda c: c.saved)


def accepted(accuracy: float, baseline: float, way: Paper) -> bool:
    """Whether a step may stay: at most ``max_drop`` points (hundredths) below the baseline."""
    return baseline - accuracy <= way.max_drop / 100 + 1e-9


def settle(before: Position, after: Position, good: bool, way: Paper) -> Position:
    """Go on from ``after``; a step that is not ``good`` is taken back, and it was the last."""
    if good:
        return after
    reason = f"step {after.step} fell more than {way.max_drop:g} points below the baseline"
    return replace(before, ended=reason)


def next_width(width: int, dense: int, way: Paper) -> int | None:
    """``width`` less ``step * dense``, on the grid of ``round_to``; None if it is at its least.

    A step takes half of what is left at most: a quarter of 512 filters is all that a layer of 128 has.
    """
    grid = way.round_to
    below = (width - 1) // grid * grid  # the next width on the grid
    half = -(-width // (2 * grid)) * grid
    wanted = round((width - way.step * dense) / grid) * grid
    new = min(below, max(wanted, half))
    return new if new >= max(grid, 1) else None


def convolutions(traced: Graph) -> list[str]:
    """Groups made by convolutions; the paper's dense layers keep their width."""
    rows = {row.layer: row.kind for row in graph.cost(traced).rows}
    return [
        n for n, g in traced.groups.items() if all("conv" in rows.get(p, "") for p in g.producers)
    ]


def saving(traced: Graph) -> Callable[[str, int], float]:
    """What a layer at a width saves of this network, as `Candidate.saved`."""
    now = graph.cost(traced)

    def saved(layer: str, width: int) -> float:
        then = graph.cost(traced, {layer: width})
        return (now.params - then.params) / now.params + (now.flops - then.flops) / now.flops

    return saved


def _removed(dense: Mapping[str, int], before: Keep, after: Keep, layer: str) -> list[int]:
    """Units of the dense network that this step took."""
    there = before.get(layer, list(range(dense[layer])))
    return sorted(set(there) - set(after[layer]))


ROW = Row(
    name="paper",
    title="the paper's way, which stops by accuracy",
    value=Paper,
    of_words=of_words,
    words=names(Paper) - {"images", "sensitivity_images"},
    lacks=(
        "does not apply to the paper's way, it leads to a target",
        "give a target, such as --keep-flops 0.5",
    ),
    page=page,
    target=False,
    formerly="iterative",
)
