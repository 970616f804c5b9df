"""What was asked, as a value: it is written into the run before any work, and compared on resuming."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from .. import files, records
from ..errors import EdgepruneError
from ..runs import Run
from ..train import Recipe
from .post_training import Settings
from .way import Way

NONE = type(None)
LATER = ("images", "task", "test", "shape", "score_sha256")  # that recipes of earlier versions lack
KINDS: dict[str, tuple[type, ...]] = {  # of the fields of `Asked`: a recipe may be edited by hand
    "model": (str,), "init": (str,), "head": (str,), "partial": (bool,), "data": (str, NONE),
    "task": (str,),
    "size": (int,), "limit": (int, NONE), "skip_bad": (bool,), "seed": (int,), "images": (str, NONE),
    "test": (str, NONE), "shape": (str,), "score_sha256": (str, NONE),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Everything that decides a run's networks, all defaults resolved."""

    model: str
    init: str
    head: str
    partial: bool
    data: str | None  # None: no labels anywhere
    size: int
    limit: int | None
    skip_bad: bool
    seed: int
    recipe: Recipe | None  # None: nothing was trained, the weights were given whole
    pruning: Way | None = None  # None: dense training only
    images: str | None = None  # unlabelled images that a way without labels looks at
    task: str = "classification"  # what the answers are, as `tasks.judged` reads it
    test: str | None = None  # another set that judges; None: the data set's own test part
    shape: str = ""  # of an example, as --shape says it; "": an image, or what `images` holds
    score_sha256: str | None = None  # of the user's own criterion, FILE.py:FUNCTION, as it was run

    @property
    def training(self) -> Recipe:
        """How the dense network was trained; an error where it was not trained here."""
        if self.recipe is None:
            raise EdgepruneError(
                f"{self.model} with weights {self.init}",
                "was not trained here, so there is no recipe to retrain it by",
                "edgeprune train --data … makes a run that can be retrained",
            )
        return self.recipe

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "recipe": self.recipe.to_json() if self.recipe else None,
            "pruning": way_to_json(self.pruning),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Asked:
        if not isinstance(value, dict):
            raise EdgepruneError("recipe.json", "not a recipe")
        try:
            known = {k: value[k] for k in cls.__dataclass_fields__ if k in value or k not in LATER}
            known["recipe"] = Recipe.from_json(known["recipe"]) if known["recipe"] else None
            known["pruning"] = way_from_json(known["pruning"])
            for name, kinds in KINDS.items():
                if type(known.get(name, getattr(cls, name, None))) not in kinds:
                    raise TypeError(f"{name} is {known.get(name)!r}")
            return cls(**known)
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise EdgepruneError("recipe.json", f"not a recipe of this version ({e})") from None


def asked_of(run: Run) -> Asked:
    """What was asked of a run."""
    return Asked.from_json(files.read_json(run.recipe_path))


def way_to_json(way: Way | None) -> dict[str, Any] | None:
    """A way's fields beside its name, as ``recipe.json`` holds them."""
    from .table import row_of  # the table holds the pages, which read this file

    return None if way is None else {"way": row_of(way).name, **asdict(way)}  # type: ignore[call-overload]


def way_from_json(value: dict[str, Any] | None) -> Way | None:
    """A way out of ``recipe.json``; one without a name is the paper's (version 0.1.0)."""
    from .table import named

    if value is None:
        return None
    where = "recipe.json: pruning"
    name = value.get("way", "paper") if isinstance(value, dict) else None
    try:
        row = named(str(name))
    except KeyError:
        raise EdgepruneError(where, f"no way {name!r} in this version") from None
    words = {row.renamed.get(k, k): given for k, given in value.items() if k != "way"}
    if "settings" in words:
        words["settings"] = records.renewed(words["settings"])
    chosen = words.get("settings")
    unknown = set(words) - {f.name for f in fields(row.value)}
    if isinstance(chosen, dict):
        unknown |= set(chosen) - {f.name for f in fields(Settings)}
    if unknown:
        raise EdgepruneError(where, f"unknown keys {sorted(unknown)}")
    way: Way = records.value(words, row.value, where)
    return way
