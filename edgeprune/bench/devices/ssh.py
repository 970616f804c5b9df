"""Any machine that the system's own ssh reaches: a board, a phone with Termux, a server.

The user's configuration, keys, agent and jump hosts hold, since it is their ``ssh`` that runs; the
variable ``EDGEPRUNE_SSH`` may name another command (``ssh -F file``). All calls share one connection.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import EdgepruneError
from ..scratch import Scratch, short_place
from .base import Ended, Lines, stream
from .shell import Shell

UNREACHED = 255  # ssh's own failures; the other side's exit codes come through as they are
HINTS = (  # part of what ssh says -> what to do
    ("Host key verification failed", "ssh there once by hand and look at its key"),
    ("Permission denied", "give it your key: ssh-copy-id"),
    ("Could not resolve", "check the name, or give its address"),
    ("Connection refused", "is an ssh server running there, on that port?"),
    ("timed out", "is it switched on and on this network?"),
    ("No route to host", "is it switched on and on this network?"),
)


class Ssh(Shell):
    """``ssh://[user@]host[:port]``."""

    def __init__(self, name: str) -> None:
        self.name = name
        url = urlsplit(name)
        try:
            host, user, port = url.hostname, url.username, url.port
        except ValueError as e:
            raise EdgepruneError(name, str(e), FORM) from None
        odd = [w for w in (host, user) if w is not None and not plain(w)]
        if not host or odd or url.path.strip("/") or url.password or url.query:
            raise EdgepruneError(name, "not a host to ssh to", FORM)
        # urlsplit lowers a host's letters, but an alias in ~/.ssh/config may have capitals
        written = url.netloc.rpartition("@")[2]
        host = written[: len(host)] if written.lower().startswith(host) else host
        self.target = f"{user}@{host}" if user else host
        self.port = port
        self._control: Scratch | None = None

    def connect(self) -> None:
        command = shlex.split(os.environ.get("EDGEPRUNE_SSH", "ssh"))
        if shutil.which(command[0]) is None:
            raise EdgepruneError(f"{command[0]} is not installed", "", "install an OpenSSH client")
        self._control = Scratch(short_place())
        self._ssh = [
            *command, "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self._control.path}/%C",
            "-o", "ControlPersist=60", *(["-p", str(self.port)] if self.port else []),
        ]  # fmt: skip

    def disconnect(self) -> None:
        if self._control is not None:
            stream([*self._ssh, "-O", "exit", "--", self.target])
            self._control.remove()

    def call(
        self, script: str, on_line: Lines = lambda line: None, give: Path | None = None
    ) -> Ended:
        ended = stream([*self._ssh, "--", self.target, script], on_line, give=give)
        if ended.code == UNREACHED:
            hint = next((hint for said, hint in HINTS if said in ended.said), "")
            raise EdgepruneError(f"{self.name} not reached", ended.said or "connection lost", hint)
        return ended


def missing(name: str = "ssh://") -> tuple[str, str] | None:
    """What is missing here and how to get it; None when all is there."""
    if shutil.which("ssh") is None:
        return "no ssh client", "apt-get install openssh-client"
    return None


FORM = "write ssh://user@host:port"


def plain(word: str) -> bool:
    """Whether a user or host can be given to ssh: nothing that it, or a shell, would read otherwise."""
    return (
        word[:1] not in ("", "-")
        and all(c.isalnum() or c in "._-:%" for c in word)
        and word.isascii()
    )
