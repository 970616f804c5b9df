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
                why = "a folder, not a model" if path.is_dir() else "no such file"
                raise EdgepruneError(str(path), why, "edgeprune export writes .onnx files")
        return None, paths, None
    if len(words) > 1:
        raise EdgepruneError(
            " ".join(words), "give one run, or .onnx files only", "see edgeprune bench --help"
        )
    run = runs.find(words[0] if words else None)
    names = run.exported
    for network in runs.NETWORKS:
        if run.has(network) and network not in names:
            raise EdgepruneError(
                f"run {run.name} has no {network}.onnx", next=f"edgeprune export {run.word}"
            )
    if not names:
        raise checkpoint.lacking(run, "dense")
    for name in names:
        check_kind(run, name)
    return run, [run.onnx_path(n) for n in names], names


def check_kind(run: Run, network: str) -> None:
    """A file of the run is believed by what is in it, not by its name."""
    from .. import records
    from ..bench import subject

    int8, told = records.parent_of(network) != network, ""
    if int8 and run.record_path(network).is_file():
        told = records.read(run.record_path(network), records.Int8).sha256
    subject.check_kind(run.onnx_path(network), int8, told)


def shapes(words: list[str], models: list[Path], batch: int = 1) -> dict[str, tuple[int, ...]]:
    """``3x480x640`` of the only input, or ``NAME=3x480x640``, as everywhere without the batch: input ->
    its sizes, the batch in front.

    Where nothing was said, networks that leave more open than the batch are measured at the sizes that
    they were made with.
    """
    from ..bench import subject

    if not words:
        return subject.recorded(models[0], batch)
    there = subject.inputs(models[0])
    found = {}
    for word in ",".join(words).split(","):
        name, _, sizes = word.strip().rpartition("=")
        if not re.fullmatch(r"\d{1,9}(x\d{1,9})*", sizes):
            raise EdgepruneError(f"--shape {word}", "not 3x480x640 or NAME=3x480x640")
        if not name and len(there) != 1:
            raise EdgepruneError(
                f"--shape {word}", f"{models[0]} has {len(there)} inputs",
                f"say which: {' or '.join(f'{n}={sizes}' for n in list(there)[:4])}",
            )  # fmt: skip
        name = name or next(iter(there))
        if name not in there:
            raise EdgepruneError(
                f"--shape {word}",
                f"{models[0]} has no such input, but: {', '.join(there)}",
                "name one of these",
            )
        found[name] = _with_batch(word, [int(n) for n in sizes.split("x")], there[name], batch)
    return found


def _with_batch(
    word: str, given: list[int], axes: tuple[int | None, ...], batch: int
) -> tuple[int, ...]:
    """The sizes of one example with the batch in front; a batch that was typed is taken, with a word."""
    first = axes[0] if axes and axes[0] is not None else batch
    short = word.replace(f"{given[0]}x", "", 1)
    if len(given) == len(axes) - 1:
        return (first, *given)
    if len(given) == len(axes) and given[0] == first:
        if first == 1 and len(given) > 1:
            output.note(f"--shape {word}: its 1 is the batch; --shape {short} says the same")
        return tuple(given)
    if len(given) == len(axes):
        raise EdgepruneError(
            f"--shape {word}", f"its first size is the batch, which is {first} here",
            f"--shape {short} (bench: --batch {given[0]})",
        )  # fmt: skip
    raise EdgepruneError(
        f"--shape {word}", f"an example has {len(axes) - 1} axes there, without the batch"
    )


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

    def traced(pixels: int) -> graph.Graph:
        with output.aside():
            signature = probe.probe(network, said or probe.image(network, pixels))
            return graph.trace(network, example_of(signature.inputs, 2, floating(network)))

    try:
        return traced(size or usual), names
    except EdgepruneError as e:
        if size is None or size >= usual:
            raise
        try:
            traced(usual)
        except EdgepruneError:  # the size is not to blame
            raise e from None
        why = f"{e.what}: {e.why}" if e.why else e.what
        raise EdgepruneError(f"{model} at --size {size}", why, f"try --size {usual}") from None
