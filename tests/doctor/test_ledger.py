from __future__ import annotations

import pytest

from edgeprune.doctor.ledger import ledger
from edgeprune.report import ledger as drawn
from edgeprune.runtime import Prediction

from . import networks
from .test_findings import vgg


def test_side_by_side() -> None:
    dense, pruned = vgg(networks.VGG16, "dense"), vgg(networks.VGG16_A, "pruned")
    said = Prediction(tuple(1e-4 for _ in range(13)), 1.4e-3)
    entries = ledger([dense, pruned], [said, None], [None, None])
    table = drawn.table(entries)
    records = table.records()
    assert [r["layer"] for r in records] == [f"conv{i}" for i in range(1, 14)]
    assert (records[12]["width_0"], records[12]["width_1"]) == (512, 128)
    assert records[12]["params_0"] == 9 * 512 * 512
    assert records[0]["flops_0"] == 2 * 32 * 32 * 27 * 64
    assert records[0]["predicted_0"] == 1e-4
    assert records[0]["predicted_1"] is None
    assert records[0]["measured_0"] == pytest.approx(records[0]["roofline_0"])
    assert table.total is not None
    assert table.total["macs_0"] / table.total["macs_1"] == pytest.approx(1 / 0.671, rel=0.01)
    lines = drawn.totals(entries).records()
    assert {"quantity", "network_0", "network_1", "times"} <= set(lines[0])


def test_layers_and_findings_read_as_tables() -> None:
    case = vgg(networks.VGG16, "dense")
    assert "conv13" in drawn.layers(case).text()
    assert "weights" in drawn.layers(case).markdown()
