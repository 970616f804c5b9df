"""Two result files side by side, or the reason why they must not be put side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import EdgepruneError
from ..records import Bench, Compared, Measured
from . import stats
from .protocol import Result


class Side(NamedTuple):
    """One network in one of the files."""

    samples: stats.Clean
    sha256: str


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
    return {
        listed.name: Side(own, model.sha256)
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
    )
