"""A run's networks in 8 bits, from the records beside their files: as a table, and in sentences."""

from __future__ import annotations

from typing import Any

from .. import files, records, units
from ..errors import EdgepruneError
from ..records import Int8, Output
from ..runs import NETWORKS, Run
from .outputs import figures
from .tables import Column, Table

HELD = 0.8  # share of the outputs' variance; less is no network of use


def of_run(run: Run) -> tuple[dict[str, Int8], list[str]]:
    """The records of the int8 files that are there, by the float network's name; and why one is left out."""
    found, odd = {}, []
    for network in NETWORKS:
        name = records.int8_of(network)
        if not (run.record_path(name).is_file() and run.onnx_path(name).is_file()):
            continue
        try:
            told = records.read(run.record_path(name), Int8)
        except EdgepruneError as e:
            odd.append(f"{name}.json left out: {e.why}")
            continue
        if run.has(network) and files.sha256(run.weights_path(network)) != told.weights:
            odd.append(f"{name}.onnx left out: it was made from other weights than the run has now")
        elif told.sha256 and files.sha256(run.onnx_path(name)) != told.sha256:
            odd.append(f"{name}.onnx left out: it is not the file that {name}.json tells of")
        else:
            found[network] = told
    return found, odd


def sentences(found: Int8) -> list[str]:
    """What 8 bits keep, last; before it what they do not hold."""
    said = [found.note] if found.note else []
    least = min(
        (o.variance_kept for o in found.beside_float if o.variance_kept is not None), default=1.0
    )
    if least < HELD:
        layers = (
            ", ".join(k.layer for k in found.worst) or "unknown (--int8-method lstsq+minmax tells)"
        )
        said.append(
            f"8 bits do not hold this network, {units.percent(max(least, 0.0), 0)} of its outputs' "
            f"variance is kept; furthest off: {layers}. Deploy the float file"
        )
    if found.in_float:
        layers = ", ".join(f"{k.layer} ({units.percent(k.loss, 1)})" for k in found.in_float)
        said.append(f"left in float, with what their 8 bits would lose: {layers}")
    first = main_figure(found.beside_float)
    kept = f"{first[0].lower()} kept to {first[1]}, " if first else ""
    size = f"{units.size(found.bytes)} of {units.size(found.float_bytes)}"
    return [*said, f"{kept}on {found.images:,} held-out examples; {size}"]


def main_figure(outputs: list[Output]) -> tuple[str, str] | None:
    """What is told first of a network's outputs beside another's: how it is called, and its value."""
    found = figures(outputs)
    return (found[0].key.replace("_", " "), found[0].text) if found else None


def table(found: list[Int8]) -> Table:
    """The int8 files beside their float ones."""

    def row(one: Int8) -> dict[str, Any]:
        own, dense = main_figure(one.beside_float), main_figure(one.beside_dense)
        return {
            "file": f"{one.network}.onnx", "bytes": one.bytes, "float_bytes": one.float_bytes,
            "float": own[1] if own else None,
            "dense": dense[1] if dense and one.parent != "dense" else None,
            "accuracy": one.accuracy, "float_accuracy": one.float_accuracy,
            "in_float": len(one.in_float),
        }  # fmt: skip

    first = main_figure(found[0].beside_float)
    columns = [
        Column("file", align="left"),
        Column("bytes", "size", units.size),
        Column("float_bytes", "of float's", units.size),
        Column("float", "as float"),
        Column("dense", "as dense"),
    ]
    if found[0].accuracy is not None:
        columns += [
            Column("accuracy", "score", units.percent),
            Column("float_accuracy", "float's", units.percent),
        ]
    columns.append(Column("in_float", "layers in float"))
    word = first[0] if first else "outputs"
    title = f"In 8 bits: {word} on {found[0].images:,} examples that did not calibrate"
    return Table(title, columns, [row(one) for one in found])
