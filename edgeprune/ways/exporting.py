"""A run's networks as .onnx files, and the images that they are judged on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import torch

from .. import checkpoint, data, export, graph, tasks
from ..data import Dataset, Split
from ..errors import EdgepruneError
from ..export import Exported, Real
from ..runs import Run
from ..tasks import Task
from . import post_training
from .asked import Asked


def write(run: Run, network: str, images: Split, opset: int) -> Exported:
    """Export one network of the run, with its costs and the fingerprint of its weights inside."""
    loaded = checkpoint.load(run, network)
    cost = graph.cost(loaded.graph)
    metadata = {
        "edgeprune.network": network,
        "edgeprune.run": run.name,
        "edgeprune.model": loaded.spec.model,
        "edgeprune.spec": json.dumps(loaded.spec.to_json()),
        "edgeprune.weights": fingerprint(run, network),
        "edgeprune.params": str(cost.params),
        "edgeprune.flops": str(cost.flops),
        "edgeprune.macs": str(cost.macs),
    }
    if not len(images):
        raise EdgepruneError("export", "there are no test images to compare with")
    first, _ = next(iter(data.evaluation_batches(images, loaded.convention, 8)))
    samples = torch.cat([first] * -(-4 // len(first)))  # batch 4 even of a test split of one
    return export.write(
        loaded.model,
        run.onnx_path(network),
        real=Real(samples, data.evaluation_batches(images, loaded.convention, 64), task_of(run)),
        convention=loaded.convention,
        classes=loaded.classes,
        metadata=metadata,
        opset=opset,
    )


def fingerprint(run: Run, network: str) -> str:
    """sha256 of the network's weights file: an .onnx carries that of the weights it was made from."""
    with open(run.weights_path(network), "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def task_of(run: Run) -> Task:
    """What the run's networks answer."""
    return tasks.named(run.recipe().get("task", tasks.CLASSIFICATION.name))


def labelled(run: Run) -> bool:
    """Whether the run knows a data set with labels; one pruned after training may know none."""
    recipe = run.recipe()
    return recipe.get("data") is not None or recipe.get("test") is not None


def judging(run: Run) -> Split:
    """The run's test split; without labels the images that took no part in the pruning.

    Those bear the dense network's answers as labels, so that what is counted is agreement.
    """
    if labelled(run):
        return of_test(run)
    asked = Asked.from_json(run.recipe())
    if asked.images is None or asked.limit is None:
        raise EdgepruneError(f"run {run.name}", "names neither a data set nor images")
    some = data.unlabelled(
        asked.images, size=asked.size, limit=asked.limit, skip_bad=asked.skip_bad
    )
    held_out = some.at(post_training.split(len(some))[1])
    dense = checkpoint.load(run, "dense")
    batches = [x for x, _ in data.evaluation_batches(held_out, dense.convention, 64)]
    answers = task_of(run).answers(post_training.answers(dense.model, batches))
    if answers is not None:
        held_out.labels = answers.numpy()
    return held_out


def of_test(
    run: Run, test: str | None = None, notes: Callable[[str], None] = lambda note: None
) -> Split:
    """The labelled images that judge the run: those of ``test`` if given, else of its own words."""
    asked = Asked.from_json(run.recipe())
    test = test or asked.test
    if test is None:
        return dataset_of(run).test
    spec = checkpoint.read_spec(run)
    return data.held_out(
        test, spec.classes, size=spec.input.size, skip_bad=asked.skip_bad, notes=notes
    )


def dataset_of(run: Run) -> Dataset:
    """The data set that the run's recipe names, split as it was for training."""
    asked = Asked.from_json(run.recipe())
    if asked.data is None:
        raise EdgepruneError(f"run {run.name}", "has no labelled images")
    limit = asked.limit if asked.images is None else None  # of those images, not of the set
    return data.load(
        asked.data, size=asked.size, seed=asked.seed, limit=limit, skip_bad=asked.skip_bad,
        test=asked.test,
        notes=lambda text: None,  # told when it was trained
    )  # fmt: skip
