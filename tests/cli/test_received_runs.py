"""A run that was received is data: its code runs when it was allowed, its links lead nowhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune import files, runs
from edgeprune.cli import app, errors

NETWORK = """
from blocks import block
from torch import nn

def tiny(classes):
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes)
    return nn.Sequential(block(3, 8), block(8, 12), *head)
"""
BLOCKS = """
from torch import nn

def block(a, b):
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
"""


def call(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert "Traceback" not in seen.err
    return code, seen.out, seen.err


def make(here: Path) -> None:
    """A folder with a network in two files, its weights, and photos."""
    (here / "net.py").write_text(NETWORK)
    (here / "blocks.py").write_text(BLOCKS)
    space: dict = {}
    exec(BLOCKS, space)
    exec(NETWORK.replace("from blocks import block", ""), space)
    torch.manual_seed(0)
    files.write_tensors(here / "w.safetensors", space["tiny"](4).state_dict())
    (here / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(here / "photos" / f"{i}.png")


WORDS = (
    "--model net.py:tiny --weights w.safetensors --size 16 --images photos --post-training "
    "--keep-flops 0.6 --round-to 1"
)


def test_a_run_holds_its_code_and_asks_before_it_runs_elsewhere(
    empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    make(Path.cwd())
    code, _, err = call(f"prune {WORDS} --name r", capsys)
    assert code == 0, err
    shutil.copytree("runs/r", tmp_path / "elsewhere" / "runs" / "r")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "other home"))
    monkeypatch.setattr("edgeprune.models.code._NOW", set())
    code, _, err = call("cost --run r", capsys)
    assert code == 2
    assert "edgeprune trust r" in err
    code, out, err = call("trust r --json", capsys)
    assert (code, json.loads(out)["files"]) == (0, ["blocks.py", "net.py"])
    monkeypatch.setattr("edgeprune.models.code._NOW", set())  # it is remembered on disk
    code, out, err = call("cost --run r --json", capsys)
    assert code == 0, err
    assert not list(Path("runs/r/code").rglob("*.pyc"))
    changed = Path("runs/r/code/blocks.py")
    changed.write_text(changed.read_text() + "\nopen('RAN', 'w')\n")
    code, _, err = call("cost --run r", capsys)
    assert code == 2
    assert "not the one that its spec.json names" in err
    assert not Path("RAN").exists()


@pytest.mark.parametrize(
    "command",
    ["export", "plot", "report", "doctor", "prune {} --keep-flops 0.5 --dry-run", "cost --run {}"],
)
def test_code_that_a_spec_names_is_not_run(
    command: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path.cwd())
    assert call(f"prune {WORDS} --name r", capsys)[0] == 0
    Path("evil.py").write_text("open('RAN', 'w')\n" + NETWORK)
    spec = files.read_json("runs/r/spec.json")
    spec["model"]["model"] = "evil.py:tiny"
    del spec["code"]
    files.write_json("runs/r/spec.json", spec)
    call(command.format("r") if "{" in command else f"{command} r", capsys)
    assert not Path("RAN").exists()
    Path("runs/r/code/evil.pyc").write_bytes(b"")
    spec["code"] = {"file": "../evil.py", "sha256": "0" * 64}
    files.write_json("runs/r/spec.json", spec)
    call(command.format("r") if "{" in command else f"{command} r", capsys)
    assert not Path("RAN").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a,b=c"),
        ("shape", [5]),
        ("form", "odd"),
        ("dtype", "int64"),
        ("batch", 1),
        (None, {}),  # of the pruned network: units that are not there
    ],
)
def test_what_its_spec_says_is_compared_with_the_network_before_anything_is_written(
    key: str | None, value: object, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path.cwd())
    assert call(f"prune {WORDS} --name r", capsys)[0] == 0
    spec = files.read_json("runs/r/spec.json")
    if key is None:
        spec["kept"] = {name: [0, 99_999] for name in spec["kept"]}
    else:
        spec["signature"]["outputs"][0][key] = value
    files.write_json("runs/r/spec.json", spec)
    before = sorted(Path("runs/r").rglob("*"))
    for command in (
        "export r",
        "bench r --rounds 2",
        "prune r --post-training --keep-flops 0.5 --name s",
    ):
        if key is None and command.startswith("prune"):
            continue  # from the dense network
        code, _, err = call(command, capsys)
        assert (code, err.count("error:")) == (2, 1), (command, err)
    assert sorted(Path("runs/r").rglob("*")) == before
    assert not Path("runs/s").exists()


@pytest.mark.parametrize("name", [".lock", "history.jsonl", "state", "bench", "dense.onnx"])
def test_links_in_a_run_lead_nowhere(
    name: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path.cwd())
    assert call(f"prune {WORDS} --name r", capsys)[0] == 0
    Path("outside").mkdir()
    Path("outside/precious").write_text("precious")
    link = Path("runs/r") / name
    link.unlink(missing_ok=True)
    link.symlink_to(
        Path("outside") if name in ("state", "bench") else Path("outside/precious").resolve()
    )
    if not link.exists():
        link.unlink()
        link.symlink_to(Path("outside").resolve())
    for command in ("export r", "report r", f"prune {WORDS} --name r", "bench r --rounds 2"):
        code, _, err = call(command, capsys)
        assert code == 2, command
        assert "a link that leads out of the run" in err
    assert [p.name for p in Path("outside").iterdir()] == ["precious"]
    assert Path("outside/precious").read_text() == "precious"


def test_links_that_go_round_are_told(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.Run(Path("runs/r"))
    files.write_json(run.recipe_path, {})
    run.history_path.symlink_to(run.history_path.name)
    code, _, err = call("report r", capsys)
    assert code == 2
    assert "history.jsonl: Too many levels of symbolic links" in err


def test_a_pipe_in_a_run_is_not_waited_for(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs.Run(Path("runs/r"))
    files.write_json(run.recipe_path, {})
    os.mkfifo(run.history_path)
    code, _, err = call("report r", capsys)
    assert code == 2
    assert "neither a file nor a folder" in err


def test_a_refused_command_leaves_a_run_at_work_as_it_was(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Path.cwd())
    assert call(f"prune {WORDS} --name r", capsys)[0] == 0
    run = runs.Run(Path("runs/r"))
    run.weights_path("pruned").unlink()
    before = run.recipe_path.read_bytes()
    with run.lock(), files.atomic(run.bench_folder / "x.json") as temporary:
        temporary.write_text("{}")
        for command in (f"prune {WORDS.replace('0.6', '0.7')} --name r", "export r", "bench r"):
            code, _, _ = call(command, capsys)
            assert code == 2, command
        assert run.recipe_path.read_bytes() == before
        assert call("report r", capsys)[0] == 0  # a run at work can be looked at
        assert temporary.exists()  # and what it is writing is left alone
    assert (run.bench_folder / "x.json").is_file()


def test_what_a_dead_process_left_is_cleared_away(tmp_path: Path) -> None:
    run = runs.Run(tmp_path / "r")
    (run.path / "bench").mkdir(parents=True)
    left = run.path / "bench" / ".tmpabc.part.json"
    left.write_text("half")
    with run.lock():
        assert not left.exists()


def test_a_fault_of_ours_is_one_line_and_a_file(
    empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def broken() -> list[runs.Run]:
        raise KeyError("never\nthought of")

    monkeypatch.setattr(runs, "existing", broken)
    code, out, err = call("runs", capsys)
    assert (code, out, len(err.splitlines())) == (70, "", 1)
    assert "this is a fault of edgeprune" in err
    (report,) = tmp_path.glob("edgeprune-fault-*.txt")
    assert str(report) in err
    text = report.read_text()
    assert "Traceback" in text
    assert "never" in text


def test_equal_tensors_are_equal_bytes(tmp_path: Path) -> None:
    """(The library alone orders metadata by chance.)"""
    metadata = {f"key {i}": f"ü {i}" for i in range(20)}
    for name in ("a", "b"):
        files.write_tensors(tmp_path / name, {"x": torch.ones(3)}, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert files.read_tensors(tmp_path / "a")[1] == metadata
