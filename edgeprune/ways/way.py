"""What every way to prune has: a value, one row that says all about it, and what its page is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .. import records, tasks
from ..errors import EdgepruneError, closest
from ..prices import Target
from ..prune.plan import METHODS, OWN
from ..records import Port
from ..tasks import Task
from . import aim
from .post_training import Settings

if TYPE_CHECKING:
    from ..checkpoint import Loaded
    from ..data import Dataset
    from ..prune import Plan
    from ..runs import Run
    from .asked import Asked
    from .examples import Examples
    from .post_training import Rowed
    from .record import Watch

HEALS = ("paper", "restart")  # retrain at the lowest rate reached; restart high and decay
Words = Mapping[str, Any]  # what was typed: name of a value's field -> value; only what was typed
SETTINGS = frozenset(f.name for f in fields(Settings)) - {"block_steps", "multiple"} | {"round_to"}
SPELLED = {"distil": "--distill", "distil_steps": "--distill-steps"}  # where a word is not its name


class Way(Protocol):
    """A way's value: a frozen dataclass of plain fields, written into ``recipe.json`` as they are."""

    @property
    def settings(self) -> Settings:
        """What leaves and how it is repaired, as all ways hold it."""
        ...


W = TypeVar("W", bound=Way)


@dataclass(frozen=True)
class Work(Generic[W]):
    """One pruning: what was asked, what it starts from, and the run that it is written into."""

    run: Run
    asked: Asked
    way: W
    dense: Loaded
    dataset: Dataset | None  # None: no labels
    watch: Watch
    given: Plan | None = None  # a plan to apply instead of making one
    examples: Examples | None = None  # without labels, for a way that wants none
    open: Callable[[], AbstractContextManager[Any]] = nullcontext
    # locks the run and writes its recipe, for a way that writes only when all is computed

    @property
    def prices(self) -> aim.Rows:
        """The table that the way's target is counted in, as visits to the device corrected it."""
        return aim.rows(self.way.settings.target, self.visits)

    @property
    def visits(self) -> list[records.Visit]:
        """Those of this run that were made for what is asked now, in their order."""
        target = self.way.settings.target
        if target is None or target.place is None:
            return []
        asked = (str(target), target.place.device, target.place.threads)
        made = self.run.history(records.Visit)
        found = [v for v in made if (v.asked, v.device, v.threads) == asked]
        return sorted(found, key=lambda v: v.step)

    @property
    def goal(self) -> dict[str, float]:
        """How much of which price of the dense network is to stay: ``{"flops": 0.5}``, or {}."""
        return aim.share_of(self.way.settings.target, self.dense.graph, self.prices)

    @property
    def task(self) -> Task:
        """Of the output that labels judge."""
        return self.judged[1]

    @property
    def judged(self) -> tuple[Port, Task]:
        """The output that labels judge; of several networks' kinds of answers none, which are values."""
        return tasks.labelled(self.rows) or (self.rows[0][0], tasks.VALUES)

    @property
    def rows(self) -> Rowed:
        """The outputs that are compared, each with its task."""
        return tasks.judged(self.dense.signature, self.asked.task)

    @property
    def labelled(self) -> Dataset:
        """The data set; an error where there is none."""
        if self.dataset is None:
            raise no_labels()
        return self.dataset


@dataclass(frozen=True)
class Row(Generic[W]):
    """All that is to be known of a way; whatever else is said about it is derived from here."""

    name: str  # in recipes, in reports and after --way
    title: str  # in a sentence
    value: type[W]
    of_words: Callable[[Words], W]
    words: frozenset[str]  # of the command line that it understands
    lacks: tuple[str, str]  # why a word of another way is refused here, and the remedy
    page: Callable[[Work[W]], str]  # runs it from top to bottom; how it ended
    flag: str = ""  # the switch that chooses it; "": chosen by whether a target is given
    target: bool = True  # goes to a target in some price, or to a plan
    labels: bool = True  # trains, so the dense network comes out of a run, trained there if need be
    filters: bool = True  # filters alone meet the target: refused early where they cannot
    dry: Callable[[Work[W]], Plan] | None = None  # the plan alone; nothing is written
    dry_note: Callable[[W], str] = lambda way: ""  # what such a plan does not show
    formerly: str = ""  # its name in recipes of earlier versions
    renamed: Mapping[str, str] = field(default_factory=dict)  # fields of those recipes


def settings_of(typed: Words) -> Settings:
    """What was typed of score, plan and repair; the rest as `Settings` has it."""
    known = {name: typed[name] for name in SETTINGS if name in typed}
    if "round_to" in known:
        known["multiple"] = known.pop("round_to")
    if known.get("method", OWN) not in (*METHODS, OWN):
        raise EdgepruneError(
            f"--method {known['method']!r}", closest(known["method"], (*METHODS, OWN))
        )
    return Settings(**known)


def own(kind: type[Any], typed: Words) -> dict[str, Any]:
    """What was typed of the fields of ``kind`` itself."""
    return {f.name: typed[f.name] for f in fields(kind) if f.name in typed}


def names(kind: type[Any], *more: str) -> frozenset[str]:
    """The words of ``kind``'s own fields, of ``more``, and those that all ways share."""
    return frozenset(f.name for f in fields(kind)) - {"settings"} | {*more, "round_to", "seed"}


def spelled(word: str, given: Any = None) -> str:
    """``retrain_epochs`` -> ``--retrain-epochs``; a target by its price, ``--keep-flops``."""
    if isinstance(given, Target):
        return given.option
    return SPELLED.get(word, "--" + word.replace("_", "-"))


def between(word: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise EdgepruneError(f"{spelled(word)} {value}", f"must lie in {low}..{high}")


def check_heal(heal: str) -> None:
    if heal not in HEALS:
        raise EdgepruneError(f"--heal {heal!r}", closest(heal, HEALS))


def no_labels() -> EdgepruneError:
    return EdgepruneError(
        "this run has no labelled images",
        "so it cannot be retrained",
        "add --post-training, or train one: edgeprune train --data …",
    )
