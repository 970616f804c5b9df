"""The words of ``edgeprune prune``, panel by panel of its help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import complete, options, output
from .typed import Each, Panel, flat

if TYPE_CHECKING:
    from ..prices import Place, Target
    from ..prune import Plan
    from ..ways import Wanted, Way


@dataclass(frozen=True)
class What(Panel, title="What to prune"):
    model: Annotated[str | None, options.model(" Default: vgg16, or what --weights says.")] = None
    init: options.INIT = "scratch"
    weights: options.WEIGHTS = None
    head: Annotated[str | None, options.head()] = None
    data: Annotated[str | None, options.data(" Default: cifar10, unless --images.")] = None
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            help="What --post-training looks at, without labels: a folder or archive of images, however "
            "deep they lie; arrays, FILE.npy or FILE.npz; FILE.py:FUNCTION, which makes batches.",
        ),
    ] = None
    shape: options.EXAMPLE = None
    task: options.TASK = None
    test: options.TEST = None
    size: options.SIZE = None


def targets() -> dict[str, Any]:
    """The options that say how far: ``--keep-NAME`` of each price, and the forms of their own."""
    from ..prices import PRICES
    from ..records import FORMS

    shares = {
        name: typer.Option(
            row.option, metavar="SHARE", help=f"Share of the {row.word} to keep, 0 to 1."
        )
        for name, row in PRICES.items()
    }
    return shares | {n: typer.Option(form.option, help=form.help) for n, form in FORMS.items()}


@dataclass(frozen=True)
class How(Panel, title="How far, and in which way (default: the paper's)"):
    target: Annotated[Mapping[str, float], Each(targets)] = field(default_factory=dict)
    post_training: Annotated[
        bool,
        typer.Option(
            "--post-training",
            help="No labels, no training: look at images, cut, repair. About a minute.",
        ),
    ] = False
    during_training: Annotated[
        bool,
        typer.Option(
            "--during-training",
            help="Cut in the middle of a training that goes on from the dense network.",
        ),
    ] = False
    way: Annotated[
        str | None,
        typer.Option(
            "--way",
            help="The way by its name: paper, target, gradual (--during-training), unlabelled "
            "(--post-training), interleaved (many small cuts, --updates after each), lottery (back to the "
            "first weights after each round), scratch (the architecture of --plan from random weights: a "
            "control), "
            "fine-pruning (Tung et al. 2017: shares searched while it is fine-tuned), low-rank (layers as "
            "pairs of thinner ones, no training).",
        ),
    ] = None
    energy: Annotated[
        float | None,
        typer.Option(
            "--energy",
            help="With --way low-rank: share of each layer's energy to keep (what the target leaves).",
        ),
    ] = None
    worth: Annotated[
        float | None,
        typer.Option(
            "--worth",
            help="With --way fine-pruning: accuracy, 0 to 1, that all FLOPs together are worth (0.1).",
        ),
    ] = None
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="With --way scratch: epochs (as many as the dense network had) or compute (as much: more).",
        ),
    ] = None
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            help="Rounds to the target (1: one-shot), cuts during training (8), cuts with a few updates "
            "in between (30), tickets (3).",
        ),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            help="How the target falls over the rounds: constant, agp, one-cycle.",
        ),
    ] = None
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Apply this plan instead of making one.")
    ] = None
    pick: Annotated[
        int | None,
        typer.Option(
            "--pick", min=1, metavar="N", help="That network of the run's frontier (post-training)."
        ),
    ] = None
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Then write it in 8 bits too, as edgeprune export --int8 does; a time that is asked for is "
            "the float network's.",
        ),
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, change nothing.")] = (
        False
    )
    plan_out: Annotated[
        Path | None, typer.Option("--plan-out", help="Also write the plan to this file.")
    ] = None


@dataclass(frozen=True)
class Choice(Panel, title="Which filters leave"):
    score: options.SCORE = None
    method: options.METHOD = None
    trials: Annotated[
        int | None,
        typer.Option("--trials", help="With --method search: spreads that are tried (40)."),
    ] = None
    keep: options.KEEP = None
    floor: options.FLOOR = None
    own_class: Annotated[
        bool,
        typer.Option(
            "--own-class",
            help="Keep whole what the network's Python wants whole, so that it keeps its own class.",
        ),
    ] = False
    unequal: Annotated[
        bool,
        typer.Option("--unequal", help="The parts of a split may differ in width."),
    ] = False
    round_to: options.ROUND_TO = "auto"
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            autocompletion=complete.devices,
            help="Where it will run, for --target-ms, --speedup, --post-training --max-drop and --round-to "
            "auto; as in bench. "
            "Default: cpu.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads it will run on there (1); with a time."),
    ] = None

    def target(self, typed: Mapping[str, float], bounded: bool = False) -> Target | None:
        """How far, of what was typed; a time is meant for --device and --threads. ``bounded``: by what it
        may lose, so that the fastest is looked for without one."""
        from ..prices import one

        found = one(typed, self.place)
        if self.threads is not None and not bounded and (found is None or found.place is None):
            raise EdgepruneError(
                f"--threads {self.threads}",
                "only decides --target-ms, --speedup and --post-training --max-drop",
                "leave it out",
            )
        return found

    @property
    def place(self) -> Place:
        """Where a time is meant."""
        from ..prices import Place

        return Place(self.device or "cpu", self.threads or 1)


@dataclass(frozen=True)
class Repair(Panel, title="Repair and retraining"):
    compensate: Annotated[
        str | None,
        typer.Option("--compensate", help="none, mean, lstsq, blocks: repair before any training."),
    ] = None
    views: Annotated[
        int | None, typer.Option("--views", help="Views of each image that repair looks at.")
    ] = None
    distil_steps: Annotated[
        int | None,
        typer.Option(
            "--distill-steps",
            help="After --post-training: batches of distillation, still without labels.",
        ),
    ] = None
    retrain_epochs: Annotated[
        int | None,
        typer.Option(
            "--retrain-epochs",
            min=0,
            help="Epochs after each step or round (5); during training: all (10).",
        ),
    ] = None
    updates: Annotated[
        int | None,
        typer.Option("--updates", min=1, help="--way interleaved: batches after each cut (30)."),
    ] = None
    rewind: Annotated[
        int | None,
        typer.Option(
            "--rewind",
            min=0,
            help="--way lottery: go back to the weights after so many epochs (0: the first).",
        ),
    ] = None
    heal: Annotated[
        str | None,
        typer.Option(
            "--heal",
            help="paper (lowest rate reached; the paper's way's default) or restart (high, then decay).",
        ),
    ] = None
    distil: Annotated[
        bool, typer.Option("--distill", help="The dense network teaches while retraining.")
    ] = False


@dataclass(frozen=True)
class Paper(Panel, title="The paper's way"):
    step: Annotated[
        float | None,
        typer.Option("--step", help="Share of a layer's filters that a step removes (0.125)."),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            help="Points of validation accuracy it may cost (1); with --post-training: of the dense "
            "network's answers, with their interval on held-out images; without a target the fastest such "
            "network on --device (not probed: the one of fewest FLOPs).",
        ),
    ] = None
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Stop after that many steps.")
    ] = None


@dataclass(frozen=True)
class Dense(Panel, title="Training the dense network first"):
    epochs: options.EPOCHS = None
    recipe: options.RECIPE = "default"
    batch_size: options.BATCH = None
    lr: options.LR = None
    precision: options.PRECISION = "auto"
    partial: options.PARTIAL = False


@dataclass(frozen=True)
class Rest(Panel, title="Rest"):
    limit: options.LIMIT = None
    seed: options.SEED = 0
    skip_bad: options.SKIP_BAD = False
    name: options.NAME = None
    as_json: options.JSON = False


@dataclass(frozen=True)
class Prune:
    """Everything that can be typed after ``edgeprune prune``."""

    run: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.runs,
            metavar="[RUN]",
            help="Prune the dense network of this run instead of training one (--name NEW: a new run).",
        ),
    ] = None
    what: What = field(default_factory=What)
    how: How = field(default_factory=How)
    choice: Choice = field(default_factory=Choice)
    repair: Repair = field(default_factory=Repair)
    paper: Paper = field(default_factory=Paper)
    dense: Dense = field(default_factory=Dense)
    rest: Rest = field(default_factory=Rest)

    def way(self, given: Plan | None) -> Way:
        """The way that is asked for; ``given`` is the plan of --plan."""
        from ..ways import way_of

        typed = {name: value for panel in PANELS for name, value in flat(panel(self)).items()}
        bounded = self.how.post_training and self.paper.max_drop is not None
        typed["target"] = self.choice.target(typed["target"], bounded)
        typed["keep"] = tuple(typed["keep"] or ()) or None
        own_score(self.choice.score)
        timed = typed["target"] is not None and typed["target"].place is not None
        if bounded and typed["target"] is None:
            typed["place"], timed = self.choice.place, True
        typed["round_to"] = multiple(self.choice.round_to, self.choice.device, timed)
        typed["seed"] = self.rest.seed
        typed["post_training"] = self.how.post_training or self.how.pick is not None
        if self.how.pick is not None and self.repair.compensate is None:
            typed["compensate"] = picked_repair(self.run)
        known = {
            word: value
            for word, value in typed.items()
            if word not in NO_WAY and value is not None and value is not False
        }
        return way_of(known, given, self.how.way)


PANELS: tuple[Callable[[Prune], Panel], ...] = (
    lambda words: words.how, lambda words: words.choice, lambda words: words.repair,
    lambda words: words.paper,
)  # fmt: skip
# words that say nothing about how it is pruned
NO_WAY = {"way", "plan", "pick", "int8", "dry_run", "plan_out", "device", "threads"}


def wanted(words: Any) -> Wanted:
    """What was typed of network, images and training, for the ways."""
    from .. import ways

    typed = flat(words)
    typed["init"] = options.first_weights(typed["init"], typed["weights"])
    typed["argv"] = tuple(sys.argv[1:])
    typed["shape"] = tuple(typed.get("shape") or ())
    typed["task"] = typed.get("task") or ""
    names = {f.name for f in fields(ways.Wanted)}
    return ways.Wanted(**{name: value for name, value in typed.items() if name in names})


def picked_repair(run: str | None) -> str:
    """How the networks of the run's frontier were repaired: one of them is made as it was."""
    from .. import frontier, runs

    return frontier.frontier_of(runs.find(run)).compensate


def own_score(score: str | None) -> None:
    """Let a ``FILE.py:FUNCTION`` that was typed now be a score; a run's own words never do."""
    if score is not None and ".py:" in score:
        from ..models import code
        from ..prune import scores

        scores.SCORES[score] = scores.own(score, code.function(score, "--score"))


def multiple(text: str, device: str | None = None, timed: bool = False) -> int:
    """``auto`` -> the multiple of channels that the runtime of ``device`` (None: cpu) computes in.

    ``timed``: the device is where a time is meant, too.
    """
    if text == "auto":
        from ..doctor import rounding

        found = rounding.multiple(device or "cpu")
        if device is not None:
            output.note(f"widths in multiples of {found}, as {device} computes")
        return found
    if device is not None and not timed:
        raise EdgepruneError(
            f"--device {device}", "only decides --target-ms, --speedup and --round-to auto",
            "leave one out",
        )  # fmt: skip
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise EdgepruneError(f"--round-to {text}", "neither auto nor a number in 1..1024")
    return int(text)
