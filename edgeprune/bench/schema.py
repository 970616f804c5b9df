"""Whether a device's answer has the form of the runner's document. It comes from outside: trust nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import EdgepruneError

Check = Callable[[Any], bool]
MOST = 10_000_000  # samples; more is no measurement


def check(document: Any, models: int) -> None:
    """Raise :class:`EdgepruneError` naming the first place where ``document`` is not what
    ``deploy/runner.py`` describes, with ``models`` models and at least one round in each."""
    _fits(document, DOCUMENT, "")
    if len(document["models"]) != models:
        raise _wrong("models", f"{len(document['models'])} of them, {models} were sent")
    for i, model in enumerate(document["models"]):
        for s, session in enumerate(model["sessions"]):
            for r, taken in enumerate(session["rounds"]):
                lengths = {len(taken[k]) for k in ("wall_s", "cpu_s", "switches")}
                if len(lengths) != 1 or not taken["wall_s"]:
                    raise _wrong(
                        f"models[{i}].sessions[{s}].rounds[{r}]", "columns of unlike length"
                    )
        if not any(session["rounds"] for session in model["sessions"]):
            raise _wrong(f"models[{i}]", "no samples")


def check_summary(result: Any) -> None:
    """Raise :class:`EdgepruneError` where a result file has not what tables and pages read of it."""
    _fits(result, RESULT, "")
    warnings = result["summary"].get("warnings")
    if warnings is not None and not _is(warnings, [_all_text]):
        raise _wrong("summary.warnings", "no list of warnings")


def check_samples(result: Any) -> None:
    """Raise :class:`EdgepruneError` where a result file has not what two are compared by."""
    _fits(result, COMPARED, "")
    if not maybe(column(text))(result["measured"]["environment"]["cpu"].get("flags")):
        raise _wrong("measured.environment.cpu.flags", "not what belongs there")
    check(result["measured"], len(result["models"]))


def is_event(value: Any, models: int) -> bool:
    """Whether a line is one of the runner's events on the way to its document."""
    if not _is(value, {"event": text, "model": count}) or value["model"] >= models:
        return False
    inside = {"session": {"session": {}}, "round": {"round": ROUND}, "accuracy": {}}
    return value["event"] in inside and _is(value, inside[value["event"]])


def seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e7


def count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 10_000


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def maybe(inner: Any) -> Check:
    return lambda value: value is None or _is(value, inner)


def column(inner: Check) -> Check:
    return lambda v: isinstance(v, list) and len(v) < MOST and all(map(inner, v))


def _is(value: Any, shape: Any) -> bool:
    try:
        _fits(value, shape, "")
    except EdgepruneError:
        return False
    return True


def _fits(value: Any, shape: Any, where: str) -> None:
    """``shape``: a mapping of required keys, a list with the shape of each element, or a check."""
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            raise _wrong(where, "not an object")
        for key, inner in shape.items():
            if key not in value:
                raise _wrong(where, f"no {key!r}")
            _fits(value[key], inner, f"{where}.{key}".lstrip("."))
    elif isinstance(shape, list):
        if not isinstance(value, list) or len(value) > 100_000:
            raise _wrong(where, "not a list")
        for i, element in enumerate(value):
            _fits(element, shape[0], f"{where}[{i}]")
    elif not shape(value):
        raise _wrong(where, f"{str(value)[:60]!r} is not what belongs there")


def _wrong(where: str, why: str) -> EdgepruneError:
    return EdgepruneError("the device's answer has another form", f"{where or 'document'}: {why}")


STAGE = {"rss": maybe(count), "high_water": maybe(count)}
ROUND = {
    "round": count,
    "wall_s": column(seconds),
    "cpu_s": column(maybe(seconds)),
    "switches": column(maybe(count)),
    "energy_uj": maybe(count),
}
SESSION = {
    "pass": count,
    "import_s": maybe(seconds),
    "load_s": seconds,
    "first_run_s": seconds,
    "stable": flag,
    "memory": dict.fromkeys(("bare", "imported", "loaded", "peak"), STAGE),
    "differing_runs": count,
    "worst_difference": number,
    "rounds": [ROUND],
}
ACCURACY = {"n": count, "correct": count, "predictions": column(count)}
WEATHER = {
    "time": number,
    "load": maybe(column(number)),
    "steal_ticks": maybe(count),
    "throttled": maybe(count),
}
DOCUMENT = {
    "runner": lambda v: v == 1,
    "options": {"threads": count, "samples": count, "limit": number},
    "environment": {"onnxruntime": text, "cpu": {"name": maybe(text), "cores": maybe(count)}},
    "before": WEATHER,
    "after": WEATHER,
    "stopped": text,
    "models": [
        {"bytes": count, "sha256": text, "accuracy": maybe(ACCURACY), "sessions": [SESSION]}
    ],
}


def _ratio(value: Any) -> bool:
    return number(value) and value > 0


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(maybe(number), value))


def _all_text(value: Any) -> bool:
    return isinstance(value, dict) and all(map(text, value.values()))


# A result file (`protocol`), which may have been edited since it was written.
NETWORK = {
    "name": text,
    "bytes": maybe(count),
    "flops": maybe(count),
    "latency": {"median_s": maybe(seconds), "p90_s": maybe(seconds)},
    "load": {"load_s": maybe(seconds)},
    "memory": {"peak": maybe(number)},
    "top1": maybe(number),
    **dict.fromkeys(("speedup", "promised_speedup", "realised_speedup"), maybe(_ratio)),
    **dict.fromkeys(("speedup_interval", "realised_speedup_interval"), maybe(_interval)),
    "verdict": text,
}
RESULT = {
    "device": text,
    "created": text,
    "request": {"threads": count},
    "summary": {"networks": [NETWORK]},
}
COMPARED = {
    "device": text,
    "models": [{"name": text}],
    "request": {"threads": count, "batch": count, "shapes": lambda v: isinstance(v, dict)},
    "measured": {"environment": {"cpu": {}}},
}
