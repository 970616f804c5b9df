"""``edgeprune prune``: the main job, in each of its ways."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import options, output, plans
from .train import default_name, load_data, resolve, show
from .words import multiple, way_of

if TYPE_CHECKING:
    from ..checkpoint import Loaded
    from ..data import Dataset
    from ..prune import Plan
    from ..runs import Run
    from ..ways import Asked
    from ..ways.asked import Way

WHAT, WAY = "What to prune", "How far, and in which way (default: the paper's)"
CHOICE, REPAIR = "Which filters leave", "Repair and retraining"
PAPER, DENSE, REST = "The paper's way", "Training the dense network first", "Rest"
LOOKED_AT = 1024  # unlabelled images at most, unless --limit says another number


def prune(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Prune the dense network of this run instead of training one (--name NEW: a new run).",
        ),
    ] = None,
    model: Annotated[str, options.model(WHAT)] = "vgg16",
    init: Annotated[str, options.init(WHAT)] = "scratch",
    weights: Annotated[str | None, options.weights(WHAT)] = None,
    head: Annotated[str | None, options.head(WHAT)] = None,
    data: Annotated[str | None, options.data(WHAT, " Default: cifar10, unless --images.")] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            help="Unlabelled images for --post-training: a folder or archive, however deep they lie.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    size: Annotated[int | None, options.size(WHAT)] = None,
    keep_flops: Annotated[
        float | None,
        typer.Option(
            "--keep-flops", help="Share of the FLOPs to keep, such as 0.5.", rich_help_panel=WAY
        ),
    ] = None,
    keep_params: Annotated[
        float | None,
        typer.Option("--keep-params", help="Share of the parameters to keep.", rich_help_panel=WAY),
    ] = None,
    post_training: Annotated[
        bool,
        typer.Option(
            "--post-training",
            help="No labels, no training: look at images, cut, repair. About a minute.",
            rich_help_panel=WAY,
        ),
    ] = False,
    during_training: Annotated[
        bool,
        typer.Option(
            "--during-training",
            help="Cut in the middle of a training that goes on from the dense network.",
            rich_help_panel=WAY,
        ),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            help="Rounds to the target (1: one-shot), or cuts during training (8).",
            rich_help_panel=WAY,
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            help="How the target falls over the rounds: constant, agp, one-cycle.",
            rich_help_panel=WAY,
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Apply this plan instead of making one.", rich_help_panel=WAY),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan, change nothing.", rich_help_panel=WAY),
    ] = False,
    plan_out: Annotated[
        Path | None,
        typer.Option("--plan-out", help="Also write the plan to this file.", rich_help_panel=WAY),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            "--score",
            help="l1, l2, fpgm, bn_scale, apoz, mean_response, linear_redundancy, pfa, taylor, "
            "taylor_gate, car, reconstruction, random.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "--plan-method",
            help="uniform, global, reconstruction: how the cuts spread over the layers.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="GLOB",
            help="Groups that stay whole; again for more.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option("--floor", help="Least share of a group's width.", rich_help_panel=CHOICE),
    ] = None,
    round_to: Annotated[
        str,
        typer.Option(
            "--round-to",
            help="Widths are multiples of this; auto: what the runtime on --device computes in.",
            rich_help_panel=CHOICE,
        ),
    ] = "auto",
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Where it will run, for --round-to auto; as in bench. Default: cpu.",
            rich_help_panel=CHOICE,
        ),
    ] = None,
    compensate: Annotated[
        str | None,
        typer.Option(
            "--compensate",
            help="none, mean, lstsq, blocks: repair before any training.",
            rich_help_panel=REPAIR,
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            "--views", help="Views of each image that repair looks at.", rich_help_panel=REPAIR
        ),
    ] = None,
    distill_steps: Annotated[
        int | None,
        typer.Option(
            "--distill-steps",
            help="After --post-training: batches of distillation, still without labels.",
            rich_help_panel=REPAIR,
        ),
    ] = None,
    retrain_epochs: Annotated[
        int | None,
        typer.Option(
            "--retrain-epochs",
            min=0,
            help="Epochs after each step or round (5); during training: all (10).",
            rich_help_panel=REPAIR,
        ),
    ] = None,
    heal: Annotated[
        str | None,
        typer.Option(
            "--heal",
            help="paper (lowest rate reached; the paper's way's default) or restart (high, then decay).",
            rich_help_panel=REPAIR,
        ),
    ] = None,
    distill: Annotated[
        bool,
        typer.Option(
            "--distill", help="The dense network teaches while retraining.", rich_help_panel=REPAIR
        ),
    ] = False,
    step: Annotated[
        float | None,
        typer.Option(
            "--step",
            help="Share of a layer's filters that a step removes (0.125).",
            rich_help_panel=PAPER,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            help="Points of validation accuracy it may cost (1).",
            rich_help_panel=PAPER,
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            "--max-steps", min=1, help="Stop after that many steps.", rich_help_panel=PAPER
        ),
    ] = None,
    epochs: Annotated[int | None, options.epochs(DENSE)] = None,
    recipe: Annotated[str, options.recipe(DENSE)] = "default",
    batch_size: Annotated[int | None, options.batch(DENSE)] = None,
    lr: Annotated[float | None, options.lr(DENSE)] = None,
    precision: Annotated[str, options.precision(DENSE)] = "auto",
    partial: Annotated[bool, options.partial(DENSE)] = False,
    limit: Annotated[int | None, options.limit(REST)] = None,
    seed: Annotated[int, options.seed(REST)] = 0,
    skip_bad: Annotated[bool, options.skip_bad(REST)] = False,
    name: Annotated[str | None, options.name(REST)] = None,
    as_json: Annotated[bool, options.json(REST)] = False,
) -> None:
    """Remove the filters that do not matter.

    [b]The paper's way[/b] (Hubens et al. 2020) is the default: the dense network is trained first when
    the run has none; then, one layer at a time, filters leave and the network is retrained while the
    validation accuracy stays within --max-drop points.

    [b]To a target[/b]: --keep-flops 0.5, in one round or --rounds N.

    [b]In the middle of a training[/b]: --keep-flops 0.5 --during-training.

    [b]Without labels[/b]: --post-training --keep-flops 0.5 --images FOLDER.

    Killed, it goes on where it was when the same command is typed again.

    Example: [b]edgeprune prune --model vgg16 --init imagenet[/b]
    """
    from . import progress

    asked_for = {
        "keep_flops": keep_flops, "keep_params": keep_params, "score": score, "method": method,
        "keep": tuple(keep) if keep else None, "floor": floor, "compensate": compensate,
        "views": views, "distil_steps": distill_steps, "seed": seed,
        "multiple": multiple(round_to, device),
    }  # fmt: skip
    given = plans.read(plan) if plan is not None else None
    way = way_of(
        asked_for, given, post_training=post_training, during_training=during_training,
        rounds=rounds, schedule=schedule, retrain_epochs=retrain_epochs, heal=heal, distil=distill,
        step=step, max_drop=max_drop, max_steps=max_steps,
    )  # fmt: skip
    words: dict[str, Any] = {
        "model": model, "init": options.first_weights(init, weights), "data": data, "size": size,
        "head": head, "epochs": epochs, "recipe": recipe, "batch_size": batch_size, "lr": lr,
        "precision": precision, "limit": limit, "seed": seed, "partial": partial,
        "skip_bad": skip_bad, "images": images,
    }  # fmt: skip
    if images is not None and not post_training:
        raise EdgepruneError(
            "--images", "is for --post-training", "add --post-training, or use --data"
        )
    with progress.watch() as watch:
        if post_training:
            _without_labels(run, name, words, way, given, dry_run, plan_out, as_json, watch)
        elif dry_run:
            _dry(run, words, way, given, plan_out, as_json, watch)
        else:
            _retrained(run, name, words, way, given, plan_out, as_json, watch)


# -- the three kinds of work -----------------------------------------------------------------------


def _retrained(
    run: str | None, name: str | None, words: dict[str, Any], way: Way, given: Plan | None,
    plan_out: Path | None, as_json: bool, watch: Any,
) -> None:  # fmt: skip
    """Labels and training: the paper's way, to a target, or during training."""
    from .. import files, ways

    if run is not None:
        target, asked, dataset = _of_run(run, name, way, watch)
    else:
        words = words | {"data": words["data"] or "cifar10", "head": words["head"] or "paper"}
        asked, dataset = resolve(words, way, watch)
        target = ways.open_run(asked, name or default_name(asked), sys.argv[1:])
    with ways.working(target):
        dense = ways.dense(target, asked, dataset, watch)
        if given is not None:
            plans.check(given, dense)
        if isinstance(way, ways.Targeted):
            ended = ways.targeted(target, asked, dense, dataset, watch, given)
        elif isinstance(way, ways.Gradual):
            ended = ways.during_training(target, asked, dense, dataset, watch)
        else:
            ended = ways.iterative(target, asked, dense, dataset, watch)
    if plan_out is not None:
        files.write_json(plan_out, files.read_json(target.plan_path))
    watch.end()
    show(target, as_json)
    output.note(f"stopped: {ended}. Everything lies in {target.path}")
    output.note(f"next: edgeprune export {target.name}")


def _dry(
    run: str | None, words: dict[str, Any], way: Way, given: Plan | None, plan_out: Path | None,
    as_json: bool, watch: Any,
) -> None:  # fmt: skip
    """The plan of a way that goes to a target, from a network that is trained already."""
    from .. import runs, ways

    if isinstance(way, ways.Pruning):
        raise EdgepruneError(
            "--dry-run", "the paper's way plans from step to step, by what retraining brings",
            "give a target: --keep-flops or --keep-params",
        )  # fmt: skip
    if run is not None:
        found = runs.find(run)
        asked = replace(ways.Asked.from_json(found.recipe()), pruning=way)
        dense = _dense_of(found)
        dataset = _data_of(asked, watch) if asked.data else None
    else:
        asked, dense, dataset = _checkpoint(words, way, watch)
    made = given if given is not None else ways.dry(asked, dense, dataset, watch)
    if given is not None:
        plans.check(given, dense)
    watch.end()
    plans.show(made, dense, plan_out, as_json)
    if isinstance(way, ways.Gradual) or getattr(way, "rounds", 1) > 1:
        output.note(
            "later rounds plan anew, from the weights as they are then: this is all at once"
        )


def _without_labels(
    run: str | None, name: str | None, words: dict[str, Any], way: Way, given: Plan | None,
    dry_run: bool, plan_out: Path | None, as_json: bool, watch: Any,
) -> None:  # fmt: skip
    """Post-training: the loss is told before anything is written."""
    from .. import runs, ways
    from ..ways import unlabelled

    if run is not None:
        parent = runs.find(run)
        dense = _dense_of(parent)
        before = ways.Asked.from_json(parent.recipe())
        asked = replace(
            before, pruning=way, images=words["images"] or before.images,
            skip_bad=before.skip_bad or words["skip_bad"],
        )  # fmt: skip
        if asked.images is not None and words["limit"]:
            asked = replace(asked, limit=words["limit"])
        dataset = _data_of(asked, watch) if asked.data else None
        wanted = name or parent.name
    else:
        parent = None
        asked, dense, dataset = _checkpoint(words, way, watch)
        wanted = name or default_name(asked)
    if given is not None:
        plans.check(given, dense)
    if not dry_run:
        target, new = ways.claim(asked, wanted)
        if target.has("pruned") and not new:
            output.note(f"run {wanted} is pruned already; remove {target.path} to start over")
            watch.end()
            show(target, as_json)
            return
    pixels = _pixels(asked, dataset, watch)
    done = ways.without_labels(dense, pixels, asked, watch, given)
    if dry_run:
        watch.end()
        plans.show(done.plan, dense, plan_out, as_json)
        return
    if plan_out is not None:
        plans.show(done.plan, dense, plan_out, as_json=False, quiet=True)
    if parent is not None and wanted != parent.name and not target.recipe_path.exists():
        ways.derive(parent, wanted, asked, sys.argv[1:])
    with ways.working(target):
        ended = unlabelled.write(target, asked, dense, done, dataset, sys.argv[1:])
    watch.end()
    show(target, as_json)
    output.note(f"{ended}; {done.seconds:.0f} s. Everything lies in {target.path}")
    output.note(f"next: edgeprune export {target.name}")


# -- where the network and the images come from ---------------------------------------------------


def _of_run(wanted: str, name: str | None, way: Way, watch: Any) -> tuple[Run, Asked, Dataset]:
    """The run itself, or a new one that starts from its dense network; its own words decide the rest."""
    from .. import runs, ways
    from ..ways import Asked

    parent = runs.find(wanted)
    asked = replace(Asked.from_json(parent.recipe()), pruning=way)
    dataset = _data_of(asked, watch)
    if name is None or name == parent.name:
        target = ways.open_run(asked, parent.name, sys.argv[1:])
    else:
        target = ways.derive(parent, name, asked, sys.argv[1:])
    return target, asked, dataset


def _dense_of(run: Run) -> Loaded:
    from .. import checkpoint

    return checkpoint.load(run, "dense")


def _data_of(asked: Asked, watch: Any) -> Dataset:
    """The labelled set of a run, split as it was."""
    if asked.data is None:
        raise EdgepruneError(
            "this run has no labelled images", "so it cannot be retrained",
            "add --post-training, or train one: edgeprune train --data …",
        )  # fmt: skip
    # with --images the limit is on those
    limit = asked.limit if asked.images is None else None
    return load_data(asked.data, asked.size, asked.seed, limit, asked.skip_bad, watch)


def _checkpoint(
    words: dict[str, Any], way: Way, watch: Any
) -> tuple[Asked, Loaded, Dataset | None]:
    """A whole checkpoint and the images that were named; nothing is trained."""
    from .. import models, ways

    models.check_name(words["model"])
    heads = [words["head"]] if words["head"] else ["paper", "original"]
    dense = ways.whole(words["model"], words["init"], heads, words["size"])
    dataset = None
    images = words["images"]
    if words["data"] is not None:
        limit = None if images else words["limit"]
        dataset = load_data(
            words["data"], dense.convention.size, words["seed"], limit, words["skip_bad"], watch
        )
        dense = ways.whole(words["model"], words["init"], heads, words["size"], dataset.classes)
    limit = words["limit"] if images is None else words["limit"] or LOOKED_AT
    asked = ways.Asked(
        words["model"], words["init"], dense.spec.head, False, words["data"],
        dense.convention.size, limit, words["skip_bad"], words["seed"], None, way, images,
    )  # fmt: skip
    return asked, dense, dataset


def _pixels(asked: Asked, dataset: Dataset | None, watch: Any) -> Any:
    """The images that post-training looks at, uint8 [N, canvas, canvas, 3]."""
    from .. import data as room

    if asked.images is not None:
        some = room.unlabelled(
            asked.images, size=asked.size, limit=asked.limit or LOOKED_AT, skip_bad=asked.skip_bad,
            notes=watch.note, progress=watch.on_progress,
        )  # fmt: skip
    elif dataset is not None:
        some = dataset.train.take(LOOKED_AT)
        watch.note(f"looks at {len(some):,} training images of {asked.data}, labels unused")
    else:
        raise EdgepruneError(
            "--post-training", "has no images to look at", "add --images FOLDER or --data NAME"
        )
    return some.images(range(len(some)))
