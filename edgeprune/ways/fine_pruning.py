"""Fine-Pruning (Tung, Muralidharan, Mori 2017): the shares are searched anew while the network is fine-tuned.

    repeat: Bayesian optimisation over the share of each group that stays (Optuna):
                cut the network as it is by them, its error on a sample of training images, nothing retrained
                least error - worth x share of the price that is saved
            apply the best; fine-tune the smaller network
            its weights go back into the whole one, where those that left still are

A filter that left is only masked until the last round is over: the next search may take it back, with the
weights that it had. What a group loses are its filters of lowest score, in the whole network as it is then.
Of the paper's description are the loop and the objective; masks here are of filters, where theirs are of
single weights. A killed one goes on from ``state/``.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint, extras, files, graph, prune, train
from ..errors import EdgepruneError, closest
from ..graph import Graph
from ..graph.inputs import Example, mapped
from ..prices import price_of
from ..prune import Keep
from . import position, rounds
from .position import Position
from .post_training import Settings
from .rounds import Means, Outcome
from .way import Row, Words, Work, between, check_heal, names, own, settings_of

FIRST: Mapping[str, Any] = {"score": "l1", "compensate": "none"}
SAMPLERS = ("tpe", "gp")
STEPS = 8  # shares of a group that are tried: eighths


@dataclass(frozen=True)
class FinePruning:
    """Shares searched and the network fine-tuned, in turns."""

    settings: Settings = field(default_factory=lambda: Settings(**FIRST))
    rounds: int = 4
    trials: int = 30  # of each search
    worth: float = 0.1  # accuracy (0..1) that all of the price is worth: the paper's lambda
    price: str = "flops"  # what is saved
    sampler: str = "tpe"  # one of SAMPLERS
    retrain_epochs: int = 5  # after each search
    heal: str = "restart"
    distil: bool = False
    images: int = 1024  # training images on which a trial is judged

    def __post_init__(self) -> None:
        between("rounds", self.rounds, 1, 1000)
        between("trials", self.trials, 2, 10_000)
        between("worth", self.worth, 0, 100)
        between("retrain_epochs", self.retrain_epochs, 0, 10_000)
        check_heal(self.heal)
        price_of(self.price)
        if self.sampler not in SAMPLERS:
            raise EdgepruneError(f"sampler {self.sampler!r}", closest(self.sampler, SAMPLERS))
        if self.settings.target is not None:
            raise EdgepruneError(
                "--way fine-pruning", "goes by --worth, to no target", "leave the target out"
            )


def of_words(typed: Words) -> FinePruning:
    chosen = {word: v for word, v in typed.items() if word != "trials"}  # of its own search
    return FinePruning(settings_of({**FIRST, **chosen}), **own(FinePruning, typed))


def page(work: Work[FinePruning]) -> str:
    """Search and fine-tune in turns; returns how often, and what is left."""
    extras.check("study", "--way fine-pruning")
    means = rounds.means(work)
    whole = graph.trace(copy.deepcopy(work.dense.model), work.dense.example)
    now = position.read(work.run) or Position(0, {})
    if now.ended is None:
        _take_up(work, whole)
    while now.ended is None:
        now = _round(work, means, whole, now)
    position.finish(work, now, method=ROW.name)
    return now.ended


def _round(work: Work[FinePruning], means: Means, whole: Graph, now: Position) -> Position:
    """One search and one fine-tuning; the new position is on disk when it returns."""
    number, started, way = now.step + 1, time.perf_counter(), work.way
    keep = search(work, means, whole, now, number)
    smaller = prune.narrow(whole, keep)
    before, accuracy = rounds.judged(work, means, smaller, number)
    outcome = Outcome(
        before=before,
        accuracy=accuracy,
        baseline=means.baseline,
        seconds=time.perf_counter() - started,
    )
    rounds.record(work, smaller, number, outcome)
    kept = {name: list(units) for name, units in keep.items()}
    give_back(whole, keep, smaller, doubled(work.dense.example))
    if number == way.rounds:
        after = Position(
            number, kept, f"{number} rounds of search and fine-tuning, {share_told(work, smaller)}"
        )
        position.write(work.run, after, smaller)
    else:  # the whole network is what the next search starts from
        after = position.write(work.run, Position(number, kept), whole)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def _take_up(work: Work[FinePruning], whole: Graph) -> None:
    """The whole network of the last round, into ``whole`` in place."""
    path = work.run.state_folder / "pruning.safetensors"
    if path.is_file():
        tensors, words = files.read_tensors(path)
        checkpoint.fill(whole.model, tensors, str(path))
        work.watch.note(f"goes on from step {json.loads(words['position'])['step']}")


def share_told(work: Work[FinePruning], smaller: Graph) -> str:
    price = price_of(work.way.price)
    share = price.of(smaller).dense / price.of(work.dense.graph).dense
    return f"{100 * share:.1f} % of the {price.word} left"


# -- the search ------------------------------------------------------------------------------------


def search(
    work: Work[FinePruning], means: Means, whole: Graph, now: Position, number: int
) -> dict[str, list[int]]:
    """What stays of each group, best of the trials; the first one keeps what the last round kept."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    way, price = work.way, price_of(work.way.price).of(whole)
    sample = work.labelled.train.take(way.images)
    evidence = rounds.look(whole, means.images, way.settings)
    scores = {n: rounds.score(whole, n, evidence, way.settings) for n in whole.groups}
    fewest = least(way.settings.floor)

    def value(shares: Mapping[str, float]) -> float:
        keep = kept_of(whole, scores, shares, way.settings)
        smaller = prune.narrow(whole, keep)
        judged = train.evaluate(
            smaller.model,
            sample,
            work.dense.convention,
            precision=means.recipe.precision,
            task=work.task,
        )
        left = price.at({n: len(units) for n, units in keep.items()}) / price.dense
        return objective(1 - judged.score, 1 - left, way.worth)

    def trial(drawn: Any) -> float:
        shares = {n: drawn.suggest_int(n, fewest, STEPS) / STEPS for n in scores}
        found = value(shares)
        work.watch.on_progress(f"round {number}: shares", drawn.number + 1, way.trials)
        return found

    seed = work.asked.seed * 1000 + number
    sampler = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[way.sampler]
    study = optuna.create_study(sampler=sampler(seed=seed))
    there = {n: len(now.kept.get(n, range(g.width))) / g.width for n, g in whole.groups.items()}
    study.enqueue_trial({n: max(fewest, round(STEPS * share)) for n, share in there.items()})
    study.optimize(trial, n_trials=way.trials)
    best = {n: v / STEPS for n, v in study.best_params.items()}
    return kept_of(whole, scores, best, way.settings)


def objective(error: float, saved: float, worth: float) -> float:
    """What the search makes least: ``error`` (0..1) less ``worth`` times the share ``saved`` (0..1).

    >>> round(objective(0.2, 0.5, 0.1), 6)
    0.15
    """
    return error - worth * saved


def least(floor: float) -> int:
    """The fewest eighths of a group that may stay.

    >>> least(0.1), least(0.25), least(0.3)
    (1, 2, 3)
    """
    return max(1, -int(-floor * STEPS // 1))


def kept_of(
    whole: Graph, scores: Mapping[str, Tensor], shares: Mapping[str, float], settings: Settings
) -> dict[str, list[int]]:
    """Of each group its units of highest score, as many as its share says."""
    limits = replace(settings.limits(), shares=shares)
    made = prune.plan.make(whole, scores, limits=limits).keep
    return {name: list(units) for name, units in made.items()}


def doubled(example: Example) -> Example:
    """In float64, in which every place of a tensor has a number of its own."""
    return mapped(example, lambda t: t.double() if t.is_floating_point() else t)


def give_back(whole: Graph, keep: Keep, smaller: Graph, example: Example) -> None:
    """Write the smaller network's tensors in place into the whole one's, where they came from.

    A copy of the whole network whose elements are their own numbers is cut likewise: what is left of it
    says where each element belongs.
    """
    places = copy.deepcopy(whole.model).double()
    with torch.no_grad():
        for tensor in places.state_dict().values():
            numbers = torch.arange(tensor.numel(), dtype=torch.float64)
            tensor.copy_(numbers.reshape(tensor.shape))
    traced = graph.trace(places, example)
    cut, new = prune.narrow(traced, keep).model.state_dict(), smaller.model.state_dict()
    with torch.no_grad():
        for name, tensor in whole.model.state_dict().items():
            if cut[name].ndim:  # counters have one element, which is all of them
                flat = tensor.reshape(-1).clone()
                flat[cut[name].reshape(-1).long()] = new[name].reshape(-1)
                tensor.copy_(flat.reshape(tensor.shape))


ROW = Row(
    name="fine-pruning",
    title="--way fine-pruning",
    value=FinePruning,
    of_words=of_words,
    words=names(FinePruning, "score", "floor") - {"images", "price", "sampler"},
    lacks=("does not apply to a search for shares", "leave it out"),
    page=page,
    target=False,
)
