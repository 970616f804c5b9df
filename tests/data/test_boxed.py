"""Images with boxes as COCO writes them: cut as their images are; what is odd is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeprune import data
from edgeprune.data import boxed, evaluation_batches
from edgeprune.data.boxed import seen
from edgeprune.errors import EdgepruneError
from edgeprune.records import Convention

IDS = {3: "cat", 7: "dog"}  # COCO's numbers have gaps


def coco(folder: Path, n: int = 30, **more: Any) -> str:
    """Images of 40 x 20 px, black but for one white box each, of 4 x 6 px; every third is a dog."""
    (folder / "images" / "in").mkdir(parents=True)
    images, boxes = [], []
    for i in range(n):
        x, y = 12 + i % 10, i % 14
        pixels = np.zeros((20, 40), np.uint8)
        pixels[y : y + 6, x : x + 4] = 255
        Image.fromarray(pixels).save(folder / "images" / "in" / f"{i}.png")
        images.append({"id": 100 + i, "file_name": f"in/{i}.png", "width": 40, "height": 20})
        boxes.append(
            {"id": i, "image_id": 100 + i, "category_id": 3 if i % 3 else 7, "bbox": [x, y, 4, 6]}
        )
    told = {
        "images": images, "annotations": boxes,
        "categories": [{"id": key, "name": name} for key, name in reversed(IDS.items())],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(told | more))
    return str(folder)


def changed(folder: Path, **more: Any) -> dict[str, Any]:
    """The first box changed."""
    told = json.loads((folder / "annotations.json").read_text())
    told["annotations"][0] |= more
    (folder / "annotations.json").write_text(json.dumps(told))
    return told


@pytest.mark.parametrize("size", [20, 10])
def test_boxes_lie_where_the_pixels_do(size: int, tmp_path: Path) -> None:
    name = coco(tmp_path / "set")
    assert data.takes(name) is None
    found = data.load(name, size=size)
    assert found.classes == ("cat", "dog")
    assert found.source["kind"] == "boxes"
    assert sum(map(len, (found.train, found.validation, found.test))) == 30
    x, y = next(evaluation_batches(found.train, Convention(size, (0.0,) * 3, (1.0,) * 3)))
    assert y.shape == (len(x), 1, 6)
    for image, (box,) in zip(x, y, strict=True):
        lit = (image[0] > image.max() / 2).nonzero()
        middle = (lit.min(0).values + lit.max(0).values + 1).float().flip(0) / 2
        assert (box[1:3] - middle).abs().max() <= 1
        assert box[3:5].tolist() == pytest.approx([4 * size / 20, 6 * size / 20])
        assert box[5] == 0
    dogs = sum(
        (part.labels[:, 0, 0] == 1).sum() for part in (found.train, found.validation, found.test)
    )
    assert dogs == 10


def test_what_a_window_shows_of_a_box() -> None:
    boxes = np.array([
        [1, 20, 20, 10, 10, 0],  # whole
        [0, 10, 20, 8, 4, 0],  # half of it is left: it counts
        [0, 9, 20, 8, 4, 0],  # less: neither for nor against
        [0, 3, 20, 8, 4, 0],  # outside
        [0, 20, 20, 2, 2, 1],  # a crowd
        [-1, 20, 20, 2, 2, 0],  # none
    ], np.float32)  # fmt: skip
    assert seen(boxes, 10, 16).tolist() == [
        [1, 10, 10, 10, 10, 0],
        [0, 2, 10, 4, 4, 0],
        [0, 1.5, 10, 3, 4, 1],
        [-1, 0, 0, 0, 0, 0],
        [0, 10, 10, 2, 2, 1],
        [-1, 0, 0, 0, 0, 0],
    ]


def test_parts_of_its_own_and_an_archive(tmp_path: Path) -> None:
    coco(tmp_path / "set" / "train")
    coco(tmp_path / "set" / "valid", 4)
    found = data.load(str(tmp_path / "set"), size=20)
    assert (len(found.validation), len(found.train) + len(found.test)) == (4, 30)
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "set")
    packed = data.load(str(tmp_path / "packed.zip"), size=20)
    assert np.array_equal(packed.train.labels, found.train.labels)
    coco(
        tmp_path / "set" / "test",
        4,
        categories=[{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
    )
    with pytest.raises(EdgepruneError, match="other categories"):
        data.load(str(tmp_path / "set"), size=20)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"bbox": [1, 2, 0, 4]}, "a box of 0x4 pixels"),
        ({"bbox": [1, 2, 3]}, "a box of no image or category"),
        ({"image_id": 1}, "a box of no image or category"),
        ({"category_id": 1}, "a box of no image or category"),
        ({"bbox": None}, "no annotations of COCO"),
        ({"bbox": [10**400, 0, 1, 1]}, "no annotations of COCO"),
        ({"bbox": [1e308, 1e308, 1e308, 1e308]}, "a box of 1e[+]308x1e[+]308 pixels at 1e[+]308"),
        ({"image_id": float("inf")}, "no annotations of COCO"),
    ],
)
def test_odd_boxes_are_refused(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    name = coco(tmp_path / "set")
    changed(tmp_path / "set", **more)
    with pytest.raises(EdgepruneError, match=why):
        data.load(name, size=20)


def test_one_image_of_very_many_boxes_asks_for_no_memory_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = coco(tmp_path / "set")
    told = changed(tmp_path / "set")
    told["annotations"] += [told["annotations"][0]] * 9
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(told))
    assert data.load(name, size=20).train.labels.shape[1:] == (10, 6)
    monkeypatch.setattr(boxed, "MOST_ROWS", 299)
    with pytest.raises(EdgepruneError, match=r"in/0.png: 10 boxes, .* leave the image out"):
        data.load(name, size=20)


def test_an_image_that_cannot_be_read_says_nothing_of_the_size(tmp_path: Path) -> None:
    name = coco(tmp_path / "set")
    (tmp_path / "set" / "images" / "in" / "0.png").write_bytes(b"no image")
    assert data.natural_size(name) == 32
    with pytest.raises(EdgepruneError, match=r"0.png: corrupt \(no image of a known kind\)"):
        data.load(name, size=20)


def test_images_that_are_not_there_or_are_turned(tmp_path: Path) -> None:
    name = coco(tmp_path / "set")
    folder = tmp_path / "set" / "images" / "in"
    (folder / "0.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "1.png").save(folder / "1.png", exif=exif)
    told: list[str] = []
    found = data.load(name, size=20, skip_bad=True, notes=told.append)
    assert sum(found.source["images"].values()) == 28
    for why in ("no such image", "turned by its EXIF note"):
        assert any(why in note for note in told), told
    shutil.copy(tmp_path / "set" / "annotations.json", tmp_path / "set" / "more.json")
    with pytest.raises(EdgepruneError, match="two files of annotations"):
        data.load(name, size=20)
