"""A study as it is written down (``FILE.toml``), and what a table of its runs holds a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt, Le

from ..errors import EdgepruneError
from .recipe import Pruning
from .typed import CLOSED, FINITE, Count, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Words:
    """How the dense networks are trained, in the words of ``edgeprune train``; None: not said here."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    epochs: list[Positive] | None = None  # tried in this order until the accuracy is flat
    recipe: str | None = None
    batch_size: Positive | None = None
    lr: float | None = None
    precision: str | None = None  # "fp32" where none is said: another worker must come to the same
    limit: Positive | None = None  # training images
    size: Positive | None = None  # pixels
    head: str | None = None
    skip_bad: bool | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and sorted(set(self.epochs)) != list(self.epochs):
            raise EdgepruneError(f"epochs {self.epochs}", "must rise", "such as [30, 60]")

    def but(self, other: Words) -> Words:
        """With what ``other`` says."""
        said = {f.name: getattr(other, f.name) for f in fields(other)}
        return replace(self, **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Start:
    """First weights: the paper's Network-A has those of ImageNet, its Network-B random ones."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    init: str = "scratch"
    partial: bool = False
    of: str | None = None  # instead: what the network of this other start was trained to

    def __post_init__(self) -> None:
        if self.of is not None and self.init != "scratch":
            raise EdgepruneError("init and of", "say the same thing", "leave one out")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model with the starts that are compared."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    inits: dict[str, Start]
    data: list[str] | None = None  # of the study's sets; None: all
    train: Words = field(default_factory=Words)


@dataclass(frozen=True, kw_only=True)
class Flat:
    """When a baseline counts as trained: see `study.flat`."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    points: Annotated[float, Gt(0)] = (
        1.0  # that it may still gain in as many epochs as were looked at
    )
    last: Annotated[float, Gt(0), Le(1)] = 0.25  # share of the epochs that is looked at


@dataclass(frozen=True, kw_only=True)
class Study:
    """Models x starts x data x ways x seeds, each a run."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    name: str
    models: dict[str, Network]
    data: dict[str, Words]
    seeds: list[Count] = field(default_factory=lambda: [0])
    train: Words = field(default_factory=Words)
    ways: dict[str, Pruning] = field(default_factory=dict)  # by a word; as in recipe.json, and `of`
    flat: Flat = field(default_factory=Flat)
    bench: bool = False  # whether each pruned network is exported and measured, after all else


State = Literal["done", "still rising", "at chance", "waits", "runs", "failed"]


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A run of a study: what was asked, how far it is, what came of it. Accuracies are shares."""

    __pydantic_config__: ClassVar[Any] = FINITE
    job: str
    model: str
    data: str
    start: str
    seed: Count
    way: str | None = None  # None: the dense network alone
    state: State = "waits"
    why: str | None = None  # it failed, or waits
    train_images: Count | None = None
    epochs: Count | None = None  # that the dense network was trained
    rise: float | None = None  # points that its accuracy gains in a further quarter, by its slope
    rise_high: float | None = None  # and the far end of the interval
    dense_params: Positive | None = None
    params: Positive | None = None
    dense_flops: Positive | None = None
    flops: Positive | None = None
    dense_widths: Mapping[str, Count] = field(default_factory=dict)
    widths: Mapping[str, Count] = field(default_factory=dict)
    dense_validation: Share | None = None
    validation: Share | None = None
    validation_images: Count | None = None
    dense_test: Share | None = None
    test: Share | None = None
    test_images: Count | None = None
    steps: Count | None = None
    stopped: str | None = None
    dense_ms: float | None = None
    ms: float | None = None
    contended: bool | None = None  # other programs ran while it was measured
    seconds: float | None = None  # of training and pruning

    @property
    def counts(self) -> bool:
        """Whether it is compared with others."""
        return self.state == "done"
