"""A run's networks as .onnx files, and the images that they are judged on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from .. import checkpoint, data, files, graph, records, tasks
from ..checkpoint import Loaded
from ..data import Dataset, Split
from ..errors import EdgepruneError
from ..export import Batch, Card, Exported, Real, is_image
from ..export import write as export
from ..graph.inputs import Example, mapped, size
from ..records import Port, Signature
from ..runs import Run
from ..tasks import Task
from . import post_training, wanted
from .asked import asked_of
from .examples import Examples, are_arrays, in_batches
from .post_training import Rowed
from .record import Watch

BATCH = 64


@dataclass(frozen=True)
class Judging:
    """The examples that judge a run's networks, in batches, with labels where there are any."""

    batches: Callable[[int], Iterable[Batch]]  # of at most so many

    @property
    def samples(self) -> Example:
        """A first few, four at least."""
        first, _ = next(iter(self.batches(8)), (None, None))
        if first is None:
            raise EdgepruneError(
                "export", "there are no test images to compare with", "give --images FOLDER"
            )
        n = size(first)
        again = -(-4 // n)  # batch 4 even of a test split of one
        return mapped(first, lambda t: torch.cat([t] * again) if t.ndim and len(t) == n else t)


def loaded(run: Run, networks: Sequence[str]) -> dict[str, Loaded]:
    """These networks of the run, each asked what it is: what is wrong with one is told before any is
    written."""
    found = {network: checkpoint.load(run, network) for network in networks}
    for each in found.values():
        rows_of(run, each.signature)
    return found


def write(
    run: Run, loaded: Loaded, network: str, judging: Judging, opset: int | None,
    opened: Sequence[str] = (),
) -> Exported:  # fmt: skip
    """Export one network of the run, with its costs and the fingerprint of its weights inside.

    What came from an .onnx file goes back into one: its names, open axes, metadata, and (unless
    ``opset`` is said) its opset, as far as it can be converted. ``opened``: axes that may have another
    size besides the batch.
    """
    cost = graph.cost(loaded.graph)
    metadata = {
        "edgeprune.network": network,
        "edgeprune.run": run.name,
        "edgeprune.model": loaded.spec.model,
        "edgeprune.spec": json.dumps(records.plain(loaded.spec)),
        "edgeprune.weights": fingerprint(run, network),
        "edgeprune.params": str(cost.params),
        "edgeprune.flops": str(cost.flops),
        "edgeprune.macs": str(cost.macs),
    }
    rows, task = rows_of(run, loaded.signature), task_of(run)
    dense = None if labelled(run) or task.classifies else checkpoint.load(run, "dense").model
    asked = asked_of(run)
    arrays = are_arrays(asked.images) or wanted.takes_arrays(asked.data)
    photos = is_image(loaded.signature.inputs) and not arrays
    return export(
        loaded.model,
        run.onnx_path(network),
        real=Real(judging.samples, judging.batches(BATCH), task, dense, rows),
        card=Card(
            loaded.convention if photos else None,
            loaded.classes if task.classifies else (),
            metadata,
        ),
        opset=opset,
        interface=loaded.interface,
        opened=opened,
    )


def fingerprint(run: Run, network: str) -> str:
    """sha256 of the network's weights file: an .onnx carries that of the weights it was made from."""
    return files.sha256(run.weights_path(network))


def task_of(run: Run) -> Task:
    """What the run's one output is; several are values, of which labels may judge one (`judged_of`)."""
    said = run.recipe().task or tasks.CLASSIFICATION.name
    return tasks.VALUES if "," in said or "=" in said else tasks.named(said)


def judged_of(run: Run, signature: Signature) -> tuple[Port, Task] | None:
    """The output that the run's labels judge; None: it has no labels."""
    return tasks.labelled(rows_of(run, signature)) if labelled(run) else None


def rows_of(run: Run, signature: Signature) -> Rowed:
    """The run's outputs, each with its task."""
    return tasks.judged(signature, run.recipe().task or tasks.CLASSIFICATION.name)


def labelled(run: Run) -> bool:
    """Whether the run knows a data set with labels; one pruned after training may know none."""
    recipe = run.recipe()
    return recipe.data is not None or recipe.test is not None


def compared(run: Run) -> bool:
    """Whether a bench sets its networks beside the dense one: no labels, arrays, or what is no class."""
    if not labelled(run):
        return True
    return wanted.takes_arrays(asked_of(run).data) or not task_of(run).classifies


def judging(run: Run) -> Judging:
    """The run's test split; without labels the examples that took no part in the pruning.

    A classifier's bear the dense network's answers as labels, so that what is counted is agreement.
    """
    convention = checkpoint.read_spec(run).input
    if labelled(run):
        split, known = of_test(run), checkpoint.read_spec(run).signature
        if known is not None and (judged := judged_of(run, known)) is not None:
            split = split.labelled(judged[1].fitted(judged[0], split.labels))
        return Judging(lambda n: data.evaluation_batches(split, convention, n))
    held_out = unlabelled(run)
    rows = post_training.split(len(held_out))[1]
    if not task_of(run).classifies:
        return Judging(lambda n: ((held_out.view(some, 0), None) for some in in_batches(rows, n)))
    dense = checkpoint.load(run, "dense")
    outputs = rows_of(run, dense.signature)

    def answered(n: int) -> Iterable[Batch]:
        for some in in_batches(rows, n):
            x = held_out.view(some, 0)
            yield x, task_of(run).answers(post_training.answers(dense.model, x, outputs)[0])

    return Judging(answered)


def unlabelled(run: Run) -> Examples:
    """What the run's networks were pruned by."""
    asked, dense = asked_of(run), checkpoint.load(run, "dense")
    if asked.images is None or asked.limit is None:
        raise EdgepruneError(f"run {run.name}", "names neither a data set nor images")
    found = wanted.examples(wanted.Given(run, asked, dense, None), Watch())
    assert found is not None
    return found


def of_test(
    run: Run, test: str | None = None, notes: Callable[[str], None] = lambda note: None
) -> Split:
    """The labelled images that judge the run: those of ``test`` if given, else of its own words."""
    asked = asked_of(run)
    test = test or asked.test
    if test is None:
        return dataset_of(run).test
    spec = checkpoint.read_spec(run)
    return data.held_out(
        test, spec.classes, size=spec.input.size, skip_bad=asked.skip_bad, notes=notes
    )


def dataset_of(run: Run) -> Dataset:
    """The data set that the run's recipe names, split as it was for training."""
    asked = asked_of(run)
    if asked.data is None:
        raise EdgepruneError(
            f"run {run.name}", "has no labelled images", "give some: --data NAME, or --test FOLDER"
        )
    limit = asked.limit if asked.images is None else None  # of those images, not of the set
    return data.load(
        asked.data, size=asked.size, seed=asked.seed, limit=limit, skip_bad=asked.skip_bad,
        test=asked.test,
        notes=lambda text: None,  # told when it was trained
    )  # fmt: skip
