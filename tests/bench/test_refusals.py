"""What can go wrong outside, each through the command itself.

One clear line, exit code 2, nothing left on the device or in the temporary folder, and no result file that
looks whole.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeprune import bench
from edgeprune.bench.devices import browser, ssh
from edgeprune.bench.scratch import PREFIX, Scratch
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from tests.bench.places import ROOT, Board, post, visit
from tests.bench.test_subject import external
from tests.tiny_onnx import conv_net, save

BRIEF = ["--rounds", "2", "--passes", "1", "--seconds", "0.1"]
LONG = ["--rounds", "4000", "--passes", "1", "--seconds", "60"]


class Bench:
    """``edgeprune bench`` in an empty folder with a temporary folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys, self.temporary = folder, capsys, folder / "a tmp"
        self.out = folder / "r.json"

    def refused(self, *words: str, how: list[str] = BRIEF) -> str:
        """The one line that it says."""
        code = errors.run(app.app, ["bench", *how, "--out", str(self.out), *words])
        seen = self.capsys.readouterr()
        lines = seen.err.splitlines()
        assert code == 2, seen
        assert len(lines) == 1, seen.err
        assert lines[0].startswith("error: ")
        assert seen.out == ""
        assert self.left() == []
        if self.out.exists():
            assert json.loads(self.out.read_text())["status"] == "incomplete"
            with pytest.raises(EdgepruneError, match="broken off"):
                bench.load(self.out)
        assert not list(self.folder.glob(".*"))  # nothing half-written beside it
        return lines[0]

    def left(self) -> list[str]:
        return [p.name for p in self.temporary.iterdir() if p.name.startswith("edgeprune")]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    found = Bench(tmp_path, capsys)
    found.temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(found.temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is asked for again
    monkeypatch.chdir(tmp_path)
    return found


# The model. A function makes the file; the device must not matter.


def unknown_operator(path: Path) -> Path:
    model = conv_net()
    model.graph.node[1].op_type = "Rleu"
    return save(path, model)


def unknown_domain(path: Path) -> Path:
    model = conv_net()
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    return save(path, model)


def rank_two(path: Path) -> Path:
    model = conv_net()
    del model.graph.input[0].type.tensor_type.shape.dim[2:]
    return save(path, model)


def without_data(path: Path) -> Path:
    external(path, "we ights'.bin")
    (path.parent / "we ights'.bin").unlink()
    return path


def short_data(path: Path) -> Path:
    external(path, "w.bin")
    (path.parent / "w.bin").write_bytes(b"only this")
    return path


def raw(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


WHOLE = conv_net().SerializeToString()
MODELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no ONNX": (raw(b"hello"), "not a"),
    "empty": (raw(b""), "not an ONNX model"),
    "truncated": (raw(WHOLE[:300]), "not a"),
    "truncated at its end": (raw(WHOLE[:-10]), "not a whole ONNX file"),
    "a picture": (raw(b"\x89PNG\r\n\x1a\n" + bytes(100)), "not a"),
    "input of rank 2": (rank_two, r"images|rank|dimension|Conv"),
    "unknown operator": (unknown_operator, "Rleu"),
    "unknown domain": (unknown_domain, r"com\.example"),
    "no external data": (without_data, r"'.bin\" is missing — put it beside"),
    "short external data": (short_data, r"'w\.bin' is cut off"),
    "another file": (lambda p: external(p, "../../etc/passwd"), "outside its folder"),
    "another file, absolute": (lambda p: external(p, "/etc/passwd"), "outside its folder"),
}


@pytest.mark.parametrize("what", MODELS)
@pytest.mark.parametrize("name", ["a.onnx", "-rf \"$HOME' ;x.onnx"])
def test_a_model(run: Bench, what: str, name: str) -> None:
    make, said = MODELS[what]
    make(run.folder / name)
    line = run.refused("--", name)
    assert line.startswith(f"error: {name}")
    assert re.search(said, line), line
    assert not run.out.exists()


WORDS = {
    "no such file": (["none.onnx"], r"none\.onnx: no such file"),
    "a folder": (["folder.onnx"], "a folder, not a model"),
    "rank of --shape": (["a.onnx", "--shape", "images=1x3"], "3 axes there, without the batch"),
    "no shape": (["a.onnx", "--shape", "images=1xh"], "not 3x480x640 or NAME="),
    "no such input": (["a.onnx", "--shape", "x=3x8x8"], "no such input, but: images"),
    "no such device": (["a.onnx", "--device", "cpuu"], "did you mean cpu"),
    "result in a file": (["a.onnx", "--out", "a.onnx/r.json"], r"a\.onnx"),
    **{
        f"host {name}": (["a.onnx", "--device", name], "ssh://user@host:port")
        for name in (
            "ssh://-oProxyCommand=touch x", "ssh://a b", "ssh://'x'", "ssh://-x@host", 'ssh://"',
            "ssh://$(touch x)", "ssh://", "ssh://host/path", "ssh://host:99999", "ssh://u:p@host",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("what", WORDS)
def test_words(run: Bench, what: str) -> None:
    words, said = WORDS[what]
    save(run.folder / "a.onnx")
    (run.folder / "folder.onnx").mkdir()
    assert re.search(said, run.refused(*words))
    assert not run.out.exists()
    assert not (run.folder / "x").exists()


# The board. Each is a state in which it, or the way there, is for a while.


@contextmanager
def nobody(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    board.port, kept = 1, board.port
    board.name = "ssh://127.0.0.1:1"
    yield
    board.port, board.name = kept, f"ssh://127.0.0.1:{kept}"


@contextmanager
def no_such_name(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    board.name, kept = "ssh://pi@no-such-board.invalid", board.name
    yield
    board.name = kept


@contextmanager
def wrong_key(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv("EDGEPRUNE_SSH", board.client("stranger"))
    yield


@contextmanager
def unknown_host_key(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    more = "-o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null"
    patch.setenv("EDGEPRUNE_SSH", f"{board.client()} {more}")
    yield


@contextmanager
def no_python(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    tools = board.folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "cat", "mkdir", "mktemp", "rm"):
        if not (tools / name).exists():
            (tools / name).symlink_to(str(shutil.which(name)))
    with board.having(PATH=str(tools)):
        yield


@contextmanager
def no_onnxruntime(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    bare = board.folder / "bare"
    if not bare.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with board.having(PATH=f"{bare}/bin:/usr/bin:/bin"):
        yield


@contextmanager
def full_disk(board: Board, patch: pytest.MonkeyPatch, size: str = "64k") -> Iterator[None]:
    small = board.folder / "small"
    small.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        with board.having(TMPDIR=str(small)):
            yield
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


@contextmanager
def no_temporary_folder(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    with board.having(TMPDIR="/none where"):
        yield


@contextmanager
def pulled(board: Board, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server's processes for the connection are killed at the third thing that is heard."""

    def pull() -> None:
        for pid in board.connections():
            os.kill(pid, signal.SIGKILL)

    heard = at_the_third(pull, patch)
    yield
    assert len(heard) >= 3


def at_the_third(act: Callable[[], None], patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """``act`` once three things were heard; they are in the list that is returned."""
    heard: list[dict[str, Any]] = []
    measure = bench.measure

    def cutting(*args: Any, **more: Any) -> Any:
        def watch(event: dict[str, Any]) -> None:
            heard.append(event)
            if len(heard) == 3:
                act()

        return measure(*args, **more | {"watch": watch})

    patch.setattr(bench, "measure", cutting)
    return heard


BOARDS: dict[str, tuple[Any, str]] = {
    "nobody there": (nobody, r"not reached: .*refused.* — is an ssh server running"),
    "no such name": (no_such_name, "not reached: .* — check the name"),
    "key refused": (wrong_key, r"Permission denied.* — give it your key: ssh-copy-id"),
    "host key unknown": (unknown_host_key, "Host key verification failed.* — ssh there once"),
    "no python": (no_python, "has no python3.* — install Python 3.9"),
    "no onnxruntime": (no_onnxruntime, "pip install numpy onnxruntime"),
    "disk full": (full_disk, "cannot copy .*No space left"),
    "no temporary folder": (no_temporary_folder, "no temporary folder: .*/none where"),
    "pulled out": (pulled, "not reached"),
}


@pytest.mark.parametrize("what", BOARDS)
def test_a_board(
    run: Bench, board: Board, board_client: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    state, said = BOARDS[what]
    made: list[Path] = []

    class Seen(Scratch):
        def __init__(self, parent: Path | None = None) -> None:
            super().__init__(parent)
            made.append(self.path)

    monkeypatch.setattr(ssh, "Scratch", Seen)
    model = save(run.folder / "a b'.onnx", conv_net(width=4000))  # some 450 kB
    with state(board, monkeypatch):
        line = run.refused(str(model), "--device", board.name, how=LONG)
    assert re.search(said, line), line
    assert made
    assert not any(path.exists() for path in made)
    for _ in range(200):  # where the connection was cut the board tidies up by itself
        if not board.left_behind():
            break
        time.sleep(0.1)
    assert board.left_behind() == []


@pytest.mark.parametrize("what", ["unknown operator", "unknown domain", "input of rank 2"])
def test_a_model_that_the_board_refuses(
    run: Bench, board: Board, board_client: None, what: str
) -> None:
    make, said = MODELS[what]
    odd = board.folder / "tmp" / "odd $(touch x)' \""  # its temporary folder, too
    odd.mkdir()
    with board.having(TMPDIR=str(odd)):
        line = run.refused(str(make(run.folder / "bad.onnx")), "--device", board.name)
    assert re.search(rf"bad\.onnx: .*({said})", line), line
    assert list(odd.iterdir()) == []
    odd.rmdir()


# The page: who speaks to its server is a function; the browser is one of a few lines.


def with_token(body: bytes) -> Callable[[http.client.HTTPConnection, str], None]:
    return lambda c, page: post(c, f"{page}lines", body) and None


def stranger(c: http.client.HTTPConnection, page: str) -> None:
    """He does not have the token: whatever he sends does not matter."""
    whole = b'{"error": "from a stranger", "model": null}\n'
    for path in ("/lines", f"/{'x' * 22}/lines", "/%ff/lines", "/../lines"):
        assert post(c, path, whole) in (404, None)
        assert post(c, path, b"x" * (10 << 20)) in (404, None)


PAGES: dict[str, tuple[Callable[[http.client.HTTPConnection, str], None], str]] = {
    "a stranger": (stranger, "it went away"),
    "rubbish": (with_token(b"\xff\xfe<html>{{{"), "it went away"),
    "10 MB of it": (with_token(b"x" * (10 << 20)), "it went away"),
    "10 MB in one number": (with_token(b"1" * (10 << 20)), "it went away"),
    "10 MB of brackets": (with_token(b"[" * (10 << 20)), "it went away"),
    "another version": (with_token(b'{"runner": 2, "models": []}'), "another form"),
    "half a document": (with_token(b'{"runner": 1}'), "another form"),
    "errors of odd types": (with_token(b'{"error": {"a": [1]}, "model": {"b": 2}}'), "a"),
    "several lines": (with_token(b'{"error": "one\\ntwo\\u001b[31m", "model": null}'), "one two"),
}


@pytest.mark.parametrize("what", PAGES)
def test_a_page(run: Bench, serving: None, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    act, said = PAGES[what]
    monkeypatch.setitem(browser.OPENERS, "browser:headless", visit(act))
    line = run.refused(str(save(run.folder / "a.onnx")), "--device", "browser:headless")
    assert re.search(said, line), line
    assert "\x1b" not in line
    assert not run.out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["unknown operator", "unknown domain", "input of rank 2"])
def test_a_model_that_the_browser_refuses(run: Bench, chromium: None, what: str) -> None:
    make, said = MODELS[what]
    line = run.refused(str(make(run.folder / "bad.onnx")), "--device", "browser:headless")
    assert re.search(rf"bad\.onnx: .*({said})", line), line


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_browser_that_is_closed(
    run: Bench, chromium: None, monkeypatch: pytest.MonkeyPatch, how: int
) -> None:
    started: list[int] = []
    popen = subprocess.Popen

    def watched(*args: Any, **more: Any) -> Any:
        process = popen(*args, **more)
        started.append(process.pid)
        return process

    monkeypatch.setattr(browser.subprocess, "Popen", watched)
    heard = at_the_third(lambda: os.killpg(started[0], how), monkeypatch)
    model = save(run.folder / "a.onnx")
    line = run.refused(str(model), "--device", "browser:headless", how=LONG)
    assert "the browser ended" in line or "the page was closed" in line
    assert len(heard) >= 3


# The end of the command itself.


@contextmanager
def measuring(run: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """A bench in another process that has made its folder there and measures."""
    save(run.folder / "a.onnx")
    words = ["bench", "a.onnx", "--out", str(run.out), *LONG]
    program = (
        "import signal, sys; from edgeprune.cli import app, errors; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup has it ignored
        "sys.exit(errors.run(app.app, sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL, cwd=run.folder,
    )  # fmt: skip
    try:
        for _ in range(600):
            if run.out.exists():  # written every two seconds while it measures
                break
            assert process.poll() is None
            time.sleep(0.1)
        assert run.left()
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_killed_bench_leaves_nothing(run: Bench, how: int, code: int) -> None:
    with measuring(run) as process:
        process.send_signal(how)
        assert process.wait(30) == code
        assert run.left() == []
        assert json.loads(run.out.read_text())["status"] == "incomplete"


def test_what_a_bench_killed_outright_left_the_next_one_removes(run: Bench) -> None:
    with measuring(run) as process:
        old = run.left()
        long_ago = time.time() - 3600
        for name in old:
            os.utime(run.temporary / name, (long_ago, long_ago))
        with Scratch():  # of a living process: it stays
            assert set(old) < set(run.left())
        process.kill()
        process.wait()
        assert run.left() == old
        elsewhere = run.folder / "elsewhere"
        elsewhere.mkdir()
        (run.temporary / f"{PREFIX}link").symlink_to(elsewhere)
        fresh = run.temporary / f"{PREFIX}fresh"
        fresh.mkdir()
        with Scratch() as path:
            assert sorted(run.left()) == sorted([path.name, fresh.name, f"{PREFIX}link"])
        assert elsewhere.is_dir()
