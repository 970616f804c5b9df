"""A run's files may have been edited by hand: what each key must be for tables and charts to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..bench import schema

Checks = Mapping[str, Callable[[Any], bool]]


def _share_of_one(value: Any) -> bool:
    return schema.number(value) and 0 <= value <= 1


def _mapping(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, dict) and all(map(inner, v.values()))


def _numbers(*keys: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(
            schema.number(value[k]) for k in keys if value.get(k) is not None
        )

    return check


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _positive(value: Any) -> bool:
    return schema.count(value) and value > 0


RECIPE: Checks = {
    "pruning": _numbers("step", "max_drop", "retrain_epochs", "max_steps", "round_to"),
    "recipe": _numbers("lr", "warmup_epochs", "weight_decay", "label_smoothing"),
    "limit": schema.count,
    "size": schema.count,
    "versions": _mapping(schema.text),
    "fresh": _list,
}
SPEC: Checks = {
    "dense": _mapping(schema.count),
    "kept": _mapping(_list),
    "classes": schema.column(schema.text),
    "model": lambda v: isinstance(v, dict),
}
HISTORY: dict[str, tuple[Checks, Checks]] = {  # kind -> what must be there, what may be
    "epoch": ({"epoch": schema.count}, {"validation_accuracy": _share_of_one}),
    "sensitivity": (
        {"layer": schema.text, "shares": schema.column(_share_of_one),
         "accuracy": schema.column(_share_of_one)},
        {"baseline": _share_of_one},
    ),
    "step": (
        {"step": schema.count, "params": _positive, "flops": _positive},
        {"layer": schema.text, "removed": _list, "widths": _mapping(schema.count),
         "before": _share_of_one, "accuracy": _share_of_one, "kept": schema.flag},
    ),
    "result": (
        {"network": schema.text, "params": _positive, "flops": _positive,
         "test_accuracy": _share_of_one},
        {"validation_accuracy": _share_of_one, "bytes": schema.count,
         "widths": _mapping(schema.count)},
    ),
}  # fmt: skip


def is_record(value: Mapping[str, Any]) -> bool:
    """Whether a line of the history can be read; a kind that no table reads always can."""
    required, optional = HISTORY.get(str(value.get("kind")), ({}, {}))
    return all(key in value and check(value[key]) for key, check in required.items()) and all(
        check(value[key]) for key, check in optional.items() if value.get(key) is not None
    )


def kept(value: Mapping[str, Any], checks: Checks, file: str) -> tuple[dict[str, Any], list[str]]:
    """``value`` without the keys that have not their form, and a sentence for each of those."""
    odd = [k for k, ok in checks.items() if value.get(k) is not None and not ok(value[k])]
    return {k: v for k, v in value.items() if k not in odd}, [
        f"{file}: {key} left out: not its form" for key in odd
    ]
