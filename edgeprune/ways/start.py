"""From what was typed to a way's page: the network and the run that it needs, then the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import checkpoint, extras, prices, runs
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..prices import Price
from ..prune import Plan
from ..runs import Run
from . import position
from . import wanted as words
from .dense import dense, fitted, refuse_early
from .opening import claim, opened
from .record import Watch
from .table import row_of
from .wanted import Wanted
from .way import Row, Way, Work


@dataclass(frozen=True)
class Pruned:
    """The run with both networks in it, and how the pruning ended."""

    run: Run
    ended: str


@dataclass(frozen=True)
class Planned:
    """What would be applied to the dense network."""

    plan: Plan
    dense: Loaded
    note: str  # what the plan does not show
    prices: Mapping[str, Price]  # what it is counted in


def train(wanted: Wanted, watch: Watch) -> Run:
    """A run with a trained dense network."""
    extras.check("train", "training", "accelerate")
    asked, dataset = words.resolve(wanted, None, watch)
    with opened(asked, wanted.name or words.default_name(asked), wanted.argv) as run:
        dense(run, asked, dataset, watch)
        return run


def prune(wanted: Wanted, way: Way, given: Plan | None, watch: Watch) -> Pruned:
    """Prune in ``way``; killed, it goes on where it was when it is called again.

    ``given`` is a plan to apply instead of making one.
    """
    row = _row(way, wanted)
    return (_trained if row.labels else _given)(row, wanted, way, given, watch)


def dry(wanted: Wanted, way: Way, given: Plan | None, watch: Watch) -> Planned:
    """The plan of a way that goes to a target, for a network that is trained already."""
    row = _row(way, wanted)
    if row.dry is None:
        raise EdgepruneError(
            "--dry-run", f"{row.title}, plans from step to step, by what retraining brings",
            f"give a target: {prices.options()}",
        )  # fmt: skip
    there = words.given_whole(wanted, way, watch)
    asked, network = there.asked, there.dense
    check(given, network)
    run = there.parent or runs.named(words.default_name(asked))
    examples = None if row.labels else words.examples(there, watch)
    work = Work(run, asked, way, network, there.dataset, watch, given, examples)
    refuse_early(network.graph, way, asked.model)
    return Planned(row.dry(work), network, row.dry_note(way), work.prices)


def _row(way: Way, wanted: Wanted) -> Row[Any]:
    row = row_of(way)
    if row.labels and wanted.images is not None:
        raise EdgepruneError("--images", "is for --post-training", "add it, or use --data")
    return row


def _trained(row: Row[Any], wanted: Wanted, way: Way, given: Plan | None, watch: Watch) -> Pruned:
    """With labels: the run is opened first, and its dense network trained if need be."""
    extras.check("train", "training", "accelerate")
    parent = None if wanted.run is None else runs.find(wanted.run)
    if parent is None:
        asked, dataset = words.resolve(wanted, way, watch)
    else:
        asked = words.of_run(parent, way, Wanted())  # its own words decide the rest
        dataset = words.labelled(asked, watch)
    name = wanted.name or (parent.name if parent else words.default_name(asked))
    if parent is not None and parent.has("dense") and not runs.named(name).has("dense"):
        before = checkpoint.load(parent, "dense")  # a refusal leaves no new run behind
        check(given, before)
        refuse_early(before.graph, way, asked.model)
    with opened(asked, name, wanted.argv, parent) as run:
        network = dense(run, asked, dataset, watch)
        dataset = fitted(dataset, network.signature, asked.task)
        check(given, network)
        if (stopped := position.pruned_already(run, watch)) is not None:
            return Pruned(run, stopped)
        refuse_early(network.graph, way, asked.model)
        return Pruned(run, row.page(Work(run, asked, way, network, dataset, watch, given)))


def _given(row: Row[Any], wanted: Wanted, way: Way, given: Plan | None, watch: Watch) -> Pruned:
    """Without labels: the network is there; the run is opened when all is computed."""
    there = words.given_whole(wanted, way, watch)
    parent, asked, network = there.parent, there.asked, there.dense
    check(given, network)
    name = wanted.name or (parent.name if parent else words.default_name(asked))
    run, new = claim(asked, name)
    if not new and (stopped := position.pruned_already(run, watch)) is not None:
        return Pruned(run, stopped)
    refuse_early(network.graph, way if row.filters else None, asked.model)
    examples = words.examples(there, watch)
    opening = partial(opened, asked, name, wanted.argv, parent)
    work = Work(run, asked, way, network, there.dataset, watch, given, examples, opening)
    return Pruned(run, row.page(work))


def check(plan: Plan | None, dense: Loaded) -> None:
    """Refuse a plan of another network."""
    if plan is not None:
        plan.check(dense.graph)
