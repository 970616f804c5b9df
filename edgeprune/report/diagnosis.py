"""What `edgeprune doctor` left in a run, for the page: findings, and each layer's promise and time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import files, units
from ..errors import EdgepruneError
from ..runs import Run
from .tables import Column, Table

FORMAT, VERSION = "edgeprune-doctor", 1
COLUMNS = (  # key of the ledger, heading, how
    ("width", "width", str),
    ("flops", "FLOPs", units.count),
    ("roofline", "roofline, ms", lambda v: f"{1e3 * v:.3g}"),
    ("predicted", "predicted, ms", lambda v: f"{1e3 * v:.3g}"),
    ("measured", "measured, ms", lambda v: f"{1e3 * v:.3g}"),
)


@dataclass(frozen=True)
class Diagnosis:
    networks: list[str]
    findings: list[tuple[str, str, str, str]]  # network, seen, likely cause, do next
    ledger: Table


def read(run: Run) -> Diagnosis | None:
    """None where there is none, it is broken, or the networks have changed since."""
    path = run.path / "doctor" / "doctor.json"
    if not path.is_file():
        return None
    try:
        value = files.read_json(path)
        if (value["format"], value["version"]) != (FORMAT, VERSION):
            return None
        networks = value["networks"]
        for network in networks:
            if network["sha256"] != sha256(run, network["name"]):
                return None
        names = [str(n["name"]) for n in networks]
        findings = [
            (names[i], str(f["seen"]), str(f["cause"]), str(f["next"]))
            for i, n in enumerate(networks)
            for f in n["findings"][:5]
        ]
        return Diagnosis(names, findings, _ledger(names, value["ledger"]))
    except (EdgepruneError, OSError, KeyError, TypeError, IndexError):
        return None


def sha256(run: Run, network: str) -> str:
    return hashlib.sha256(run.onnx_path(network).read_bytes()).hexdigest()


def _ledger(names: list[str], records: list[Mapping[str, Any]]) -> Table:
    columns = [Column("layer", align="left")]
    for i, name in enumerate(names):
        columns += [
            Column(f"{key}_{i}", f"{name} {said}", show)
            for key, said, show in COLUMNS
            if any(r.get(f"{key}_{i}") is not None for r in records)
        ]
    wanted = [c.key for c in columns]
    rows = [{key: _number(key, r.get(key)) for key in wanted} for r in records]
    return Table("", columns, rows)


def _number(key: str, value: Any) -> Any:
    """What comes from a file is shown only where it is what it should be."""
    if key == "layer":
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value
