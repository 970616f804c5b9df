"""Commands that only look: what they print, as a table and as JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from edgeprune import files, records
from edgeprune.cli import app, errors
from edgeprune.graph import cost
from edgeprune.runtime import device as devices
from edgeprune.runtime.device import Device, Error
from edgeprune.runtime.predictor import COUNTED, NONE, Model

WAYS = ("first", "plain 1x1", "plain kxk", "plain depthwise", "linear")


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert errors.run(app.app, words.split()) == 0
    return capsys.readouterr().out


def test_cost_as_json(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counted = json.loads(said("cost --model vgg16 --classes 10 --size 32 --json", capsys))
    assert (counted["params"], counted["flops"]) == (14_982_474, 627_481_620)
    assert counted["macs"] == sum(row["macs"] for row in counted["layers"]) == 313_463_808
    assert counted["bytes"] == 4 * counted["params"]


def test_cost_of_widths(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    widths = "64,64,128,128,256,256,256,192,192,192,128,128,128"
    counted = json.loads(said(f"cost --model vgg16 --widths {widths} --json", capsys))
    assert (counted["params"], counted["flops"]) == (3_429_642, 421_199_892)


def test_cost_as_a_table(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = said("cost --model mobilenetv1-0.25", capsys)
    assert "mobilenetv1-0.25, input [N, 3, 32, 32]" in table  # FLOPs mean nothing without it
    assert "conv1 (features.0.conv)" in table
    assert "total" in table


def test_models(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["model"]: row for row in json.loads(said("models --json", capsys))["rows"]}
    assert rows["vgg16"]["inits"] == ["scratch", "imagenet"]
    found = json.loads(said("models resnet18 --json", capsys))["rows"]
    assert "torchvision/resnet18" in [row["model"] for row in found]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeprune import __version__

    assert said("--version", capsys).strip() == __version__


def test_cost_predicts_the_times_of_a_probed_device(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.run(app.app, ["cost", "--model", "mobilenetv1-0.25", "--device", "cpu"]) == 2
    assert "edgeprune doctor --probe --device cpu" in capsys.readouterr().err
    lines = dict.fromkeys(WAYS, (1e-06, 1e-10, 0.0, 0.0, 0.0, 0.0))
    known = Model(1, NONE, {}, (0.0, 0.0), (0.0, 0.0, 0.0), lines)
    device = Device("c", "1", known, Error(0.03, 0.1, None, 64), "now")
    files.write_json(devices.profile_path("cpu"), records.plain(device))
    found = json.loads(said("cost --model mobilenetv1-0.25 --device cpu --json", capsys))
    timed = [row for row in found["layers"] if row["predicted_s"] is not None]
    assert {row["kind"] for row in timed} == {"conv", "depthwise", "linear"}
    assert found["predicted_s"] == pytest.approx(sum(row["predicted_s"] for row in timed))
    assert found["predicted_s"] == pytest.approx(
        1e-6 * len(timed) + 1e-10 * found["macs"], rel=0.05
    )
    assert "predicted" in said("cost --model mobilenetv1-0.25 --device cpu", capsys)


def test_a_plan_is_told_in_the_milliseconds_of_the_device_that_is_meant(empty_home: Path) -> None:
    """Two devices, one with three times the cost of a layer; a third was never probed."""
    from edgeprune import checkpoint, models, plan
    from edgeprune.cli import plans
    from edgeprune.records import Convention, ModelSpec

    for name, each in (("board", 1e-3), ("slow", 3e-3)):
        model = Model(1, NONE, {}, (0.0, 0.0), (0.0, each, 0.0))
        known = Device(name, "1.0", model, Error(0.01, 0.02, 0.03, 4), "now")
        files.write_json(devices.profile_path(name), records.plain(known))
    spec = ModelSpec("mobilenetv1-0.25", 10)
    dense = checkpoint.Loaded(models.fresh(spec, 0).eval(), spec, Convention(size=32), (), {})
    made = plan(dense.graph, keep_flops=0.5)
    (board,), (slow,) = (plans.predicted(made, dense, name) for name in ("board", "slow"))
    layers = sum(row.kind in COUNTED for row in cost(dense.graph).rows)
    assert f"predicted on board {layers:d} ms" in board
    assert f"predicted on slow {3 * layers:d} ms" in slow
    (never,) = plans.predicted(made, dense, "moon")
    assert "doctor --probe --device moon measures" in never
    assert "doctor --probe measures" in plans.predicted(made, dense)[0]
    shown = plans.table(made, dense, {})
    assert [c.key for c in shown.columns] == [
        "group",
        "before",
        "after",
        "reason",
    ]  # nothing is tied
    assert not any(row["reason"].startswith(f"{made.method}:") for row in shown.rows)
    assert max(map(len, shown.text().splitlines())) <= 80


def test_the_schema_of_every_record_is_published(capsys: pytest.CaptureFixture[str]) -> None:
    """What a writer makes is valid by it, in the words of the type itself."""
    said_all = json.loads(said("schema --json", capsys))
    assert (said_all["format"], said_all["version"]) == ("edgeprune-output", 1)
    for name in (
        "epoch",
        "sensitivity",
        "step",
        "result",
        "spec",
        "recipe",
        "plan",
        "device",
        "widths",
    ):
        assert said_all["schemas"][name]["type"] == "object", name
    step = json.loads(said("schema step --json", capsys))["schemas"]["step"]
    written = records.plain(records.Step(step=1, params=2, flops=3))
    assert set(step["properties"]) == set(written)
    assert set(step["required"]) == {"step", "params", "flops"}
    assert errors.run(app.app, ["schema", "stepp"]) == 2
    assert "did you mean step?" in capsys.readouterr().err


def test_the_networks_of_the_examples_in_help_are_known() -> None:
    from edgeprune import models

    pages = [app.said(name) for name in app.PANEL]
    named = [name for page in pages for name in re.findall(r"Example:.*?--model ([^\s\[]+)", page)]
    assert len(named) > 3
    for name in named:
        models.check_name(name)


def test_no_network_of_four_is_cut_off_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.cli import output
    from edgeprune.report.tables import Column, Table

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    columns = [Column("what"), *(Column(f"net{i}") for i in range(4))]
    output.show(Table("", columns, [{f"net{i}": "x" * 20 + str(i) for i in range(4)}]))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # bold
    assert all("x" * 20 + str(i) in shown for i in range(4))
    assert max(map(len, shown.splitlines())) <= 80


def test_help_lists_the_commands_without_importing_one() -> None:
    """What --help costs does not grow with the commands: a module is imported when its command runs."""
    code = (
        "import sys\nfrom edgeprune.cli import app, errors\n"
        "assert errors.run(app.app, {words}) == 0\n"
        "print([n for n in app.PANEL if f'edgeprune.cli.{{n}}' in sys.modules],"
        " 'edgeprune.records' in sys.modules)"
    )
    for words, expected in (["--help"], "[] False"), (["models"], "['models'] "):
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=words)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith(expected)


def test_a_row_says_what_the_command_s_own_help_says() -> None:
    group = typer.main.get_command(app.app)
    assert list(group.commands) == list(app.PANEL)  # type: ignore[attr-defined]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.help == app.said(name) != ""
        assert command.rich_help_panel == app.PANEL[name]


def test_switches_are_shown_without_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ["--help"], ["cost", "--help"], ["prune", "--help-all"]:
        assert errors.run(app.app, words) == 0
        assert "<bool>" not in capsys.readouterr().out
