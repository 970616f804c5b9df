"""Low rank (Denton et al. 2014; Jaderberg et al. 2014): layers become pairs of thinner ones, no training.

    singular values of every layer that can be a pair
    as many ranks of each as hold a share of their energy: --energy, or the most that the target leaves
    --energy and a target: then filters (and ranks) leave, by score and method, until it is met
    cut; what reads the ranks is repaired by least squares on images, no labels
    tell what it is expected to lose, on images that took no part; write both networks

In the run the pruned network is the dense one, its layers pairs at full rank (`Spec.factored`), cut.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .. import checkpoint, files, graph, prune
from ..errors import EdgepruneError
from ..graph import Graph
from ..graph.inputs import example_of
from ..graph.tensors import floating
from ..prune import low_rank
from ..prune.evidence import gather
from ..prune.images import Images
from . import position, unlabelled
from . import post_training as pt
from .dense import record_result
from .position import plan_of
from .post_training import Look, PostTraining, Settings
from .way import SETTINGS, Row, Words, Work, between, names, own, settings_of

COUNTS = ("flops", "params")  # in which ranks are chosen


@dataclass(frozen=True)
class LowRank:
    """Pairs whose ranks hold ``energy``, or leave what the target says; both: then filters leave."""

    settings: Settings = field(default_factory=Settings)
    energy: float | None = None  # share of the singular values' squares that each layer keeps

    def __post_init__(self) -> None:
        between("energy", 1.0 if self.energy is None else self.energy, 0, 1)
        target = self.settings.target
        if target is None and self.energy is None:
            raise EdgepruneError(
                "--way low-rank", "no target", "give --energy 0.9 or --keep-flops 0.5"
            )
        if target is not None and target.price not in COUNTS:
            raise EdgepruneError(
                f"--way low-rank and {target.option}", "ranks are chosen by FLOPs or parameters",
                "give --keep-flops or --keep-params",
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Decomposed:
    """The dense network with pairs at full rank, and the ranks that stay of them."""

    graph: Graph
    forms: Mapping[str, str]  # layer -> form
    ranks: prune.Keep

    @property
    def said(self) -> str:
        """The layers and what stays: ``3 layers as pairs: features.4 of 17 ranks (spatial), ...``."""
        parts = [
            f"{n} of {len(self.ranks[low_rank.middle(n)])} ranks ({f})"
            for n, f in self.forms.items()
        ]
        more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
        return f"{len(parts)} layers as pairs: {', '.join(parts[:4])}{more}"


def of_words(typed: Words) -> LowRank:
    return LowRank(settings_of(typed), **own(LowRank, typed))


def decomposed(dense: Graph, way: LowRank) -> Decomposed:
    """The pairs that the way asks for; what cannot be reached is refused."""
    seen = low_rank.spectra(dense.model)
    multiple, energy, target = way.settings.multiple, way.energy, way.settings.target
    if energy is None:
        assert target is not None
        share = target.share if target.share is not None else 1.0
        rows = {r.layer: float(getattr(r, target.price)) for r in graph.cost(dense).rows}
        costs = {n: rows.get(n, 0.0) for n in seen}
        energy = low_rank.energy_for(seen, costs, sum(rows.values()), share, multiple)
    factors = {} if energy is None else low_rank.chosen(seen, energy, multiple)
    if not factors:
        raise EdgepruneError(
            "--way low-rank", "no choice of ranks makes the network so small" if seen and energy is None
            else "no layer has a pair that is smaller", "ask for more to stay, or prune filters"
            if energy is None else "give a lower --energy",
        )  # fmt: skip
    forms = {name: f.form for name, f in factors.items()}
    example = example_of(dense.inputs, 2, floating(dense.model))
    full = graph.trace(low_rank.decomposed(dense.model, forms), example)
    ranks = {low_rank.middle(n): list(range(f.rank)) for n, f in factors.items()}
    return Decomposed(full, forms, ranks)


def filters(dense: Graph, made: Decomposed, way: LowRank, images: Images) -> prune.Keep:
    """What stays in all, where ranks alone were to hold an energy and a target is left to reach."""
    target = way.settings.target
    if way.energy is None or target is None or target.share is None:
        return made.ranks
    small, _ = pt.repair(made.graph, made.ranks, images, way.settings)
    now = getattr(graph.cost(small), target.price) / getattr(graph.cost(dense), target.price)
    if now <= target.share:
        return made.ranks
    settings = way.settings.towards(target.share / now)
    evidence = gather(small, images, parts=pt.parts_of(settings))
    plan = pt.ranked(small, evidence, settings).plan(small, settings)
    return prune.compose(made.ranks, plan.keep)


def page(work: Work[LowRank]) -> str:
    """Decompose, cut, repair, tell, write; returns how closely the target was met."""
    judges = unlabelled.judging(work)
    begun = time.perf_counter()
    made, start, done = computed(work)
    with work.open():
        ended = write(work, made, start, done, judges)
    return f"{ended}; {time.perf_counter() - begun:.0f} s"


def computed(work: Work[LowRank]) -> tuple[Decomposed, Look, PostTraining]:
    """The smaller network; nothing of it is written, the loss is told."""
    if work.examples is None:
        raise EdgepruneError("--way low-rank", "has no images to look at", "add --images FOLDER")
    settings, dense = work.way.settings, work.dense.graph
    made = decomposed(dense, work.way)
    work.watch.note(made.said)
    start = pt.look(made.graph.model, work.examples, settings, work.rows)
    keep = filters(dense, made, work.way, start.images)
    plan = plan_of(start.dense, {n: list(u) for n, u in keep.items()}, ROW.name, work.goal)
    plan = replace(plan, dense=position.costs(dense, {}, (), work.prices))
    done = pt.applied(start, plan, settings)
    for note in done.notes:
        work.watch.note(note)
    work.watch.note(f"expected: {done.forecast.sentence()}")
    return made, start, done


def write(
    work: Work[LowRank],
    made: Decomposed,
    start: Look,
    done: PostTraining,
    judges: unlabelled.Judges,
) -> str:
    """Everything into the run, ``pruned.safetensors`` last: with it the run is whole."""
    run, dense = work.run, work.dense
    unlabelled.write_dense(work, judges)
    goal = done.plan.sentence()
    ended = (
        f"target reached: {goal}"
        if goal
        else f"each layer keeps {100 * (work.way.energy or 0):g} % of its energy"
    )
    record_result(
        run, "pruned", done.graph, *unlabelled.accuracies(work, done.model, judges),
        steps=1, stopped=ended, images=done.forecast.images, agreement=done.forecast.agreement,
        variance_kept=done.forecast.variance_kept, outputs=list(done.forecast.outputs),
        seconds=done.seconds,
    )  # fmt: skip
    files.write_json(run.plan_path, done.plan.to_json())
    checkpoint.write_spec(
        run, dense.spec, dense.convention, dense.classes, dense.graph.widths, done.plan.keep,
        factored=made.forms,
    )  # fmt: skip
    checkpoint.write_weights(run, "pruned", done.model, dense.spec, dense.convention)
    return ended


ROW = Row(
    name="low-rank",
    title="--way low-rank",
    value=LowRank,
    of_words=of_words,
    words=names(LowRank, *SETTINGS) - {"distil_steps", "own_class"},
    lacks=("means training, and --way low-rank does none", "leave it out"),
    page=page,
    target=False,
    labels=False,
    filters=False,
)
