"""``edgeprune export``: the run's networks as .onnx files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EdgepruneError
from . import options, output

if TYPE_CHECKING:
    from ..data import Dataset
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
    every image of the test split; otherwise no file is left and the exit code is 2.

    Example: [b]edgeprune export[/b]
    """
    from .. import checkpoint, runs

    found = runs.find(run)
    present = [network for network in NETWORKS if found.has(network)]
    if not present:
        checkpoint.load(found, "dense")  # says which command makes one
    dataset = dataset_of(found)
    with found.lock():
        written = {network: one(found, network, dataset, opset) for network in present}
    if as_json:
        documents = {network: e.to_json() for network, e in written.items()}
        output.show_json({"run": str(found.path), "networks": documents})
    else:
        output.show(table(found, written))
    if all(e.simplified == 0 for e in written.values()):
        output.note("onnx-simplifier changed nothing: the exporter's graph was simple already")
    if "pruned" not in present:
        output.note(f"only the dense network so far; next: edgeprune prune {found.name}")
    else:
        output.note(f"next: edgeprune bench {found.name} --device cpu")


def one(run: Run, network: str, dataset: Dataset, opset: int) -> Exported:
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
    if not len(dataset.test):
        raise EdgepruneError("export", "the data set has no test images to compare with")
    first, _ = next(iter(data.evaluation_batches(dataset.test, loaded.convention, 8)))
    samples = torch.cat([first] * -(-4 // len(first)))  # batch 4 even of a test split of one
    return room.write(
        loaded.model,
        run.onnx_path(network),
        samples=samples,
        convention=loaded.convention,
        classes=loaded.classes,
        metadata=metadata,
        batches=data.evaluation_batches(dataset.test, loaded.convention, 64),
        opset=opset,
    )


def fingerprint(run: Run, network: str) -> str:
    """sha256 of the network's weights file: an .onnx carries that of the weights it was made from."""
    import hashlib

    with open(run.weights_path(network), "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def dataset_of(run: Run) -> Dataset:
    """The data set that the run's recipe names, split as it was for training."""
    from .. import data, procedures

    asked = procedures.Asked.from_json(run.recipe())
    return data.load(
        asked.data, size=asked.size, seed=asked.seed, limit=asked.limit, skip_bad=asked.skip_bad,
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

    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("nodes"),
        Column("simplified", "simplified away"),
        Column("difference", "largest difference", lambda v: f"{v:.1e}"),
        Column("same", "same class"),
        Column("top1", "top-1", units.percent),
    ]
    title = f"{run.path}: torch and onnxruntime agree on the test split"
    return Table(title, columns, [row(network, e) for network, e in written.items()])
