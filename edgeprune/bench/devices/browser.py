"""A browser with onnxruntime-web: the one found here, without a window, or any that opens the page.

``browser``           serves the page on this machine and says where; a person opens it
``browser:headless``  starts the Chromium or Chrome found here
``browser:lan``       serves on the network, behind a random token, for a phone that scans the code

The page (``deploy/browser/``) posts the runner's lines back. What is posted comes from outside: lines
that are no events are ignored, and the document is checked like every device's.
"""

from __future__ import annotations

import hmac
import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ...errors import EdgepruneError
from ...fetch import home
from ..protocol import Request
from .base import Lines, deploy_path

FORMS = ("browser", "browser:headless", "browser:lan")
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
PATIENCE = 600.0  # seconds that a person has for opening the page
PASSES = 5  # a pass compiles the runtime anew in each worker, half a second


class Browser:
    emulated = False

    def __init__(self, name: str = "browser") -> None:
        if name not in FORMS:
            raise EdgepruneError(f"unknown device {name!r}", f"known: {', '.join(FORMS)}")
        absent = missing()
        if absent:
            raise EdgepruneError(f"device {name}", *absent)
        self.name = name
        if name.endswith(":headless") and chromium() is None:
            raise EdgepruneError(f"device {name}", "no Chromium found", "apt-get install chromium")

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="edgeprune-bench-")
        self.folder = Path(self._folder.name)
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
        self.server = ThreadingHTTPServer((place, 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._folder.cleanup()

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
            "models": [_described(name, self.site[f"files/{name}"]) for name in models],
            "accuracy": self._accuracy if accuracy else None,
        }
        if self.name == "browser:headless":
            with tempfile.TemporaryDirectory(prefix="edgeprune-chromium-") as profile:
                browser = _start(profile, self.url)
                try:
                    self._listen(on_line, browser)
                finally:
                    _end(browser)
        else:
            _invite(self.url, code=self.name == "browser:lan")
            self._listen(on_line, None)

    def pull(self, name: str, to: Path) -> None:
        raise EdgepruneError(f"{self.name} keeps no files", name)

    def _listen(self, on_line: Lines, browser: subprocess.Popen[bytes] | None) -> None:
        """Hand on what is posted until the document or an error has come."""
        started = time.monotonic()
        while True:
            with suppress(queue.Empty):
                line = self.posted.get(timeout=0.5)
                on_line(line)
                if _is_last(line):
                    return
                continue
            now = time.monotonic()
            if browser is not None and browser.poll() is not None:
                raise EdgepruneError(self.name, f"the browser ended with code {browser.returncode}")
            if self.heard and now - self.heard > SILENCE:
                raise EdgepruneError(
                    self.name, "the page fell silent", "keep it open and in front; run it once more"
                )
            if not self.heard and now - started > (60 if browser else PATIENCE):
                raise EdgepruneError(self.name, "nobody opened the page", self.url)

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
            if name == "request.json":
                device.heard = time.monotonic()
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
            if not length.isdigit() or int(length) > LARGEST:
                return self._answer(413, b"")
            text = self.rfile.read(int(length)).decode(errors="replace")
            device.heard = time.monotonic()
            for line in text.splitlines():
                device.posted.put(line)
            return self._answer(204, b"")

        def _place(self) -> tuple[str, dict[str, list[str]]] | None:
            """(name, query) behind the right token; None for anybody else."""
            url = urlsplit(self.path)
            token, _, name = url.path.removeprefix("/").partition("/")
            if not hmac.compare_digest(token.encode(), device.token.encode()):
                return None
            return name, parse_qs(url.query)

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


def _described(name: str, path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    return {"file": name, "bytes": len(raw), "sha256": sha256(raw).hexdigest()}


def _is_last(line: str) -> bool:
    try:
        value = json.loads(line)
    except ValueError:
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
        raise EdgepruneError(str(package), f"not a package of onnxruntime-web ({e})") from None
    return found


def packages() -> list[Path]:
    """onnxruntime-web's packages in the home folder, the newest version last."""

    def version(path: Path) -> list[int]:
        digits = path.stem.removeprefix("onnxruntime-web-").split("-")[0].split(".")
        return [int(d) for d in digits if d.isdigit()]

    return sorted(home().glob("onnxruntime-web-*.tgz"), key=version)


def missing() -> tuple[str, str] | None:
    """What is missing and how to get it; None when all is there."""
    if not packages():
        return f"onnxruntime-web is not in {home()}", f"cd {home()} && npm pack onnxruntime-web"
    return None


def chromium() -> str | None:
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def _start(profile: str, url: str) -> subprocess.Popen[bytes]:
    command = chromium()
    assert command is not None
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return subprocess.Popen(
        [command, *FLAGS, *root, f"--user-data-dir={profile}", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(browser: subprocess.Popen[bytes]) -> None:
    """End the browser and its helpers, which all lie in its process group."""
    with suppress(ProcessLookupError):
        os.killpg(browser.pid, 15)
    try:
        browser.wait(timeout=10)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        browser.wait()


def _invite(url: str, *, code: bool) -> None:
    """Tell the person at the terminal what to open, with a code to scan where that can be drawn."""
    print(f"open this page and leave it in front: {url}", file=sys.stderr, flush=True)
    if code:
        try:
            import segno
        except ImportError:
            return
        segno.make(url).terminal(out=sys.stderr, compact=True)


def _own_address() -> str:
    """This machine's address on the network (asked of the routing table; nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return str(s.getsockname()[0])
        except OSError:
            return "127.0.0.1"
