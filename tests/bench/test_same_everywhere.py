"""The same network and input on every device: the same logits, to 1e-4 of the largest.

The networks hold what a pruned one holds: convolutions of odd widths and of whole blocks, a depthwise one, a
residual sum. ssh has the same kernels in another place, the browser and Arm have others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeprune import bench
from edgeprune.doctor.synthetic import Builder
from tests.bench.places import Board

BRIEF = bench.Request(rounds=1, passes=1, seconds=0.02, samples=1)
TOLERANCE = 1e-4  # of the largest logit


def network(path: Path, width: int) -> Path:
    """3 -> width, depthwise, expand and project with a residual sum, pool, ten logits; [1, 3, 32, 32]."""
    b = Builder()
    x = b.conv("stem", b.input("images", (1, 3, 32, 32)), 3, width, stride=2)
    y = b.conv("dw", x, width, width, groups=width)
    y = b.conv("expand", y, width, 3 * width + 1, 1)
    y = b.op("Sigmoid", "gate", [y])
    y = b.conv("project", y, 3 * width + 1, width, 1)
    x = b.op("Add", "sum", [x, y])
    x = b.conv("last", x, width, 10)
    b.output(b.op("GlobalAveragePool", "logits", [x]))
    onnx.save(b.model(), path)
    return path


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [network(tmp_path / f"{width}.onnx", width) for width in (7, 16)]


def measured(models: list[Path], device: str, folder: Path) -> bench.Result:
    out = folder / f"{device.partition(':')[0]}.json"
    return bench.measure(models, out=out, device=device, request=BRIEF)


def answers(result: bench.Result) -> list[np.ndarray]:
    found = [m["sessions"][0]["answer"] for m in result.document["measured"]["models"]]
    return [np.asarray(answer, np.float64) for answer in found]


def compared(models: list[Path], device: str, folder: Path) -> bench.Result:
    """What ``device`` gave, after comparing it with this machine's."""
    result = measured(models, device, folder)
    here, there = answers(measured(models, "cpu", folder)), answers(result)
    for ours, theirs in zip(here, there, strict=True):
        assert ours.shape == theirs.shape == (10,)
        assert np.ptp(ours) > 100 * TOLERANCE * np.abs(ours).max()  # logits that differ at all
        assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(ours).max()
    assert np.abs(here[0] - here[1]).max() > TOLERANCE * np.abs(here[0]).max()
    return result


def test_over_ssh(board: Board, board_client: None, models: list[Path], tmp_path: Path) -> None:
    compared(models, board.name, tmp_path)


@pytest.mark.slow
def test_in_a_browser(chromium: None, models: list[Path], tmp_path: Path) -> None:
    compared(models, "browser:headless", tmp_path)


@pytest.mark.slow
def test_on_an_emulated_arm(emulated_arm: None, models: list[Path], tmp_path: Path) -> None:
    result = compared(models, "arm64", tmp_path)
    assert result.document["measured"]["environment"]["machine"] == "aarch64"
    assert all(n.latency.median_s is None for n in result.networks)  # no times of an emulator
