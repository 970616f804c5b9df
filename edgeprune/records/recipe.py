"""``recipe.json``: what was asked of a run. One type writes, reads and checks it.

What a training is and how a way of pruning is spelled belongs to rooms above: `train.Recipe` is a
`Training` that checks its words against its tables, and a `Pruning` is read by the row of the way that
it names (`ways.table`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from .typed import CLOSED, FINITE, Count

T = TypeVar("T")  # how the dense network is trained
W = TypeVar("W")  # how it is pruned


@dataclass(frozen=True)
class Training:
    """One way to train. The defaults are those of the recipe named "default" (`train.RECIPES`)."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    epochs: int = 40  # at most; the early stop may end it before
    batch_size: int = 64  # images in a step, all processes together
    optimizer: str = "adamw"  # one of train.recipes.OPTIMIZERS
    lr: float = 3e-3  # the highest learning rate
    schedule: str = "cosine"  # one of train.recipes.SCHEDULES
    warmup_epochs: float = 2.0  # linear rise to lr; at most a quarter of all epochs
    floor: float = 0.05  # cosine: the last learning rate as a share of lr
    weight_decay: float = 0.02  # for weights; norms and biases have none
    momentum: float = 0.9  # sgd only
    label_smoothing: float = 0.1  # share of the target spread over all classes
    augment: str = "auto"  # data.AUGMENTS; auto: what suits the set (data.augment_for)
    precision: str = "auto"  # auto: measured, see train.forecast.choose_precision
    patience: int = 15  # epochs without a better validation accuracy until it stops; 0: never
    clip: float = 1.0  # largest norm of the whole gradient; 0: no limit
    teacher_share: float = 0.5  # with a teacher: share of its loss (losses.distillation)
    temperature: float = 4.0  # with a teacher: softens both distributions
    seed: int = 0  # order of the images, augmentation, dropout
    task: str = "classification"  # one of tasks.TASKS: whose loss, whose score


@dataclass(frozen=True)
class Pruning:
    """A way of pruning by its name, and its words as they stand: only its row knows their types."""

    way: str
    words: Mapping[str, Any]  # JSON

    def __plain__(self) -> Mapping[str, Any]:
        return {"way": self.way, **self.words}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls._read, handler(dict[str, Any]))

    @classmethod
    def _read(cls, given: Mapping[str, Any]) -> Pruning:
        way = given.get("way", "paper")  # one without a name is the paper's (version 0.1.0)
        if not isinstance(way, str):
            raise ValueError(f"way {way!r} is no name")
        return cls(way, {k: v for k, v in given.items() if k != "way"})


@dataclass(frozen=True)
class Asked(Generic[T, W]):
    """Everything that decides a run's networks, all defaults resolved."""

    model: str = ""
    init: str = "scratch"
    head: str = "paper"
    partial: bool = False
    data: str | None = None  # None: no labels anywhere
    size: Count = 0  # pixels
    limit: Count | None = None
    skip_bad: bool = False
    seed: int = 0
    recipe: T | None = None  # None: nothing was trained, the weights were given whole
    pruning: W | None = None  # None: dense training only
    images: str | None = None  # unlabelled images that a way without labels looks at
    task: str = "classification"  # what the answers are, as `tasks.judged` reads it
    test: str | None = None  # another set that judges; None: the data set's own test part
    shape: str = ""  # of an example, as --shape says it; "": an image, or what `images` holds
    score_sha256: str | None = None  # of the user's own criterion, as it was run; its copy: score/


@dataclass(frozen=True, kw_only=True)
class Recipe(Asked[Training, Pruning]):
    """What was asked of a run, all defaults resolved, and which command asked it.

    Of a run that was only begun any of it may be missing.
    """

    __pydantic_config__: ClassVar[Any] = FINITE
    recipe: Training | None = None  # again: pydantic does not see through a base's type variables
    pruning: Pruning | None = None
    command: str | None = None
    argv: list[str] = field(default_factory=list)
    created: str | None = None
    fresh: list[str] = field(default_factory=list)  # tensors that the first weights did not have
    versions: dict[str, str] = field(default_factory=dict)
    parent: str | None = None  # run whose dense network this is
    fixed_from: str | None = None  # run whose widths were rounded up

    def go_on(self, word: str, trained: bool, measured: bool = False) -> str:
        """The command that takes the unfinished run ``word`` to its end: its own, or the next one.

        ``measured``: smaller networks of it are (its frontier), one of which can be taken.
        """
        if self.argv and (not trained or self.pruning is not None):
            return f"edgeprune {shlex.join(self.argv)}"
        if measured:
            return f"edgeprune prune {word} --pick N"
        return f"edgeprune prune {word}" + (
            "" if self.data else " --post-training --keep-flops 0.5"
        )
