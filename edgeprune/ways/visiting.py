"""The device has the last word: networks of planned widths are measured on it before any repair.

    repeat: a plan, by what the device's profile predicts and earlier visits corrected
            its network, unrepaired (weights do not matter for time), beside the dense one, through bench
    until what was asked is met, or there were `prices.visits.MOST`; the best of them is taken; what other
            programs cut short is measured again

What is decided is in prices/visits.py. Each visit is in the run as soon as it was made: a command that was
killed makes the same plans again and finds them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import files, prune, records
from ..bench import Result, devices, measure
from ..bench.devices import profiles
from ..bench.scratch import Scratch
from ..errors import EdgepruneError
from ..export import Real, write
from ..graph import Graph
from ..graph.inputs import Example, example_of
from ..graph.tensors import floating
from ..prices import Target
from ..prices import visits as decide
from ..prune import Plan
from ..records import Request, Visit
from . import aim
from .way import Work

# Processes with one network differ by some per cent, each in its own way: many of them, for a short time.
REQUEST = Request(rounds=20, seconds=1.5, passes=10, samples=24, limit=20.0)


@dataclass
class Visiting:
    """The visits of one pruning. ``kept``: what is left of the dense network already, before the plan;
    ``folder``: where the files that are measured stay, dense.onnx and planned-N.onnx of the Nth visit."""

    work: Work[Any]
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def target(self) -> Target:
        target = self.work.way.settings.target
        assert target is not None
        return target

    def plan(self, plan_at: aim.PlanAt) -> Plan:
        """The plan whose network the device has measured; where no time is asked for, the one plan."""
        target = self.work.way.settings.target
        if target is None or target.place is None:
            return plan_at(None, self.work.prices)
        seen: list[Visit] = []
        plans: list[Plan] = []
        with nullcontext(self.folder) if self.folder else Scratch() as folder:
            while not decide.ended(target, seen):
                again = decide.again(seen)
                made = plans[-1] if again else self._next(plan_at, seen)
                widths = self._widths(made)
                if not again and any(widths == visit.widths for visit in seen):
                    break  # its grid has nothing nearer
                seen.append(self._known(len(seen) + 1, widths) or self._visit(folder, seen, made))
                plans.append(made)
                if target.of(seen[-1].dense_ms) >= 1 and target.share is None:
                    raise EdgepruneError(
                        str(target), f"the dense network was measured at {seen[-1].dense_ms:.3g} ms on "
                        f"{target.place}", "ask for less",
                    )  # fmt: skip
        chosen = decide.best(target, seen)
        self.work.watch.note(decide.sentence(target, seen, seen[chosen]))
        return self._as_measured(plans[chosen], seen[chosen])

    def _next(self, plan_at: aim.PlanAt, seen: Sequence[Visit]) -> Plan:
        """By what is known until now, for a little less than was asked where that is possible."""
        table = aim.rows(self.target, seen)
        dense = table["ms"].of(self.work.dense.graph).dense
        try:
            return plan_at(min(1.0, decide.aimed(self.target).of(dense)), table)
        except EdgepruneError:  # then in the words of what was asked
            return plan_at(min(1.0, self.target.of(dense)), table)

    def _keep(self, made: Plan) -> dict[str, list[int]]:
        """What stays of the dense network."""
        return prune.compose(dict(self.kept), dict(made.keep))

    def _widths(self, made: Plan) -> dict[str, int]:
        whole = self.work.dense.graph.widths
        return whole | {name: len(units) for name, units in self._keep(made).items()}

    def _known(self, number: int, widths: Mapping[str, int]) -> Visit | None:
        """The visit with these widths that a killed command has made already."""
        return next(
            (v for v in self.work.visits if v.step == number and dict(v.widths) == widths), None
        )

    def _visit(self, folder: Path, seen: Sequence[Visit], made: Plan) -> Visit:
        """Measure, tell, and keep it in the run."""
        number, place, begun = len(seen) + 1, self.target.place, time.perf_counter()
        assert place is not None
        self.work.watch.note(f"visit {number}: the planned network beside the dense one on {place}")
        keep, dense = self._keep(made), self.work.dense.graph
        paths = [written(dense, folder / "dense.onnx"),
                 written(prune.narrow(dense, keep), folder / f"planned-{number}.onnx")]  # fmt: skip
        result = measured(paths, folder / f"{number}.json", place)
        base, planned = (n.latency.median_s for n in result.networks)
        if base is None or planned is None:
            raise EdgepruneError(
                str(self.target),
                f"{place.device} is emulated: its times say nothing",
                "name the real device, for example --device ssh://USER@HOST",
            )
        widths = self._widths(made)
        raw, now = (aim.rows(self.target, v)["ms"].of(dense) for v in ((), seen))
        warnings = result.summary.warnings
        visit = Visit(
            step=number, asked=str(self.target), device=place.device, threads=place.threads,
            widths=widths, predicted_ms=raw.at(widths), predicted_dense_ms=raw.dense,
            expected_ms=now.at(widths), measured_ms=1e3 * planned, dense_ms=1e3 * base,
            contended=any(n.contended for n in result.networks),
            unsure=decide.unsure(_short(result), result.networks[1].speedup_interval),
            warnings=[w.seen for w in warnings], file=f"visits/{number}.json",
            seconds=time.perf_counter() - begun,
        )  # fmt: skip
        for warning in warnings:
            self.work.watch.note(
                f"visit {number}: {warning.seen} — {warning.cause}; {warning.next}"
            )
        with self.work.open():
            files.write_json(self.work.run.visit_path(number), result.document)
            self.work.run.append(visit)
        return visit

    def _as_measured(self, made: Plan, visit: Visit) -> Plan:
        """The plan with the times that the device gave."""
        goal = {"ms": min(1.0, self.target.of(visit.dense_ms))}
        return replace(
            made, target=goal, dense={**made.dense, "ms": visit.dense_ms},
            promised={**made.promised, "ms": visit.measured_ms},
        )  # fmt: skip


def measured(paths: Sequence[Path], out: Path, place: records.Place) -> Result:
    """The networks side by side on the device; what keeps it from that is said with its name."""
    profile = profiles.find(place.device)
    request = replace(profile.over(REQUEST) if profile else REQUEST, threads=place.threads)
    return measure(
        paths, out=out, device=devices.reach(place.device), label=place.device, request=request,
        names=[path.stem for path in paths],
    )  # fmt: skip


def _short(result: Result) -> bool:
    """Whether it ended before it had as many undisturbed runs as it wanted."""
    found = result.measured()
    fewest = min(n.latency.samples for n in result.networks)
    return found.stopped == "limit" and fewest < found.options.samples


def written(traced: Graph, path: Path, some: Example | None = None) -> Path:
    """The network as a file to be timed, compared with torch on ``some`` examples (default: noise); one
    that is there already stays."""
    if not path.exists():
        model = traced.model
        some = example_of(traced.inputs, 4, floating(model)) if some is None else some
        write(model, path, real=Real(some))
    return path
