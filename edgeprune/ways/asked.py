"""What was asked, as a value: it is written into the run before any work, and compared on resuming."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from .. import files, runs
from ..errors import EdgepruneError, closest
from ..runs import Run
from ..train import Recipe
from . import schedules
from .post_training import Settings

HEALS = ("paper", "restart")  # retrain at the lowest rate reached; restart high and decay


@dataclass(frozen=True)
class Pruning:
    """The paper's procedure (Hubens et al. 2020, section 3.2), with what it leaves open made explicit."""

    way: ClassVar[str] = "iterative"
    step: float = 0.125  # share of a layer's dense width that one step removes (at least round_to)
    max_drop: float = (
        1.0  # points of validation accuracy below the baseline that are still accepted
    )
    retrain_epochs: int = 5  # after each step, at the lowest learning rate of the dense training
    max_steps: int | None = None  # None: until the accuracy falls
    round_to: int = 1  # widths are multiples of it
    sensitivity_images: int = 1000  # validation images that the sensitivity analysis looks at
    score: str = "l1"  # which filters of the layer leave: one of prune.SCORES
    compensate: str = "none"  # one of post_training.COMPENSATIONS, before retraining
    heal: str = "paper"  # one of HEALS
    distil: bool = False  # the dense network teaches while retraining
    images: int = 256  # training images, labels unused, for scores and compensation that look

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("--step", self.step, 0.001, 0.9),
            ("--max-drop", self.max_drop, 0, 100),
            ("--retrain-epochs", self.retrain_epochs, 0, 10_000),
            ("--round-to", self.round_to, 1, 1024),
        ):
            if not low <= value <= high:
                raise EdgepruneError(f"{name} {value}", f"must lie in {low}..{high}")
        _check_heal(self.heal)
        _ = self.settings  # refuses a score or a compensation that is not known

    @property
    def settings(self) -> Settings:
        """Score and repair of one step, as all other ways hold them."""
        return Settings(score=self.score, compensate=self.compensate)


@dataclass(frozen=True)
class Targeted:
    """To a target in one round (one-shot) or several; retrained after each."""

    way: ClassVar[str] = "targeted"
    settings: Settings = field(default_factory=Settings)  # what leaves and how it is repaired
    rounds: int = 1
    schedule: str = "constant"  # how the target falls from round to round: schedules.SCHEDULES
    retrain_epochs: int = 5  # after each round
    heal: str = "restart"  # one of HEALS
    distil: bool = False
    images: int = 512  # training images, labels unused, that scores and repair look at
    sensitivity_images: int = 1000  # validation images, with method "sensitivity"
    plan: str = ""  # fingerprint of a plan that was given

    def __post_init__(self) -> None:
        _between("--rounds", self.rounds, 1, 1000)
        _between("--retrain-epochs", self.retrain_epochs, 0, 10_000)
        _check_heal(self.heal)
        schedules.named(self.schedule)
        if self.plan and self.rounds > 1:
            raise EdgepruneError("--plan and --rounds", "a plan is one round", "leave one out")


@dataclass(frozen=True)
class Gradual:
    """In the middle of a training that starts at the dense network."""

    way: ClassVar[str] = "during training"
    settings: Settings = field(default_factory=lambda: Settings(score="l1", compensate="none"))
    schedule: str = "agp"
    cuts: int = 8  # evenly spaced
    until: float = 0.6  # share of the training after which the last cut is done
    retrain_epochs: int = 10  # of this training
    distil: bool = False
    images: int = 256

    def __post_init__(self) -> None:
        _between("--rounds", self.cuts, 1, 1000)
        _between("--retrain-epochs", self.retrain_epochs, 1, 10_000)
        schedules.named(self.schedule)
        if self.settings.compensate != "none":
            raise EdgepruneError(
                f"--during-training with --compensate {self.settings.compensate}",
                "the training itself repairs, and the optimizer's state would not fit new weights",
                "leave --compensate out",
            )


@dataclass(frozen=True)
class Unlabelled:
    """Post-training: unlabelled images, no training (ways/post_training.py)."""

    way: ClassVar[str] = "post-training"
    settings: Settings = field(default_factory=Settings)
    plan: str = ""  # fingerprint of a plan that was given


Way = Pruning | Targeted | Gradual | Unlabelled
WAYS: dict[str, type[Way]] = {w.way: w for w in (Pruning, Targeted, Gradual, Unlabelled)}


def way_from_json(value: dict[str, Any] | None) -> Way | None:
    """A way of pruning out of ``recipe.json``; one without a name is the paper's (version 0.1.0)."""
    if not value:
        return None
    words = dict(value)
    kind = WAYS[words.pop("way", Pruning.way)]
    if "settings" in words:
        given = dict(words["settings"])
        words["settings"] = Settings(**given | {"keep": tuple(given.get("keep", ()))})
    return kind(**words)


def _check_heal(heal: str) -> None:
    if heal not in HEALS:
        raise EdgepruneError(f"--heal {heal!r}", closest(heal, HEALS))


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise EdgepruneError(f"{name} {value}", f"must lie in {low}..{high}")


NONE = type(None)
KINDS: dict[str, tuple[type, ...]] = {  # of the fields of `Asked`: a recipe may be edited by hand
    "model": (str,), "init": (str,), "head": (str,), "partial": (bool,), "data": (str, NONE),
    "size": (int,), "limit": (int, NONE), "skip_bad": (bool,), "seed": (int,), "images": (str, NONE),
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
    images: str | None = None  # unlabelled images that the post-training way looks at

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
            "pruning": {"way": self.pruning.way, **asdict(self.pruning)} if self.pruning else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Asked:
        try:
            known = {k: value[k] for k in cls.__dataclass_fields__ if k in value or k != "images"}
            known["recipe"] = Recipe.from_json(known["recipe"]) if known["recipe"] else None
            known["pruning"] = way_from_json(known["pruning"])
            for name, kinds in KINDS.items():
                if type(known.get(name)) not in kinds:
                    raise TypeError(f"{name} is {known.get(name)!r}")
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as e:
            raise EdgepruneError("recipe.json", f"not a recipe of this version ({e})") from None


def open_run(asked: Asked, name: str, argv: Sequence[str]) -> Run:
    """The run of that name for what is asked: a new one, or the one that the same words began.

    A run whose dense network was trained for other words is refused with the difference; a run that
    was only trained takes the pruning that is asked now.
    """
    run, new = claim(asked, name)
    if new:
        write_recipe(run, asked, argv)
    return run


def claim(asked: Asked, name: str) -> tuple[Run, bool]:
    """The run of that name, and whether its recipe is still to be written; refuses as `open_run`."""
    run = runs.named(name)
    if not run.recipe_path.exists():
        if run.path.exists() and any(not p.name.startswith(".") for p in run.path.iterdir()):
            raise EdgepruneError(f"{run.path} is there but is no run", next="choose another --name")
        return run, True
    there = Asked.from_json(run.recipe())
    if asked.pruning is None:
        asked = replace(asked, pruning=there.pruning)
    different = _difference(there, asked)
    if different and different <= {"pruning", "images"} and not pruning_begun(run):
        return run, True
    if different:
        raise EdgepruneError(
            f"run {name} was made with other settings",
            ", ".join(_change(key, there, asked) for key in sorted(different)),
            f"choose another --name, or remove {run.path}",
        )
    return run, False


def pruning_begun(run: Run) -> bool:
    """Whether anything was done for the pruning that the recipe asks for."""
    done = any(r.get("kind") in ("step", "sensitivity") for r in run.history())
    return done or run.has("pruned") or (run.state_folder / "pruning.safetensors").exists()


@contextmanager
def working(run: Run) -> Iterator[None]:
    """The run's lock; a run that was only begun when an error ended it is taken away again."""
    fresh = not run.history_path.exists()
    with run.lock():
        try:
            yield
        except EdgepruneError:
            work = (run.history_path, run.weights_path("dense"), run.state_folder)
            if fresh and not any(path.exists() for path in work):
                for path in (run.recipe_path, run.spec_path, run.path / ".lock"):
                    path.unlink(missing_ok=True)
                with suppress(OSError):  # what else lies there is not ours
                    run.path.rmdir()
            raise


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
    there = run.recipe() if run.recipe_path.exists() else {}
    created = there.get("created") or runs.now()
    if "parent" in there:
        more = {"parent": there["parent"], **more}
    head = {
        "command": "prune" if asked.pruning else "train",
        "argv": list(argv),
        "created": created,
    }
    files.write_json(run.recipe_path, head | asked.to_json() | {"versions": runs.versions()} | more)


def _difference(there: Asked, asked: Asked) -> set[str]:
    return {k for k in Asked.__dataclass_fields__ if getattr(there, k) != getattr(asked, k)}


def _change(key: str, there: Any, asked: Any) -> str:
    """``limit 500 -> 1000``; for a nested value the fields of it that differ."""
    old, new = getattr(there, key), getattr(asked, key)
    if hasattr(old, "__dataclass_fields__") and type(old) is type(new):
        fields = [f for f in old.__dataclass_fields__ if getattr(old, f) != getattr(new, f)]
        return ", ".join(_change(f, old, new) for f in fields)
    if hasattr(old, "way") or hasattr(new, "way"):
        return f"{key} {getattr(old, 'way', 'none')} -> {getattr(new, 'way', 'none')}"
    return f"{key} {old} -> {new}"
