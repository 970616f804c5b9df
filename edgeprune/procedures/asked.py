"""What was asked, as a value: it is written into the run before any work, and compared on resuming."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .. import files, runs
from ..errors import EdgepruneError
from ..runs import Run
from ..train import Recipe


@dataclass(frozen=True)
class Pruning:
    """The paper's procedure (Hubens et al. 2020, section 3.2), with what it leaves open made explicit."""

    step: float = 0.125  # share of a layer's dense width that one step removes (at least round_to)
    max_drop: float = (
        1.0  # points of validation accuracy below the baseline that are still accepted
    )
    retrain_epochs: int = 5  # after each step, at the lowest learning rate of the dense training
    max_steps: int | None = None  # None: until the accuracy falls
    round_to: int = 1  # widths are multiples of it
    sensitivity_images: int = 1000  # validation images that the sensitivity analysis looks at

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("--step", self.step, 0.001, 0.9),
            ("--max-drop", self.max_drop, 0, 100),
            ("--retrain-epochs", self.retrain_epochs, 0, 10_000),
            ("--round-to", self.round_to, 1, 1024),
        ):
            if not low <= value <= high:
                raise EdgepruneError(f"{name} {value}", f"must lie in {low}..{high}")


@dataclass(frozen=True)
class Asked:
    """Everything that decides a run's networks, all defaults resolved."""

    model: str
    init: str
    head: str
    partial: bool
    data: str
    size: int
    limit: int | None
    skip_bad: bool
    seed: int
    recipe: Recipe
    pruning: Pruning | None = None  # None: dense training only

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"recipe": self.recipe.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Asked:
        try:
            known = {k: value[k] for k in cls.__dataclass_fields__}
            known["recipe"] = Recipe.from_json(known["recipe"])
            known["pruning"] = Pruning(**known["pruning"]) if known["pruning"] else None
            return cls(**known)
        except (KeyError, TypeError) as e:
            raise EdgepruneError("recipe.json", f"not a recipe of this version ({e})") from None


def open_run(asked: Asked, name: str, argv: Sequence[str]) -> Run:
    """The run of that name for what is asked: a new one, or the one that the same words began.

    A run whose dense network was trained for other words is refused with the difference; a run that
    was only trained takes the pruning that is asked now.
    """
    run = runs.named(name)
    if not run.recipe_path.exists():
        if run.path.exists() and any(not p.name.startswith(".") for p in run.path.iterdir()):
            raise EdgepruneError(f"{run.path} is there but is no run", next="choose another --name")
        write_recipe(run, asked, argv)
        return run
    there = Asked.from_json(run.recipe())
    if asked.pruning is None:
        asked = replace(asked, pruning=there.pruning)
    different = _difference(there, asked)
    if different == {"pruning"} and there.pruning is None:
        write_recipe(run, asked, argv)
    elif different:
        raise EdgepruneError(
            f"run {name} was made with other settings",
            ", ".join(_change(key, there, asked) for key in sorted(different)),
            f"choose another --name, or remove {run.path}",
        )
    return run


def derive(parent: Run, name: str, asked: Asked, argv: Sequence[str]) -> Run:
    """A new run with ``parent``'s dense network: to prune it in another way without training again."""
    run = runs.named(name)
    if run.recipe_path.exists():
        return open_run(asked, name, argv)
    run.path.mkdir(parents=True, exist_ok=True)
    for path in (parent.weights_path("dense"), parent.onnx_path("dense")):
        if path.is_file():
            with files.atomic(run.path / path.name) as temporary:
                shutil.copyfile(path, temporary)
    spec = files.read_json(parent.spec_path)
    files.write_json(run.spec_path, spec | {"kept": {}})
    for record in parent.history():
        if record.get("network") == "dense":
            run.append(**record)
    write_recipe(run, asked, argv, parent=parent.name)
    return run


def write_recipe(run: Run, asked: Asked, argv: Sequence[str], **more: Any) -> None:
    created = run.recipe().get("created") if run.recipe_path.exists() else runs.now()
    head = {
        "command": "prune" if asked.pruning else "train",
        "argv": list(argv),
        "created": created,
    }
    files.write_json(run.recipe_path, head | asked.to_json() | {"versions": runs.versions()} | more)


def _difference(there: Asked, asked: Asked) -> set[str]:
    return {k for k in Asked.__dataclass_fields__ if getattr(there, k) != getattr(asked, k)}


def _change(key: str, there: Asked, asked: Asked) -> str:
    """``limit 500 -> 1000``; for a nested value the fields of it that differ."""
    old, new = getattr(there, key), getattr(asked, key)
    if hasattr(old, "__dataclass_fields__") and type(old) is type(new):
        fields = [f for f in old.__dataclass_fields__ if getattr(old, f) != getattr(new, f)]
        return ", ".join(f"{f} {getattr(old, f)} -> {getattr(new, f)}" for f in fields)
    return f"{key} {old} -> {new}"
