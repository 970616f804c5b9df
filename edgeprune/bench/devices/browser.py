"""A browser with onnxruntime-web: the one found here, without a window, or any that opens the page.

``browser``           serves the page on this machine and says where; a person opens it
``browser:headless``  starts the Chromium or Chrome found here
``browser:lan``       serves on the network, behind a random token, for a phone that scans the code

The page (``deploy/browser/``) posts the runner's lines back. What is posted comes from outside: lines
that are no events are ignored, and the document is checked like every device's.

onnxruntime-web itself is npm's package as it was packed, in the home folder; nothing is unpacked there.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import numpy as np

from ... import extras
from ...errors import EdgepruneError
from ...fetch import home
from ..protocol import Request
from ..scratch import Scratch, short_place
from .base import Lines, deploy_path

RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
)  # fmt: skip
TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript",
         ".wasm": "application/wasm", ".json": "application/json"}  # fmt: skip
LARGEST = 64 << 20  # bytes of one post; a document of a hundred thousand samples has 2 MB
SILENCE = 30.0  # seconds without a sign of life (one every 2 s) until the page is given up
PATIENCE = {True: 600.0, False: 90.0}  # seconds until the page is opened; by a person: True
PASSES = 5  # a pass compiles the runtime anew in each worker, half a second


# Opens a page; yields a function that says how the browser ended, or None while it lives.
Opener = Callable[[str], AbstractContextManager[Callable[[], str | None]]]


class Browser:
    """``opener``: how the page gets into a browser; None: by ``name``."""

    emulated = False

    def __init__(self, name: str = "browser", opener: Opener | None = None) -> None:
        if opener is None and name not in FORMS:
            raise EdgepruneError(f"unknown device {name!r}", f"known: {', '.join(FORMS)}")
        absent = missing(name)
        if absent:
            raise EdgepruneError(f"device {name}", *absent)
        self.name = name
        self.by_hand = opener is None and name != "browser:headless"
        self.opener = opener or OPENERS[name]

    def __enter__(self) -> Self:
        self._scratch = Scratch()
        self.folder = self._scratch.path
        try:
            self._serve()
        except BaseException:
            self._scratch.remove()
            raise
        return self

    def _serve(self) -> None:
        self.site: dict[str, Path] = {
            f"{name}": deploy_path(f"browser/{name}")
            for name in ("index.html", "page.js", "worker.js")
        }
        self.site[""] = self.site["index.html"]
        self.site |= {f"ort/{p.name}": p for p in _unpack(self.folder / "ort")}
        self.request: dict[str, Any] = {}
        self.images: tuple[Path, int] | None = None  # file of pixels, bytes of one image
        self.posted: queue.Queue[str] = queue.Queue()
        self.heard = 0.0  # when the page last gave a sign of life; 0: never
        self.token = secrets.token_urlsafe(16)
        place = "0.0.0.0" if self.name == "browser:lan" else "127.0.0.1"
        self.server = _Server((place, 0), _handler(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._scratch.remove()

    @property
    def url(self) -> str:
        host = _own_address() if self.name == "browser:lan" else "127.0.0.1"
        return f"http://{host}:{self.server.server_address[1]}/{self.token}/"

    def push(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            if name.endswith(".npz"):
                self._push_images(path)
            else:
                target = self.folder / "files" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                self.site[f"files/{name}"] = target

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        brief = replace(request, passes=min(request.passes, PASSES))
        self.request = {
            "options": asdict(brief) | {"models": list(models), "accuracy": accuracy},
            "models": [self._described(name) for name in models],
            "accuracy": self._accuracy if accuracy else None,
        }
        with self.opener(self.url) as ended:
            self._listen(on_line, ended)

    def pull(self, name: str, to: Path) -> None:
        raise EdgepruneError(f"{self.name} keeps no files", name)

    def _listen(self, on_line: Lines, ended: Callable[[], str | None]) -> None:
        """Hand on what is posted until the document or an error has come."""
        started = time.monotonic()
        while True:
            with suppress(queue.Empty):
                line = self.posted.get(timeout=0.5)
                on_line(line)
                if _is_last(line):
                    return
                continue
            how = ended()
            if how is not None and self.posted.empty():
                raise EdgepruneError(self.name, how, "run it once more")
            now = time.monotonic()
            if self.heard and now - self.heard > SILENCE:
                raise EdgepruneError(
                    self.name, "the page fell silent", "keep it open and in front; run it once more"
                )
            if not self.heard and now - started > PATIENCE[self.by_hand]:
                raise EdgepruneError(self.name, "nobody opened the page", self.url)

    def _described(self, name: str) -> dict[str, Any]:
        """A model as the page needs it: its file, and the files beside it that hold its weights."""
        path = self.site[f"files/{name}"]
        folder = f"files/{name.rpartition('/')[0]}/"
        beside = [n for n in self.site if n.startswith(folder) and n != f"files/{name}"]
        raw = path.read_bytes()
        return {
            "file": name,
            "bytes": len(raw),
            "sha256": sha256(raw).hexdigest(),
            "external": [n.removeprefix(folder) for n in beside],
        }

    def _push_images(self, path: Path) -> None:
        """The runner's .npz as plain bytes, which the page fetches batch by batch."""
        with np.load(path, allow_pickle=False) as archive:
            pixels = archive["images"]
            rest = {key: archive[key] for key in ("labels", "mean", "std", "channels")}
        raw = self.folder / "images.bin"
        raw.write_bytes(pixels.tobytes())
        self.images = (raw, int(np.prod(pixels.shape[1:])))
        self._accuracy = {
            "n": len(pixels),
            "size": pixels.shape[1],
            "labels": rest["labels"].tolist(),
            "mean": rest["mean"].tolist(),
            "std": rest["std"].tolist(),
            "channels": str(rest["channels"]),
        }


CONNECTIONS = 64  # at once; a page opens six


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *words: Any) -> None:
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*words)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the stranger's business, not the terminal's."""


def _handler(device: Browser) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            place = self._place()
            if place is None:
                return self._answer(404, b"")
            name, query = place
            device.heard = time.monotonic()
            if name == "request.json":
                return self._answer(200, json.dumps(device.request).encode(), ".json")
            if name == "images" and device.images is not None:
                return self._answer(200, _slice(*device.images, query), ".bin")
            path = device.site.get(name)
            if path is None:
                return self._answer(404, b"")
            return self._answer(200, path.read_bytes(), path.suffix, keep=name.startswith("ort/"))

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            place = self._place()
            self.close_connection = True
            if place is None or place[0] != "lines":
                return self._answer(404, b"")
            if not re.fullmatch(r"[0-9]{1,12}", length) or int(length) > LARGEST:
                return self._answer(413, b"")
            text = self.rfile.read(int(length)).decode(errors="replace")
            device.heard = time.monotonic()
            for line in text.splitlines():
                device.posted.put(line)
            return self._answer(204, b"")

        def _place(self) -> tuple[str, dict[str, list[str]]] | None:
            """(name, query) behind the right token; None for anybody else."""
            path, _, query = self.path.partition("?")
            token, _, name = path.removeprefix("/").partition("/")
            if not hmac.compare_digest(token.encode(), device.token.encode()):
                return None
            return unquote(name), parse_qs(query)

        def _answer(self, code: int, body: bytes, suffix: str = "", *, keep: bool = False) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", TYPES.get(suffix, "application/octet-stream"))
            # Isolated pages get threads and a clock with steps of 5 us instead of 100.
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.send_header("Cache-Control", "max-age=3600" if keep else "no-store")
            self.end_headers()
            with suppress(OSError):  # the page is gone
                self.wfile.write(body)

    return Handler


def _slice(path: Path, each: int, query: Mapping[str, list[str]]) -> bytes:
    try:
        start, n = (min(int(query[key][0]), 1 << 40) for key in ("start", "n"))
    except (KeyError, ValueError):
        return b""
    with open(path, "rb") as f:
        f.seek(max(0, start) * each)
        return f.read(min(max(0, n), 4096) * each)


def _is_last(line: str) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and ("runner" in value or "error" in value)


def _unpack(folder: Path) -> list[Path]:
    """The three files of onnxruntime-web that the page loads, out of its package."""
    package = packages()[-1]
    folder.mkdir()
    found = []
    try:
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())
                found.append(folder / name)
    except (tarfile.TarError, KeyError, AssertionError, OSError, EOFError) as e:
        raise EdgepruneError(
            str(package),
            f"not a package of onnxruntime-web ({e})",
            "fetch it anew: npm pack onnxruntime-web",
        ) from None
    return found


def packages() -> list[Path]:
    """onnxruntime-web's packages in the home folder, the newest version last."""

    def version(path: Path) -> list[int]:
        digits = path.stem.removeprefix("onnxruntime-web-").split("-")[0].split(".")
        return [int(d) for d in digits if d.isdigit()]

    return sorted(home().glob("onnxruntime-web-*.tgz"), key=version)


def missing(name: str = "browser") -> tuple[str, str] | None:
    """What is missing and how to get it; None when all is there."""
    if not packages():
        place = shlex.quote(str(home()))
        pack = f"npm pack onnxruntime-web --pack-destination {place}"
        pack = pack if home().is_dir() else f"mkdir -p {place} && {pack}"
        npm = "" if shutil.which("npm") else "apt-get install npm, then "
        return f"onnxruntime-web is not in {home()}", npm + pack
    if name == "browser:headless" and chromium() is None:
        return "no Chromium or Chrome found", "apt-get install chromium"
    return None


def chromium() -> str | None:
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@contextmanager
def headless(url: str) -> Iterator[Callable[[], str | None]]:
    """The Chromium found here, without a window, with a profile of its own."""
    command = chromium()
    assert command is not None
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with (
        tempfile.TemporaryDirectory(
            prefix="edgeprune-chromium-", dir=short_place(), ignore_cleanup_errors=True
        ) as profile,
        tempfile.TemporaryFile() as noise,
    ):
        browser = subprocess.Popen(
            [command, *FLAGS, *root, f"--user-data-dir={profile}", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=noise,
            start_new_session=True,
            env={**os.environ, "TMPDIR": profile},  # its folder for a socket goes with it
        )

        # If this process is killed outright, its end of the pipe closes, and the browser goes too.
        guard = subprocess.Popen(
            [
                "sh",
                "-c",
                'read -r _; kill -s KILL -- "-$1"; rm -rf "$2"',
                "sh",
                str(browser.pid),
                profile,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def ended() -> str | None:
            if browser.poll() is None:
                return None
            noise.seek(0)
            said = " ".join(noise.read().decode(errors="replace").split())[-200:]
            return f"the browser ended with code {browser.returncode}" + (said and f": {said}")

        try:
            yield ended
        finally:
            guard.kill()
            guard.communicate()
            _end(browser)


def _end(browser: subprocess.Popen[bytes]) -> None:
    """End the browser and its helpers, which all lie in its process group."""
    for signal in (15, 9):
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, signal)
        with suppress(subprocess.TimeoutExpired):
            browser.wait(timeout=10)


@contextmanager
def by_hand(url: str) -> Iterator[Callable[[], str | None]]:
    """Tell the person at the terminal what to open."""
    print(f"open this page and leave it in front:\n{url}", file=sys.stderr, flush=True)
    yield lambda: None


@contextmanager
def by_code(url: str) -> Iterator[Callable[[], str | None]]:
    """The same, with a code for the phone's camera."""
    with extras.needed("lan", "browser:lan"):
        import segno

    segno.make_qr(url).terminal(out=sys.stderr, compact=True)
    with by_hand(url) as ended:
        yield ended


OPENERS: dict[str, Opener] = {
    "browser": by_hand,
    "browser:headless": headless,
    "browser:lan": by_code,
}
FORMS = tuple(OPENERS)


def _own_address() -> str:
    """This machine's address on the network (asked of the routing table; nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return str(s.getsockname()[0])
        except OSError:
            return "127.0.0.1"
