"""Device profiles: those that come with edgeprune are whole, and a wrong one says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices import DEVICES, cpu, profiles
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import save

GOOD = 'label = "x"\ntransport = "cpu"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    (tmp_path / "devices").mkdir()
    return tmp_path / "devices"


def test_those_that_come_along(home: Path) -> None:
    names = list(profiles.paths())
    assert {"raspberry-pi-4", "phone", "chromium"} <= set(names)
    for name in names:
        found = profiles.find(name)
        assert found is not None
        assert found.transport.partition(":")[0] in DEVICES
    assert profiles.find("cpu") is None


def test_ones_own_come_first(home: Path) -> None:
    (home / "phone.toml").write_text(GOOD + "threads = [1, 2]\ncores = [0]\ncool_down = 1\n")
    found = profiles.find("phone")
    assert found == profiles.Profile("phone", "x", "cpu", None, (1, 2), (0,), 1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("label = 'x'", "no 'transport' in it"),
        (GOOD + "thread = [1]", "unknown 'thread' — known: label, transport, python, threads"),
        (GOOD + "python = 3", "python = 3 — give it the path of an interpreter there"),
        (GOOD + "threads = 4", "threads = 4 — give it a list of different counts"),
        (GOOD + "threads = []", "threads = []"),
        (GOOD + "threads = [0]", "threads = [0]"),
        (GOOD + "threads = [true]", "threads = [True]"),
        (GOOD + "threads = [1, 1]", "threads = [1, 1]"),
        (GOOD + "cores = ['2']", "cores = ['2']"),
        (GOOD + "cool_down = -1", "cool_down = -1"),
        (GOOD + "cool_down = nan", "cool_down = nan"),
        (GOOD + "highest_temperature = 'hot'", "degrees Celsius"),
        ("label = ''\ntransport = 'cpu'", "label = ''"),
        ("label = ", "not a device's profile"),
        ("[label]\n[label]", "not a device's profile"),
    ],
)
def test_a_wrong_one(home: Path, text: str, line: str) -> None:
    (home / "mine.toml").write_text(text)
    with pytest.raises(EdgepruneError) as told:
        profiles.find("mine")
    assert line in str(told.value)
    assert "mine.toml" in str(told.value)


def test_bytes_that_are_no_text(home: Path) -> None:
    (home / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(EdgepruneError, match="not a device's profile"):
        profiles.find("mine")


def test_bench_takes_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each count of threads is measured, as the profile says."""
    (home / "mine.toml").write_text(
        GOOD + "threads = [1, 2]\ncores = [0]\ncool_down = 0.01\nhighest_temperature = 119\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["bench", str(save(tmp_path / "a.onnx")), "--device", "mine", "--rounds", "1",
             "--seconds", "0.1", "--json"]  # fmt: skip
    assert errors.run(app.app, words) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    assert [f["threads"] for f in found] == [1, 2]
    options = [bench.load(Path(f["file"])).document["measured"]["options"] for f in found]
    assert [o["threads"] for o in options] == [1, 2]
    for o in options:
        assert (o["cores"], o["cool_down"], o["max_temperature"]) == ([0], 0.01, 119)
    assert errors.run(app.app, [*words, "--out", "x.json"]) == 2
    assert "add --threads N" in capsys.readouterr().err


def test_devices_lists_what_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "broken.toml").write_text("label = 3")
    (home / "odd.toml").write_text(GOOD.replace("cpu", "telepathy:x"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert errors.run(app.app, ["devices", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    places = {row["device"]: row for row in found["devices"]}
    assert places["cpu"]["usable"] is True
    assert places["ssh://user@host"]["next"] == "apt-get install openssh-client"
    assert places["adb[:serial]"]["next"] == "apt-get install adb"
    assert "npm pack onnxruntime-web" in places["browser"]["next"]
    assert places["arm64"]["usable"] is False
    named = {row["device"]: row for row in found["profiles"]}
    assert "label = 3" in named["broken"]["missing"]
    assert "no device" in named["odd"]["missing"]
    assert named["raspberry-pi-4"]["missing"] == "no ssh client"
    assert errors.run(app.app, ["devices"]) == 0
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines())) <= 80
    assert "apt-get install adb" in said.err


def test_a_mistyped_name_is_answered(home: Path) -> None:
    from edgeprune.bench.devices import connect

    with pytest.raises(EdgepruneError, match="did you mean raspberry-pi-"):
        connect("rasberry-pi-4")
    assert isinstance(connect("cpu"), cpu.Cpu)
