"""Every form in which people hand in a data set, and what is wrong with some of them."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeprune import data
from edgeprune.data import archives, npz
from edgeprune.errors import EdgepruneError

from .pictures import COLOURS, encoded, photos, picture, tarred, write, zipped


def load(path: Path | str, **options: Any) -> data.Dataset:
    return data.load(str(path), **{"size": 16, **options})


def counts(dataset: data.Dataset) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.validation), len(dataset.test)


def refused(path: Path | str, **options: Any) -> str:
    """The one line; skipping what is bad must not turn it into something else than a line."""
    with pytest.raises(EdgepruneError) as e:
        load(path, **options)
    line = str(e.value)
    assert line.isprintable()
    return line


def colours_fit(dataset: data.Dataset) -> None:
    """Every image has the colour of its label, in every part."""
    for split in (dataset.train, dataset.validation, dataset.test):
        seen = split.images(range(len(split))).reshape(len(split), -1, 3).mean(axis=1)
        wanted = np.array([COLOURS[dataset.classes[i]] for i in split.labels])
        assert np.abs(seen - wanted).max() < 12


def test_class_folders_without_parts(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "photos", photos()))
    assert dataset.classes == ("blue", "green", "red")
    assert counts(dataset) == (21, 3, 6)
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 2]
    assert dataset.source["split"]["test"] == "20 % of all images"
    assert dataset.notes == []
    colours_fit(dataset)


@pytest.mark.parametrize("wrapped", ["", "photos-main/", "a/b/"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", ""])
def test_parts_of_its_own(tmp_path: Path, wrapped: str, validation: str) -> None:
    files = photos(each=10, top=f"{wrapped}train/") | photos(each=4, top=f"{wrapped}test/")
    if validation:
        files |= photos(each=2, top=f"{wrapped}{validation}/")
    dataset = load(zipped(tmp_path / "x.zip", files))
    assert counts(dataset) == ((30, 6, 12) if validation else (27, 3, 12))
    assert dataset.source["split"]["test"] == "its own"
    colours_fit(dataset)


def test_an_own_validation_stays_and_test_is_taken_from_training(tmp_path: Path) -> None:
    files = photos(each=10, top="training/") | photos(each=3, top="val/")
    dataset = load(write(tmp_path / "x", files))
    assert counts(dataset) == (24, 9, 6)
    assert dataset.source["split"] == {
        "train": "80 % of the training images",
        "validation": "its own",
        "test": "20 % of the training images",
    }


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    files = {n.replace("red", "train"): raw for n, raw in photos().items()}
    assert load(write(tmp_path / "x", files)).classes == ("blue", "green", "train")


JUNK = {
    "__MACOSX/._photos": b"x",
    "photos/.DS_Store": b"x",
    "photos/red/Thumbs.db": b"x",
    "photos/red/._000.png": b"x",
    "photos/red/desktop.ini": b"x",
}


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_forms_and_what_desktops_leave_behind(tmp_path: Path, form: str) -> None:
    files = photos(top="photos/") | JUNK
    path = tmp_path / f"x.{form}"
    if form == "folder":
        write(path, files)
    elif form == "zip":
        zipped(path, files)
    else:
        modes = {"tar": "w", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
        tarred(path, {f"./{n}": raw for n, raw in files.items()}, modes.get(form, "w:gz"))
    dataset = load(path)
    assert counts(dataset) == (21, 3, 6)
    assert dataset.notes == []
    colours_fit(dataset)
    assert dataset.source["fingerprint"].startswith("sha256:")


def test_the_same_pictures_give_the_same_set_in_every_form(tmp_path: Path) -> None:
    folder = load(write(tmp_path / "x", photos()))
    tar = load(tarred(tmp_path / "x.tgz", photos()))
    packed = load(zipped(tmp_path / "x.zip", dict(reversed(photos().items()))))
    for other in (tar, packed):
        everything = range(len(folder.train))
        assert np.array_equal(folder.train.images(everything), other.train.images(everything))
        assert np.array_equal(folder.test.labels, other.test.labels)


def test_other_files_and_strays_are_reported(tmp_path: Path) -> None:
    files = {f"set/{n}": raw for n, raw in photos().items()}
    files |= {"set/README.md": b"x", "set/red/notes.txt": b"x", "set/cover.png": encoded(picture())}
    notes = load(zipped(tmp_path / "x.zip", files)).notes
    assert notes == [
        "2 files are no images by their names: set/README.md, set/red/notes.txt",
        "1 images lie in no class folder and are not used: set/cover.png",
    ]


BAD = {
    "truncated": (encoded(picture())[:300], "truncated"),
    "empty": (b"", "empty file"),
    "html": (b"<html>404</html>", "not an image"),
}


@pytest.mark.parametrize("kind", list(BAD))
@pytest.mark.parametrize("memory", [None, 0], ids=["kept", "streamed"])
def test_bad_images_stop_or_are_skipped_and_counted(
    tmp_path: Path, kind: str, memory: int | None
) -> None:
    raw, why = BAD[kind]
    files = photos() | {"red/zz1.png": raw, "green/zz2.png": raw}
    path = write(tmp_path / "x", files)
    line = refused(path, memory=memory)
    assert why in line
    assert "zz" in line
    assert "and 1 more" in line
    assert "--skip-bad" in line
    told: list[str] = []
    dataset = load(path, skip_bad=True, notes=told.append, memory=memory)
    assert sum(counts(dataset)) == 30
    assert dataset.notes == told
    assert "left out 2" in told[0]
    assert why in told[0]
    assert "green/zz2.png" in told[0]
    colours_fit(dataset)


def test_bad_images_change_no_other_images_part(tmp_path: Path) -> None:
    files = photos()
    good = load(write(tmp_path / "x", files))
    spoilt = load(write(tmp_path / "y", files | {"red/003.png": b""}), skip_bad=True)
    shared = {
        part: {encoded(Image.fromarray(p)) for p in getattr(good, part).images(range(n))}
        for part, n in zip(("train", "validation", "test"), counts(good), strict=True)
    }
    for part, n in zip(shared, counts(spoilt), strict=True):
        own = {encoded(Image.fromarray(p)) for p in getattr(spoilt, part).images(range(n))}
        assert own <= shared[part]


def test_empty_class_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "x", photos())
    (path / "yellow").mkdir()
    assert "class folder yellow: it is empty" in refused(path)
    dataset = load(path, skip_bad=True)
    assert dataset.classes == ("blue", "green", "red")
    assert "yellow" in dataset.notes[0]
    with zipfile.ZipFile(zipped(tmp_path / "x.zip", photos(top="x/")), "a") as z:
        z.mkdir("x/yellow")
    assert "yellow" in refused(tmp_path / "x.zip")


def test_one_image_in_a_class(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "x", photos() | {"white/1.png": encoded(picture())}))
    white = dataset.classes.index("white")
    assert (dataset.train.labels == white).sum() == 1
    assert any("one image only" in note for note in dataset.notes)


def test_a_class_without_training_images(tmp_path: Path) -> None:
    files = photos(top="train/") | photos(top="test/") | {"test/odd/1.png": encoded(picture())}
    path = write(tmp_path / "x", files)
    assert "class odd of test: 1 images, but none in training" in refused(path)
    dataset = load(path, skip_bad=True)
    assert "odd" not in dataset.classes
    assert len(dataset.test) == 30
    assert "odd" in dataset.notes[0]


def test_classes_absent_from_the_test_split_are_told(tmp_path: Path) -> None:
    files = photos(top="train/") | photos(classes=2, top="test/")
    assert load(write(tmp_path / "x", files)).notes == ["test has no images of 1 classes: red"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "no images"),
        ({"readme.txt": b"x"}, "no images"),
        ({"1.png": b"x", "2.png": b"x"}, "no class folders"),
        ({"only/1.png": encoded(picture()), "only/2.png": encoded(picture())}, "only one class"),
        ({"test/a/1.png": b"x", "test/b/1.png": b"x", "train/1.png": b"x"}, ""),
    ],
    ids=["empty", "no-images", "flat", "one-class", "no-training"],
)
def test_folders_that_are_no_sets(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    path = write(tmp_path / "x", files)
    path.mkdir(exist_ok=True)
    assert why in refused(path)
    assert why in refused(path, skip_bad=True)


def test_things_that_are_not_there(empty_home: Path, tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "nothing")
    assert "no such file or folder" in refused("nothing.zip")
    line = refused("cifar11")
    assert "did you mean cifar10?" in line
    assert str(empty_home / "data" / "cifar11") in line
    for name in ("../x", "", ".", "a\nb"):
        refused(name)


def test_what_no_data_set_can_be(empty_home: Path, tmp_path: Path) -> None:
    assert "no data set is named" in refused("")  # not the folder one happens to be in
    assert "no such user" in refused("~nobody-of-this-name/photos")
    os.mkfifo(tmp_path / "x.zip")  # opening it would wait for ever
    assert "neither a file nor a folder" in refused(tmp_path / "x.zip")


def test_class_names_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x", photos())
    os.rename(bytes(path / "red"), bytes(path) + b"/r\xe9d")
    assert r"class folder 'r\udce9d': its name is not UTF-8 — rename it" in refused(path)


@pytest.mark.parametrize("raw", [b"", b"<html>", b"PK\x03\x04 no zip", b"\x1f\x8b no gzip", b"BZh"])
def test_files_that_are_no_archives(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(raw)
    assert str(path) in refused(path)


def test_archives_that_are_cut_off(tmp_path: Path) -> None:
    for path in (
        zipped(tmp_path / "x.zip", photos()),
        tarred(tmp_path / "x.tgz", photos()),
    ):
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) // 2])
        assert "download it again" in refused(path)
    tar = tarred(tmp_path / "x.tar", photos(), "w")
    tar.write_bytes(tar.read_bytes()[:12_345])
    refused(tar)


@pytest.mark.parametrize("size", [b"7", b"\xff" * 12], ids=["checksum", "negative"])
def test_a_broken_header_in_a_tar_loses_nothing_in_silence(tmp_path: Path, size: bytes) -> None:
    """tarfile takes a header that it cannot read for the end of the archive."""
    path = tarred(tmp_path / "x.tar", photos(), "w")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"red/005.png")
    raw[at + 124 : at + 124 + len(size)] = size
    if len(size) == 12:  # a whole header, whose file would end before it begins
        raw[at + 148 : at + 156] = b"%06o\0 " % (
            sum(raw[at : at + 512]) - sum(raw[at + 148 : at + 156]) + 256
        )
    path.write_bytes(bytes(raw))
    assert "not a whole tar" in refused(path)
    assert "not a whole tar" in refused(path, skip_bad=True)


def test_a_corrupt_member_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as z:
        for name, raw in photos().items():
            z.writestr(name, raw)
    raw = bytearray(path.read_bytes())
    at = raw.index(photos()["green/003.png"])
    raw[at + 100 : at + 120] = bytes(20)
    path.write_bytes(bytes(raw))
    assert "green/003.png: corrupt in the archive" in refused(path)
    assert sum(counts(load(path, skip_bad=True))) == 29


@pytest.mark.parametrize(
    "name", ["../evil.png", "red/../../evil.png", "/etc/evil.png", "C:\\e.png"]
)
@pytest.mark.parametrize("form", ["zip", "tgz"])
def test_paths_that_leave_the_archive(tmp_path: Path, name: str, form: str) -> None:
    make = zipped if form == "zip" else tarred
    path = make(tmp_path / f"x.{form}", photos() | {name: encoded(picture())})
    assert "archive" in refused(path)
    dataset = load(path, skip_bad=True)
    assert sum(counts(dataset)) == 30
    assert "left out 1" in dataset.notes[0]
    assert not list(tmp_path.rglob("evil.png"))


def test_links_in_archives(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(picture()))
    tar = tarred(tmp_path / "x.tar", photos(), "w")
    with tarfile.open(tar, "a") as t:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"red/odd{kind.decode()}.png")
            info.type, info.linkname = kind, str(secret)
            t.addfile(info)
    path = zipped(tmp_path / "x.zip", photos())
    with zipfile.ZipFile(path, "a") as z:
        entry = zipfile.ZipInfo("red/odd.png")
        entry.external_attr = 0o120777 << 16
        z.writestr(entry, str(secret))
    assert "link" in refused(path)
    for one, n in ((tar, 3), (path, 1)):
        dataset = load(one, skip_bad=True)
        assert sum(counts(dataset)) == 30
        assert sum("left out 1" in note for note in dataset.notes) == n


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    bomb = {"red/bomb.png": bytes(8 << 20)}
    assert "bomb" in refused(zipped(tmp_path / "x.zip", photos() | bomb))
    assert sum(counts(load(tmp_path / "x.zip", skip_bad=True))) == 30
    assert "bomb" in refused(tarred(tmp_path / "x.tgz", photos() | bomb), skip_bad=True)
    layers = tmp_path / "layers.tar.gz"  # nothing but zeros, far beyond a tar's end
    layers.write_bytes(gzip.compress(bytes(8 << 20)))
    assert "bomb" in refused(layers)
    many = {f"red/{i}.bmp": bytes(1 << 19) for i in range(8)}
    assert "bomb" in refused(zipped(tmp_path / "many.zip", photos(each=1) | many), skip_bad=True)
    (tmp_path / "x.tar.bz2").write_bytes(bz2.compress(bytes(8 << 20)))
    assert "bomb" in refused(tmp_path / "x.tar.bz2")


def test_limits_of_count_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        write(tmp_path / "x", photos()),
        zipped(tmp_path / "x.zip", photos()),
        tarred(tmp_path / "x.tgz", photos()),
    ]
    monkeypatch.setattr(archives, "MAX_MEMBER", 500)
    for path in paths:
        assert "larger than" in refused(path) or "bomb" in refused(path)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    for path in paths:
        assert "20" in refused(path)


def test_encrypted_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", photos())
    entry = b"PK\x01\x02\x14\x03\x14\x00"  # in the central directory; the flags follow
    path.write_bytes(path.read_bytes().replace(entry + b"\x00\x00", entry + b"\x01\x00"))
    assert "encrypted" in refused(path)


def test_names_twice_in_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tarred(tmp_path / "x.tar", photos(), "w"), "a") as t:
        info = tarfile.TarInfo("red/000.png")
        info.size = 4
        t.addfile(info, io.BytesIO(b"else"))
    assert "twice" in refused(tmp_path / "x.tar")


def test_links_and_pipes_in_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "x", photos())
    (path / "red" / "again.png").symlink_to(path / "red" / "000.png")  # people link sets together
    assert sum(counts(load(path))) == 31
    (path / "red" / "loop").symlink_to(path)
    (path / "red" / "dead.png").symlink_to(path / "nowhere")
    os.mkfifo(path / "red" / "pipe.png")  # reading it would wait for ever
    assert "and 2 more" in refused(path)
    assert sum(counts(load(path, skip_bad=True))) == 31


# .npz


def medmnist(path: Path, **changes: Any) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, n in (("train", 40), ("val", 12), ("test", 20)):
        labels = np.arange(n) % 4
        grey = (labels[:, None, None] * 60 + rng.integers(0, 9, (n, 12, 12))).astype(np.uint8)
        arrays |= {f"{part}_images": grey, f"{part}_labels": labels[:, None].astype(np.uint8)}
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez_compressed(path, **arrays)
    return path


def test_npz(tmp_path: Path) -> None:
    dataset = load(medmnist(tmp_path / "x.npz"))
    assert counts(dataset) == (40, 12, 20)
    assert dataset.classes == ("0", "1", "2", "3")
    pixels = dataset.test.images(range(20))
    assert pixels.shape == (20, 16, 16, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()  # grey -> RGB
    assert np.abs(pixels.mean(axis=(1, 2, 3)) - dataset.test.labels * 60 - 4).max() < 4
    assert data.natural_size(str(tmp_path / "x.npz")) == 32


def test_npz_forms(tmp_path: Path) -> None:
    plain = load(medmnist(tmp_path / "a.npz"), size=12).train.images(range(40))
    images = {"train_images": np.load(tmp_path / "a.npz")["train_images"]}
    colour = np.repeat(images["train_images"][..., None], 3, axis=3)
    for i, value in enumerate(
        [
            colour,
            colour[..., :1],
            np.asfortranarray(colour),
            images["train_images"] * np.uint16(257),
        ]
    ):
        other = load(medmnist(tmp_path / f"{i}.npz", train_images=value), size=12)
        assert np.array_equal(other.train.images(range(40)), plain)
    without = dict.fromkeys(("val_images", "val_labels", "test_images", "test_labels"))
    assert counts(load(medmnist(tmp_path / "b.npz", **without))) == (28, 4, 8)


def test_a_large_npz_goes_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = medmnist(tmp_path / "a.npz")
    plain = load(path).train.images(range(40))
    monkeypatch.setattr(npz, "IN_MEMORY", 100)
    mapped = load(path, memory=0)
    assert not mapped.source["in_memory"]
    assert np.array_equal(mapped.train.images(range(40)), plain)


def objects() -> Any:
    return np.array([{"a": 1}] * 40, dtype=object)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"train_images": None}, "no train_images in it"),
        ({"test_labels": None}, "no test_labels in it"),
        ({"val_labels": np.zeros(11, int)}, "12 images but 11 labels"),
        ({"train_labels": np.zeros((40, 14), int)}, "one label an image"),
        ({"train_labels": np.zeros(40)}, "integers are needed"),
        ({"train_images": np.zeros((40, 12, 12), np.float32)}, "expected uint8"),
        ({"train_images": np.zeros((40, 12, 12, 12), np.uint8)}, "shape"),
        ({"train_images": np.zeros((40, 0, 12), np.uint8)}, "shape"),
        ({"train_images": objects()}, "Python objects"),
        ({"train_labels": objects()}, "Python objects"),
        ({"train_labels": np.zeros(40, int)}, "only one class"),
        (
            {"train_images": np.zeros((0, 12, 12), np.uint8), "train_labels": np.zeros(0, int)},
            "no ",
        ),
    ],
)
def test_bad_npz(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = medmnist(tmp_path / "x.npz", **changes)
    assert why in refused(path, skip_bad=True)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("label", [-1, 10**9, 7])
def test_labels_out_of_range(tmp_path: Path, part: str, label: int) -> None:
    labels = np.arange(40 if part == "train" else 20) % 4
    labels[5] = label
    path = medmnist(tmp_path / "x.npz", **{f"{part}_labels": labels})
    assert str(label) in refused(path) or "class 4" in refused(path)  # 7: classes 4 to 6 are empty
    dataset = load(path, skip_bad=True)
    dropped = 0 if (part, label) == ("train", 7) else 1
    assert sum(counts(dataset)) == 72 - dropped
    assert dataset.notes


def test_a_label_beyond_int64_is_told_as_it_is(tmp_path: Path) -> None:
    labels = (np.arange(40) % 4).astype(np.uint64)
    labels[5] = 2**63 + 5
    path = medmnist(tmp_path / "x.npz", train_labels=labels)
    assert f"label {2**63 + 5} out of range" in refused(path)


def test_unreadable_npz(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "x.npz")
    raw = path.read_bytes()
    for spoilt in (b"", b"no", raw[: len(raw) // 2], raw[:100] + bytes(50) + raw[150:]):
        path.write_bytes(spoilt)
        assert str(path) in refused(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("train_images.npy", b"no array")
        z.writestr("train_labels.npy", b"no array")
    assert "no array" in refused(path)
    for header in ("(-40, -12, 12)", "(40, 12, 12)' 'x", "(" * 300 + ")" * 300):
        text = b"{'descr': '|u1', 'fortran_order': False, 'shape': %s}\n" % header.encode()
        odd = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(9999)
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("train_images.npy", odd)
            z.writestr("train_labels.npy", odd)
        assert "no array" in refused(path), header
    text = b"{'descr': '|V0', 'fortran_order': False, 'shape': (40, 12, 12)}\n"
    odd = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("train_images.npy", odd)
        z.writestr("train_labels.npy", odd)
    assert "no array" in refused(path)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 1000)}
    )
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("train_images.npy", huge.getvalue())
        z.writestr("train_labels.npy", huge.getvalue())
    assert "bomb" in refused(path)


# Names


def test_digits() -> None:
    dataset = load("digits", size=32)
    assert counts(dataset) == (1259, 179, 359)
    assert dataset.classes == tuple("0123456789")
    again = load("digits", size=32)
    other = load("digits", size=32, seed=1)
    assert np.array_equal(dataset.test.images(range(20)), again.test.images(range(20)))
    assert not np.array_equal(dataset.test.images(range(20)), other.test.images(range(20)))
    assert data.natural_size("digits") == 32


@pytest.mark.parametrize("form", ["", ".zip", ".tar.gz", ".npz"])
def test_names_in_the_home_folder(empty_home: Path, form: str) -> None:
    folder = empty_home / "data"
    folder.mkdir()
    if form == "":
        write(folder / "mine", photos())
    elif form == ".npz":
        medmnist(folder / "mine.npz")
    else:
        (zipped if form == ".zip" else tarred)(folder / f"mine{form}", photos())
    assert sum(counts(load("mine"))) in (30, 72)
    listed = {known.name: known.path for known in data.listed()}
    assert listed["mine"] == folder / f"mine{form}"
    assert listed["cifar10"] is None
    assert "did you mean mine?" in refused("mini")


def test_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "x", photos())
    whole, part = load(path), load(path, limit=9)
    assert counts(part) == (9, 3, 6)
    assert np.bincount(part.train.labels).tolist() == [3, 3, 3]
    assert np.array_equal(part.validation.images(range(3)), whole.validation.images(range(3)))
    assert "9 of 21" in part.source["split"]["train"]
    (note,) = load(path, limit=2).notes
    assert note == "no training image left of 1 of 3 classes (--limit 2)"
    assert "--limit 0" in refused(path, limit=0)


def test_natural_size(tmp_path: Path) -> None:
    assert data.natural_size(str(write(tmp_path / "x", photos()))) == 32
    large = {n: encoded(picture(size=(90, 80))) for n in photos()}
    assert data.natural_size(str(zipped(tmp_path / "y.zip", large))) == 224
