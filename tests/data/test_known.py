"""The sets known by name: downloaded from a server on this machine, and found where they lie."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import pickle
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from edgeprune import data
from edgeprune.data import known
from edgeprune.errors import EdgepruneError

from .pictures import encoded, photos, picture, tarred, write, zipped


@dataclass
class Server:
    url: str
    folder: Path  # what lies here is served
    asked: list[str]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as s:
        thread = threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Server(f"http://127.0.0.1:{s.server_address[1]}", folder, asked)
        s.shutdown()
        thread.join()


def md5(raw: bytes) -> str:
    return hashlib.md5(raw).hexdigest()


def text(value: bytes) -> bytes:
    """A Python 2 str in a pickle."""
    return b"T" + struct.pack("<i", len(value)) + value


def items(values: dict[bytes, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in values.items()) + b"u."


def array(pixels: np.ndarray) -> bytes:
    """uint8 [n, 3072] as NumPy under Python 2 pickled it: the form of the published files."""
    n, width = pixels.shape
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + b"J" + struct.pack("<i", n) + b"J" + struct.pack("<i", width) + b"\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(pixels.tobytes()) + b"tb"
    )  # fmt: skip


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([v]) for v in values) + b"e"


def words(values: list[bytes]) -> bytes:
    return b"](" + b"".join(text(v) for v in values) + b"e"


PIXELS = np.random.default_rng(0).integers(0, 256, (60, 3072)).astype(np.uint8)
LABELS = [i % 10 for i in range(60)]
CLASSES = [b"airplane", b"automobile", *(b"class %d" % i for i in range(2, 10))]


def cifar(key: bytes, names: bytes, base: str, batches: list[str]) -> dict[str, bytes]:
    """The members of an archive; all 60 images lie in every batch."""
    one = items({key: numbers(LABELS), b"data": array(PIXELS), b"batch_label": text(b"x")})
    meta = items({names: words(CLASSES)})
    files = {f"{base}/{name}": one for name in batches}
    return files | {f"{base}/{'batches.meta' if base.endswith('py') else 'meta'}": meta}


@pytest.fixture(params=["cifar10", "cifar100"])
def published(request: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small CIFAR on the server, torchvision's constants pointing at it."""
    name: str = request.param
    if name == "cifar10":
        of: Any = datasets.CIFAR10
        train, test = ["data_batch_1", "data_batch_2"], ["test_batch"]
        files = cifar(b"labels", b"label_names", of.base_folder, train + test)
    else:
        of, train, test = datasets.CIFAR100, ["train"], ["test"]
        files = cifar(b"fine_labels", b"fine_label_names", of.base_folder, train + test)
    packed = tarred(server.folder / of.filename, files)
    sums = {n.split("/")[1]: md5(raw) for n, raw in files.items()}
    monkeypatch.setattr(of, "url", f"{server.url}/{of.filename}")
    monkeypatch.setattr(of, "tgz_md5", md5(packed.read_bytes()))
    monkeypatch.setattr(of, "train_list", [[n, sums[n]] for n in train])
    monkeypatch.setattr(of, "test_list", [[n, sums[n]] for n in test])
    monkeypatch.setattr(of, "meta", of.meta | {"md5": sums[of.meta["filename"]]})
    return name


def test_cifar_is_downloaded_once(published: str, server: Server, empty_home: Path) -> None:
    told: list[tuple[str, int, int]] = []
    dataset = data.load(published, size=32, progress=lambda *now: told.append(now))
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert len(dataset.test) == 60
    assert len(dataset.train) + len(dataset.validation) == (120 if published == "cifar10" else 60)
    as_published = PIXELS.reshape(60, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(dataset.test.images(range(60)), as_published)
    assert dataset.test.labels.tolist() == LABELS
    assert told[-1][0].startswith("downloading")
    data.load(published, size=32)
    assert len(server.asked) == 1
    of = getattr(datasets, published.upper())
    own = of(str(empty_home / "data"), train=False, download=True)  # torchvision finds it too
    assert np.array_equal(own.data, as_published)
    assert len(server.asked) == 1


def test_cifar_unpacked_by_torchvision(published: str, server: Server, empty_home: Path) -> None:
    of = getattr(datasets, published.upper())
    of(str(empty_home / "data"), download=True)
    (empty_home / "data" / of.filename).unlink()
    assert len(data.load(published, size=32).test) == 60
    spoilt = empty_home / "data" / of.base_folder / of.test_list[0][0]
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"!")
    with pytest.raises(EdgepruneError, match="md5"):
        data.load(published, size=32)
    spoilt.unlink()
    with pytest.raises(EdgepruneError, match="not there"):
        data.load(published, size=32)


def test_a_spoilt_download_is_refused(published: str, server: Server, empty_home: Path) -> None:
    of = getattr(datasets, published.upper())
    (server.folder / of.filename).write_bytes(b"something else")
    with pytest.raises(EdgepruneError, match=r"md5 is .*put the file there yourself") as e:
        data.load(published, size=32)
    assert str(empty_home / "data" / of.filename) in str(e.value)
    assert not list((empty_home / "data").glob("*"))
    (server.folder / of.filename).unlink()
    with pytest.raises(EdgepruneError, match="404"):
        data.load(published, size=32)


def test_nothing_is_fetched_where_nothing_may_be(empty_home: Path) -> None:
    for name in ("cifar10", "svhn", "caltech101"):
        with pytest.raises(EdgepruneError, match="is not there"):
            data.load(name, size=32, download=False)


def test_an_archive_in_the_home_folder_comes_before_a_download(empty_home: Path) -> None:
    write(empty_home / "data", {})
    (empty_home / "data").mkdir()
    zipped(empty_home / "data" / "cifar10.zip", photos(top="train/") | photos(top="test/"))
    dataset = data.load("cifar10", size=32, download=False)
    assert len(dataset.test) == 30
    assert {n.name: n.path for n in data.listed()}["cifar10"] == Path(dataset.source["path"])


class Trap:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("trapped",))


def test_a_batch_is_read_without_running_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = items({b"data": array(PIXELS), b"labels": numbers(LABELS)})
    as_numpy = pickle.loads(raw, encoding="bytes")
    read = known.read_batch(raw, "x")
    assert np.array_equal(read[b"data"], as_numpy[b"data"])
    assert np.array_equal(read[b"data"], PIXELS)
    assert read[b"labels"] == LABELS
    evil = [pickle.dumps(Trap(), protocol=2), pickle.dumps({b"data": Trap()})]
    for bad in (*evil, b"", raw[:-10], b"\x80\x02]."):
        with pytest.raises(EdgepruneError, match="not a CIFAR batch"):
            known.read_batch(bad, "x")
    assert not (tmp_path / "trapped").exists()


@pytest.fixture
def svhn(server: Server, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 40)).astype(np.uint8)
    labels = np.array([i % 10 + 1 for i in range(40)], np.uint8)[:, None]  # 10 is the digit 0
    table = {}
    for part in ("train", "test"):
        path = server.folder / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": pixels, "y": labels})
        table[part] = [f"{server.url}/{path.name}", path.name, md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    return pixels


def test_svhn(svhn: np.ndarray, server: Server, empty_home: Path) -> None:
    dataset = data.load("svhn", size=32)
    assert dataset.classes == tuple("0123456789")
    assert dataset.test.labels.tolist() == [(i + 1) % 10 for i in range(40)]
    assert np.array_equal(dataset.test.images([3])[0], svhn[..., 3])
    data.load("svhn", size=32)
    assert len(server.asked) == 2
    own = datasets.SVHN(str(empty_home / "data"), "test")
    assert np.array_equal(own.labels, dataset.test.labels)
    path = empty_home / "data" / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EdgepruneError, match="md5"):
        data.load("svhn", size=32)


@pytest.mark.parametrize(
    "value", [b"no mat", {"X": np.zeros((3, 3))}, {"X": np.zeros((32, 32, 3, 2)), "y": [1, 2]}]
)
def test_svhn_of_another_form(
    server: Server, empty_home: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    path = server.folder / "train_32x32.mat"
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        scipy.io.savemat(path, value)
    row = [f"{server.url}/{path.name}", path.name, md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", {"train": row, "test": row})
    with pytest.raises(EdgepruneError, match=r"not SVHN's .mat"):
        data.load("svhn", size=32)


def caltech(server: Server, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    inner = tarred(server.folder / "inner.tar.gz", files)
    name = "caltech-101/101_ObjectCategories.tar.gz"
    extra = {"caltech-101/Annotations.tar": b"x", "__MACOSX/caltech-101/._x": b"x"}
    packed = zipped(server.folder / "caltech-101.zip", {name: inner.read_bytes(), **extra})
    monkeypatch.setattr(known, "CALTECH101_URL", f"{server.url}/caltech-101.zip")
    monkeypatch.setattr(known, "CALTECH101_MD5", md5(packed.read_bytes()))


def test_caltech101(server: Server, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = photos(top="101_ObjectCategories/")
    clutter = {"101_ObjectCategories/BACKGROUND_Google/1.png": encoded(picture())}
    caltech(server, monkeypatch, files | clutter)
    dataset = data.load("caltech101", size=16)
    assert dataset.classes == ("blue", "green", "red")
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 30
    assert any("BACKGROUND_Google" in note for note in dataset.notes)
    data.load("caltech101", size=16)
    assert len(server.asked) == 1
    own = datasets.Caltech101(str(empty_home / "data"))  # torchvision finds it where it looks
    assert own.categories == list(dataset.classes)
    assert sorted(p.name for p in (empty_home / "data/caltech101").iterdir()) == [
        "101_ObjectCategories"
    ]


def test_caltech101_of_another_form(
    server: Server, empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caltech(server, monkeypatch, {"../../evil.png": b"x"})
    with pytest.raises(EdgepruneError, match="leaves the archive"):
        data.load("caltech101", size=16)
    caltech(server, monkeypatch, {"else/red/1.png": encoded(picture())})
    (empty_home / "data/caltech101/caltech-101.zip").unlink()
    with pytest.raises(EdgepruneError, match="cannot unpack"):
        data.load("caltech101", size=16)
    assert [p.name for p in (empty_home / "data/caltech101").iterdir()] == ["caltech-101.zip"]
