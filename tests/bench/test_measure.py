"""Measuring on a device without a clock: what is kept, what is said, what a broken device leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune import bench, records
from edgeprune.bench.devices import connect
from edgeprune.bench.devices.fake import Fake
from edgeprune.errors import EdgepruneError
from edgeprune.records import Convention
from tests.tiny_onnx import conv_net, save

FLOPS = {"edgeprune__params": "10", "edgeprune__macs": "50", "edgeprune__flops": "100"}


def timing(seconds: dict[str, float], switches: int = 0) -> Any:
    """Each model's runs take its seconds, a per mille more in odd passes."""

    def sample(model: str, number: int, turn: int, k: int) -> tuple[float, int]:
        return seconds[model.partition("/")[0]] * (1 + 0.001 * (number % 2)), switches

    return sample


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    less = FLOPS | {"edgeprune__flops": "40"}
    return [
        save(tmp_path / "dense.onnx", **FLOPS),
        save(tmp_path / "pruned.onnx", conv_net(width=4), **less),
    ]


def test_a_file_with_every_sample_and_a_verdict(models: list[Path], tmp_path: Path) -> None:
    device = Fake(tmp_path / "device", timing({"0": 0.004, "1": 0.002}))
    out = tmp_path / "deep" / "result.json"
    heard: list[records.Event] = []
    result = bench.measure(models, out=out, device=device, label="fake", watch=heard.append)
    kept = json.loads(out.read_text())
    assert kept == result.document
    assert (kept["format"], kept["version"], kept["status"]) == ("edgeprune-bench", 1, "complete")
    assert [m["name"] for m in kept["models"]] == ["dense", "pruned"]
    sessions = kept["measured"]["models"][0]["sessions"]
    assert sum(len(r["wall_s"]) for s in sessions for r in s["rounds"]) == 50 * 5
    assert sum(e.event == "round" for e in heard) == 100
    dense, pruned = result.networks
    assert pruned.speedup == pytest.approx(2.0)
    assert pruned.promised_speedup == 2.5
    assert pruned.realised_speedup == pytest.approx(0.8)
    assert pruned.verdict == "faster"
    assert dense.counted_by == pruned.counted_by == "edgeprune"
    assert bench.load(out) == result
    assert not (tmp_path / "device").exists()


def test_equal_models_cannot_be_told_apart(models: list[Path], tmp_path: Path) -> None:
    def jitter(model: str, number: int, turn: int, k: int) -> tuple[float, int]:
        return 1 + 0.01 * ((number * 7 + turn * 3 + k + (model[0] == "1")) % 5), 0

    result = bench.measure(models, out=tmp_path / "r.json", device=Fake(tmp_path / "d", jitter))
    assert result.networks[1].verdict == "no measurable difference"


def test_a_loaded_machine_is_called_contended(models: list[Path], tmp_path: Path) -> None:
    device = Fake(tmp_path / "d", timing({"0": 2.0, "1": 1.0}, switches=1))
    result = bench.measure(models, out=tmp_path / "r.json", device=device)
    assert all(n.contended for n in result.networks)
    assert result.networks[0].latency.clock == "thread CPU"
    seen = [w.seen for w in result.summary.warnings]
    assert any(
        s.startswith("contended: share of runs that kept their core: dense 0 %") for s in seen
    )
    assert "times are thread CPU time, not wall time" in seen


def test_a_device_that_breaks_off_leaves_no_file_that_looks_whole(
    models: list[Path], tmp_path: Path
) -> None:
    device = Fake(tmp_path / "d", timing({"0": 2.0, "1": 1.0}), failing="the plug was pulled")
    out = tmp_path / "r.json"
    with pytest.raises(EdgepruneError, match="the plug was pulled"):
        bench.measure(models, out=out, device=device)
    kept = json.loads(out.read_text())
    assert kept["status"] == "incomplete"
    assert len(kept["measured"]["models"][0]["sessions"][0]["rounds"]) == 5
    assert "summary" not in kept
    with pytest.raises(EdgepruneError, match="broken off"):
        bench.load(out)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rubbish", "not readable as JSON"),
        ("[]", "not a result"),
        ('{"format": "edgeprune-bench", "version": 99}', "version 99"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(EdgepruneError, match=said):
        bench.load(path)


def test_unknown_device_and_senseless_request() -> None:
    with pytest.raises(EdgepruneError, match="did you mean cpu"):
        connect("cpuu")
    with pytest.raises(EdgepruneError, match="--rounds 0"):
        bench.Request(rounds=0)


def test_an_emulators_times_are_never_told(models: list[Path], tmp_path: Path) -> None:
    from edgeprune.cli.bench import table

    device = Fake(tmp_path / "d", timing({"0": 1.25, "1": 0.5}))
    device.emulated = True
    result = bench.measure(models, out=tmp_path / "r.json", device=device)
    for network in result.networks:
        assert network.latency == records.Latency(samples=network.latency.samples)
        assert (network.load, network.memory) == (records.Loading(), records.Resident())
        assert network.speedup is network.realised_speedup is None
        assert network.verdict.startswith("emulated")
    text = table(result).text()
    assert "latency" not in text
    assert "emulated" in text


def test_this_machine(tmp_path: Path) -> None:
    """The real thing, small: two networks, accuracy, JSON back."""
    models = [save(tmp_path / "a b'.onnx"), save(tmp_path / "-c.onnx", conv_net(width=4))]
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 256, (k, 8, 8, 3), dtype=np.uint8) for k in (5, 4)]
    images = bench.Images(blocks, np.zeros(9, np.int64), Convention(size=8))
    request = bench.Request(rounds=4, passes=2, seconds=0.1, samples=1)
    result = bench.measure(models, out=tmp_path / "r.json", request=request, accuracy=images)
    assert [n.name for n in result.networks] == ["a b'", "-c"]
    for network in result.networks:
        assert network.images == 9
        assert network.top1 is not None
        assert 0 <= network.top1 <= 1
        assert network.counted_by == "graph"
        fastest, median = network.latency.min_s, network.latency.median_s
        assert fastest is not None
        assert median is not None
        assert 0 < fastest <= median
        bare, peak = network.memory.bare, network.memory.peak
        assert bare is not None
        assert peak is not None
        assert peak > bare > 0


def test_a_model_that_the_runtime_refuses_is_named(tmp_path: Path) -> None:
    model = conv_net()
    model.graph.node[1].op_type = "Rleu"
    bad = save(tmp_path / "bad.onnx", model)
    with pytest.raises(EdgepruneError, match=r"bad\.onnx: .*Rleu"):
        bench.measure([bad], out=tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()
