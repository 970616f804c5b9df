"""Like with like only; and what two separate benches can and cannot tell apart."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.compare import compare
from edgeprune.bench.devices.fake import Fake
from edgeprune.cli import errors
from edgeprune.cli.app import app
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import save


@pytest.fixture
def two(tmp_path: Path) -> list[bench.Result]:
    """The same network in 1 s and in 0.5 s."""
    model = save(tmp_path / "net.onnx")
    results = []
    for i, seconds in enumerate((1.0, 0.5)):
        device = Fake(tmp_path / "device", lambda *_, s=seconds: (s, 0))  # type: ignore[misc]
        results.append(
            bench.measure([model], out=tmp_path / f"{i}.json", device=device, label="fake")
        )
    return results


def test_faster_and_slower(two: list[bench.Result]) -> None:
    (row,) = compare(*two)
    assert row.speedup == pytest.approx(2.0)
    assert (row.verdict, row.same_file) == ("faster", True)
    assert compare(*two[::-1])[0].verdict == "slower"
    assert compare(two[0], two[0])[0].verdict == "no measurable difference"


def test_five_percent_between_two_benches_may_be_drift(two: list[bench.Result]) -> None:
    near = copy.deepcopy(two[0])
    for session in near.told.measured["models"][0]["sessions"]:
        for r in session["rounds"]:
            r["wall_s"] = [0.95 * v for v in r["wall_s"]]
    assert compare(two[0], near)[0].verdict == "no measurable difference"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("device", "ssh://pi", "device fake / ssh://pi"),
        ("request.threads", 4, "threads 1 / 4"),
        ("measured.environment.onnxruntime", "1.0", "onnxruntime none / 1.0"),
        ("measured.environment.cpu.name", "other", "processor fake / other"),
        ("measured.environment.cpu.flags", ["avx2"], "instruction sets"),
        ("measured.before.governor", "powersave", "governor None / powersave"),
    ],
)
def test_unlike_files_are_refused_by_name(
    two: list[bench.Result], path: str, value: Any, said: str
) -> None:
    document = json.loads(two[1].path.read_text())
    inner: Any = document
    *way, last = path.split(".")
    for key in way:
        inner = inner[key]
    inner[last] = value
    two[1].path.write_text(json.dumps(document))
    with pytest.raises(EdgepruneError, match=said):
        compare(two[0], bench.load(two[1].path))


def test_wall_time_is_not_compared_with_cpu_time(two: list[bench.Result]) -> None:
    """Every run of the second one was preempted, so its CPU time counts."""
    other = copy.deepcopy(two[1])
    for session in other.told.measured["models"][0]["sessions"]:
        for r in session["rounds"]:
            r["switches"] = [1] * len(r["switches"])
    with pytest.raises(EdgepruneError, match="net: clocks differ: wall / thread CPU time"):
        compare(two[0], other)


def test_other_networks_are_refused(two: list[bench.Result]) -> None:
    models = [replace(two[1].told.models[0], name="b")]
    other = replace(two[1], told=replace(two[1].told, models=models))
    with pytest.raises(EdgepruneError, match="net against b"):
        compare(two[0], other)


def test_the_command(two: list[bench.Result], capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(r.path) for r in two]
    assert errors.run(app, ["compare", *paths, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"][0]["verdict"] == "faster"
    assert errors.run(app, ["compare", *paths]) == 0
    assert "2.00x" in capsys.readouterr().out
    assert errors.run(app, ["compare", paths[0], "none.json"]) == 2


def judged(result: bench.Result, **known: Any) -> bench.Result:
    """With other figures in its summary, as a file holds them."""
    document = json.loads(result.path.read_text())
    document["summary"]["networks"][0] |= known
    result.path.write_text(json.dumps(document))
    return bench.load(result.path)


@pytest.mark.parametrize(
    ("gate", "before", "after", "code"),
    [
        ("slower", {}, {}, 3),
        ("slower=99", {}, {}, 0),  # from 0.5 s to 1 s: 100 %, less the drift between two benches
        ("size", {"bytes": 100}, {"bytes": 101}, 3),
        ("size=2", {"bytes": 100}, {"bytes": 101}, 0),
        ("size", {"bytes": 100}, {"bytes": 99}, 0),
        ("accuracy", {"top1": 0.9, "images": 5000}, {"top1": 0.87, "images": 5000}, 3),
        ("accuracy", {"top1": 0.9, "images": 50}, {"top1": 0.87, "images": 50}, 0),  # chance
        ("accuracy=2", {"top1": 0.9, "images": 50}, {"top1": 0.87, "images": 50}, 3),
        ("accuracy=4", {"top1": 0.9, "images": 5000}, {"top1": 0.87, "images": 5000}, 0),
        ("accuracy", {"top1": 0.87, "images": 5000}, {"top1": 0.9, "images": 5000}, 0),
        ("accuracy", {}, {}, 2),  # nothing was judged
        ("slowr", {}, {}, 2),
        ("size=x", {}, {}, 2),
    ],
)
def test_ci_can_say_no(
    two: list[bench.Result], gate: str, before: Any, after: Any, code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fast, slow = judged(two[1], **before), judged(two[0], **after)
    words = ["compare", str(fast.path), str(slow.path), "--fail-on", gate, "--json"]
    assert errors.run(app, words) == code
    told = capsys.readouterr()
    if code == 3:
        (line,) = json.loads(told.out)["failed"]
        assert line.startswith("net: ")
        assert line in told.err
    assert errors.run(app, ["compare", str(slow.path), str(fast.path), "--fail-on", "slower"]) == 0


def test_one_file_is_judged_against_its_own_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [save(tmp_path / f"{name}.onnx") for name in ("a", "b")]
    device = Fake(tmp_path / "device", lambda model, *_: (1.0 + ("1" in model), 0))  # type: ignore[misc]
    found = bench.measure(models, out=tmp_path / "r.json", device=device, label="fake")
    words = ["compare", str(found.path), "--fail-on", "slower", "--fail-on", "size", "--json"]
    assert errors.run(app, words) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == ["b: slower, 0.50x"]
    assert told["networks"][0]["same_file"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("device",), None),
        (("request",), {}),
        (("request", "threads"), "x"),
        (("summary",), None),
        (("summary", "networks"), {}),
        (("summary", "networks", 0, "latency"), 3),
        (("summary", "networks", 0, "latency", "median_s"), "<b>"),
        (("summary", "networks", 0, "speedup_interval"), [1]),
        (("summary", "warnings"), ["x"]),
        (("models",), []),
        (("models", 0, "name"), 3),
        (("measured",), None),
        (("measured", "environment", "cpu"), []),
        (("measured", "models", 0, "sessions"), []),
        (("measured", "models", 0, "sessions", 0, "rounds", 0, "wall_s"), ["x"]),
    ],
)
def test_a_result_edited_by_hand_is_one_line(
    two: list[bench.Result], place: tuple[Any, ...], value: Any
) -> None:
    document = json.loads(two[0].path.read_text())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    two[0].path.write_text(json.dumps(document))
    with pytest.raises(EdgepruneError, match=r"0\.json: not the form of a result"):
        compare(bench.load(two[0].path), two[1])
