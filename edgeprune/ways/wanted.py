"""What was typed of network, images and training; and what it comes to: `Asked`, the data, the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from .. import checkpoint, data, models, runs, tasks, train
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..graph.probe import image, inputs_said, probe
from ..models import code
from ..records import Inputs, Signature
from ..runs import Run
from .asked import Asked, asked_of
from .dense import fitted, named_classes, whole
from .examples import Arrays, are_arrays, convention_of, made_inputs, of_split, space_of, typed_as
from .examples import arrays as read_arrays
from .record import Watch
from .way import Way, no_labels

if TYPE_CHECKING:
    from ..data import Dataset
    from .examples import Examples

MODEL, DATA, HEAD = "vgg16", "cifar10", "paper"  # where nothing else was said
LOOKED_AT = 1024  # unlabelled images at most, unless --limit says another number


@dataclass(frozen=True)
class Wanted:
    """The words of a command, before any default is resolved; None: not said."""

    run: str | None = None  # prune the dense network of this run
    name: str | None = None  # of the run that is made
    task: str = ""  # as `tasks.judged` reads it; "": as the outputs are seen
    shape: tuple[
        str, ...
    ] = ()  # of an example, as `graph.probe.inputs_said` reads it, or FILE.py:FUNCTION
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
    network = models.fresh(models.ModelSpec(model, head=head), 0)
    shape = shape_of(name, wanted.shape)
    inputs = said_inputs(shape, network) or image(network, size)
    signature = probe(network, inputs)
    task = trained_as(signature, wanted.task, name)
    dataset = load_data(name, size, wanted, watch)
    recipe = train.named(
        wanted.recipe,
        pretrained=source is not None,
        normalised=models.has_norm(network),
        images=len(dataset.train),
    )
    chosen = {
        "epochs": wanted.epochs, "batch_size": wanted.batch_size, "lr": wanted.lr,
        "precision": wanted.precision, "seed": wanted.seed, "task": task,
    }  # fmt: skip
    recipe = recipe.but(**{k: v for k, v in chosen.items() if v is not None})
    asked = Asked(
        model, wanted.init, head, wanted.partial, name, size,
        wanted.limit, wanted.skip_bad, wanted.seed, recipe, way, task=task, test=wanted.test,
        shape=",".join(shape),
    )  # fmt: skip
    return asked, dataset


def takes_arrays(name: str | None) -> bool:
    """Whether the labelled set ``name`` holds arrays, and no images."""
    return name is not None and data.takes(name) is not None


def shape_of(name: str, said: Sequence[str]) -> tuple[str, ...]:
    """What a set of arrays gives to the network, as ``--shape`` says it; of images what was said."""
    takes = data.takes(name)
    if takes is None:
        return tuple(said)
    own = "x".join(map(str, takes))
    if said and tuple(said) != (own,):
        raise EdgepruneError(f"--shape {' '.join(said)}", f"{name} holds {own}", "leave it out")
    return (own,)


def trained_as(signature: Signature, said: str, name: str, trains: bool = True) -> str:
    """The tasks of a network's outputs, one of which the labels of the set ``name`` judge, and train unless
    it is pruned after training; a network of other answers is refused.
    """
    rows = tasks.judged(signature, said)
    if not takes_arrays(name):
        h, w = space_of(signature.inputs)
        if h != w:
            raise EdgepruneError(
                f"the network takes {signature.inputs.said}", "labelled images are square",
                "give arrays: an .npz of x and y",
            )  # fmt: skip
    judged = tasks.labelled(rows)
    if judged is None or (trains and (not judged[1].trains or len(rows) > 1)):
        raise EdgepruneError(
            f"a network that {signature.said}",
            f"labels {'train and ' if trains else ''}judge one tensor, and not as {tasks.told(rows)}",
            "prune it without: --post-training --images …, or train it by your own loss from Python",
        )
    return tasks.told(rows)


def of_run(parent: Run, way: Way, wanted: Wanted) -> Asked:
    """What was asked of ``parent``, pruned in another way; images may be others."""
    before = asked_of(parent)
    images = wanted.images or before.images
    limit = wanted.limit if images is not None and wanted.limit else before.limit
    skip_bad = before.skip_bad or wanted.skip_bad
    test = wanted.test or before.test
    asked = replace(before, pruning=way, images=images, limit=limit, skip_bad=skip_bad, test=test)
    return replace(asked, task=wanted.task) if wanted.task else asked


class Given(NamedTuple):
    """A network that is trained already, and what there is to look at."""

    parent: Run | None  # that it is the dense network of; None for a checkpoint
    asked: Asked
    dense: Loaded
    dataset: Dataset | None  # the labelled images, if any
    arrays: Arrays | None = None  # read already, to know what the network takes


def given_whole(wanted: Wanted, way: Way, watch: Watch) -> Given:
    """The network of a run or a checkpoint; nothing is trained."""
    if wanted.run is not None:
        parent = runs.find(wanted.run)
        asked = of_run(parent, way, wanted)
        dense = checkpoint.load(parent, "dense")
        tasks.judged(dense.signature, asked.task)  # names that are not there are refused first
        dataset = None
        if asked.data:
            trained_as(dense.signature, asked.task, asked.data, trains=False)
            dataset = fitted(labelled(asked, watch), dense.signature, asked.task)
        return Given(parent, asked, dense, dataset)
    return _checkpoint(wanted, way, watch)


def _checkpoint(wanted: Wanted, way: Way, watch: Watch) -> Given:
    model = model_of(wanted, watch)
    heads = [wanted.head] if wanted.head else ["paper", "original"]
    source = models.find(models.ModelSpec(model), wanted.init)
    if source and (are_arrays(wanted.images) or takes_arrays(wanted.data)):
        source = replace(source, assumed=frozenset())  # arrays are taken as they come
    size = wanted.size
    if wanted.data is not None and (shape := shape_of(wanted.data, wanted.shape)) != wanted.shape:
        wanted = replace(wanted, shape=shape)
    if size is None and wanted.data is not None and source and "size" in source.assumed:
        size = data.natural_size(wanted.data)  # the images say more than a guess
    dense = whole(model, source, heads, size, notes=watch.note)
    dense, arrays = _asked(dense, wanted, watch)
    task = tasks.told(tasks.judged(dense.signature, wanted.task))
    dataset = None
    if wanted.data is not None:
        trained_as(dense.signature, wanted.task, wanted.data, trains=False)
        given = replace(wanted, limit=None) if wanted.images else wanted
        dataset = load_data(wanted.data, dense.convention.size, given, watch)
        if task == tasks.CLASSIFICATION.name and not takes_arrays(wanted.data):
            dense = named_classes(dense, dataset.classes, source.where if source else model)
        dataset = fitted(dataset, dense.signature, task)
    limit = wanted.limit if wanted.images is None else wanted.limit or LOOKED_AT
    asked = Asked(
        model, wanted.init, dense.spec.head, False, wanted.data, dense.convention.size, limit,
        wanted.skip_bad, wanted.seed, None, way, wanted.images, task, wanted.test,
        ",".join(wanted.shape),
    )  # fmt: skip
    return Given(None, asked, dense, dataset, arrays)


def _asked(dense: Loaded, wanted: Wanted, watch: Watch) -> tuple[Loaded, Arrays | None]:
    """The network asked what it is, before any image is decoded; and the arrays that it is asked with."""
    found, model = None, dense.model
    inputs = said_inputs(wanted.shape, model)
    if are_arrays(wanted.images):
        found = read_arrays(str(wanted.images), model, wanted.limit or LOOKED_AT, watch.note)
        found = found if inputs is None else typed_as(found, inputs, f"--images {wanted.images}")
        inputs = found.inputs
    if inputs is None:
        inputs = image(model, dense.convention.size)
    source = "" if found is None else f"--images {wanted.images}"
    signature = probe(model, inputs, source)
    rows = tasks.judged(signature, wanted.task)
    if [task.name for _, task in rows] != [tasks.CLASSIFICATION.name]:
        watch.note(
            f"{wanted.model or MODEL} {signature.said}: {tasks.told(rows)} (--task says another)"
        )
    if found is None and not takes_arrays(wanted.data):
        return replace(
            dense, known=signature, convention=convention_of(inputs, dense.convention)
        ), None
    return replace(dense, known=signature), found


def said_inputs(words: Sequence[str], model: nn.Module) -> Inputs | None:
    """What ``--shape`` says that the network takes: shapes, or a function that makes an example."""
    if len(words) == 1 and ".py:" in words[0]:
        return made_inputs(words[0], model)
    return inputs_said(list(words)) if words else None


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


def examples(given: Given, watch: Watch) -> Examples | None:
    """What a way without labels looks at; None: there is nothing."""
    asked, dataset, dense = given.asked, given.dataset, given.dense
    if are_arrays(asked.images):
        limit = asked.limit or LOOKED_AT
        found = given.arrays or read_arrays(str(asked.images), dense.model, limit, watch.note)
        return typed_as(found, dense.signature.inputs, f"--images {asked.images}")
    if asked.images is not None:
        space_of(dense.signature.inputs)
        some = data.unlabelled(
            asked.images, size=asked.size, limit=asked.limit or LOOKED_AT, skip_bad=asked.skip_bad,
            notes=watch.note, progress=watch.on_progress,
        )  # fmt: skip
    elif dataset is not None:
        some = dataset.train.take(LOOKED_AT)
        watch.note(f"looks at {len(some):,} training images of {asked.data}, labels unused")
    else:
        return None
    return of_split(some, dense.convention, dense.signature.inputs)


def default_name(asked: Asked) -> str:
    """``mobilenetv1-cifar10-imagenet``: the same command finds the same run again."""
    file, _, function = asked.model.rpartition(":")
    model = f"{Path(file).stem}-{function}" if file else asked.model
    model = Path(model).stem if code.is_onnx(model) else model
    images = Path(asked.data or asked.images or "images").name.split(".")[0]
    words = [model, images, Path(asked.init).stem]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")[:100]
