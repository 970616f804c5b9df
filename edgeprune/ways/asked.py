"""What was asked, as a value: it is written into the run before any work, and compared on resuming."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .. import records, train
from ..errors import EdgepruneError
from ..runs import Run
from .post_training import Settings
from .way import Way


@dataclass(frozen=True)
class Asked(records.Asked[train.Recipe, Way]):
    """A run's recipe, its training and its way of pruning as the values that work with them."""

    @property
    def training(self) -> train.Recipe:
        """How the dense network was trained; an error where it was not trained here."""
        if self.recipe is None:
            raise EdgepruneError(
                f"{self.model} with weights {self.init}",
                "was not trained here, so there is no recipe to retrain it by",
                "edgeprune train --data … makes a run that can be retrained",
            )
        return self.recipe


NAMES = tuple(f.name for f in fields(records.Asked))


def asked_of(run: Run) -> Asked:
    """What was asked of a run."""
    return of_recipe(run.recipe())


def of_recipe(recipe: records.Recipe) -> Asked:
    """What a recipe asks; refused where it does not say of which network, at which size."""
    if not (recipe.model and recipe.size):
        lacks = "size" if recipe.model else "model"
        raise EdgepruneError(
            "recipe.json",
            f"not a recipe of this version (no {lacks})",
            "give the run another --name and begin anew",
        )
    same = {name: getattr(recipe, name) for name in NAMES if name not in ("recipe", "pruning")}
    trained = None if recipe.recipe is None else train.Recipe(**vars(recipe.recipe))
    return Asked(**same, recipe=trained, pruning=way_told(recipe.pruning))


def recipe_of(asked: Asked, made: records.Recipe) -> records.Recipe:
    """The recipe that asks for it; what asked it, and when, is as in ``made``."""
    told = {f.name: getattr(made, f.name) for f in fields(made) if f.name not in NAMES}
    same = {name: getattr(asked, name) for name in NAMES if name != "pruning"}
    return records.Recipe(**same, pruning=told_of(asked.pruning), **told)


def told_of(way: Way | None) -> records.Pruning | None:
    """A way as a recipe holds it: its name and its fields."""
    from .table import row_of  # the table holds the pages, which read this file

    return None if way is None else records.Pruning(row_of(way).name, records.plain(way))


def way_told(told: records.Pruning | None, where: str = "recipe.json: pruning") -> Way | None:
    """A way out of a recipe, as its row reads it; ``where`` is what an error names."""
    from .table import named

    if told is None:
        return None
    try:
        row = named(told.way)
    except KeyError:
        raise EdgepruneError(
            where,
            f"no way {told.way!r} in this version",
            "give the run another --name and begin anew",
        ) from None
    words = {row.renamed.get(k, k): given for k, given in told.words.items()}
    if "settings" in words:
        words["settings"] = _renewed(words["settings"])
    chosen = words.get("settings")
    unknown = set(words) - {f.name for f in fields(row.value)}
    if isinstance(chosen, dict):
        unknown |= set(chosen) - {f.name for f in fields(Settings)}
    if unknown:
        raise EdgepruneError(where, f"unknown keys {sorted(unknown)}")
    way: Way = records.value(words, row.value, where)
    return way


def _renewed(choice: Any) -> Any:
    """A choice as it is written today: a recipe of 0.1.0 has ``keep_flops`` and ``keep_params``."""
    if not isinstance(choice, dict) or "target" in choice:
        return choice
    keys = [k for k in choice if isinstance(k, str) and k.startswith("keep_")]
    said = {k.removeprefix("keep_"): choice[k] for k in keys if choice[k] is not None}
    if len(said) > 1:
        return choice
    now = {k: v for k, v in choice.items() if k not in keys}
    for price, share in said.items():
        now["target"] = {"price": price, "share": share}
    return now
