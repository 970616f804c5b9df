"""The emulated Arm machine: the same numbers, and no times."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune import bench
from edgeprune.bench.devices import arm64, connect
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import save


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    monkeypatch.setattr(arm64, "_emulator", lambda: None)
    with pytest.raises(EdgepruneError, match="apt-get install qemu-user-static"):
        connect("arm64")
    monkeypatch.setattr(arm64, "_emulator", lambda: "/usr/bin/qemu-aarch64-static")
    with pytest.raises(EdgepruneError, match=r"sh deploy/arm64\.sh"):
        connect("arm64")


def test_it_computes_the_same(tmp_path: Path) -> None:
    absent = arm64.missing()
    if absent:
        pytest.skip(": ".join(absent))
    model = save(tmp_path / "a.onnx")
    request = bench.Request(rounds=1, passes=1, seconds=0.02, samples=1)
    there = bench.measure([model], out=tmp_path / "t.json", device="arm64", request=request)
    here = bench.measure([model], out=tmp_path / "h.json", request=request)
    a, b = (r.document["measured"]["models"][0]["sessions"][0]["answer"] for r in (there, here))
    assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    assert there.document["measured"]["environment"]["machine"] == "aarch64"
    assert there.networks[0]["latency"]["median_s"] is None
