"""Arrays x and y of an .npz, and images beside masks: read, split, cut alike; what is odd is one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune import data
from edgeprune.data import Loader
from edgeprune.errors import EdgepruneError
from edgeprune.records import Convention


def arrays(path: Path, n: int = 40, **more: np.ndarray) -> str:
    x = np.arange(n * 6, dtype=np.float64).reshape(n, 2, 3)
    np.savez(path, **{"x": x, "y": x[:, 0, 0].astype(np.int16)} | more)
    return str(path)


def pictures(folder: Path, n: int = 30, side: tuple[int, int] = (20, 12)) -> str:
    """Grey images whose mask is 1 where they are bright; of 20 x 12 px."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind / "in").mkdir(parents=True)
    for i in range(n):
        bright = rng.integers(0, 2, (side[1], side[0]), np.uint8)
        Image.fromarray(bright * 200).save(folder / "images" / "in" / f"{i}.png")
        Image.fromarray(bright).save(folder / "masks" / "in" / f"{i}.bmp")
    return str(folder)


def test_arrays_are_given_as_they_are(tmp_path: Path) -> None:
    name = arrays(tmp_path / "a.npz", x_test=np.ones((3, 2, 3)), y_test=np.array([7, 8, 9]))
    assert data.takes(name) == (2, 3)
    found = data.load(name, size=32)
    assert {p: len(getattr(found, p)) for p in ("train", "validation", "test")} == {
        "train": 36, "validation": 4, "test": 3,
    }  # fmt: skip
    assert found.test.labels.tolist() == [7, 8, 9]
    x, y = next(iter(Loader(found.train, Convention(32), batch_size=8).epoch(1)))
    assert (x.dtype, x.shape[1:], y.dtype) == (torch.float32, (2, 3), torch.int64)
    assert torch.equal(x[:, 0, 0].long(), y)  # x and y stay together
    seen = np.concatenate([found.train.labels, found.validation.labels])
    assert sorted(seen.tolist()) == [6 * i for i in range(40)]
    again = data.load(name, size=32)
    assert np.array_equal(again.train.labels, found.train.labels)
    assert len(data.load(name, size=32, limit=10).train) == 10


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"y": np.arange(3)}, "do not belong together"),
        ({"y": np.full(40, np.nan)}, "NaN or infinite"),
        ({"y": np.array(["a"] * 40)}, "not numbers"),
        ({"y": np.array([{}] * 40, dtype=object)}, "Python objects"),
        ({"x_test": np.ones((3, 2, 3))}, "x_test without y_test"),
        ({"x": np.full((40, 2, 3), 1e300)}, "NaN or infinite"),
        ({"y": np.full(40, 2**64 - 1, np.uint64)}, "holds 18446744073709551615"),
        ({"x_test": np.ones((3, 5)), "y_test": np.ones(3)}, "do not belong together"),
    ],
)
def test_odd_arrays_are_refused(more: dict[str, np.ndarray], why: str, tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match=why):
        data.load(arrays(tmp_path / "a.npz", **more), size=32)


def test_large_numbers_are_no_classes_whose_names_fill_the_memory(tmp_path: Path) -> None:
    found = data.load(arrays(tmp_path / "a.npz", y=np.full(40, 200_000)), size=32)
    assert found.classes == ()
    assert int(found.train.labels.max()) == 200_000  # of a network that gives a number


def test_masks_are_cut_as_their_images_are(tmp_path: Path) -> None:
    name = pictures(tmp_path / "set")
    assert data.takes(name) is None
    assert data.natural_size(name) == 32
    found = data.load(name, size=12)
    assert found.classes == ("0", "1")
    x, y = next(iter(Loader(found.train, Convention(12), batch_size=8, augment="small").epoch(1)))
    assert y.shape == (8, 12, 12)
    assert torch.equal((x[:, 0] > 0).long(), y)
    larger = data.load(name, size=70)  # kept larger than it is shown
    x, y = next(iter(Loader(larger.train, Convention(70), batch_size=8).epoch(1)))
    assert y.shape == (8, 70, 70)
    assert ((x[:, 0] > 0).long() == y).float().mean() > 0.85
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "set")
    packed = data.load(str(tmp_path / "packed.zip"), size=12)
    assert np.array_equal(packed.test.labels, found.test.labels)


def test_parts_of_its_own_and_masks_of_black_and_white(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "train")
    pictures(tmp_path / "set" / "test", 5)
    for mask in (tmp_path / "set").rglob("masks/in/*"):
        Image.fromarray(np.asarray(Image.open(mask)) * 255).save(mask)
    found = data.load(str(tmp_path / "set"), size=12)
    assert (len(found.test), len(found.train) + len(found.validation)) == (5, 30)
    assert found.classes == ("0", "1")
    assert set(np.unique(found.train.labels)) == {0, 1}


def test_numbers_of_classes_are_not_blended(tmp_path: Path) -> None:
    pictures(tmp_path / "set")
    for mask in (tmp_path / "set").rglob("masks/in/*"):
        Image.fromarray(np.asarray(Image.open(mask)) * 4).save(mask)
    found = data.load(str(tmp_path / "set"), size=30)
    assert set(np.unique(found.train.labels)) == {0, 4}


def test_odd_masks_are_faults(tmp_path: Path) -> None:
    name = pictures(tmp_path / "set")
    folder = tmp_path / "set" / "masks" / "in"
    (folder / "0.bmp").unlink()
    (folder / "1.bmp").write_bytes(b"BM no image")
    Image.new("RGB", (20, 12)).save(folder / "2.bmp")
    Image.new("L", (12, 20)).save(folder / "3.bmp")
    with pytest.raises(EdgepruneError, match="no mask of its name"):
        data.load(name, size=12)
    told: list[str] = []
    found = data.load(name, size=12, skip_bad=True, notes=told.append)
    assert sum(found.source["images"].values()) == 26
    for why in ("no mask of its name", "mode RGB", "another size"):
        assert any(why in note for note in told), told
    with pytest.raises(EdgepruneError, match="test part of its own"):
        data.load(name, size=12, test=name)
