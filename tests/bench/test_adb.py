"""A phone through adb: a stand-in on PATH that behaves as adb does, and runs the phone's shell here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices import browser, connect
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import conv_net, save

REQUEST = bench.Request(rounds=2, passes=1, seconds=0.02, samples=1)

# What it knows of the real one: `connect` and `disconnect` exit 0 whatever happened; `shell` joins its
# words with spaces for the phone's sh and hands its exit code through; a lost phone is exit code 1.
STAND_IN = r"""
import json, os, subprocess, sys
from pathlib import Path

home = Path(sys.argv[1])
words = sys.argv[2:]
state = json.loads((home / "state.json").read_text())
with open(home / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\n")

def lost(serial):
    sys.stderr.write(f"adb: device '{serial}' not found\n")
    sys.exit(1)

serial = None
if words[:1] == ["-s"]:
    serial, words = words[1], words[2:]
phones = state["phones"]
do = words[0]
if do == "connect":
    where = words[1]
    if where in state.get("refused", []):
        print(f"failed to connect to '{where}': Connection refused")
    else:
        print(f"connected to {where}")
    sys.exit(0)
if do == "devices":
    print("* daemon started successfully", file=sys.stderr)
    print("List of devices attached")
    for name, how in phones.items():
        print(f"{name}\t{how}")
    print()
    sys.exit(0)
if phones.get(serial) != "device":
    lost(serial)
if do == "get-state":
    print("device")
elif do == "reverse":
    sys.exit(0)
elif do == "shell":
    assert words[1] == "-T", words
    environment = {**os.environ, "TMPDIR": str(home / "tmp"), "PATH": state["path"]}
    sys.exit(subprocess.call(["sh", "-c", " ".join(words[2:])], env=environment))
else:
    sys.exit(f"unknown command {do}")
"""


class Phone:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "stand-in.py").write_text(STAND_IN)
        adb = folder / "bin" / "adb"
        adb.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{folder}/stand-in.py" "{folder}" "$@"\n'
        )
        adb.chmod(0o755)
        for name in ("python3",):
            link = folder / "bin" / name
            link.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            link.chmod(0o755)
        self.state: dict[str, Any] = {
            "phones": {},
            "path": f"{folder}/bin:/usr/bin:/bin",
        }
        self.set(phones={"R5CT30": "device"})

    def set(self, **changes: Any) -> None:
        self.state |= changes
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def left_behind(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def without_python(self) -> None:
        (self.folder / "plain").mkdir()
        for name in ("sh", "mktemp", "rm", "mkdir", "cat", "dirname"):
            (self.folder / "plain" / name).symlink_to(f"/bin/{name}")
        am = self.folder / "plain" / "am"
        am.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{self.folder}/am"\n')
        am.chmod(0o755)
        self.set(path=f"{self.folder}/plain")


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    made = Phone(tmp_path / "a phone's folder")
    monkeypatch.setenv("PATH", f"{made.folder}/bin:{os.environ['PATH']}")
    return made


def answers(document: dict[str, Any]) -> list[list[float]]:
    return [m["sessions"][0]["answer"] for m in document["measured"]["models"]]


@pytest.mark.parametrize("device", ["adb", "adb:R5CT30", "adb:192.168.1.7:5555"])
def test_it_measures_and_leaves_nothing(phone: Phone, tmp_path: Path, device: str) -> None:
    phone.set(phones={device.partition(":")[2] or "R5CT30": "device"})
    models = [save(tmp_path / "a b'$HOME.onnx"), save(tmp_path / "-rf.onnx", conv_net(width=4))]
    result = bench.measure(models, out=tmp_path / "r.json", device=device, request=REQUEST)
    assert [n.name for n in result.networks] == ["a b'$HOME", "-rf"]
    assert phone.left_behind() == []
    here = bench.measure(models, out=tmp_path / "h.json", request=REQUEST)
    for a, b in zip(*(answers(r.document) for r in (result, here)), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def test_external_data_of_an_odd_name(phone: Phone, tmp_path: Path) -> None:
    from tests.bench.test_subject import external

    model = external(tmp_path / "a.onnx", "we ights'$(touch x).bin")
    bench.measure([model], out=tmp_path / "r.json", device="adb", request=REQUEST)
    assert phone.left_behind() == []


def test_refused_though_adb_says_it_went_well(phone: Phone) -> None:
    phone.set(refused=["192.168.1.7:5555"])
    with pytest.raises(EdgepruneError, match=r"failed to connect to .*adb tcpip 5555"):
        connect("adb:192.168.1.7:5555").__enter__()


@pytest.mark.parametrize(
    ("phones", "device", "line"),
    [
        ({}, "adb", "no phone is attached — plug it in"),
        ({"A": "device", "B": "device"}, "adb", "2 phones are attached — say which: adb:A"),
        ({"A": "device"}, "adb:B", "no such phone: attached: A"),
        ({"A": "unauthorized"}, "adb", "unauthorized — allow this computer"),
        ({"A": "offline"}, "adb:A", "offline — unplug it"),
        ({"A": "no permissions (user in plugdev group)"}, "adb", "udev rules"),
    ],
)
def test_which_phone(phone: Phone, phones: dict[str, str], device: str, line: str) -> None:
    phone.set(phones=phones)
    with pytest.raises(EdgepruneError) as told:
        connect(device).__enter__()
    assert line in str(told.value)


def test_pulled_out_in_the_middle(phone: Phone, tmp_path: Path) -> None:
    long = bench.Request(rounds=4000, passes=1, seconds=60, samples=1)
    heard: list[dict[str, Any]] = []

    def pull_out(event: dict[str, Any]) -> None:
        heard.append(event)
        if len(heard) == 3:
            phone.set(phones={})
            for folder in phone.left_behind():
                for runner in _running_in(folder):
                    os.kill(runner, 9)

    out = tmp_path / "r.json"
    with pytest.raises(EdgepruneError, match=r"adb not reached: .*is it still plugged in"):
        bench.measure(
            [save(tmp_path / "a.onnx")], out=out, device="adb", request=long, watch=pull_out
        )
    assert json.loads(out.read_text())["status"] == "incomplete"
    assert phone.left_behind() == []


def _running_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                line = (process / "cmdline").read_bytes().split(b"\0")
                if (process / "cwd").resolve() == folder.resolve() and b"runner.py" in line:
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def test_without_python_its_browser_opens_the_page(
    phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "missing", lambda name: None)
    monkeypatch.setattr(browser, "_unpack", lambda folder: [])
    monkeypatch.setattr(browser, "PATIENCE", {True: 0.1, False: 0.1})
    phone.without_python()
    with pytest.raises(EdgepruneError, match="adb: nobody opened the page"):
        bench.measure(
            [save(tmp_path / "a.onnx")], out=tmp_path / "r.json", device="adb", request=REQUEST
        )
    opened = (phone.folder / "am").read_text().splitlines()
    assert opened[:3] == ["start", "-a", "android.intent.action.VIEW"]
    assert opened[4].startswith("http://127.0.0.1:")
    port = opened[4].split(":")[2].partition("/")[0]
    reversed_ = [call[2:] for call in phone.calls() if "reverse" in call]
    assert reversed_ == [
        ["reverse", f"tcp:{port}", f"tcp:{port}"],
        ["reverse", "--remove", f"tcp:{port}"],
    ]
    assert phone.left_behind() == []


def test_the_page_notices_a_phone_that_is_pulled_out(
    phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.bench.devices import adb

    monkeypatch.setattr(browser, "missing", lambda name: None)
    monkeypatch.setattr(browser, "_unpack", lambda folder: [])
    monkeypatch.setattr(adb, "LOOK", 0.2)
    phone.without_python()
    am = phone.folder / "plain" / "am"
    am.write_text(f"#!/bin/sh\ncat '{phone.folder}/none' > '{phone.folder}/state.json'\n".replace(
        "a phone's folder", "a phone'\\''s folder"))  # fmt: skip
    (phone.folder / "none").write_text(json.dumps(phone.state | {"phones": {}}))
    with pytest.raises(EdgepruneError, match="the phone is no longer attached"):
        bench.measure(
            [save(tmp_path / "a.onnx")], out=tmp_path / "r.json", device="adb", request=REQUEST
        )


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EdgepruneError, match="apt-get install adb"):
        connect("adb")


@pytest.mark.parametrize(
    "name", ["adb:", "adb:-s", "adb:a b", "adb:$(touch x)", "adb:'x'", "adb:;x"]
)
def test_what_is_no_serial_never_reaches_a_shell(name: str, phone: Phone) -> None:
    with pytest.raises(EdgepruneError, match="adb:SERIAL"):
        connect(name)
    assert phone.calls() == []
