"""Networks, files and the sizes of their inputs as they were typed, for the commands that look at them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EdgepruneError
from . import output

if TYPE_CHECKING:
    from ..graph import Graph
    from ..runs import Run


def targets(words: list[str]) -> tuple[Run | None, list[Path], list[str] | None]:
    """What the words name: ``(run or None, .onnx files, their names or None)``."""
    from .. import checkpoint, runs

    paths = [Path(w) for w in words]
    are_files = [p.suffix == ".onnx" or p.is_file() for p in paths]
    if paths and all(are_files):
        for path in paths:
            if not path.is_file():
                raise EdgepruneError(
                    str(path), "no such file", "edgeprune export writes .onnx files"
                )
        return None, paths, None
    if len(words) > 1:
        raise EdgepruneError(
            " ".join(words), "give one run, or .onnx files only", "see edgeprune bench --help"
        )
    run = runs.find(words[0] if words else None)
    names = [n for n in ("dense", "pruned") if run.onnx_path(n).is_file()]
    for network in ("dense", "pruned"):
        if run.has(network) and network not in names:
            raise EdgepruneError(
                f"run {run.name} has no {network}.onnx", next=f"edgeprune export {run.word}"
            )
    if not names:
        raise checkpoint.lacking(run, "dense")
    return run, [run.onnx_path(n) for n in names], names


def shapes(words: list[str], models: list[Path], batch: int = 1) -> dict[str, tuple[int, ...]]:
    """``1x3x480x640`` of the only input, or ``NAME=1,3,480,640``: input -> its sizes.

    Where nothing was said, networks that leave more open than the batch are measured at the sizes that
    they were made with.
    """
    from ..bench import subject

    if not words:
        return subject.recorded(models[0], batch)
    found = {}
    for word in words:
        name, _, sizes = word.rpartition("=")
        try:
            wanted = tuple(int(v) for v in re.split("[x,]", sizes))
        except ValueError:
            raise EdgepruneError(f"--shape {word}", "not 1x3x480x640 or NAME=1x3x480x640") from None
        if not name:
            inputs = subject.input_names(models[0])
            if len(inputs) != 1:
                raise EdgepruneError(
                    f"--shape {word}", f"{models[0]} has {len(inputs)} inputs",
                    f"say which: {' or '.join(f'{n}={sizes}' for n in inputs[:4])}",
                )  # fmt: skip
            name = inputs[0]
        found[name] = wanted
    return found


def followed(
    model: str, classes: int, size: int | None, head: str, shape: list[str] | None = None
) -> tuple[Graph, dict[str, str]]:
    """A network by its name, with fresh weights and its channels followed; and the paper's layer names.

    ``shape`` is what was typed after --shape; else it takes the image that its first layer wants.
    """
    from .. import graph, models, ways
    from ..graph import probe
    from ..graph.inputs import example_of
    from ..graph.tensors import floating

    models.typed(model)
    spec = models.ModelSpec(model, classes, head)
    names = models.layer_names(spec)
    usual = 32 if names else 224
    network = models.fresh(spec, 0)
    said = ways.said_inputs(shape or [], network)
    output.note(f"following the channels of {model} …")  # seconds for a deep network
    try:
        with output.aside():
            signature = probe.probe(network, said or probe.image(network, size or usual))
            example = example_of(signature.inputs, 2, floating(network))
            return graph.trace(network, example), names
    except EdgepruneError as e:
        if size is None or size >= usual:
            raise
        why = f"{e.what}: {e.why}" if e.why else e.what
        raise EdgepruneError(f"{model} at --size {size}", why, f"try --size {usual}") from None
