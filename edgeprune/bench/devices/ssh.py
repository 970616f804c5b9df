"""Any machine that the system's own ssh reaches: a board, a phone with Termux, a server.

The user's configuration, keys, agent and jump hosts hold, since it is their ``ssh`` that runs; the
variable ``EDGEPRUNE_SSH`` may name another command (``ssh -F file``). All calls share one connection.
Words for the other side's shell are quoted; the only names that are sent there are our own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from ...errors import EdgepruneError
from ..protocol import Request
from .base import Ended, Lines, runner_path, stream, words

UNREACHED = 255  # ssh's own failures; the other side's exit codes come through as they are
HINTS = (  # part of what ssh says -> what to do
    ("Host key verification failed", "ssh there once by hand and look at its key"),
    ("Permission denied", "give it your key: ssh-copy-id"),
    ("Could not resolve", "check the name, or give its address"),
    ("Connection refused", "is an ssh server running there, on that port?"),
    ("timed out", "is it switched on and on this network?"),
    ("No route to host", "is it switched on and on this network?"),
)


class Ssh:
    """``ssh://[user@]host[:port]``."""

    emulated = False

    def __init__(self, name: str) -> None:
        self.name = name
        url = urlsplit(name)
        try:
            host, user, port = url.hostname, url.username, url.port
        except ValueError as e:
            raise EdgepruneError(name, str(e), FORM) from None
        odd = [w for w in (host, user) if w is not None and not _plain(w)]
        if not host or odd or url.path.strip("/") or url.password or url.query:
            raise EdgepruneError(name, "not a host to ssh to", FORM)
        # urlsplit lowers a host's letters, but an alias in ~/.ssh/config may have capitals
        written = url.netloc.rpartition("@")[2]
        host = written[: len(host)] if written.lower().startswith(host) else host
        self.target = f"{user}@{host}" if user else host
        self.port = port

    def __enter__(self) -> Self:
        command = shlex.split(os.environ.get("EDGEPRUNE_SSH", "ssh"))
        if shutil.which(command[0]) is None:
            raise EdgepruneError(f"{command[0]} is not installed", "", "install an OpenSSH client")
        # a short path: the names of sockets may have 104 letters at most
        self._control = tempfile.mkdtemp(
            prefix="ep-", dir="/tmp" if os.path.isdir("/tmp") else None
        )
        self._ssh = [
            *command, "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self._control}/%C",
            "-o", "ControlPersist=60", *(["-p", str(self.port)] if self.port else []),
        ]  # fmt: skip
        self.folder = ""
        try:
            self.folder = self._make_folder()
            self.push({"runner.py": runner_path()})
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def push(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            there = f"{self.folder}/{name}"
            script = f"mkdir -p {_q(os.path.dirname(there))} && cat > {_q(there)}"
            ended = self._call(script, give=path)
            if ended.code:
                raise EdgepruneError(f"cannot copy {path.name} to {self.name}", ended.said)

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        arguments = " ".join(map(_q, words(request, models, accuracy)))
        # The shell waits: if the connection is cut the runner fails at its next line, and then nobody
        # else is there to tidy up.
        script = (
            f"cd {_q(self.folder)} || exit; "
            "python=$(command -v python3 || command -v python) || exit 127; "
            f'ORT_DISABLE_TELEMETRY=1 "$python" runner.py {arguments}; code=$?; '
            f'case "$code" in 0|2) ;; *) rm -rf {_q(self.folder)} ;; esac; exit "$code"'
        )
        ended = self._call(script, on_line)
        if ended.code == 127:
            raise EdgepruneError(
                f"{self.name} has no python3", ended.said, "install Python 3.9 or later there"
            )
        if ended.code not in (0, 2):
            raise EdgepruneError(
                f"{self.name}: the runner ended with code {ended.code}", ended.said
            )

    def pull(self, name: str, to: Path) -> None:
        lines: list[str] = []
        ended = self._call(f"cat {_q(f'{self.folder}/{name}')}", lines.append)
        if ended.code:
            raise EdgepruneError(f"cannot fetch {name} from {self.name}", ended.said)
        to.write_text("".join(lines))

    def _make_folder(self) -> str:
        lines: list[str] = []
        ended = self._call('mktemp -d "${TMPDIR:-/tmp}/edgeprune-XXXXXX"', lines.append)
        folder = lines[-1].strip() if lines else ""
        if ended.code or not folder.startswith("/"):
            raise EdgepruneError(f"{self.name}: no temporary folder", ended.said or folder)
        return folder

    def _call(
        self, script: str, on_line: Lines = lambda line: None, give: Path | None = None
    ) -> Ended:
        ended = stream([*self._ssh, "--", self.target, script], on_line, give=give)
        if ended.code == UNREACHED:
            hint = next((hint for said, hint in HINTS if said in ended.said), "")
            raise EdgepruneError(f"{self.name} not reached", ended.said or "connection lost", hint)
        return ended

    def _leave(self) -> None:
        with suppress(EdgepruneError):
            if self.folder:
                self._call(f"rm -rf {_q(self.folder)}")
            stream([*self._ssh, "-O", "exit", "--", self.target])
        shutil.rmtree(self._control, ignore_errors=True)


def missing() -> tuple[str, str] | None:
    """What is missing here and how to get it; None when all is there."""
    if shutil.which("ssh") is None:
        return "no ssh client", "apt-get install openssh-client"
    return None


FORM = "write ssh://user@host:port"
_q = shlex.quote


def _plain(word: str) -> bool:
    """Whether a user or host can be given to ssh: nothing that it, or a shell, would read otherwise."""
    return word[:1] != "-" and all(c.isalnum() or c in "._-:%" for c in word) and word.isascii()
