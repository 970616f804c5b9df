"""The sweep of widths: what is judged from its times, what is kept, and that it can be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices.fake import Fake
from edgeprune.doctor import rounding
from edgeprune.errors import EdgepruneError
from edgeprune.runtime.layout import laid_out, padded

WIDTHS = (48, 32, 39, 38, 36, 40)  # in the order in which they are measured


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def in_blocks(block: int) -> Any:
    """The time of a runtime that computes in blocks, after the facts: off the layout it is slow."""

    def seconds(width: int) -> float:
        a, _ = padded("conv", width, width, 1, block)
        off = block > 1 and not laid_out("depthwise", width, width, width, block)
        return 1e-4 + 2e-5 * a * (1.6 if off else 1.0)

    return seconds


def device(seconds: Any, folder: Path, spread: float = 0.002) -> Fake:
    def sample(model: str, number: int, turn: int, k: int) -> tuple[float, int]:
        width = WIDTHS[int(model.partition("/")[0])]
        return seconds(width) * (1 + spread * ((7 * number + 3 * int(width)) % 5 - 2)), 0

    return Fake(folder, sample)


@pytest.mark.parametrize("block", [1, 8, 16])
def test_the_block_is_found_and_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    fake = device(in_blocks(block), tmp_path / "device")
    monkeypatch.setattr(bench.devices, "connect", lambda name: fake)
    assert rounding.multiple("ssh://board") == block  # nothing is known of it: it is measured
    kept = rounding.load("ssh://board")
    assert kept is not None
    assert (kept.multiple, kept.how) == (block, "measured")
    monkeypatch.setattr(bench.devices, "connect", None)  # from now on it is not asked again
    assert rounding.multiple("ssh://board") == block


def test_where_the_noise_hides_it_what_is_known_counts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = device(in_blocks(16), tmp_path / "device", spread=0.15)
    monkeypatch.setattr(bench.devices, "connect", lambda name: fake)
    found = rounding.probe("ssh://board")
    assert found.how == "known"
    assert rounding.load("ssh://board") is None


def test_what_is_known_without_asking(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.devices, "connect", None)
    for block, int8 in ((16, 16), (8, 16), (1, 1)):
        monkeypatch.setattr(rounding, "channel_block", lambda block=block: block)
        assert rounding.multiple("cpu") == block
        assert rounding.multiple("cpu", int8=True) == int8
    for device in ("browser:headless", "arm64", "chromium"):
        assert rounding.multiple(device) == 1


def test_a_file_that_is_none(home: Path) -> None:
    path = rounding.kept_path("cpu", False)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 99}))
    assert rounding.load("cpu") is None
    path.write_text(json.dumps({"format": 1, "multiple": 8}))
    with pytest.raises(EdgepruneError, match="delete it"):
        rounding.load("cpu")


@pytest.mark.parametrize("int8", [False, True])
def test_it_runs_here(home: Path, monkeypatch: pytest.MonkeyPatch, int8: bool) -> None:
    """On the real runtime, too short to tell anything: it ends, and says a multiple that can be."""
    short = bench.Request(rounds=2, passes=2, seconds=0.01, samples=1, limit=5)
    monkeypatch.setattr(rounding, "REQUEST", short)
    found = rounding.probe("cpu", int8=int8)
    assert found.multiple in (1, 2, 4, 8, 16)
    assert set(found.waste or {}) <= {"1", "2", "4", "8"}


def swept(waste: dict[int, float], spread: float = 0.0) -> dict[int, tuple[float, float, float]]:
    """Times over width 48's, 0.5 at width 32; between them the line, times the class's ``waste``."""
    line = {39: 0.71875, 38: 0.6875, 36: 0.625, 40: 0.75}  # 0.5 + 0.5 (width - 32) / 16
    values = {48: 1.0, 32: 0.5} | {w: v * waste.get(w, 1.0) for w, v in line.items()}
    return {
        w: (v, v * (1 - spread * (w not in (32, 48))), v * (1 + spread * (w not in (32, 48))))
        for w, v in values.items()
    }


@pytest.mark.parametrize(
    ("waste", "spread", "multiple"),
    [
        ({}, 0.0, 1),  # a time in proportion to the width
        ({39: 1.2}, 0.0, 2),
        ({39: 1.2, 38: 1.2}, 0.0, 4),
        ({39: 1.2, 38: 1.2, 36: 1.2}, 0.0, 8),
        ({39: 1.2, 38: 1.2, 36: 1.2, 40: 1.2}, 0.0, 16),
        ({39: 1.04, 38: 1.04}, 0.0, 1),  # under 5 % is none
        ({39: 1.06}, 0.0, 2),  # over 5 % is
        ({39: 1.2, 36: 1.2}, 0.0, 8),  # a coarser class decides before a finer one is asked
        ({39: 1.06}, 0.02, None),  # the interval leaves it open
        ({39: 1.06}, 0.005, 2),
    ],
)
def test_the_multiple_by_hand(waste: dict[int, float], spread: float, multiple: int | None) -> None:
    found, told = rounding.judged(swept(waste, spread))
    assert found == multiple
    assert told["1"][0] == pytest.approx(waste.get(39, 1.0))
    assert told["8"][0] == pytest.approx(waste.get(40, 1.0))


def test_without_times_nothing_is_judged() -> None:
    assert rounding.judged({}) == (None, {})
