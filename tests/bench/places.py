"""What the tests of the devices measure against: a board of our own, and a browser of a few lines."""

from __future__ import annotations

import http.client
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FETCHED = ROOT / ".device-home"  # what .ci/run fetches: onnxruntime-web, the emulated Arm machine


class Board:
    """An sshd on loopback, and the folder in which the other side makes its folders."""

    def __init__(self, folder: Path, port: int, pid: int) -> None:
        self.folder, self.pid, self.port = folder, pid, port
        self.name = f"ssh://127.0.0.1:{port}"

    def connections(self) -> list[int]:
        """The server's processes for the connections that are open now."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def left_behind(self) -> list[Path]:
        return list((self.folder / "tmp").iterdir())

    @contextmanager
    def having(self, **variables: str) -> Iterator[None]:
        """For a while, other environment variables there."""
        path = self.folder / "environment"
        path.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in variables.items()))
        try:
            yield
        finally:
            path.write_text("")

    def client(self, key: str = "id") -> str:
        """The ssh command that has that key; without one: ``none``."""
        return f"ssh -F {shlex.quote(str(self.folder / 'ssh_config'))} -i {self.folder / key}"


def visit(act: Callable[[http.client.HTTPConnection, str], None]) -> Any:
    """An opener whose "browser" is ``act``, given a connection and the page's path."""

    @contextmanager
    def opener(url: str) -> Any:
        host, _, path = url.removeprefix("http://").partition("/")

        def go() -> None:
            act(http.client.HTTPConnection(host, timeout=20), f"/{path}")

        thread = threading.Thread(target=go)
        thread.start()
        yield lambda: None if thread.is_alive() else "it went away"
        thread.join()

    return opener


def post(connection: http.client.HTTPConnection, path: str, body: bytes) -> int | None:
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:  # it need not read what it does not want
        return None
    finally:
        connection.close()
