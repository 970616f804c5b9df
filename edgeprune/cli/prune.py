"""``edgeprune prune``: the main job."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import options, output
from .train import default_name, load_data, resolve, show

if TYPE_CHECKING:
    from ..data import Dataset
    from ..procedures import Asked, Pruning
    from ..runs import Run


def prune(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Prune the dense network of this run instead of training one (--name NEW: a new run).",
        ),
    ] = None,
    model: options.MODEL = "vgg16",
    init: options.INIT = "scratch",
    data: options.DATA = "cifar10",
    size: options.SIZE = None,
    head: options.HEAD = "paper",
    step: Annotated[
        float, typer.Option("--step", help="Share of a layer's filters that one step removes.")
    ] = 0.125,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="Points of validation accuracy it may cost.")
    ] = 1.0,
    retrain_epochs: Annotated[
        int, typer.Option("--retrain-epochs", min=0, help="Epochs of retraining after each step.")
    ] = 5,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Stop after that many pruning steps.")
    ] = None,
    round_to: Annotated[
        str,
        typer.Option(
            "--round-to", help="Widths are multiples of this; auto: what the runtime here likes."
        ),
    ] = "auto",
    epochs: options.EPOCHS = None,
    recipe: options.RECIPE = "default",
    batch_size: options.BATCH = None,
    lr: options.LR = None,
    precision: options.PRECISION = "auto",
    limit: options.LIMIT = None,
    seed: options.SEED = 0,
    partial: options.PARTIAL = False,
    skip_bad: options.SKIP_BAD = False,
    name: options.NAME = None,
    as_json: options.JSON = False,
) -> None:
    """Remove the filters that do not matter, as far as the accuracy allows (Hubens et al. 2020).

    Trains the dense network first when the run has none. Then, one layer at a time: the filters of
    smallest L1 norm leave, the network is retrained, and it goes on while the validation accuracy
    stays within --max-drop points of the dense network's. Killed, it goes on where it was when the
    same command is typed again.

    Example: [b]edgeprune prune --model vgg16 --init imagenet[/b]
    """
    from .. import procedures
    from . import progress

    pruning = procedures.Pruning(step, max_drop, retrain_epochs, max_steps, multiple(round_to))
    words: dict[str, Any] = {
        "model": model, "init": init, "data": data, "size": size, "head": head,
        "epochs": epochs, "recipe": recipe, "batch_size": batch_size, "lr": lr,
        "precision": precision, "limit": limit, "seed": seed, "partial": partial,
        "skip_bad": skip_bad,
    }  # fmt: skip
    with progress.watch() as watch:
        if run is not None:
            target, asked, dataset = _of_run(run, name, pruning, watch)
        else:
            asked, dataset = resolve(words, pruning, watch)
            target = procedures.open_run(asked, name or default_name(asked), sys.argv[1:])
        with target.lock():
            dense = procedures.dense(target, asked, dataset, watch)
            ended = procedures.iterative(target, asked, dense, dataset, watch)
    show(target, as_json)
    output.note(f"stopped: {ended}. Everything lies in {target.path}")
    output.note(f"next: edgeprune export {target.name}")


def multiple(text: str) -> int:
    """``auto`` -> the multiple of channels that the runtime of this machine computes in."""
    if text == "auto":
        from ..bench import channel_block

        return channel_block()
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise EdgepruneError(f"--round-to {text}", "neither auto nor a number in 1..1024")
    return int(text)


def _of_run(
    wanted: str, name: str | None, pruning: Pruning, watch: Any
) -> tuple[Run, Asked, Dataset]:
    """The run itself, or a new one that starts from its dense network; its own words decide the rest."""
    from .. import procedures, runs
    from ..procedures import Asked

    parent = runs.find(wanted)
    asked = replace(Asked.from_json(parent.recipe()), pruning=pruning)
    if name is None or name == parent.name:
        target = procedures.open_run(asked, parent.name, sys.argv[1:])
    else:
        target = procedures.derive(parent, name, asked, sys.argv[1:])
    dataset = load_data(asked.data, asked.size, asked.seed, asked.limit, asked.skip_bad, watch)
    return target, asked, dataset
