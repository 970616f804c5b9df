"""The devices that several files test against."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprune.bench.devices import arm64, browser
from edgeprune.fetch import home
from tests.bench.places import FETCHED, Board


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
    (folder / "environment").touch()
    shell.write_text(
        f"#!/bin/sh\nexport TMPDIR={folder}/tmp PATH={path}\n. {folder}/environment\n"
        'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    shell.chmod(0o755)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nUsePAM no\n"
        f"StrictModes no\nPidFile none\nForceCommand {shell}\n"
    )
    (folder / "ssh_config").write_text(
        "Host *\n IdentitiesOnly yes\n StrictHostKeyChecking no\n"
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


@pytest.fixture
def board_client(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ssh`` with the board's key."""
    monkeypatch.setenv("EDGEPRUNE_SSH", board.client())


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder with onnxruntime-web's package: the home folder, or where .ci/run puts it."""
    for folder in (home(), FETCHED):
        if list(folder.glob("onnxruntime-web-*.tgz")):
            return folder
    pytest.skip("needs onnxruntime-web: npm pack onnxruntime-web --pack-destination .device-home")


@pytest.fixture
def here(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(package))


@pytest.fixture
def chromium(here: None) -> None:
    if browser.chromium() is None:
        pytest.skip("needs Chromium: apt-get install chromium")


@pytest.fixture
def emulated_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated machine of deploy/arm64.sh: in the home folder, or where .ci/run makes it."""
    if arm64.missing() and (FETCHED / "arm64").is_dir():
        monkeypatch.setenv("EDGEPRUNE_HOME", str(FETCHED))
    absent = arm64.missing()
    if absent:
        pytest.skip(": ".join(absent))


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without onnxruntime-web, which no stranger needs."""
    monkeypatch.setattr(browser, "missing", lambda name: None)
    monkeypatch.setattr(browser, "_unpack", lambda folder: [])
