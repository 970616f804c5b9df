"""The page of ``edgeprune frontier``: look once, make networks from exact to fast, measure them together.

look at unlabelled images, rank every unit (ways/post_training.py)
repeat: which network shows most (ladder.py)
        plan, cut, repair, judge on held-out images, write as .onnx
measure all of them beside the dense one, interleaved (bench)
only then write: each plan, every sample, the table

Killed, the same command goes on: what was looked at and each network lie in the run until all are
measured (halfway.py). The smaller networks' weights are not kept: ``prune --pick N`` makes one again from
its plan, bit for bit.
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
from ..ways.post_training import Look, Ranking, applied, look, parts_of, rank
from ..ways.table import fingerprint
from ..ways.visiting import written
from ..ways.way import Work
from . import halfway
from .halfway import Halfway, Made
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


def explore(words: Wanted, wish: Wish, place: str | Device, watch: Watch) -> Found:
    """Make and measure the networks, then write them into the run, new or the one that was named."""
    begun = time.perf_counter()
    work = _work(words, wish, watch)
    start, done, floats = _networks(work, wish, unlabelled.judging(work))
    made = [*floats, *(_in_8_bits(start, floats, done) if wish.int8 else [])]
    with Scratch() as folder:
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
            price=aim.counted_in(wish.place)[0].price, compensate=wish.settings.compensate,
            images=start.judges, points=points, seconds=time.perf_counter() - begun,
            plans={str(i): fingerprint(m.plan) for i, m in enumerate(floats) if m.plan is not None},
        )  # fmt: skip
        with work.open():
            _write(work.run, floats, folder / "bench.json", frontier)
            done.forget()
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


def _networks(
    work: Work[Any], wish: Wish, judges: unlabelled.Judges
) -> tuple[Look, Halfway, list[Made]]:
    """The dense network and those made of it, from exact to fast, each as a file in the run's state."""
    assert work.examples is not None
    settings, tell = work.way.settings, work.watch.on_progress
    start = look(work.dense.model, work.examples, settings, work.rows)
    goal, table = aim.counted_in(wish.place)
    row = price_of(goal.price, table)
    price, smallest = row.of(start.dense), least(start.dense, settings.limits(), row)
    done = halfway.of(work, start, settings, (goal.price, price.dense, smallest))
    ranking = _looked(start, done, judges)
    dense = done.made("0")
    made = [dense or _made(done, "0", start.dense, start)]
    for number in range(1, wish.points + 1):
        share = next_share([(m.share, kept_of(m.outputs)) for m in made], smallest)
        if share is None:
            break
        tell("networks", number - 1, wish.points)
        one = done.made(str(number))
        if one is None:
            towards = replace(settings, target=replace(goal, share=share))
            plan = ranking.plan(start.dense, towards, table=table)
            if any(m.plan is not None and m.plan.keep == plan.keep for m in made):
                break  # the grid of widths has no more between
            found = applied(start, plan, towards)
            share = price.at(plan.widths) / price.dense
            one = _made(done, str(number), found.graph, start, plan, share, found.forecast.outputs)
        made.append(one)
        work.watch.note(
            f"{units.percent(one.share, 0)} of the {row.word}: keeps "
            f"{units.percent(kept_of(one.outputs))} of the dense network's "
            f"{'answers' if answered(one.outputs) else 'outputs'}"
        )
    return start, done, sorted(made, key=lambda m: -m.share)


def _looked(start: Look, done: Halfway, judges: unlabelled.Judges) -> Ranking:
    """What the look at the images says of every unit; from now on the run holds what is done."""
    work, dense = done.work, start.dense
    settings, tell = work.way.settings, work.watch.on_progress
    ranking = done.ranking(list(dense.groups))
    if ranking is not None:
        work.watch.note("goes on where it was broken off: the look at the images is there")
        return ranking
    evidence = gather(dense, start.images, parts=parts_of(settings), told=tell)
    ranking = rank(dense, evidence, settings, told=tell)
    del evidence
    give_back()
    with work.open():
        unlabelled.write_dense(work, judges)
        done.begin()
        done.keep_ranking(ranking)
    return ranking


def _made(
    done: Halfway, name: str, traced: Graph, start: Look, plan: Plan | None = None,
    share: float = 1.0, outputs: tuple[Output, ...] = (),
) -> Made:  # fmt: skip
    """Written and kept."""
    counts = cost(traced)
    with done.work.open():
        done.path(name).unlink(missing_ok=True)  # one that has no record, or another's
        file = written(traced, done.path(name), start.judge[0])
        return done.keep(Made(file, counts.params, counts.flops, plan, share, outputs))


def _in_8_bits(start: Look, floats: Sequence[Made], done: Halfway) -> list[Made]:
    """Each network in 8 bits, judged beside the dense one in float; calibrated on what was looked at."""
    work = done.work
    examples, made = quantising.spread(start.examples, start.calibrating), []
    for number, one in enumerate(floats):
        work.watch.on_progress("networks in 8 bits", number, len(floats))
        name = records.int8_of(one.file.stem)
        made.append(done.made(name) or _eight(start, floats[0], one, examples, done))
        work.watch.note(
            f"{_name(number, len(floats))} in 8 bits: keeps {units.percent(kept_of(made[-1].outputs))} "
            f"({units.percent(kept_of(one.outputs))} in float)"
        )
    return made


def _eight(start: Look, dense: Made, one: Made, examples: Sequence[Example], done: Halfway) -> Made:
    path = done.path(records.int8_of(one.file.stem))
    with done.work.open():
        quantise.save(quantise.of_file(one.file, examples).proto, path)
        found = answers(
            [dense.file, path], ((x, None) for x in start.judge), done.work.dense.signature,
            start.rows, [(0, 1)],
        )  # fmt: skip
        eight = replace(one, file=path, plan=None, outputs=tuple(found.outputs[0]), int8=True)
        return done.keep(eight)


def _points(
    made: Sequence[Made], measured: Sequence[records.Judged], images: int
) -> list[records.Point]:
    """Of networks in as many bits, from the dense one on."""
    ahead = beaten(
        [
            (j.latency.median_s or math.inf, kept_of(m.outputs))
            for m, j in zip(made, measured, strict=False)
        ]
    )
    return [
        records.Point(
            number=number, int8=one.int8, share=one.share, params=one.params, flops=one.flops,
            bytes=judged.bytes, kept=kept_of(one.outputs), outputs=list(one.outputs), latency=judged.latency,
            kept_interval=units.wilson(kept_of(one.outputs), images) if answered(one.outputs) else None,
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
