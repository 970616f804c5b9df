"""``edgeprune frontier`` as typed: the networks, the files, and one of them taken."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune import files, frontier, runs
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from edgeprune.graph import trace
from edgeprune.prune import Plan
from edgeprune.report import frontier as drawn

NETWORK = """
from torch import nn

def tiny():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    )
"""
QUICK = "--points 3 --round-to 1 --rounds 4 --seconds 0.1"


def call(words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> tuple[str, str]:
    found = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert found == code, seen.err
    return seen.out, seen.err


MODEL = "--model net.py:tiny --weights w.safetensors --images x.npy"


@pytest.fixture
def prepared(empty_home: Path) -> None:
    """A network, its weights and 120 examples."""
    Path("net.py").write_text(NETWORK)
    built: dict[str, object] = {}
    exec(NETWORK, built)
    torch.manual_seed(0)
    files.write_tensors(Path("w.safetensors"), built["tiny"]().state_dict())  # type: ignore[operator]
    np.save("x.npy", np.random.default_rng(0).normal(size=(120, 1, 12, 12)).astype(np.float32))


@pytest.fixture
def made(prepared: None, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The command's JSON; its run is runs/f."""
    words = f"frontier {MODEL} --name f {QUICK} --json"
    return json.loads(call(words, capsys)[0])  # type: ignore[no-any-return]


def test_the_networks_are_made_measured_and_one_is_taken(
    made: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.Run(Path("runs/f"))
    found = frontier.frontier_of(run)
    assert made["points"] == json.loads(run.frontier_path.read_text())["points"]
    shares = [p.share for p in found.points]
    assert shares[0] == found.points[0].kept == 1.0
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 4
    assert all(p.latency.median_s for p in found.points)
    for point in found.points[1:]:
        low, high = point.kept_interval or (1.0, 0.0)
        assert low - 1e-9 <= point.kept <= high + 1e-9
    assert all((run.path / "plots" / f"frontier.{kind}").is_file() for kind in ("png", "svg"))
    assert not run.has("pruned")
    assert "edgeprune prune f --pick N" in call("runs f", capsys)[0]
    assert run.go_on() == "edgeprune prune f --pick N"
    # the one that is taken is the one that was measured
    call("prune f --pick 2", capsys)
    (result,) = (r for r in run.history(runs.records.Result) if r.network == "pruned")
    assert (result.flops, result.agreement) == (found.points[2].flops, found.points[2].kept)
    assert result.outputs == found.points[2].outputs
    plan = Plan.from_json(files.read_json(run.plan_path))
    assert plan.keep == frontier.plan_of(run, 2).keep


def test_a_plan_that_is_not_the_measured_one_is_refused(
    made: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.Run(Path("runs/f"))
    other = files.read_json(run.frontier_plan_path(1))
    files.write_json(run.frontier_plan_path(2), other)
    with pytest.raises(EdgepruneError, match="not the plan that was measured"):
        frontier.plan_of(run, 2)
    assert "has 1, 2, 3" in call("prune f --pick 9", capsys, 2)[1]
    assert "leave one out" in call("prune f --pick 1 --plan p.json", capsys, 2)[1]
    told = files.read_json(run.frontier_path)
    files.write_json(run.frontier_path, told | {"plans": told["plans"] | {"x": "", "1" * 5000: ""}})
    assert "has 1, 2, 3, x, 11111" in call("prune f --pick 9", capsys, 2)[1]
    files.write_json(run.frontier_plan_path(3), {"format": 1, "keep": None})
    assert "3.plan.json: " in (said := call("prune f --pick 3", capsys, 2)[1])
    assert "edgeprune frontier f anew" in said
    assert not run.has("pruned")


def test_the_page_shows_it_and_a_torn_one_is_left_out(
    made: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.Run(Path("runs/f"))
    call("report f", capsys)
    page = run.report_path.read_text()
    assert "<h2>Frontier</h2>" in page
    for point in frontier.frontier_of(run).points[1:]:
        assert f"{point.number}: {1e3 * (point.latency.median_s or 0):.3g} ms" in page
    run.frontier_path.write_text('{"format": "edgeprune-frontier"}')
    call("report f", capsys)
    page = run.report_path.read_text()
    assert "<h2>Frontier</h2>" not in page
    assert "frontier.json left out" in page


def test_each_network_in_8_bits_beside_it(
    made: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"frontier f --int8 {QUICK}".replace("--points 3", "--points 2")
    out, err = call(words, capsys)
    assert "next: edgeprune prune f --pick N --int8" in err
    found = frontier.frontier_of(run := runs.Run(Path("runs/f")))
    names = ["dense", "1", "2", "dense-int8", "1-int8", "2-int8"]
    assert [p.name for p in found.points] == names
    assert {w[0] for line in out.splitlines() if (w := line.split())} >= set(names)
    assert list(found.plans) == ["1", "2"]
    floats, eight = drawn.series(found)
    for a, b in zip(floats, eight, strict=True):
        assert (a.flops, a.share) == (b.flops, b.share)
        assert (b.bytes or 0) != a.bytes
        assert b.kept_interval
        assert b.outputs != a.outputs
    assert any(p.beaten_by is None for p in eight)  # each series by itself
    assert len(drawn.chart(found).lines) == 2
    call("prune f --pick 2 --int8", capsys)
    assert run.exported == ["dense", "pruned", "dense-int8", "pruned-int8"]
    told = runs.records.read(run.record_path("pruned-int8"), runs.records.Int8)
    assert told.beside_dense[0].measures == eight[2].outputs[0].measures  # as it was measured


class Killed(BaseException):
    """As a signal ends it."""


def broken(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    after: int,
    words: str,
) -> int:
    """Kill the command at the call of ``what`` after so many; how many networks were made by it."""
    explore = importlib.import_module(
        "edgeprune.frontier.explore"
    )  # the door's word is the function
    calls: dict[str, int] = {"applied": 0, what: 0}

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **named: Any) -> Any:
            if name == what and calls[name] == after:
                raise Killed
            calls[name] += 1
            return real(*args, **named)

        return counting

    with monkeypatch.context() as m:
        for name in calls:
            m.setattr(explore, name, counted(name, getattr(explore, name)))
        with contextlib.suppress(Killed):
            call(words, capsys)
    return calls["applied"]


def test_a_killed_one_goes_on_as_if_it_had_not_been(
    made: dict[str, object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"frontier {MODEL} --name g {QUICK}"
    assert broken(monkeypatch, capsys, "applied", 2, words) == 2
    run, whole = runs.Run(Path("runs/g")), frontier.frontier_of(runs.Run(Path("runs/f")))
    assert not run.frontier_path.exists()
    assert broken(monkeypatch, capsys, "gather", 0, words) == 1  # not looked at again
    found = frontier.frontier_of(run)
    assert found.plans == whole.plans
    for a, b in zip(found.points, whole.points, strict=True):
        assert (a.share, a.flops, a.kept, a.outputs) == (b.share, b.flops, b.kept, b.outputs)
    assert not run.frontier_state.exists()


def test_what_follows_from_something_else_or_is_damaged_is_not_taken(
    prepared: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, state = f"frontier {MODEL} --name f {QUICK}", runs.Run(Path("runs/f")).frontier_state
    assert broken(monkeypatch, capsys, "measure", 0, words) == 3
    (key,) = state.iterdir()
    torn, plan = (key / "2.onnx").read_bytes(), (key / "3.plan.json").read_text()
    (key / "2.onnx").write_bytes(torn[:-1])
    files.write_json(key / "3.plan.json", files.read_json(key / "1.plan.json"))
    assert broken(monkeypatch, capsys, "measure", 0, words) == 2
    assert (key / "2.onnx").read_bytes() == torn
    assert (key / "3.plan.json").read_text() == plan
    np.save("x.npy", np.random.default_rng(1).normal(size=(120, 1, 12, 12)).astype(np.float32))
    assert broken(monkeypatch, capsys, "applied", 0, words) == 0  # the images are others
    (other,) = state.iterdir()
    assert other.name != key.name


def test_the_one_that_is_taken_is_repaired_as_it_was(
    prepared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = QUICK.replace("--points 3", "--points 2")
    call(f"frontier {MODEL} --name f --compensate none {quick}", capsys)
    found = frontier.frontier_of(run := runs.Run(Path("runs/f")))
    assert found.compensate == "none"
    call("prune f --pick 2", capsys)
    (result,) = (r for r in run.history(runs.records.Result) if r.network == "pruned")
    assert result.outputs == found.points[2].outputs
    said = call(f"frontier f --compensate much {QUICK}", capsys, 2)[1]
    assert "--compensate 'much'" in said


def test_words_that_do_not_fit(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.py").write_text(NETWORK)
    assert "2..20" in call("frontier --model net.py:tiny --points 1", capsys, 2)[1]
    built: dict[str, object] = {}
    exec(NETWORK, built)
    files.write_tensors(Path("w.safetensors"), built["tiny"]().state_dict())  # type: ignore[operator]
    words = "frontier --model net.py:tiny --weights w.safetensors --shape 1x12x12"
    said = call(words, capsys, 2)[1]
    assert "--images" in said
    said = call(f"{words} --round-to 64", capsys, 2)[1]
    assert "no layer gets narrower: widths are multiples of 64" in said
    assert not Path("runs").exists()


def test_a_run_without_one_says_how_to_make_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EdgepruneError, match="has no frontier"):
        frontier.frontier_of(runs.Run(tmp_path))


def test_the_least_share_is_that_of_the_narrowest_plan() -> None:
    from edgeprune import prune
    from edgeprune.prices import PRICES, Target
    from edgeprune.prune.plan import Limits, least

    torch.manual_seed(0)
    built: dict[str, object] = {}
    exec(NETWORK, built)
    graph = trace(built["tiny"](), torch.randn(2, 1, 12, 12))  # type: ignore[operator]
    limits = Limits(floor=0.25, multiple=2)
    share = least(graph, limits, PRICES["flops"])
    scores = {name: prune.l1(graph, name) for name in graph.groups}
    plan = prune.plan.make(graph, scores, Target("flops", share), limits=limits)
    assert plan.widths == {"0": 4, "2": 6}
    assert plan.reached()["flops"] == pytest.approx(share)
    with pytest.raises(EdgepruneError):
        prune.plan.make(graph, scores, Target("flops", 0.99 * share), limits=limits)
