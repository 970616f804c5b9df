"""From the profiler's samples to seconds: which runs count, what is typical, what the profiler costs."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgeprune.doctor.profile import Node, _clean, _typical, _without_profiler, profile
from tests.tiny_onnx import conv_net, save


def test_who_waits_hears_how_far_it_is(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    found = profile(
        [save(tmp_path / "m.onnx", conv_net(batch=1))],
        seconds=0.1,
        heard=lambda done, of: heard.append((done, of)),
    )
    assert found[0].seconds > 0
    assert heard
    assert all(0 < done <= of for done, of in heard)


def test_weights_beside_the_file_are_profiled(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", conv_net(batch=1))
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0
    )
    assert (tmp_path / "m.data").stat().st_size
    (found,) = profile([path], seconds=0.1)
    assert "Conv" in {node.operator for node in found.nodes}


def test_which_runs_count() -> None:
    """Slices of four: the first of each, and the one that was preempted, do not."""
    assert _clean([0, 0, 1, 0, 0, 0, 0, None], 4) == [1, 3, 5, 6, 7]
    assert _clean([0, 0, 1, 0, 0, 0, 0, 2], 4) == []  # four are too few


def test_the_middle_half_is_typical() -> None:
    seconds = [100.0, 8, 1, 5, 4, 3, 7, 2, 6]
    assert _typical(seconds, range(1, 9)) == 4.5  # of 1 to 8: 3, 4, 5, 6
    assert _typical(seconds[1:], []) == 2  # without clean runs the lowest: 1, 2, 3


def test_the_profilers_own_work_is_taken_off() -> None:
    """10 s of operators in a run of 7 s: 1 s from each of three, but no more than half of one."""
    nodes = [Node(f"{s}", "Conv", "", (), (), s) for s in (4.0, 1.0, 5.0)]
    assert [n.seconds for n in _without_profiler(nodes, 7.0)] == [3.0, 0.5, 4.0]
    assert [n.seconds for n in _without_profiler(nodes, 12.0)] == [4.0, 1.0, 5.0]
