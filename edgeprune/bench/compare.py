"""Two result files side by side, or the reason why they must not be put side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import units
from ..errors import EdgepruneError
from ..records import Bench, Compared, Judged, Measured
from . import stats
from .protocol import Result


class Side(NamedTuple):
    """One network in one of the files."""

    samples: stats.Clean
    sha256: str
    judged: Judged


def compare(before: Result, after: Result) -> list[Compared]:
    """For each network that both files hold: medians, and how much faster ``after`` is.

    Raises :class:`EdgepruneError` naming every difference between machine, runtime and settings that
    would be mistaken for one between the networks.
    """
    one, other = before.measured(), after.measured()
    unlike = differences((before.told, one), (after.told, other))
    if unlike:
        raise EdgepruneError(
            f"{before.path.name} and {after.path.name} are not alike", "; ".join(unlike),
            "bench both networks on one device, with the same settings",
        )  # fmt: skip
    old, new = _sides(before.told, one), _sides(after.told, other)
    both = [name for name in old if name in new]
    if not both:
        raise EdgepruneError(
            "no network is in both files",
            f"{', '.join(old)} against {', '.join(new)}",
            "compare two results of the same networks (names are those of the .onnx files)",
        )
    return [_row(name, old[name], new[name]) for name in both]


def inside(result: Result) -> list[Compared]:
    """Each network of one file beside its baseline, as they were measured: interleaved."""
    sides = _sides(result.told, result.measured())
    base, *others = result.networks
    if not others:
        raise EdgepruneError(
            result.path.name, "holds one network alone", "edgeprune compare BEFORE AFTER"
        )
    return [
        Compared(
            name=n.name,
            before_s=base.latency.median_s or 0.0,
            after_s=n.latency.median_s or 0.0,
            speedup=n.speedup or 0.0,
            speedup_interval=_known(n),
            verdict=n.verdict,
            same_file=sides[base.name].sha256 == sides[n.name].sha256,
            **_beside(base, n, 1.0 if base.top1 is None else None),
        )
        for n in others
    ]


def _known(network: Judged) -> tuple[float, float]:
    low, high = network.speedup_interval or (None, None)
    return low or 0.0, math.inf if high is None else high


def _beside(old: Judged, new: Judged, itself: float | None = None) -> Any:
    """Sizes and answers; ``itself``: how far the baseline answers like itself, where nothing else judges."""
    before = answers(old)
    return {
        "bytes": (old.bytes, new.bytes),
        "answers": (itself if before is None else before, answers(new)),
        "images": (old.images, new.images),
    }


def answers(network: Judged) -> float | None:
    """The share of right answers, or, without labels, of those that are the baseline's."""
    if network.top1 is not None or not network.outputs:
        return network.top1
    first = network.outputs[0]
    return next(iter(first.scores.values()), first.measures.get("agreement", first.variance_kept))


# What `compare --fail-on` takes: what is wrong with a network, beyond ``allowed`` per cent, or None.
Gate = Callable[[Compared, float], "str | None"]


def slower(row: Compared, allowed: float) -> str | None:
    """Even the fast end of the interval is slower."""
    if row.speedup_interval[1] * (1 + allowed / 100) >= 1 or row.verdict != "slower":
        return None
    return f"slower, {row.speedup:.2f}x"


def accuracy(row: Compared, allowed: float) -> str | None:
    """Lower by more than chance (95 %) explains; with points allowed: by more than those."""
    (before, after), (n, m) = row.answers, row.images
    if before is None or after is None:
        raise EdgepruneError(f"--fail-on accuracy: {row.name}", "nothing judged its answers",
                             "edgeprune bench RUN counts them")  # fmt: skip
    lost = 100 * (before - after)
    worst = 100 * units.difference((before, n), (after, m))[1] if n and m and not allowed else -lost
    return f"accuracy {lost:.2f} points lower" if lost > allowed and worst < 0 else None


def size(row: Compared, allowed: float) -> str | None:
    """A larger file."""
    before, after = row.bytes
    if before is None or after is None:
        raise EdgepruneError(f"--fail-on size: {row.name}", "its file's size is not known")
    grown = 100 * (after / max(before, 1) - 1)
    return f"file {grown:.1f} % larger" if grown > allowed else None


GATES: dict[str, Gate] = {"slower": slower, "accuracy": accuracy, "size": size}


def differences(a: tuple[Bench, Measured], b: tuple[Bench, Measured]) -> list[str]:
    """What differs between two results besides the networks and the moment: ``threads 1 / 2``."""
    left, right = _circumstances(*a), _circumstances(*b)
    found = [f"{key} {left[key]} / {right[key]}" for key in left if left[key] != right[key]]
    one, other = (set(measured.environment.cpu.flags or []) for _, measured in (a, b))
    if left["processor"] == right["processor"] and one != other:
        parts = (" ".join(sorted(flags)[:5]) or "none" for flags in (one - other, other - one))
        found.append("instruction sets of only one: " + " / ".join(parts))
    return found


def _circumstances(told: Bench, measured: Measured) -> dict[str, str]:
    environment, cpu = measured.environment, measured.environment.cpu
    return {
        "device": told.device,
        "processor": str(cpu.name),
        "cores": f"{cpu.cores} {cpu.affinity or ''}".strip(),
        "governor": str(measured.before.governor),
        "system": f"{environment.system} {environment.machine}",
        "onnxruntime": environment.onnxruntime,
        "provider": str(environment.provider),
        "threads": str(told.request.threads),
        "batch": str(told.request.batch),
        "shapes": str(dict(told.request.shapes)),
    }


def _sides(told: Bench, measured: Measured) -> dict[str, Side]:
    samples = stats.clean(measured.models, told.request.threads)
    assert told.summary is not None  # it is whole
    judged = {n.name: n for n in told.summary.networks}
    return {
        listed.name: Side(own, model.sha256, judged.get(listed.name, Judged(name=listed.name)))
        for listed, own, model in zip(told.models, samples, measured.models, strict=True)
    }


def _row(name: str, old: Side, new: Side) -> Compared:
    if old.samples.clock != new.samples.clock:
        raise EdgepruneError(
            f"{name}: clocks differ",
            f"{old.samples.clock} / {new.samples.clock} time",
            "measure both with the same device and clock",
        )
    ratio = stats.apart(old.samples, new.samples)
    return Compared(
        name=name,
        before_s=float(np.median(old.samples.seconds)),
        after_s=float(np.median(new.samples.seconds)),
        speedup=ratio.value,
        speedup_interval=(ratio.low, ratio.high),
        verdict=ratio.verdict,
        same_file=old.sha256 == new.sha256,
        **_beside(old.judged, new.judged),
    )
