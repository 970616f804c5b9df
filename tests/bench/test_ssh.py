"""A board over ssh: an sshd of our own on loopback, with keys of its own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices import connect
from edgeprune.bench.devices.ssh import Ssh
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import conv_net, save

REQUEST = bench.Request(rounds=2, passes=1, seconds=0.02, samples=1)


class Board:
    """The sshd, its client's command, and the folder in which the other side makes its folders."""

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        self.folder, self.pid, self.name = folder, pid, f"ssh://127.0.0.1:{port}"

    def connections(self) -> list[int]:
        """The server's processes for the connections that are open now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def left_behind(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    sshd = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if sshd is None or shutil.which("ssh") is None or os.geteuid() != 0:
        pytest.skip("needs sshd (Debian: openssh-server), ssh and root")
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "tmp").mkdir(mode=0o777)
    Path("/run/sshd").mkdir(exist_ok=True)
    for key in ("host", "id", "stranger"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key]
        subprocess.run(command, check=True)
    shutil.copy(folder / "id.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    shell = folder / "shell"  # the other side's: another temporary folder, this Python
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    shell.write_text(
        f'#!/bin/sh\nexport TMPDIR={folder}/tmp PATH={path}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    shell.chmod(0o755)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nUsePAM no\n"
        f"StrictModes no\nPidFile none\nForceCommand {shell}\n"
    )
    (folder / "ssh_config").write_text(
        f"Host *\n IdentityFile {folder}/id\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
        f" UserKnownHostsFile {folder}/known\n LogLevel ERROR\n"
    )
    command = [sshd, "-D", "-f", folder / "sshd_config", "-E", folder / "log"]
    server = subprocess.Popen(command)
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield Board(folder, port, server.pid)
    server.terminate()
    server.wait()


@pytest.fixture(autouse=True)
def _client(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_SSH", f"ssh -F {shlex.quote(str(board.folder / 'ssh_config'))}")


def test_it_measures_and_leaves_nothing(board: Board, tmp_path: Path) -> None:
    models = [save(tmp_path / "a b'$HOME.onnx"), save(tmp_path / "-rf.onnx", conv_net(width=4))]
    result = bench.measure(models, out=tmp_path / "r.json", device=board.name, request=REQUEST)
    assert result.document["device"] == board.name
    assert [n["name"] for n in result.networks] == ["a b'$HOME", "-rf"]
    assert board.left_behind() == []
    here = bench.measure(models, out=tmp_path / "h.json", request=REQUEST)
    for a, b in zip(*(answers(r.document) for r in (result, here)), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def answers(document: dict[str, Any]) -> list[list[float]]:
    return [m["sessions"][0]["answer"] for m in document["measured"]["models"]]


def test_external_data_travel(board: Board, tmp_path: Path) -> None:
    from tests.bench.test_subject import external

    model = external(tmp_path / "a.onnx", "we ights'.bin")
    bench.measure([model], out=tmp_path / "r.json", device=board.name, request=REQUEST)
    assert board.left_behind() == []


def test_a_model_that_it_refuses(board: Board, tmp_path: Path) -> None:
    model = conv_net()
    model.graph.node[1].op_type = "Rleu"
    with pytest.raises(EdgepruneError, match=r"bad\.onnx: .*Rleu"):
        bench.measure(
            [save(tmp_path / "bad.onnx", model)],
            out=tmp_path / "r.json",
            device=board.name,
            request=REQUEST,
        )
    assert board.left_behind() == []


def test_cut_off_in_the_middle(board: Board, tmp_path: Path) -> None:
    """The connection is killed while it measures: one line, an incomplete file, a clean board."""
    long = bench.Request(rounds=400, passes=1, seconds=60, samples=1)
    heard: list[dict[str, Any]] = []

    def cut(event: dict[str, Any]) -> None:
        heard.append(event)
        if len(heard) == 3:
            for pid in board.connections():
                os.kill(pid, signal.SIGKILL)

    out = tmp_path / "r.json"
    with pytest.raises(EdgepruneError, match="not reached"):
        bench.measure(
            [save(tmp_path / "a.onnx")], out=out, device=board.name, request=long, watch=cut
        )
    assert json.loads(out.read_text())["status"] == "incomplete"
    for _ in range(200):
        if not board.left_behind():
            break
        time.sleep(0.1)
    assert board.left_behind() == []


def test_nobody_there_and_a_wrong_key(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free = s.getsockname()[1]
    with pytest.raises(EdgepruneError, match=r"not reached: .*refused.* — is an ssh server"):
        Ssh(f"ssh://127.0.0.1:{free}").__enter__()
    stranger = f"ssh -F {board.folder}/ssh_config -i {board.folder}/stranger"
    config = (board.folder / "ssh_config").read_text().replace(f"{board.folder}/id", "/none")
    (board.folder / "other_config").write_text(config)
    stranger = stranger.replace("ssh_config", "other_config")
    monkeypatch.setenv("EDGEPRUNE_SSH", stranger)
    with pytest.raises(EdgepruneError, match=r"Permission denied.*ssh-copy-id"):
        Ssh(board.name).__enter__()


def test_no_python_and_no_onnxruntime_there(board: Board, tmp_path: Path) -> None:
    model = save(tmp_path / "a.onnx")
    with Ssh(board.name) as place:
        place.push({"0/model.onnx": model, "onnxruntime.py": _raising(tmp_path)})
        lines: list[str] = []
        place.run(REQUEST, ["0/model.onnx"], None, lines.append)
        assert "pip install numpy onnxruntime" in json.loads(lines[-1])["error"]
    shell = "command() { return 1; }; "
    with Ssh(board.name) as place:
        call = place.call
        place.call = lambda script, *rest: call(shell + script, *rest)  # type: ignore[method-assign]
        with pytest.raises(EdgepruneError, match="has no python3"):
            place.run(REQUEST, ["0/model.onnx"], None, lambda line: None)
    assert board.left_behind() == []


def _raising(folder: Path) -> Path:
    path = folder / "onnxruntime.py"
    path.write_text("raise ImportError('No module named onnxruntime')\n")
    return path


def test_a_full_disk_there(board: Board, tmp_path: Path) -> None:
    small = board.folder / "tmp" / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        small.rmdir()
        pytest.skip("cannot mount a tmpfs here")
    try:
        with Ssh(board.name) as place:
            place.folder, kept = str(small), place.folder
            with pytest.raises(EdgepruneError, match="No space left"):
                place.push({"0/big": _zeros(tmp_path / "big", 1 << 20)})
            place.folder = kept
    finally:
        subprocess.run(["umount", small], check=True)
        small.rmdir()
    assert board.left_behind() == []


def _zeros(path: Path, n: int) -> Path:
    path.write_bytes(bytes(n))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "ssh://",
        "ssh:board",
        "ssh://-oProxyCommand=touch x",
        "ssh://a b",
        "ssh://'x'",
        "ssh://-x@host",
        "ssh://user:secret@host",
        "ssh://host/path",
        "ssh://host:99999",
        "ssh://$(touch x)",
    ],
)
def test_what_is_no_host_never_reaches_a_shell(name: str) -> None:
    with pytest.raises(EdgepruneError, match="ssh://user@host:port"):
        connect(name)


def test_an_alias_keeps_its_capitals() -> None:
    place = Ssh("ssh://pi@Board-1:2222")
    assert (place.target, place.port) == ("pi@Board-1", 2222)
