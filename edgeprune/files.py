"""Whole files or none: every file is written under another name, fsynced and renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import EdgepruneError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it to ``path``.

    On any exception, and on a full disk, nothing is left behind and an older ``path`` stays as it
    was. The temporary name keeps the suffix, since some writers look at it.
    """
    path = Path(path)
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = _begun(path)
    try:
        with said(path):
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide runs from others
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        os.close(fd)
        with suppress(OSError):
            temporary.unlink()


def _begun(path: Path) -> tuple[int, Path]:
    """A new temporary file beside ``path``, locked as long as this process writes to it."""
    while True:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part" + path.suffix)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:  # `clear_abandoned` was not faster
            return fd, Path(name)
        os.close(fd)


def clear_abandoned(folder: Path) -> None:
    """Remove temporary files below ``folder`` whose process has died; those being written stay."""
    for where, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(".") or ".part" not in name:
                continue
            with suppress(OSError):
                fd = os.open(Path(where, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(Path(where, name))
                finally:
                    os.close(fd)


def place(text: str) -> Path:
    """The path that ``text`` names, ``~`` and ``~user`` replaced; a user who is not there is told."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise EdgepruneError(text, "no such user's folder", "write the path out") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise :class:`EdgepruneError` if no file can be written at ``path``; writes none."""
    path = Path(path)
    if path.is_dir():
        raise EdgepruneError(f"cannot write {path}", "it is a folder", "name a file in it")
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    write_text(path, _json(value, indent=1) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The JSON value in ``path``; :class:`EdgepruneError` names the file if it is not whole."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgepruneError(str(path), "no such file") from None
    except OSError as e:
        raise EdgepruneError(str(path), e.strerror or str(e)) from None
    except (ValueError, RecursionError) as e:
        raise EdgepruneError(
            str(path), f"not readable as JSON ({e})", "restore the file, or make it anew"
        ) from None


def toml(raw: bytes, where: str, next: str = "") -> dict[str, Any]:
    """The table that a TOML text holds; :class:`EdgepruneError` names ``where`` it comes from."""
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, ArithmeticError, RecursionError) as e:  # a number of 5,000 digits is one
        raise EdgepruneError(where, f"not readable as TOML ({e})", next) from None


def append_line(path: str | os.PathLike[str], value: Any) -> None:
    """Append ``value`` as one JSON line and fsync. A torn last line is dropped by `read_lines`."""
    line = _json(value) + "\n"
    path = Path(path)
    with said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with to_append(path) as f:
            end = f.seek(0, os.SEEK_END)
            if end:
                f.seek(end - 1)
                if f.read(1) != b"\n":  # torn by a kill: start on a line of its own
                    f.write(b"\n")
            f.write(line.encode())
            f.flush()
            os.fsync(f.fileno())


def to_append(path: str | os.PathLike[str]) -> BinaryIO:
    """``path``, made if need be, to append to; a link that lies there is not followed (an OSError)."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "ab+")


def read_lines(path: str | os.PathLike[str]) -> list[Any]:
    """All whole JSON lines of ``path`` ([] if there is no such file)."""
    values = []
    for line in lines_of(path):
        with suppress(ValueError, RecursionError):
            values.append(json.loads(line))
    return values


def lines_of(path: str | os.PathLike[str]) -> list[str]:
    """The lines of ``path`` that hold anything ([] if there is no such file); a kill may have torn some.

    Only "\n" ends a line: JSON holds U+2028 and U+0085 as they are.
    """
    try:
        raw = Path(path).read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as e:
        raise EdgepruneError(str(path), e.strerror or str(e)) from None
    return [line for line in raw.split("\n") if line.strip()]


def sha256(path: str | os.PathLike[str]) -> str:
    """Of a file's content."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = {}
) -> None:
    """Write a safetensors file. Tensors are made contiguous (the format knows no strides)."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata))
            _sort_metadata(temporary)
        except SafetensorError as e:
            if "os error 28" in str(e) or "No space" in str(e):
                raise OSError(errno.ENOSPC, "No space left on device") from None
            raise


def _sort_metadata(path: Path) -> None:
    """The library writes metadata in an order of chance: sorted, the same tensors are the same bytes."""
    with open(path, "r+b") as f:
        length = int.from_bytes(f.read(8), "little")
        head = json.loads(f.read(length))
        head["__metadata__"] = dict(sorted(head.get("__metadata__", {}).items()))
        if not head["__metadata__"]:
            return
        text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise AssertionError("the header grew by sorting")
        f.seek(8)
        f.write(text.ljust(length))


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """``(tensors by name, metadata)`` of a safetensors file; nothing pickled is ever read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as f:
            names = list(f.keys())
            return {name: f.get_tensor(name) for name in names}, dict(f.metadata() or {})
    except FileNotFoundError:
        raise EdgepruneError(str(path), "no such file") from None
    except (SafetensorError, OSError, ValueError) as e:
        raise EdgepruneError(
            str(path), f"not a whole safetensors file ({e})", "copy or make it again"
        ) from None


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as UTF-8 can hold it: a path that is no UTF-8 (lone surrogates) is written escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def said(path: Path) -> Iterator[None]:
    """Operating-system failures as one line that names the file and the remedy."""
    try:
        yield
    except OSError as e:
        remedy = {
            errno.ENOSPC: "free some space or choose another folder",
            errno.EDQUOT: "free some space or choose another folder",
            errno.EACCES: "choose a folder that you may write to",
            errno.EROFS: "choose a folder that you may write to",
        }.get(e.errno or 0, "")
        raise EdgepruneError(f"cannot write {path}", e.strerror or str(e), remedy) from None
