"""Every number of the paper's tables 1 and 3, and each determined row of 2 and 4, by our own count."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from edgeprune import checkpoint, graph, models

PAPER = json.loads((Path(__file__).parent / "paper_tables.json").read_text())
ROWS = {row["id"]: row for row in PAPER["rows"]}


@cache
def traced(model: str, classes: int, size: int) -> graph.Graph:
    spec = models.ModelSpec(model, classes)
    return graph.trace(models.fresh(spec, 0), checkpoint.example(models.Convention(size)))


def counted(row: dict) -> graph.Cost:
    found = traced(row["id"].split("/")[0], row["classes"], row["size"])
    widths = dict(zip(found.groups, row["widths"], strict=False))
    return graph.cost(found, widths)


@pytest.mark.parametrize("name", ROWS)
def test_tables_2_and_4(name: str) -> None:
    row = ROWS[name]
    cost = counted(row)
    printed = row["printed"]
    assert (cost.params, cost.flops, cost.macs) == tuple(row["exact"].values())
    assert round(cost.params / 1e6, 2) == printed["params_M"]
    assert round(cost.flops / 1e6, 2) == printed["flops_M"]
    low, high = PAPER["size_overhead_MiB"][name.split("/")[0]]
    assert low < printed["size_MB"] - cost.bytes / 2**20 < high


@pytest.mark.parametrize("variant", ["baseline", "A", "B"])
@pytest.mark.parametrize(("table", "model"), [("table1", "vgg16"), ("table3", "mobilenetv1")])
def test_tables_1_and_3_layer_by_layer(table: str, model: str, variant: str) -> None:
    row = ROWS[f"{model}/cifar10/{variant}"]
    cost = counted(row)
    names = models.layer_names(models.ModelSpec(model))
    params = {names[r.layer]: r.params for r in cost.rows if r.layer in names}
    assert [params[layer] for layer in PAPER[table]["rows"]] == PAPER[table][variant]
    assert round(cost.params / 1e6, 2) == PAPER[table]["total_M"][variant]
