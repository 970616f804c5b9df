"""Images without labels: any that lie there, evenly spaced where there are more than asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.data.unlabelled import NO_LABEL, unlabelled
from edgeprune.errors import EdgepruneError

from .pictures import encoded, picture, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten shades of red, 10, 30, ..., 190, in the order of their names, at several depths."""
    names = [f"{'abcdefghij'[i]}/{'deep/' * (i % 3)}{i}.png" for i in range(10)]
    files = {n: encoded(picture((10 + 20 * i, 0, 0))) for i, n in enumerate(names)}
    return write(tmp_path / "photos", files | {"a/notes.txt": b"no image"})


def shades(folder: Path, limit: int) -> tuple[list[int], list[str]]:
    """Which of the ten came, and what was said."""
    notes: list[str] = []
    split = unlabelled(str(folder), size=16, limit=limit, notes=notes.append)
    assert (split.labels == NO_LABEL).all()
    red = split.images(range(len(split)))[..., 0].mean((1, 2))
    return np.round((red - 10) / 20).astype(int).tolist(), notes


def test_all_of_them_in_the_order_of_their_names(folder: Path) -> None:
    assert shades(folder, 10) == (list(range(10)), [])
    assert shades(folder, 50) == (list(range(10)), [])


def test_of_more_the_evenly_spaced(folder: Path) -> None:
    """Four of ten: every third, both ends among them."""
    found, notes = shades(folder, 4)
    assert found == [0, 3, 6, 9]
    assert notes == [f"{folder}: looks at 4 of 10 images, evenly spaced (--limit)"]


def test_what_cannot_be_decoded_is_left_out_only_if_asked(folder: Path) -> None:
    (folder / "a" / "0.png").write_bytes(b"nothing")
    with pytest.raises(EdgepruneError, match=r"0\.png"):
        unlabelled(str(folder), size=16, limit=10)
    assert len(unlabelled(str(folder), size=16, limit=10, skip_bad=True)) == 9


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    for name, said in (("none", "no such folder"), ("empty", "no images in it, it is empty")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(EdgepruneError, match=said):
            unlabelled(str(tmp_path / name), size=16, limit=10)
