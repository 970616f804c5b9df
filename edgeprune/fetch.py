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
    remedy = f"put the file there yourself: {path} (from {url})"
    what = f"cannot download {Path(urlsplit(url).path).name}"
    folder = _nearest(path.parent)
    if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise EdgepruneError(
            what,
            f"{folder} is not writable",
            "point EDGEPRUNE_HOME at a folder that you may write to",
        )
    hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with _told(what, url, remedy):
        request = urllib.request.Request(url, headers={"User-Agent": "edgeprune"})
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    with answer, files.atomic(path) as part:
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        if total is not None and total > max_bytes:
            raise EdgepruneError(what, f"{total} bytes, more than {max_bytes} expected", remedy)
        done = before = 0
        since = time.monotonic()
        with open(part, "wb") as f:
            while total is None or done < total:
                # Only reading is told as a failure of the network: writing may find the disk full.
                with _told(what, url, remedy):
                    block = answer.read1(CHUNK)  # what is there: `read` waits for a whole chunk
                if not block:
                    break
                done += len(block)
                if (gone := time.monotonic() - since) > PATIENCE:
                    if done - before < SLOW * gone:
                        raise EdgepruneError(
                            what, f"{done - before} bytes in the last {gone:.0f} s", remedy
                        )
                    before, since = done, time.monotonic()
                if done > max_bytes:
                    raise EdgepruneError(what, f"more than {max_bytes} bytes", remedy)
                for h in hashes.values():
                    h.update(block)
                f.write(block)
                if progress:
                    progress(done, total)
        if total is not None and done != total:
            raise EdgepruneError(what, f"cut off after {done} of {total} bytes", remedy)
        for name, expected in (("sha256", sha256), ("sha256", sha256_prefix), ("md5", md5)):
            got = hashes[name].hexdigest()[: len(expected or "")]
            if expected and expected != got:
                raise EdgepruneError(what, f"{name} is {got}, not {expected}", remedy)
    return path


@contextmanager
def _told(what: str, url: str, remedy: str) -> Iterator[None]:
    """Failures of the network as one line."""
    host = urlsplit(url).netloc
    try:
        yield
    except urllib.error.HTTPError as e:
        raise EdgepruneError(what, f"{host} answers {e.code} {e.reason}", remedy) from None
    except (OSError, http.client.HTTPException, ValueError) as e:  # URLError is an OSError
        reason = getattr(e, "reason", None) or e
        if isinstance(e, http.client.IncompleteRead):
            reason = "cut off"
        raise EdgepruneError(what, f"{host} not reached ({reason})", remedy) from None


def _nearest(path: Path) -> Path:
    """The closest folder that exists (and may be looked into), upwards from ``path``."""
    while not os.path.exists(path):  # Path.exists raises where looking is not allowed
        path = path.parent
    return path
