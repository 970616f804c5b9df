"""Two result files side by side, or the reason why they must not be put side by side."""

from __future__ import annotations

from typing import Any

from ..errors import EdgepruneError
from . import schema, stats
from .protocol import Result


def compare(before: Result, after: Result) -> list[dict[str, Any]]:
    """For each network that both files hold: medians, and how much faster ``after`` is.

    Keys: ``name``, ``before_s``, ``after_s``, ``speedup`` (before / after), ``speedup_interval``,
    ``verdict``, ``same_file``. Raises :class:`EdgepruneError` naming every difference between machine,
    runtime and settings that would be mistaken for one between the networks.
    """
    for result in (before, after):
        try:
            schema.check_samples(result.document)
        except EdgepruneError as e:
            raise EdgepruneError(str(result.path), f"not the form of a result ({e.why})") from None
    unlike = differences(before.document, after.document)
    if unlike:
        raise EdgepruneError(
            f"{before.path.name} and {after.path.name} are not alike", "; ".join(unlike),
            "bench both networks on one device, with the same settings",
        )  # fmt: skip
    old, new = (dict(zip(_names(r), _cleaned(r), strict=True)) for r in (before, after))
    both = [name for name in old if name in new]
    if not both:
        raise EdgepruneError(
            "no network is in both files", f"{', '.join(old)} against {', '.join(new)}"
        )
    return [_row(name, old[name], new[name]) for name in both]


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What differs between two documents besides the networks and the moment: ``threads 1 / 2``."""
    left, right = _circumstances(a), _circumstances(b)
    found = [f"{key} {left[key]} / {right[key]}" for key in left if left[key] != right[key]]
    one, other = (set(d["measured"]["environment"]["cpu"].get("flags") or []) for d in (a, b))
    if left["processor"] == right["processor"] and one != other:
        parts = (" ".join(sorted(flags)[:5]) or "none" for flags in (one - other, other - one))
        found.append("instruction sets of only one: " + " / ".join(parts))
    return found


def _circumstances(document: dict[str, Any]) -> dict[str, str]:
    measured, request = document["measured"], document["request"]
    environment, cpu = measured["environment"], measured["environment"]["cpu"]
    return {
        "device": str(document["device"]),
        "processor": str(cpu["name"]),
        "cores": f"{cpu['cores']} {cpu.get('affinity') or ''}".strip(),
        "governor": str(measured["before"].get("governor")),
        "system": f"{environment.get('system')} {environment.get('machine')}",
        "onnxruntime": str(environment["onnxruntime"]),
        "provider": str(environment.get("provider")),
        "threads": str(request["threads"]),
        "batch": str(request["batch"]),
        "shapes": str(request["shapes"]),
    }


def _names(result: Result) -> list[str]:
    return [m["name"] for m in result.document["models"]]


def _cleaned(result: Result) -> list[tuple[stats.Clean, str]]:
    """(clean samples, hash of the file) of each model."""
    models = result.document["measured"]["models"]
    samples = stats.clean(models, result.document["request"]["threads"])
    return [(s, m["sha256"]) for s, m in zip(samples, models, strict=True)]


def _row(name: str, old: tuple[stats.Clean, str], new: tuple[stats.Clean, str]) -> dict[str, Any]:
    if old[0].clock != new[0].clock:
        raise EdgepruneError(f"{name}: clocks differ", f"{old[0].clock} / {new[0].clock} time")
    ratio = stats.apart(old[0], new[0])
    return {
        "name": name,
        "before_s": stats.latency(old[0])["median_s"],
        "after_s": stats.latency(new[0])["median_s"],
        "speedup": ratio.value,
        "speedup_interval": [ratio.low, ratio.high],
        "verdict": ratio.verdict,
        "same_file": old[1] == new[1],
    }
