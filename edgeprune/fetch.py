"""The home folder (weights and data on this machine) and the one way a file gets into it."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from . import files
from .errors import EdgepruneError

CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 30  # seconds without an answer before a download is given up


def home() -> Path:
    """``EDGEPRUNE_HOME``, or the platform's cache folder. Holds ``weights/`` and ``data/``."""
    named = os.environ.get("EDGEPRUNE_HOME")
    if named:
        return Path(named).expanduser()
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
    if path.is_file():
        return path
    remedy = f"put the file there yourself: {path} (from {url})"
    what = f"cannot download {Path(urlsplit(url).path).name}"
    sha, md = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    if not os.access(_nearest(path.parent), os.W_OK):
        raise EdgepruneError(what, f"{path.parent} is not writable", remedy)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "edgeprune"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, files.atomic(path) as part:
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            if total is not None and total > max_bytes:
                raise EdgepruneError(what, f"{total} bytes, more than {max_bytes} expected", remedy)
            done = 0
            with open(part, "wb") as f:
                while block := answer.read(CHUNK):
                    done += len(block)
                    if done > max_bytes:
                        raise EdgepruneError(what, f"more than {max_bytes} bytes", remedy)
                    sha.update(block)
                    md.update(block)
                    f.write(block)
                    if progress:
                        progress(done, total)
            if total is not None and done != total:
                raise EdgepruneError(what, f"cut off after {done} of {total} bytes", remedy)
            for name, expected, got in (
                ("sha256", sha256, sha.hexdigest()),
                ("sha256", sha256_prefix, sha.hexdigest()[: len(sha256_prefix or "")]),
                ("md5", md5, md.hexdigest()),
            ):
                if expected and expected != got:
                    raise EdgepruneError(what, f"{name} is {got}, not {expected}", remedy)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as e:
        reason = getattr(e, "reason", None) or e
        raise EdgepruneError(
            what, f"{urlsplit(url).netloc} not reached ({reason})", remedy
        ) from None
    except OSError as e:  # a socket that breaks while reading
        raise EdgepruneError(what, str(e), remedy) from None
    return path


def _nearest(path: Path) -> Path:
    """The closest folder that exists, upwards from ``path``."""
    while not path.exists():
        path = path.parent
    return path
