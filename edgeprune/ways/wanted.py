"""What was typed of network, images and training; and what it comes to: `Asked`, the data, the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import checkpoint, data, models, runs, train
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..runs import Run
from .asked import Asked
from .dense import whole
from .record import Watch
from .way import Way, no_labels

if TYPE_CHECKING:
    from ..data import Dataset
    from ..data.transforms import Pixels

MODEL, DATA, HEAD = "vgg16", "cifar10", "paper"  # where nothing else was said
LOOKED_AT = 1024  # unlabelled images at most, unless --limit says another number


@dataclass(frozen=True)
class Wanted:
    """The words of a command, before any default is resolved; None: not said."""

    run: str | None = None  # prune the dense network of this run
    name: str | None = None  # of the run that is made
    task: str = "classification"  # one of tasks.TASKS
    argv: tuple[str, ...] = ()
    model: str | None = None
    init: str = "scratch"
    head: str | None = None
    partial: bool = False
    size: int | None = None  # pixels
    data: str | None = None
    images: str | None = None
    test: str | None = None
    limit: int | None = None
    skip_bad: bool = False
    seed: int = 0
    epochs: int | None = None
    recipe: str = "default"
    batch_size: int | None = None
    lr: float | None = None
    precision: str = "auto"


def model_of(wanted: Wanted, watch: Watch) -> str:
    """The network that was named, or that a file of weights says it is of."""
    model = wanted.model
    if model is None and models.is_file(wanted.init):
        model = models.model_of(wanted.init)
        if model is None:
            raise EdgepruneError(
                wanted.init, "does not say of which network it is", "add --model NAME"
            )
        watch.note(f"{wanted.init} is of {model}")
    (models.typed if wanted.model else models.check_name)(model or MODEL)
    return model or MODEL


def resolve(wanted: Wanted, way: Way | None, watch: Watch) -> tuple[Asked, Dataset]:
    """What is asked, with all defaults in place, and the data set; refuses before any work."""
    model, name, head = model_of(wanted, watch), wanted.data or DATA, wanted.head or HEAD
    source = models.find(models.ModelSpec(model), wanted.init)
    size = wanted.size or data.natural_size(name)
    dataset = load_data(name, size, wanted, watch)
    spec = models.ModelSpec(model, len(dataset.classes), head)
    recipe = train.named(
        wanted.recipe,
        pretrained=source is not None,
        normalised=models.has_norm(models.fresh(spec, 0)),
        images=len(dataset.train),
    )
    chosen = {
        "epochs": wanted.epochs, "batch_size": wanted.batch_size, "lr": wanted.lr,
        "precision": wanted.precision, "seed": wanted.seed, "task": wanted.task,
    }  # fmt: skip
    recipe = recipe.but(**{k: v for k, v in chosen.items() if v is not None})
    asked = Asked(
        model, wanted.init, head, wanted.partial, name, size,
        wanted.limit, wanted.skip_bad, wanted.seed, recipe, way, task=wanted.task, test=wanted.test,
    )  # fmt: skip
    return asked, dataset


def of_run(parent: Run, way: Way, wanted: Wanted) -> Asked:
    """What was asked of ``parent``, pruned in another way; images may be others."""
    before = Asked.from_json(parent.recipe())
    images = wanted.images or before.images
    limit = wanted.limit if images is not None and wanted.limit else before.limit
    skip_bad = before.skip_bad or wanted.skip_bad
    test = wanted.test or before.test
    return replace(before, pruning=way, images=images, limit=limit, skip_bad=skip_bad, test=test)


def given_whole(
    wanted: Wanted, way: Way, watch: Watch
) -> tuple[Run | None, Asked, Loaded, Dataset | None]:
    """A network that is trained already, and the labelled images if any; nothing is trained.

    The run that it is the dense network of, or None for a checkpoint.
    """
    if wanted.run is not None:
        parent = runs.find(wanted.run)
        asked = of_run(parent, way, wanted)
        dense = checkpoint.load(parent, "dense")
        if asked.data:
            return parent, asked, dense, labelled(asked, watch)
        return parent, asked, dense, None
    return None, *_checkpoint(wanted, way, watch)


def _checkpoint(wanted: Wanted, way: Way, watch: Watch) -> tuple[Asked, Loaded, Dataset | None]:
    model = model_of(wanted, watch)
    heads = [wanted.head] if wanted.head else ["paper", "original"]
    source = models.find(models.ModelSpec(model), wanted.init)
    size = wanted.size
    if size is None and wanted.data is not None and source and "size" in source.assumed:
        size = data.natural_size(wanted.data)  # the images say more than a guess
    dense = whole(model, source, heads, size, notes=watch.note)
    dataset = None
    if wanted.data is not None:
        given = replace(wanted, limit=None) if wanted.images else wanted
        dataset = load_data(wanted.data, dense.convention.size, given, watch)
        dense = whole(model, source, heads, size, dataset.classes)
    limit = wanted.limit if wanted.images is None else wanted.limit or LOOKED_AT
    asked = Asked(
        model, wanted.init, dense.spec.head, False, wanted.data, dense.convention.size, limit,
        wanted.skip_bad, wanted.seed, None, way, wanted.images, wanted.task, wanted.test,
    )  # fmt: skip
    return asked, dense, dataset


def labelled(asked: Asked, watch: Watch) -> Dataset:
    """The labelled set of a run, split as it was."""
    if asked.data is None:
        raise no_labels()
    # with images the limit is on those
    limit = asked.limit if asked.images is None else None
    wanted = Wanted(seed=asked.seed, limit=limit, skip_bad=asked.skip_bad, test=asked.test)
    return load_data(asked.data, asked.size, wanted, watch)


def load_data(name: str, size: int, wanted: Wanted, watch: Watch) -> Dataset:
    """The set ``name`` with the seed, limit and leniency of ``wanted``."""
    return data.load(
        name, size=size, seed=wanted.seed, limit=wanted.limit, skip_bad=wanted.skip_bad,
        test=wanted.test,
        notes=watch.note, progress=watch.on_progress,
    )  # fmt: skip


def pixels(asked: Asked, dataset: Dataset | None, watch: Watch) -> Pixels | None:
    """The images that a way without labels looks at, uint8 [N, canvas, canvas, 3]; None: there are none."""
    if asked.images is not None:
        some = data.unlabelled(
            asked.images, size=asked.size, limit=asked.limit or LOOKED_AT, skip_bad=asked.skip_bad,
            notes=watch.note, progress=watch.on_progress,
        )  # fmt: skip
    elif dataset is not None:
        some = dataset.train.take(LOOKED_AT)
        watch.note(f"looks at {len(some):,} training images of {asked.data}, labels unused")
    else:
        return None
    return some.images(range(len(some)))


def default_name(asked: Asked) -> str:
    """``mobilenetv1-cifar10-imagenet``: the same command finds the same run again."""
    file, _, function = asked.model.rpartition(":")
    model = f"{Path(file).stem}-{function}" if file else asked.model
    images = Path(asked.data or asked.images or "images").name.split(".")[0]
    words = [model, images, Path(asked.init).stem]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")[:100]
