"""A run's networks in 8 bits: calibrated on what they were made from, judged on what was held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import checkpoint, data, files, quantise, records, runs
from ..checkpoint import Loaded
from ..errors import EdgepruneError
from ..export.answers import Answers, answers
from ..graph.inputs import Example
from ..runs import Run
from . import exporting, post_training
from .asked import asked_of
from .examples import Examples, Rows, in_batches

CALIBRATED = 200  # examples that set the ranges, unless another number is said
AT_ONCE = 8  # of them: every map of the network is held for as many


@dataclass(frozen=True)
class Written:
    """An int8 file beside its float one."""

    path: Path
    told: records.Int8


def beside(
    run: Run, networks: Mapping[str, Loaded], judging: exporting.Judging,
    heard: Callable[[str], None], said: Callable[[str, records.Int8], None],
    calibrate: int | None = None, method: str | None = None,
) -> dict[str, Written]:  # fmt: skip
    """The int8 file of each of these networks, whose float files are there, by its name."""
    examples = calibrating(run, calibrate or CALIBRATED)
    written = {}
    for network, loaded in networks.items():
        heard(f"exporting {network} in 8 bits …")
        one = write(run, loaded, network, examples, judging, said, method or quantise.USUAL)
        written[one.told.network] = one
    return written


def after_pruning(
    run: Run, heard: Callable[[str], None], said: Callable[[str, records.Int8], None]
) -> None:
    """What ``export --int8`` does, for a run that was just pruned: its float files and those in 8 bits."""
    present = [network for network in runs.NETWORKS if run.has(network)]
    networks, judging = exporting.loaded(run, present), exporting.judging(run)
    with run.lock():
        for network, loaded in networks.items():
            heard(f"exporting {network} …")
            exporting.write(run, loaded, network, judging, None)
        beside(run, networks, judging, heard, said)


def calibrating(run: Run, most: int) -> list[Example]:
    """Batches of at most so many examples that took part in the making: none of those that judge."""
    asked = asked_of(run)
    if asked.images is None and asked.data is None:
        raise EdgepruneError(
            "--int8", f"run {run.name} has no images to take the ranges from",
            "make one with --data or --images",
        )  # fmt: skip
    if asked.images is None:
        split = exporting.dataset_of(run).train.take(most)
        convention = checkpoint.read_spec(run).input
        return [x for x, _ in data.evaluation_batches(split, convention, AT_ONCE)]
    found = exporting.unlabelled(run)
    rows = post_training.split(len(found))[0]
    return spread(found, rows, most)


def spread(examples: Examples, rows: Rows, most: int = CALIBRATED) -> list[Example]:
    """At most so many of these rows of the examples, from first to last, in batches."""
    some = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
    return [examples.view(part, 0) for part in in_batches(some, AT_ONCE)]


def write(
    run: Run, loaded: Loaded, network: str, examples: list[Example], judging: exporting.Judging,
    said: Callable[[str, records.Int8], None], method: str = quantise.USUAL,
) -> Written:  # fmt: skip
    """The int8 file of one network and its record; what it gives is ``said`` before either is there."""
    begun = time.perf_counter()
    name, source = records.int8_of(network), run.onnx_path(network)
    made = quantise.of_file(source, examples, method)
    path = run.onnx_path(name)
    with files.atomic(path) as temporary:
        quantise.save(made.proto, temporary, {"edgeprune.network": name, "edgeprune.int8": method})
        found = judged(run, loaded, source, temporary, judging)
        told = _told(run, network, made, found, temporary, time.perf_counter() - begun)
        said(name, told)
    files.write_json(run.record_path(name), records.plain(told))
    return Written(path, told)


def judged(
    run: Run, loaded: Loaded, source: Path, path: Path, judging: exporting.Judging
) -> Answers:
    """The int8 file beside its float one, and beside the dense network's."""
    dense = run.onnx_path("dense")
    models = [source, path, *([dense] if dense != source else [])]
    rows = exporting.rows_of(run, loaded.signature)
    return answers(
        models, judging.batches(exporting.BATCH), loaded.signature, rows,
        [(0, 1), (len(models) - 1 if len(models) > 2 else 0, 1)],
        exporting.judged_of(run, loaded.signature),
    )  # fmt: skip


def _told(
    run: Run, network: str, made: quantise.Made, found: Answers, path: Path, seconds: float
) -> records.Int8:
    return records.Int8(
        network=records.int8_of(network),
        parent=network,
        weights=exporting.fingerprint(run, network),
        method=made.method,
        calibrated=made.examples,
        ranges={name: (r.low, r.high) for name, r in made.ranges.items()},
        in_float=list(made.in_float),
        worst=made.worst,
        note=made.note,
        bytes=path.stat().st_size,
        sha256=files.sha256(path),
        float_bytes=run.onnx_path(network).stat().st_size,
        opset=made.opset,
        images=found.images,
        beside_float=found.outputs[0],
        beside_dense=found.outputs[1],
        accuracy=found.score[1],
        float_accuracy=found.score[0],
        seconds=seconds,
        versions=runs.versions(),
    )
