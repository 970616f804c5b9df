"""``edgeprune export``: the run's networks as .onnx files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import options, output

if TYPE_CHECKING:
    from ..data import Dataset, Split
    from ..export import Exported
    from ..report.tables import Table
    from ..runs import Run

NETWORKS = ("dense", "pruned")


def export(
    run: options.RUN = None,
    opset: Annotated[
        int,
        typer.Option("--opset", min=18, max=23, help="ONNX operator set; 18 runs everywhere."),
    ] = 18,
    as_json: options.JSON = False,
) -> None:
    """Write dense.onnx and pruned.onnx into the run: one file each, dynamic batch, simplified, checked.

    torch and onnxruntime must give the same logits on real images and choose the same class for
    every image of the test split (without labels: of the images held out); otherwise no file is left
    and the exit code is 2.

    Example: [b]edgeprune export[/b]
    """
    from .. import checkpoint, runs

    found = runs.find(run)
    present = [network for network in NETWORKS if found.has(network)]
    if not present:
        checkpoint.load(found, "dense")  # says which command makes one
    images = judging(found)
    with found.lock():
        written = {network: one(found, network, images, opset) for network in present}
    if as_json:
        documents = {network: e.to_json() for network, e in written.items()}
        head = {"run": str(found.path), "labelled": labelled(found)}
        output.show_json(head | {"networks": documents})
    else:
        output.show(table(found, written))
    if all(e.simplified == 0 for e in written.values()):
        output.note("onnx-simplifier changed nothing: the exporter's graph was simple already")
    if "pruned" not in present:
        output.note(f"only the dense network so far; next: edgeprune prune {found.name}")
    else:
        output.note(f"next: edgeprune bench {found.name} --device cpu")


def one(run: Run, network: str, images: Split, opset: int) -> Exported:
    """Export one network of the run, with its costs and the fingerprint of its weights inside."""
    import json

    import torch

    from .. import checkpoint, data, graph
    from .. import export as room

    output.note(f"exporting {network} …")
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
    return room.write(
        loaded.model,
        run.onnx_path(network),
        samples=samples,
        convention=loaded.convention,
        classes=loaded.classes,
        metadata=metadata,
        batches=data.evaluation_batches(images, loaded.convention, 64),
        opset=opset,
    )


def fingerprint(run: Run, network: str) -> str:
    """sha256 of the network's weights file: an .onnx carries that of the weights it was made from."""
    import hashlib

    with open(run.weights_path(network), "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def labelled(run: Run) -> bool:
    """Whether the run knows a data set with labels; one pruned after training may know none."""
    return run.recipe().get("data") is not None


def judging(run: Run) -> Split:
    """The run's test split; without labels the images that took no part in the pruning.

    Those bear the dense network's answers as labels, so that what is counted is agreement.
    """
    import torch

    from .. import checkpoint, data, ways
    from ..ways import post_training

    if labelled(run):
        return dataset_of(run).test
    asked = ways.Asked.from_json(run.recipe())
    if asked.images is None or asked.limit is None:
        raise EdgepruneError(f"run {run.name}", "names neither a data set nor images")
    some = data.unlabelled(
        asked.images, size=asked.size, limit=asked.limit, skip_bad=asked.skip_bad
    )
    held_out = some.at(post_training.split(len(some))[1])
    dense = checkpoint.load(run, "dense")
    with torch.no_grad():
        answers = [
            dense.model(x).argmax(1)
            for x, _ in data.evaluation_batches(held_out, dense.convention, 64)
        ]
    held_out.labels = torch.cat(answers).numpy()
    return held_out


def dataset_of(run: Run) -> Dataset:
    """The data set that the run's recipe names, split as it was for training."""
    from .. import data, ways

    asked = ways.Asked.from_json(run.recipe())
    if asked.data is None:
        raise EdgepruneError(f"run {run.name}", "has no labelled images")
    limit = asked.limit if asked.images is None else None  # of those images, not of the set
    return data.load(
        asked.data, size=asked.size, seed=asked.seed, limit=limit, skip_bad=asked.skip_bad,
        notes=lambda text: None,  # told when it was trained
    )  # fmt: skip


def table(run: Run, written: dict[str, Exported]) -> Table:
    from .. import units
    from ..report.tables import Column, Table

    def row(network: str, e: Exported) -> dict[str, Any]:
        return {
            "file": e.path.name,
            "bytes": e.bytes,
            "nodes": e.nodes,
            "simplified": e.simplified,
            "difference": e.parity.difference,
            "same": f"{e.parity.images - e.parity.ties} of {e.parity.images}",
            "top1": e.parity.onnx_correct / e.parity.images if e.parity.images else None,
        }

    known = labelled(run)
    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("nodes"),
        Column("simplified", "dropped"),
        Column("difference", "difference", lambda v: f"{v:.1e}"),
        Column("same", "same class"),
        Column("top1", "top-1" if known else "as dense", units.percent),
    ]
    where = "the test split" if known else "the images held out (no labels: agreement with dense)"
    title = f"{run.path}: torch and onnxruntime agree on {where}"
    return Table(title, columns, [row(network, e) for network, e in written.items()])
