"""The home folder (weights and data on this machine) and the one way a file gets into it."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from . import files
from .errors import EdgepruneError

CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 30  # seconds without an answer before a download is given up
SLOW, PATIENCE = 1000, 120  # bytes a second; seconds of less than that before it is given up


def home() -> Path:
    """``EDGEPRUNE_HOME``, or the platform's cache folder. Holds ``weights/`` and ``data/``."""
    named = os.environ.get("EDGEPRUNE_HOME")
    if named:
        return files.place(named)
    from platformdirs import user_cache_path

    return user_cache_path("edgeprune", appauthor=False)


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    sha256_prefix: str | None = None,
    md5: str | None = None,
    max_bytes: int = 4 << 30,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download ``url`` to ``path`` unless it is there already; whole and verified, or not at all.

    ``progress(done, total)`` is called in bytes. Raises :class:`EdgepruneError` in one line that
    says which file to put where, when the address is out of reach, the answer is cut off, larger
    than ``max_bytes``, or its hash is another one.
    """
    if os.path.isfile(path):  # Path.is_file raises where looking is not allowed
        return path
    asked = _Download(url, path)
    asked.check_place()
    hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with asked.told():
        request = urllib.request.Request(url, headers={"User-Agent": "edgeprune"})
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    with answer, files.atomic(path) as part:
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        done = 0
        with open(part, "wb") as f:
            for block in asked.blocks(answer, total, max_bytes):
                done += len(block)
                for h in hashes.values():
                    h.update(block)
                f.write(block)
                if progress:
                    progress(done, total)
        for name, expected in (("sha256", sha256), ("sha256", sha256_prefix), ("md5", md5)):
            got = hashes[name].hexdigest()[: len(expected or "")]
            if expected and expected != got:
                raise asked.failed(f"{name} is {got}, not {expected}")
    return path


@dataclass(frozen=True)
class _Download:
    """One file on its way, and how its failures are told."""

    url: str
    path: Path

    @property
    def what(self) -> str:
        return f"cannot download {Path(urlsplit(self.url).path).name}"

    def failed(self, why: str) -> EdgepruneError:
        return EdgepruneError(
            self.what, why, f"put the file there yourself: {self.path} (from {self.url})"
        )

    def check_place(self) -> None:
        """Refuse a folder that nothing can be written to."""
        folder = _nearest(self.path.parent)
        if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise EdgepruneError(
                self.what,
                f"{folder} is not writable",
                "point EDGEPRUNE_HOME at a folder that you may write to",
            )

    def blocks(self, answer: HTTPResponse, total: int | None, max_bytes: int) -> Iterator[bytes]:
        """All of an answer of ``total`` bytes, neither larger nor slower than is borne."""
        if total is not None and total > max_bytes:
            raise self.failed(f"{total} bytes, more than {max_bytes} expected")
        done = before = 0
        since = time.monotonic()
        while total is None or done < total:
            # Only reading is told as a failure of the network: writing may find the disk full.
            with self.told():
                block = answer.read1(CHUNK)  # what is there: `read` waits for a whole chunk
            if not block:
                break
            done += len(block)
            if (gone := time.monotonic() - since) > PATIENCE:
                if done - before < SLOW * gone:
                    raise self.failed(f"{done - before} bytes in the last {gone:.0f} s")
                before, since = done, time.monotonic()
            if done > max_bytes:
                raise self.failed(f"more than {max_bytes} bytes")
            yield block
        if total is not None and done != total:
            raise self.failed(f"cut off after {done} of {total} bytes")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Failures of the network as one line."""
        host = urlsplit(self.url).netloc
        try:
            yield
        except urllib.error.HTTPError as e:
            raise self.failed(f"{host} answers {e.code} {e.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as e:  # URLError is an OSError
            reason = getattr(e, "reason", None) or e
            if isinstance(e, http.client.IncompleteRead):
                reason = "cut off"
            raise self.failed(f"{host} not reached ({reason})") from None


def _nearest(path: Path) -> Path:
    """The closest folder that exists (and may be looked into), upwards from ``path``."""
    while not os.path.exists(path):  # Path.exists raises where looking is not allowed
        path = path.parent
    return path
