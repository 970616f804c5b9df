"""A browser as a device: the real Chromium against the page, and strangers against its server."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segno

from edgeprune import bench
from edgeprune.bench.devices import browser, connect
from edgeprune.bench.devices.browser import Browser
from edgeprune.errors import EdgepruneError
from edgeprune.records import Convention
from tests.bench.places import post, visit
from tests.bench.test_subject import external
from tests.tiny_onnx import conv_net, save

ROOT = Path(__file__).parents[2]
REQUEST = bench.Request(rounds=2, passes=1, seconds=0.05, samples=1)


def sessions(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [m["sessions"][0] for m in document["measured"]["models"]]


@pytest.mark.slow
def test_the_same_numbers_as_here(chromium: None, tmp_path: Path) -> None:
    models = [save(tmp_path / "a b'$HOME.onnx"), save(tmp_path / "-rf.onnx", conv_net(width=16))]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    results = []
    for device in ("browser:headless", "cpu"):
        accuracy = bench.Images([images], np.arange(9) % 4, Convention(8))
        results.append(
            bench.measure(
                models, out=tmp_path / f"{len(results)}.json", device=device, request=REQUEST,
                accuracy=accuracy,
            )
        )  # fmt: skip
    there, ours = (r.document for r in results)
    for a, b in zip(sessions(there), sessions(ours), strict=True):
        assert a["answer"] == pytest.approx(b["answer"], rel=1e-4, abs=1e-5)
    for a, b in zip(*(d["measured"]["models"] for d in (there, ours)), strict=True):
        assert a["accuracy"]["predictions"] == b["accuracy"]["predictions"]
        assert (a["bytes"], a["sha256"]) == (b["bytes"], b["sha256"])
    environment = there["measured"]["environment"]
    assert "Chrom" in environment["system"]  # which engine ran
    assert environment["onnxruntime"].startswith("web 1.")
    step = environment["clock_step_s"]
    for session in sessions(there):  # runs of microseconds: a sample must outlast the clock's step
        assert session["runs_per_sample"] > 1
        typical = sorted(session["warm_up_s"])[len(session["warm_up_s"]) // 2]
        assert session["runs_per_sample"] * typical > 20 * step
    assert any("not known" in w.seen for w in results[0].summary.warnings)
    assert results[0].networks[0].unswitched_share is None


@pytest.mark.slow
def test_external_data_and_threads(chromium: None, tmp_path: Path) -> None:
    model = external(tmp_path / "c.onnx", "we ights'%.bin")
    request = bench.Request(rounds=1, passes=1, seconds=0.02, samples=1, threads=2)
    there, ours = (
        bench.measure([model], out=tmp_path / f"{device[:3]}.json", device=device, request=request)
        for device in ("browser:headless", "cpu")
    )
    a, b = (sessions(r.document)[0]["answer"] for r in (there, ours))
    assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    environment = there.document["measured"]["environment"]
    assert environment["isolated"] is True
    ran = environment["threads_running"]
    assert ran == there.document["measured"]["options"]["threads"]
    assert ran == 2 or any("2 threads were asked for" in w.seen for w in there.summary.warnings)


@pytest.mark.slow
def test_over_the_network_one_thread_and_a_coarse_clock(
    chromium: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a phone sees: the machine's own address instead of localhost, so no isolation."""
    if browser._own_address() == "127.0.0.1":
        pytest.skip("needs an address on a network")
    monkeypatch.setitem(browser.OPENERS, "browser:lan", browser.headless)
    request = bench.Request(rounds=1, passes=1, seconds=0.02, samples=1, threads=2)
    model = save(tmp_path / "a.onnx")
    result = bench.measure([model], out=tmp_path / "r.json", device="browser:lan", request=request)
    environment = result.document["measured"]["environment"]
    assert environment["isolated"] is False
    assert environment["threads_running"] == 1
    assert any("2 threads were asked for, 1 ran" in w.seen for w in result.summary.warnings)
    session = sessions(result.document)[0]
    assert session["runs_per_sample"] > 1


@pytest.mark.slow
def test_killed_outright_it_leaves_no_browser(chromium: None, tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from edgeprune.bench.devices import browser\n"
        f"with browser.headless('data:text/html,{tmp_path.name}'):\n"
        "    print('there', flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    assert _running(tmp_path.name)
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(200):
        if not _running(tmp_path.name):
            break
        time.sleep(0.1)
    assert not _running(tmp_path.name)


def _running(word: str) -> list[str]:
    """The processes whose command line holds ``word``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


# The server alone: whoever posts, what arrives is checked.


def measured_by(act: Any, tmp_path: Path) -> None:
    device = Browser("test", visit(act))
    bench.measure(
        [save(tmp_path / "a.onnx")], out=tmp_path / "r.json", device=device, request=REQUEST
    )


def test_a_token_is_required(
    serving: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int | None] = []

    def stranger(c: http.client.HTTPConnection, page: str) -> None:
        last = b'{"runner": 1}\n'
        for path in ("/lines", "/wrong/lines", f"/{'x' * 22}/lines", "//[/lines", "/%ff/lines"):
            codes.append(post(c, path, last))
        for path in (
            "/",
            "/index.html",
            "/request.json",
            "/wrong/files/0/model.onnx",
            "/../../etc",
        ):
            c.request("GET", path)
            answer = c.getresponse()
            answer.read()
            codes.append(answer.status)
        codes.append(post(c, "/lines", b"x" * (10 << 20)))
        post(c, f"{page}lines", b'{"error": "enough", "model": null}\n')

    with pytest.raises(EdgepruneError, match="enough"):
        measured_by(stranger, tmp_path)
    assert set(codes) <= {404, None}
    assert not (tmp_path / "r.json").exists()
    assert "Traceback" not in capfd.readouterr().err


RUBBISH = {
    "no JSON": b"\xff\xfe<html>{{{",
    "10 MB": b"x" * (10 << 20),
    "deep": b"[" * (10 << 20),
    "a long number": b"1" * (10 << 20),
    "NaN": b'{"event": "round", "model": 0, "round": {"round": NaN}}',
    "round before a session": b'{"event": "round", "model": 0, "round": {"round": 0, "wall_s": [1], '
    b'"cpu_s": [null], "switches": [null], "energy_uj": null}}',
    "other models": b'{"event": "session", "model": 7, "session": {}}',
    "odd events": b'{"event": {"a": 1}, "model": 0}\n{"event": "round", "model": 0, "round": []}\n'
    b'{"event": "round", "model": true}\n{"event": "accuracy", "model": -1}\nnull\n[]\n"x"',
}


@pytest.mark.parametrize("what", RUBBISH)
def test_rubbish_behind_the_right_token(serving: None, tmp_path: Path, what: str) -> None:
    """It is not the runner's; when nothing else comes the bench ends with one line."""

    def guest(c: http.client.HTTPConnection, page: str) -> None:
        assert post(c, f"{page}lines", RUBBISH[what] + b"\n") == 204

    with pytest.raises(EdgepruneError, match="it went away"):
        measured_by(guest, tmp_path)
    assert not (tmp_path / "r.json").exists()


def test_more_than_a_document_can_be(serving: None, tmp_path: Path) -> None:
    codes: list[int] = []

    def guest(c: http.client.HTTPConnection, page: str) -> None:
        for length in (str(browser.LARGEST + 1), "-1", "²", "1e3", ""):
            c.putrequest("POST", f"{page}lines")
            c.putheader("Content-Length", length.encode("latin-1"))
            c.endheaders()
            codes.append(c.getresponse().status)
            c.close()

    with pytest.raises(EdgepruneError, match="it went away"):
        measured_by(guest, tmp_path)
    assert codes == [413] * 5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"runner": 1}', "another form"),
        ('{"runner": 2, "models": []}', "another form"),
        (
            '{"runner": 1, "options": {"threads": 1, "samples": 1, "limit": 1}, "models": "x"}',
            "form",
        ),
        ('{"error": {"a": [1]}, "model": {"b": 2}}', "a"),
        ('{"error": "out of memory", "model": "0/model.onnx"}', r"a\.onnx: out of memory"),
    ],
)
def test_a_wrong_schema_with_the_right_token(
    serving: None, tmp_path: Path, line: str, why: str
) -> None:
    def guest(c: http.client.HTTPConnection, page: str) -> None:
        post(c, f"{page}lines", line.encode() + b"\n")

    with pytest.raises(EdgepruneError, match=why) as told:
        measured_by(guest, tmp_path)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "r.json").exists()


def test_silence_and_nobody(serving: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()

    def opens_and_sleeps(c: http.client.HTTPConnection, page: str) -> None:
        c.request("GET", f"{page}request.json")
        c.getresponse().read()
        waiting.wait(10)

    monkeypatch.setattr(browser, "SILENCE", 0.6)
    threading.Timer(3, waiting.set).start()
    with pytest.raises(EdgepruneError, match="fell silent"):
        measured_by(opens_and_sleeps, tmp_path)
    monkeypatch.setattr(browser, "PATIENCE", {True: 0.1, False: 0.1})
    waiting.clear()
    threading.Timer(3, waiting.set).start()
    with pytest.raises(EdgepruneError, match="nobody opened the page"):
        measured_by(lambda c, page: waiting.wait(10), tmp_path)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "a home"
    monkeypatch.setenv("EDGEPRUNE_HOME", str(empty))
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    with pytest.raises(EdgepruneError) as told:
        connect("browser:headless")
    assert (
        f"apt-get install npm, then mkdir -p '{empty}' && "
        f"npm pack onnxruntime-web --pack-destination '{empty}'" in str(told.value)
    )
    empty.mkdir()
    (empty / "onnxruntime-web-1.30.0.tgz").write_bytes(b"no archive")
    with pytest.raises(EdgepruneError, match="apt-get install chromium"):
        connect("browser:headless")
    with pytest.raises(EdgepruneError, match=r"not a package of onnxruntime-web"):
        connect("browser").__enter__()
    with pytest.raises(EdgepruneError, match="known: browser, browser:headless"):
        connect("browser:firefox")


def test_the_code_for_a_phone(serving: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The half blocks in the terminal are the page's address, with the quiet zone that scanners need."""
    with Browser("browser:lan") as device, browser.by_code(device.url):
        *drawn, told, address = capsys.readouterr().err.splitlines()
        assert told == "open this page and leave it in front:"
        assert address == device.url
        light = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
        rows = [[light[c][half] for c in line] for line in drawn for half in (0, 1)]
        assert len(rows[0]) <= 80
        expected = np.pad(np.array(segno.make_qr(address).matrix), 4)
        assert np.array_equal(1 - np.array(rows[: len(expected)]), expected)


def test_the_newest_package_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    for version in ("1.9.0", "1.30.0", "1.4.1"):
        (tmp_path / f"onnxruntime-web-{version}.tgz").touch()
    assert browser.packages()[-1].name == "onnxruntime-web-1.30.0.tgz"
