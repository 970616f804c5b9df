"""The ways to prune: one row each. Choosing, reading, writing and running one is derived from its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import prices
from ..errors import EdgepruneError, closest
from ..prune.plan import OWN
from . import (
    fine_pruning,
    gradual,
    interleaved,
    lottery,
    low_rank,
    paper,
    scratch,
    target,
    unlabelled,
)
from .way import Row, Way, Words, spelled

if TYPE_CHECKING:
    from ..prune import Plan

WAYS: dict[str, Row[Any]] = {
    row.name: row
    for row in (
        paper.ROW,
        target.ROW,
        gradual.ROW,
        unlabelled.ROW,
        interleaved.ROW,
        lottery.ROW,
        scratch.ROW,
        fine_pruning.ROW,
        low_rank.ROW,
    )
}


def row_of(way: Way) -> Row[Any]:
    """The row of a way's value."""
    return next(row for row in WAYS.values() if type(way) is row.value)


def named(name: str) -> Row[Any]:
    """The row of that name, or of one that earlier versions wrote; KeyError if there is none."""
    formerly = {row.formerly: row for row in WAYS.values() if row.formerly}
    return WAYS[name] if name in WAYS else formerly[name]


def way_of(typed: Words, given: Plan | None = None, name: str | None = None) -> Way:
    """What was typed as a way's value; a word that belongs to another way is refused.

    ``given`` is a plan to apply, ``name`` the way where it was named.
    """
    goal = "target" in typed
    row = _chosen(typed, given, goal, name)
    typed = {word: v for word, v in typed.items() if word not in _flags()}
    if given is not None:
        if goal:
            raise EdgepruneError("--plan", "says already what stays", "leave the target out")
        if "own_class" in typed:
            raise EdgepruneError(
                "--plan", "says already what stays", "make the plan with --own-class: --dry-run --plan-out"
            )  # fmt: skip
        typed = {**typed, "plan": fingerprint(given)}
    bounded = "max_drop" in typed and row.flag and "max_drop" in row.words
    by_itself = typed.get("method") == OWN  # the score says how far
    if by_itself and row.labels:
        raise EdgepruneError(
            "--method own", "is one look at the images, and no training",
            "add --post-training; with --dry-run --plan-out FILE for a --plan that is retrained",
        )  # fmt: skip
    if row.target and not goal and given is None and not bounded and not by_itself:
        other = "--plan FILE, or --max-drop POINTS" if "max_drop" in row.words else "or --plan FILE"
        raise EdgepruneError("no target", next=f"give {prices.options()}, {other}")
    for word in typed:
        if word not in row.words:
            raise _not_its_word(row, word, spelled(word, typed[word]))
    way: Way = row.of_words(typed)
    return way


def fingerprint(plan: Plan) -> str:
    """Of what stays, in words that fit into a recipe."""
    import hashlib
    import json

    return hashlib.sha256(
        json.dumps([plan.network, plan.keep], sort_keys=True).encode()
    ).hexdigest()[:16]


def _flags() -> dict[str, Row[Any]]:
    return {row.flag: row for row in WAYS.values() if row.flag}


def _chosen(typed: Words, given: Plan | None, goal: bool, name: str | None) -> Row[Any]:
    """By its name or its switch; else the first without a switch that wants a target, or wants none."""
    if name is not None and name not in WAYS:
        raise EdgepruneError(f"--way {name!r}", closest(name, list(WAYS)))
    chosen = {f"--way {name}": WAYS[name]} if name is not None else {}
    chosen |= {spelled(flag): row for flag, row in _flags().items() if typed.get(flag)}
    rows = {row.name: row for row in chosen.values()}
    if len(rows) > 1:
        raise EdgepruneError(" and ".join(chosen), "exclude each other", "leave one out")
    if rows:
        return next(iter(rows.values()))
    target = goal or given is not None
    return next(row for row in WAYS.values() if not row.flag and row.target == target)


def _not_its_word(row: Row[Any], word: str, said: str) -> EdgepruneError:
    """A word that one way alone knows is said to be that one's; of others, why they are not here."""
    owners = [other for other in WAYS.values() if word in other.words]
    if len(owners) == 1:
        return EdgepruneError(said, f"belongs to {owners[0].title}", owners[0].lacks[1])
    return EdgepruneError(said, *row.lacks)
