"""Downloads against a server on this machine that answers well, badly or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune import fetch as room
from edgeprune.errors import EdgepruneError
from edgeprune.fetch import fetch

BODY = bytes(range(256)) * 10_000  # 2.56 MB: more than one CHUNK


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hits: list[str]

    def do_GET(self) -> None:
        self.hits.append(self.path)
        self.close_connection = True
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404, "Not Found")
            return
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if kind == "garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        self.send_response(200)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"fffff\r\n" + BODY[:1000])  # promises 1 MB, gives 1,000 bytes
            return
        if kind != "endless":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1_500_000] if kind == "cut" else BODY)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    handler = type("OneTest", (Handler,), {"hits": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as s:
        s.daemon_threads = True
        thread = threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{s.server_address[1]}"
        s.shutdown()
        thread.join()


def refused(url: str, path: Path, **kwargs: Any) -> str:
    """The one line that a failed download ends with; nothing may be left behind."""
    with pytest.raises(EdgepruneError) as e:
        fetch(url, path, **kwargs)
    line = str(e.value)
    assert "\n" not in line
    assert not path.exists()
    assert not path.parent.exists() or not list(path.parent.iterdir())
    return line


def test_whole(server: str, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    sha = hashlib.sha256(BODY).hexdigest()
    path = fetch(
        f"{server}/whole/x.bin", tmp_path / "deep" / "x.bin", sha256=sha, sha256_prefix=sha[:8],
        md5=hashlib.md5(BODY).hexdigest(), progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert path.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert [d for d, _ in told] == sorted({d for d, _ in told})
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]


def test_what_lies_there_is_not_fetched_again(server: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    assert fetch(f"{server}/missing/x", tmp_path / "x").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["cut", "chunked"])
def test_cut_off(server: str, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data" / "x.zip"
    line = refused(f"{server}/{kind}/x.zip", path)
    assert "cut off" in line
    assert str(path) in line  # which file to put where
    assert f"{server}/{kind}/x.zip" in line  # and where it is to be had


@pytest.mark.parametrize("name", ["sha256", "sha256_prefix", "md5"])
def test_wrong_hash(server: str, tmp_path: Path, name: str) -> None:
    line = refused(f"{server}/whole/x", tmp_path / "d" / "x", **{name: "0123abcd"})
    assert "0123abcd" in line
    assert name.split("_")[0] in line


def test_too_large(server: str, tmp_path: Path) -> None:
    line = refused(f"{server}/whole/x", tmp_path / "d" / "x", max_bytes=1000)
    assert "more than 1000" in line
    line = refused(f"{server}/endless/x", tmp_path / "d" / "x", max_bytes=2_000_000)
    assert "more than 2000000" in line


def test_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    line = refused(f"http://127.0.0.1:{port}/x.zip", tmp_path / "d" / "x.zip")
    assert "not reached" in line
    assert "put the file there yourself" in line
    assert "cannot download" in refused("nonsense", tmp_path / "d" / "x")


@pytest.mark.parametrize(("kind", "said"), [("missing", "404"), ("garbage", "not reached")])
def test_bad_answers(server: str, tmp_path: Path, kind: str, said: str) -> None:
    assert said in refused(f"{server}/{kind}/x", tmp_path / "d" / "x")


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the whole never would."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(room, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as s:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = s.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        line = refused(f"http://127.0.0.1:{s.getsockname()[1]}/x", tmp_path / "d" / "x")
        ended.set()
        thread.join()
    assert "bytes in the last" in line


def test_a_connection_that_stays_open_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(room, "TIMEOUT", 5)
    with socket.create_server(("127.0.0.1", 0)) as s:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = s.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
                ended.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        path = fetch(f"http://127.0.0.1:{s.getsockname()[1]}/x", tmp_path / "x")
        ended.set()
        thread.join()
    assert path.read_bytes() == b"abc"


def test_redirects_without_end(server: str, tmp_path: Path) -> None:
    line = refused(f"{server}/loop/x", tmp_path / "d" / "x")
    assert "302" in line
    assert "put the file there yourself" in line


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(room, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as s:  # accepts and says nothing
        line = refused(f"http://127.0.0.1:{s.getsockname()[1]}/x", tmp_path / "d" / "x")
    assert "timed out" in line


def test_full_disk(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, block: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(room, "open", lambda *_: Full(), raising=False)
    line = refused(f"{server}/whole/x", tmp_path / "d" / "x")
    assert "No space left" in line
    assert "not reached" not in line


def test_really_full_disk(server: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount a small tmpfs")
    except FileNotFoundError:
        pytest.skip("no mount program")
    try:
        assert "No space left" in refused(f"{server}/whole/x", disk / "data" / "x")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_no_permission(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # root may write everywhere: be somebody else for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(EdgepruneError) as e:
            fetch(f"{server}/whole/x", folder / "data" / "x")
    finally:
        if root:
            os.seteuid(0)
    line = str(e.value)
    assert "not writable" in line
    assert "EDGEPRUNE_HOME" in line
