"""Trees of named files: a folder, a zip or a tar, read in place and never trusted."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import EdgepruneError
from ..units import size as bytes_text
from .faults import Faults
from .transforms import BadImageError

SUFFIXES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
OPENERS: dict[bytes, Callable[..., Any]] = {  # first bytes -> what unpacks the rest
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}

MAX_MEMBERS = 3_000_000  # ImageNet has 1.3 million files
MAX_MEMBER = 256 << 20  # bytes of one file: no photograph is larger
MAX_TOTAL = 512 << 30  # bytes unpacked
MAX_RATIO = 200  # unpacked / packed, asked once there are SMALL bytes; photographs stay below 2
SMALL = 256 << 20

JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN"}  # what desktops leave behind


class Tree(Protocol):
    """Files by name (``/`` between folders), their sizes, and the folders that hold them."""

    path: Path
    sizes: dict[str, int]
    folders: set[str]
    fingerprint: str

    def read(self, name: str) -> bytes:
        """The file's bytes, from any thread; :class:`BadImageError` if they cannot be had."""
        ...


def open_tree(path: Path, faults: Faults) -> Tree:
    """The folder or archive at ``path``. What is odd about its members goes to ``faults``."""
    try:
        if path.is_dir():
            return Folder(path, faults)
        if not path.is_file():  # a pipe would be waited for, a device read for ever
            raise EdgepruneError(str(path), "neither a file nor a folder", AGAIN)
        with open(path, "rb") as f:
            head = f.read(512)
        if head.startswith(b"PK"):
            return Zip(path, faults)
        if head.startswith(tuple(OPENERS)) or head[257:262] == b"ustar":
            return Tar(path, faults)
    except OSError as e:
        raise EdgepruneError(str(path), e.strerror or str(e)) from None
    raise EdgepruneError(
        str(path),
        f"neither zip nor tar (it starts with {head[:16]!r})" if head else "an empty file",
        "download it again, or unpack it and give the folder",
    )


class Folder:
    """A folder on disk. Links are followed (sets are often linked together), cycles are not."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        self._walk(path, "", faults, [path.resolve()])
        self.fingerprint = _digest((f"{n}\0{s}" for n, s in sorted(self.sizes.items())))

    def _walk(self, folder: Path, prefix: str, faults: Faults, above: list[Path]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as e:
            faults.add(prefix or str(folder), f"folder not readable ({e.strerror})")
            return
        for entry in entries:
            if _junk(entry.name):
                continue
            name = prefix + entry.name
            try:
                if entry.is_dir():
                    inside = Path(entry.path).resolve()
                    if inside in above:
                        faults.add(name, "a link to a folder above itself")
                        continue
                    self.folders.add(name)
                    self._walk(inside, name + "/", faults, [*above, inside])
                elif entry.is_file():
                    self.sizes[name] = entry.stat().st_size
                else:
                    faults.add(name, "a dead link or no plain file")
            except OSError as e:
                faults.add(name, e.strerror or str(e))
        if len(self.sizes) > MAX_MEMBERS:
            raise EdgepruneError(
                str(self.path), f"more than {MAX_MEMBERS:,} files", "give a folder with fewer files"
            )

    def read(self, name: str) -> bytes:
        if self.sizes[name] > MAX_MEMBER:
            raise BadImageError(f"larger than {bytes_text(MAX_MEMBER)}")
        try:
            return (self.path / name).read_bytes()
        except OSError as e:
            raise BadImageError(e.strerror or str(e)) from None


class Zip:
    """A zip, read member by member; nothing is written to disk."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
            raise EdgepruneError(str(path), f"not a whole zip ({e})", AGAIN) from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.folders: set[str] = set()
        packed = 0
        for info in self._zip.infolist():
            name = _clean(info.filename)
            if name is None:
                continue
            mode = info.external_attr >> 16
            if fault := _unsafe(info.filename):
                faults.add(info.filename, fault)
            elif stat.S_ISLNK(mode):
                faults.add(name, "a symbolic link in an archive")
            elif info.flag_bits & 1:
                faults.add(name, "encrypted")
            elif info.is_dir():
                self.folders.add(name)
            elif _bomb(info.file_size, info.compress_size):
                faults.add(name, "a decompression bomb")
            else:
                if name in self._members:
                    faults.add(name, "twice in the archive")
                self._members[name] = info
                packed += info.compress_size
        self.sizes = {name: info.file_size for name, info in self._members.items()}
        _check_total(path, len(self._zip.infolist()), sum(self.sizes.values()), packed)
        self.folders |= _parents(self.sizes)
        self.fingerprint = _digest(f"{n}\0{i.file_size}\0{i.CRC}" for n, i in self._members.items())

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, lzma.LZMAError) as e:
            raise BadImageError(
                f"corrupt in the archive ({' '.join(str(e).split())[:60]})"
            ) from None
        except (RuntimeError, NotImplementedError) as e:
            raise BadImageError(f"not readable in the archive ({e})") from None


class Tar:
    """A tar. A compressed one is first unpacked into a nameless temporary file, to seek in it."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self.path = path
        self._file = _unpacked(path)
        self._places: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        try:
            # Plain "r:": the header is checked, no compression is guessed a second time.
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for count, member in enumerate(tar, 1):
                    if count > MAX_MEMBERS:
                        raise EdgepruneError(
                            str(path),
                            f"more than {MAX_MEMBERS:,} members",
                            "unpack it and give the folder, or a part of it",
                        )
                    if member.size < 0:  # the next header would be looked for before this one
                        raise tarfile.ReadError(f"{member.name} has a negative size")
                    self._add(member, faults)
                end = tar.offset
            # tarfile takes a broken header for the end: what follows it would be lost in silence.
            self._file.seek(end)
            if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"broken header at byte {end:,}")
        except (tarfile.TarError, EOFError, ValueError) as e:
            raise EdgepruneError(str(path), f"not a whole tar ({e})", AGAIN) from None
        self.folders |= _parents(self.sizes)
        self.fingerprint = _digest(f"{n}\0{s}" for n, s in sorted(self.sizes.items()))

    def _add(self, member: tarfile.TarInfo, faults: Faults) -> None:
        name = _clean(member.name)
        if name is None:
            return
        if fault := _unsafe(member.name):
            faults.add(member.name, fault)
        elif member.issym() or member.islnk():
            faults.add(name, "a symbolic link in an archive" if member.issym() else "a hard link")
        elif member.isdir():
            self.folders.add(name)
        elif not member.isreg() or member.issparse():
            faults.add(name, "no plain file")
        else:
            if name in self.sizes:
                faults.add(name, "twice in the archive")
            self._places[name], self.sizes[name] = member.offset_data, member.size

    def read(self, name: str) -> bytes:
        size = self.sizes[name]
        if size > MAX_MEMBER:
            raise BadImageError(f"larger than {bytes_text(MAX_MEMBER)}")
        raw = os.pread(self._file.fileno(), size, self._places[name])
        if len(raw) < size:
            raise BadImageError("truncated")
        return raw


AGAIN = "download it again"


def _unpacked(path: Path) -> IO[bytes]:
    """The plain tar inside ``path``; size and ratio are watched while it is unpacked."""
    plain = open(path, "rb")  # noqa: SIM115 - lives as long as the tree
    head = plain.read(6)
    plain.seek(0)
    opener = next((o for magic, o in OPENERS.items() if head.startswith(magic)), None)
    if opener is None:
        return plain
    packed = path.stat().st_size
    out: IO[bytes] = tempfile.TemporaryFile(prefix="edgeprune-")  # noqa: SIM115
    done = 0
    with plain:
        try:
            with opener(path, "rb") as f:
                while block := f.read(1 << 20):
                    done += len(block)
                    _check_total(path, 0, done, packed)
                    out.write(block)
            out.flush()
            out.seek(0)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as e:
            raise EdgepruneError(str(path), f"cut off or corrupt ({e})", AGAIN) from None
        except OSError as e:
            raise EdgepruneError(
                f"cannot unpack {path}",
                e.strerror or str(e),
                f"point TMPDIR ({tempfile.gettempdir()}) elsewhere, or unpack it yourself",
            ) from None
    return out


def _clean(name: str) -> str | None:
    """The member's name with plain slashes, or None for what desktops leave behind."""
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".")]
    if not parts or any(_junk(p) for p in parts if p != ".."):
        return None
    return "/".join(parts)


def _junk(part: str) -> bool:
    return part in JUNK or part.startswith(".")


def _unsafe(name: str) -> str:
    plain = name.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":":
        return "an absolute path in an archive"
    if ".." in plain.split("/"):
        return "a path that leaves the archive (../)"
    return ""


def _bomb(unpacked: int, packed: int) -> bool:
    return unpacked > MAX_MEMBER or (unpacked > SMALL and unpacked > MAX_RATIO * packed)


def _check_total(path: Path, members: int, unpacked: int, packed: int) -> None:
    if members > MAX_MEMBERS:
        raise EdgepruneError(
            str(path),
            f"{members:,} members, more than {MAX_MEMBERS:,}",
            "unpack it and give the folder, or a part of it",
        )
    if unpacked > MAX_TOTAL or (unpacked > SMALL and unpacked > MAX_RATIO * packed):
        raise EdgepruneError(
            str(path),
            f"a decompression bomb ({bytes_text(unpacked)} out of {bytes_text(packed)})",
            "if you trust it, unpack it and give the folder",
        )


def _parents(names: dict[str, int]) -> set[str]:
    found: set[str] = set()
    for name in names:
        while (name := name.rpartition("/")[0]) and name not in found:
            found.add(name)
    return found


def _digest(lines: Iterator[str]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return "sha256:" + sha.hexdigest()[:32]
