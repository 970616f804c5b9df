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
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..prune.images import Images
from ..runs import Run
from . import position, rounds, sensitivity
from .asked import Asked, Pruning
from .dense import result
from .position import Keep, Position
from .record import Watch
from .sensitivity import Curve

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import Graph


def iterative(run: Run, asked: Asked, dense: Loaded, dataset: Dataset, watch: Watch) -> str:
    """Prune the run's dense network as far as ``asked.pruning`` allows; returns why it stopped.

    Writes ``pruned.safetensors`` and ``spec.json``; a killed one goes on from ``state/pruning``.
    """
    settings = asked.pruning
    assert isinstance(settings, Pruning)
    if (stopped := position.pruned_already(run, watch)) is not None:
        return stopped
    precision = result(run, "dense")["precision"]
    layers = convolutions(dense.graph)
    if not layers:
        raise EdgepruneError("nothing to prune", "no convolution's filters can leave")
    baseline = rounds.accuracy(dense.model, dataset, dense, precision)
    epochs = max(1, settings.retrain_epochs)
    retrain = rounds.retraining(run, asked, epochs, settings.heal, distil=settings.distil)
    images = rounds.images_to_look_at(dataset, dense.convention, settings.images, settings.settings)
    curves = sensitivity.measure(
        run, dense, dataset, layers, settings.settings, images, settings.sensitivity_images,
        precision, watch,
    )  # fmt: skip
    _say_forecast(dense, dataset, settings, retrain, watch)
    now = position.read(run) or position.write(run, Position(0, {}), dense.graph)
    while now.ended is None:
        now = _step(run, asked, dense, dataset, images, retrain, baseline, curves, now, watch)
    position.finish(run, dense, dataset, now, method="iterative")
    return now.ended


def _step(
    run: Run, asked: Asked, dense: Loaded, dataset: Dataset, images: Images | None,
    retrain: train.Recipe, baseline: float, curves: Sequence[Curve], now: Position, watch: Watch,
) -> Position:  # fmt: skip
    """One prune-and-retrain round; the new position is on disk when it returns."""
    settings, number, started = asked.pruning, now.step + 1, time.perf_counter()
    assert isinstance(settings, Pruning)
    traced = position.read_network(run, dense, now)
    dense_widths = position.dense_widths(run)
    possible = candidates(curves, rounds.widths(traced), dense_widths, settings, saving(traced))
    chosen = decide(number, possible, settings)
    if isinstance(chosen, str):
        return position.write(run, replace(now, ended=chosen), traced)
    layer = chosen.layer
    evidence = rounds.look(traced, images, settings.settings)
    scores = rounds.score(traced, layer, evidence, settings.settings)
    keep = {layer: prune.largest(scores, chosen.width)}
    kept = prune.compose(now.kept, keep)
    smaller = rounds.smaller(traced, keep, images, settings.settings)
    before, accuracy = rounds.judged(
        run, smaller, dense, dataset, retrain.but(seed=asked.seed + number), number, watch,
        distil=settings.distil, train=settings.retrain_epochs > 0,
    )  # fmt: skip
    good = accepted(accuracy, baseline, settings)
    rounds.record(
        run, watch, smaller, number, layer=layer,
        removed=_removed(dense_widths, now.kept, kept, layer),
        before=before, accuracy=accuracy, baseline=baseline, kept=good,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    after = position.write(
        run, settle(now, Position(number, kept), good, settings), smaller if good else traced
    )
    rounds.retrained(run).unlink(missing_ok=True)
    return after


def _say_forecast(
    dense: Loaded, dataset: Dataset, settings: Pruning, retrain: train.Recipe, watch: Watch
) -> None:
    """How long a step takes at first (a smaller network is faster), and all of them at most."""
    if not settings.retrain_epochs:
        return
    step = train.measure(dense.model, dataset, dense.convention, retrain).seconds(retrain.epochs)
    steps = settings.max_steps or round(len(convolutions(dense.graph)) / settings.step)
    flags = ("--retrain-epochs", "--limit", "--step", "--max-steps")
    watch.note(
        f"each pruning step takes {train.sentence(step, ())}, at most {steps} steps "
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


def decide(number: int, possible: Sequence[Candidate], settings: Pruning) -> Candidate | str:
    """Step ``number`` (1, 2, ...), or why there is none."""
    if settings.max_steps is not None and number > settings.max_steps:
        return "--max-steps reached"
    return choose(possible, settings.sensitivity_images) or "no layer can give more"


def candidates(
    curves: Sequence[Curve], widths: Mapping[str, int], dense: Mapping[str, int], settings: Pruning,
    saved: Callable[[str, int], float],
) -> list[Candidate]:  # fmt: skip
    """What each layer could do next: down by ``step`` of its dense width, on the grid of ``round_to``.

    ``saved(layer, width)``: what that layer at that width saves of the present network.
    """
    found = []
    for curve in curves:
        width = next_width(widths[curve.layer], dense[curve.layer], settings)
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


def accepted(accuracy: float, baseline: float, settings: Pruning) -> bool:
    """Whether a step may stay: at most ``max_drop`` points (hundredths) below the baseline."""
    return baseline - accuracy <= settings.max_drop / 100 + 1e-9


def settle(before: Position, after: Position, good: bool, settings: Pruning) -> Position:
    """Go on from ``after``; a step that is not ``good`` is taken back, and it was the last."""
    if good:
        return after
    reason = f"step {after.step} fell more than {settings.max_drop:g} points below the baseline"
    return replace(before, ended=reason)


def next_width(width: int, dense: int, settings: Pruning) -> int | None:
    """``width`` less ``step * dense``, on the grid of ``round_to``; None if it is at its least.

    A step takes half of what is left at most: a quarter of 512 filters is all that a layer of 128 has.
    """
    grid = settings.round_to
    below = (width - 1) // grid * grid  # the next width on the grid
    half = -(-width // (2 * grid)) * grid
    wanted = round((width - settings.step * dense) / grid) * grid
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
