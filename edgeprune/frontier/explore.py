"""The page of ``edgeprune frontier``: look once, make networks from exact to fast, measure them together.

look at unlabelled images, rank every unit (ways/post_training.py)
repeat: which network shows most (ladder.py)
        plan, cut, repair, judge on held-out images, write as .onnx
measure all of them beside the dense one, interleaved (bench)
only then write: the dense network, each plan, every sample, the table

The smaller networks' weights are not kept: ``prune --pick N`` makes one again from its plan, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import files, quantise, records, runs, units
from ..bench import measure
from ..bench.devices import Device
from ..bench.scratch import Scratch
from ..errors import EdgepruneError
from ..export.answers import answers
from ..graph import Graph, cost
from ..graph.inputs import Example
from ..memory import give_back
from ..prices import PRICES, price_of
from ..prune import Plan
from ..prune.evidence import gather
from ..prune.plan import least
from ..records import Output, Place, Request
from ..runs import Run
from ..tasks import TASKS
from ..ways import (
    Settings,
    Unlabelled,
    Wanted,
    Watch,
    aim,
    claim,
    opened,
    quantising,
    unlabelled,
    wanted,
)  # fmt: skip
from ..ways.dense import refuse_early
from ..ways.post_training import Look, applied, look, parts_of, rank
from ..ways.table import fingerprint
from ..ways.visiting import written
from ..ways.way import Work
from .ladder import beaten, next_share

FEWEST, MOST = 2, 20  # networks besides the dense one


@dataclass(frozen=True)
class Wish:
    """What is asked of a frontier."""

    settings: Settings = field(default_factory=Settings)
    points: int = 7  # networks besides the dense one
    device: str = "cpu"
    int8: bool = False  # each network in 8 bits too
    request: Request = field(default_factory=lambda: Request(rounds=30, seconds=3.0))

    def __post_init__(self) -> None:
        if not FEWEST <= self.points <= MOST:
            raise EdgepruneError(f"--points {self.points}", f"must lie in {FEWEST}..{MOST}")
        if self.settings.method == "search":
            raise EdgepruneError("--method search", "goes to one target", "leave it out")

    @property
    def place(self) -> Place:
        return Place(self.device, self.request.threads)


@dataclass(frozen=True)
class Found:
    """The run, and what lies in it now."""

    run: Run
    frontier: records.Frontier


@dataclass(frozen=True)
class Made:
    """One network as it was made: enough to measure it and to make it again."""

    file: Path
    params: int
    flops: int
    plan: Plan | None = None  # None: the dense one
    share: float = 1.0
    outputs: tuple[Output, ...] = ()
    int8: bool = False

    @property
    def kept(self) -> float:
        return kept_of(self.outputs)


def explore(words: Wanted, wish: Wish, place: str | Device, watch: Watch) -> Found:
    """Make and measure the networks, then write them into the run, new or the one that was named."""
    begun = time.perf_counter()
    work = _work(words, wish, watch)
    judges = unlabelled.judging(work)
    with Scratch() as folder:
        start, floats = _networks(work, wish, folder)
        made = [*floats, *(_in_8_bits(work, start, floats, folder) if wish.int8 else [])]
        measured = measure(
            [m.file for m in made], out=folder / "bench.json", device=place, label=wish.device,
            request=wish.request, names=[_name(i, len(floats)) for i in range(len(made))],
            watch=partial(_measuring, watch, wish.request),
        )  # fmt: skip
        points = [
            *_points(made[: len(floats)], measured.networks, start.judges),
            *_points(made[len(floats) :], measured.networks[len(floats) :], start.judges),
        ]
        frontier = records.Frontier(
            created=runs.now(), device=wish.device, threads=wish.request.threads,
            price=aim.counted_in(wish.place)[0].price,
            images=start.judges, points=points, seconds=time.perf_counter() - begun,
            plans={str(i): fingerprint(m.plan) for i, m in enumerate(floats) if m.plan is not None},
        )  # fmt: skip
        with work.open():
            unlabelled.write_dense(work, judges)
            _write(work.run, floats, folder / "bench.json", frontier)
    return Found(work.run, frontier)


def kept_of(outputs: Sequence[Output]) -> float:
    """What is kept of the dense network: the share of its answers, else of its outputs' variance."""
    if not outputs:
        return 1.0
    found = [o.measures.get("agreement", o.variance_kept) for o in outputs]
    known = [value for value in found if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else 0.0


def answered(outputs: Sequence[Output]) -> bool:
    """Whether `kept_of` is a share of answers, one an image."""
    return len(outputs) == 1 and outputs[0].task in TASKS and TASKS[outputs[0].task].counted


def _work(words: Wanted, wish: Wish, watch: Watch) -> Work[Any]:
    """The network, the run, the images; everything that is refused before any work."""
    way = Unlabelled(wish.settings)
    there = wanted.given_whole(words, way, watch)
    asked = replace(there.asked, pruning=None)  # nothing in the run is pruned by this
    parent = there.parent
    name = words.name or (parent.name if parent else wanted.default_name(asked))
    run, _ = claim(asked, name)
    refuse_early(there.dense.graph, way, asked.model)
    limits = wish.settings.limits()
    if least(there.dense.graph, limits, PRICES["flops"]) >= 1:
        raise EdgepruneError(
            f"{asked.model}: no layer gets narrower",
            f"widths are multiples of {limits.multiple} and at least {limits.floor or 0:g} of the dense ones",
            "lower --round-to or --floor",
        )
    examples = wanted.examples(there, watch)
    if examples is None:
        raise EdgepruneError("frontier", "has no images to look at", "add --images FOLDER")
    opening: Callable[[], AbstractContextManager[Any]] = partial(
        opened, asked, name, words.argv, parent
    )
    return Work(run, asked, way, there.dense, there.dataset, watch, None, examples, opening)


def _networks(work: Work[Any], wish: Wish, folder: Path) -> tuple[Look, list[Made]]:
    """The dense network and those made of it, from exact to fast, each as a file in ``folder``."""
    assert work.examples is not None
    settings = work.way.settings
    start = look(work.dense.model, work.examples, settings, work.rows)
    dense, tell = start.dense, work.watch.on_progress
    evidence = gather(dense, start.images, parts=parts_of(settings), told=tell)
    ranking = rank(dense, evidence, settings, told=tell)
    del evidence
    give_back()
    goal, table = aim.counted_in(wish.place)
    row = price_of(goal.price, table)
    price, smallest = row.of(dense), least(dense, settings.limits(), row)
    made = [_made(dense, folder / "0.onnx", start.judge[0])]
    for number in range(1, wish.points + 1):
        share = next_share([(m.share, m.kept) for m in made], smallest)
        if share is None:
            break
        tell("networks", number - 1, wish.points)
        towards = replace(settings, target=replace(goal, share=share))
        plan = ranking.plan(dense, towards, table=table)
        if any(m.plan is not None and m.plan.keep == plan.keep for m in made):
            break  # the grid of widths has no more between
        done = applied(start, plan, towards)
        one = _made(done.graph, folder / f"{number}.onnx", start.judge[0])
        one = replace(one, plan=plan, outputs=done.forecast.outputs)
        share = price.at(plan.widths) / price.dense
        made.append(replace(one, share=share))
        work.watch.note(
            f"{units.percent(share, 0)} of the {row.word}: keeps "
            f"{units.percent(one.kept)} of the dense network's "
            f"{'answers' if answered(one.outputs) else 'outputs'}"
        )
    return start, sorted(made, key=lambda m: -m.share)


def _made(traced: Graph, file: Path, some: Example) -> Made:
    counts = cost(traced)
    return Made(written(traced, file, some), counts.params, counts.flops)


def _in_8_bits(work: Work[Any], start: Look, floats: Sequence[Made], folder: Path) -> list[Made]:
    """Each network in 8 bits, judged beside the dense one in float; calibrated on what was looked at."""
    examples, made = quantising.spread(start.examples, start.calibrating), []
    for number, one in enumerate(floats):
        work.watch.on_progress("networks in 8 bits", number, len(floats))
        path = one.file.with_stem(f"{one.file.stem}-int8")
        quantise.save(quantise.of_file(one.file, examples).proto, path)
        found = answers(
            [floats[0].file, path], ((x, None) for x in start.judge), work.dense.signature,
            start.rows, [(0, 1)],
        )  # fmt: skip
        made.append(replace(one, file=path, plan=None, outputs=tuple(found.outputs[0]), int8=True))
        work.watch.note(
            f"{_name(number, len(floats))} in 8 bits: keeps {units.percent(made[-1].kept)} "
            f"({units.percent(one.kept)} in float)"
        )
    return made


def _points(
    made: Sequence[Made], measured: Sequence[records.Judged], images: int
) -> list[records.Point]:
    """Of networks in as many bits, from the dense one on."""
    ahead = beaten(
        [(j.latency.median_s or math.inf, m.kept) for m, j in zip(made, measured, strict=False)]
    )
    return [
        records.Point(
            number=number, int8=one.int8, share=one.share, params=one.params, flops=one.flops,
            bytes=judged.bytes, kept=one.kept, outputs=list(one.outputs), latency=judged.latency,
            kept_interval=units.wilson(one.kept, images) if answered(one.outputs) else None,
            speedup=judged.speedup, speedup_interval=judged.speedup_interval,
            verdict=judged.verdict, beaten_by=ahead[number],
        )
        for number, (one, judged) in enumerate(zip(made, measured, strict=False))
    ]  # fmt: skip


def _write(run: Run, made: Sequence[Made], samples: Path, frontier: records.Frontier) -> None:
    """Plans and samples first; with the table the frontier is whole."""
    for number, one in enumerate(made):
        if one.plan is not None:
            files.write_json(run.frontier_plan_path(number), one.plan.to_json())
    files.write_bytes(run.frontier_path.with_name("bench.json"), samples.read_bytes())
    files.write_json(run.frontier_path, records.plain(frontier))


def _name(place: int, floats: int) -> str:
    """Of the network in that place; those in 8 bits follow the float ones."""
    own = str(place % floats) if place % floats else "dense"
    return own if place < floats else records.int8_of(own)


def _measuring(watch: Watch, request: Request, event: records.Event) -> None:
    if event.round is not None and event.model == 0:
        watch.on_progress("measuring", min(event.round.round + 1, request.rounds), request.rounds)
