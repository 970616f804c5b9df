"""Batches: every image once, the same for the same seed, kept or streamed, and no thread left."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from edgeprune import data
from edgeprune.data import Loader, evaluation_batches, loaders
from edgeprune.data.transforms import AUGMENTS
from edgeprune.errors import EdgepruneError
from edgeprune.models import Convention

from .pictures import photos, write

PLAIN = Convention(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SIZE96 = Convention(96, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), "BGR")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "photos", photos(each=20))


@pytest.fixture(scope="module")
def dataset(folder: Path) -> data.Dataset:
    return data.load(str(folder), size=16)


def epoch(loader: Loader, n: int | None, start: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    xs, ys = zip(*loader.epoch(n, start), strict=True)
    return torch.cat(xs), torch.cat(ys)


def test_evaluation_is_every_image_in_order(dataset: data.Dataset) -> None:
    split = dataset.train
    batches = list(evaluation_batches(split, PLAIN, 16))
    assert [len(y) for _, y in batches] == [16, 16, 10]
    x = torch.cat([x for x, _ in batches])
    assert torch.equal(torch.cat([y for _, y in batches]), torch.from_numpy(split.labels))
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels, split.images(range(len(split))))
    assert x.dtype == torch.float32
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert batches[0][1].dtype == torch.int64


def test_training_sees_every_image_once(dataset: data.Dataset) -> None:
    loader = Loader(dataset.train, PLAIN, batch_size=8)
    x, y = epoch(loader, 1)
    shown = sorted(image.numpy().tobytes() for image in x)
    stored = torch.cat([x for x, _ in evaluation_batches(dataset.train, PLAIN)])
    assert shown == sorted(image.numpy().tobytes() for image in stored)
    assert not torch.equal(y, torch.from_numpy(dataset.train.labels))
    dropped = Loader(dataset.train, PLAIN, batch_size=8, drop_last=True)
    assert (len(loader), len(dropped)) == (6, 5)
    assert len(epoch(dropped, 1)[0]) == 40


@pytest.mark.parametrize("augment", list(AUGMENTS))
def test_only_seed_and_epoch_decide(dataset: data.Dataset, augment: str) -> None:
    def run(n: int, seed: int = 0, workers: int = 1) -> torch.Tensor:
        options = {"augment": augment, "seed": seed, "workers": workers}
        return epoch(Loader(dataset.train, PLAIN, batch_size=8, **options), n)[0]  # type: ignore[arg-type]

    first = run(1)
    assert torch.equal(first, run(1, workers=5))
    assert not torch.equal(first, run(2))
    assert not torch.equal(first, run(1, seed=1))


class Same(loaders.Split):
    """Every image is the same 20 x 20 ramp: what differs between batches is the augmentation's."""

    canvas = 20

    def __init__(self, n: int) -> None:
        self.labels = np.zeros(n, np.int64)

    def images(self, indices: Any) -> np.ndarray:
        ramp = np.add.outer(np.arange(20), 10 * np.arange(20)).astype(np.uint8)
        return np.repeat(ramp[None, :, :, None], len(indices), 0).repeat(3, 3)


def test_every_batch_is_augmented_anew_and_evaluated_in_the_middle() -> None:
    first, second = (x for x, _ in Loader(Same(16), PLAIN, batch_size=8, augment="small").epoch(1))
    assert not torch.equal(first, second)
    (middle,) = (x for x, _ in evaluation_batches(Same(3), PLAIN))
    corners = (middle[:, 0, [0, -1], [0, -1]] * 255).round()
    assert corners.tolist() == [[2 + 20, 17 + 170]] * 3  # rows and columns 2 to 17 of 20


def test_an_epoch_is_taken_up_again(dataset: data.Dataset) -> None:
    loader = Loader(dataset.train, PLAIN, batch_size=8, augment="small")
    x, y = epoch(loader, 3)
    rest_x, rest_y = epoch(loader, 3, start=2)
    assert torch.equal(x[16:], rest_x)
    assert torch.equal(y[16:], rest_y)


@pytest.mark.parametrize("augment", ["none", "photos"])
@pytest.mark.parametrize("size", [16, 96])
def test_streamed_is_kept_to_the_bit(folder: Path, size: int, augment: str) -> None:
    kept = data.load(str(folder), size=size)
    streamed = data.load(str(folder), size=size, memory=0)
    assert kept.source["in_memory"]
    assert not streamed.source["in_memory"]
    convention = PLAIN if size == 16 else SIZE96
    for n in (None, 1):
        both = [
            epoch(Loader(d.train, convention, batch_size=8, augment=augment, workers=3), n)
            for d in (kept, streamed)
        ]
        assert torch.equal(both[0][0], both[1][0])
        assert torch.equal(both[0][1], both[1][1])


def test_memory_decides_what_is_kept(folder: Path) -> None:
    need = 60 * 16 * 16 * 3
    assert data.load(str(folder), size=16, memory=need).source["in_memory"]
    assert not data.load(str(folder), size=16, memory=need - 1).source["in_memory"]
    only = data.load(str(folder), size=16, memory=12 * 16 * 16 * 3, parts=("test",))
    assert only.test.in_memory
    assert not only.train.in_memory
    assert len(only.train) == 42  # there, and read when asked for
    assert only.train.images([0, 41]).shape == (2, 16, 16, 3)


def test_the_budget_is_a_quarter_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()
    for available, budget in ((100 << 30, 2 << 30), (4 << 20, 1 << 20), (0, 0)):
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda a=available: free._replace(available=a)
        )
        assert loaders.memory_budget() <= budget
    assert loaders.memory_budget() == 0


def own_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("edgeprune-data")]


def test_stopping_early_leaves_no_thread(dataset: data.Dataset) -> None:
    for workers in (1, 4):
        batches = Loader(dataset.train, PLAIN, batch_size=2, workers=workers).epoch(1)
        next(batches)
        assert own_threads()
        batches.close()  # type: ignore[attr-defined]
        assert not own_threads()
    for _ in Loader(dataset.train, PLAIN, batch_size=2).epoch(1):
        break  # the generator is dropped with the loop
    del _
    assert not own_threads()


def test_only_a_few_batches_are_made_ahead(dataset: data.Dataset) -> None:
    made: list[int] = []
    split = dataset.train.at(np.arange(len(dataset.train)))
    inner = split.batch
    split.batch = lambda *words: (made.append(1), inner(*words))[1]  # type: ignore[method-assign, func-returns-value]
    loader = Loader(split, PLAIN, batch_size=1, workers=2)
    batches = loader.epoch(1)
    next(batches)
    time.sleep(0.2)
    assert 1 <= len(made) <= 4
    batches.close()  # type: ignore[attr-defined]


def test_what_breaks_in_the_background_reaches_the_consumer(tmp_path: Path) -> None:
    path = write(tmp_path / "x", photos())
    dataset = data.load(str(path), size=16, memory=0)
    for file in path.rglob("*.png"):
        file.write_bytes(b"gone")
    with pytest.raises(EdgepruneError, match="though it was whole"):
        epoch(Loader(dataset.train, PLAIN, batch_size=8, workers=3), 1)
    assert not own_threads()


def test_words_that_do_not_fit(dataset: data.Dataset) -> None:
    with pytest.raises(EdgepruneError, match=r"did you mean small\?"):
        Loader(dataset.train, PLAIN, batch_size=8, augment="smal")
    with pytest.raises(EdgepruneError, match="the network wants 96"):
        Loader(dataset.train, SIZE96, batch_size=8)
    with pytest.raises(EdgepruneError, match="batch size 0"):
        Loader(dataset.train, PLAIN, batch_size=0)
    for size in (0, 100_000):
        with pytest.raises(EdgepruneError, match="--size"):
            data.load("digits", size=size)


@pytest.mark.parametrize(("memory", "word"), [(None, "decoding"), (0, "checking")])
def test_decoding_is_told(folder: Path, memory: int | None, word: str) -> None:
    told: list[tuple[str, int, int]] = []
    data.load(str(folder), size=16, memory=memory, progress=lambda *now: told.append(now))
    assert told[-1][1:] == (60, 60)
    assert told[0][0].startswith(word)


def test_source_is_json_and_names_the_pixels(folder: Path, tmp_path: Path) -> None:
    source = data.load(str(folder), size=16, seed=3, limit=9).source
    assert json.loads(json.dumps(source)) == source
    assert (source["seed"], source["limit"], source["images"]["train"]) == (3, 9, 9)
    other = data.load(str(write(tmp_path / "y", photos(each=21))), size=16).source
    assert source["fingerprint"] != other["fingerprint"]


def test_take_is_spread_over_the_split(dataset: data.Dataset) -> None:
    few = dataset.train.take(3)
    assert len(few) == 3
    assert np.array_equal(few.images([0, 1, 2]), dataset.train.images([0, 20, 41]))
    assert len(dataset.train.take(1000)) == len(dataset.train) == 42


@pytest.mark.parametrize(
    ("name", "size", "classes", "test"),
    [("svhn", 32, 10, 3000), ("imagenet-sample", 96, 1000, 200)],
)
def test_real_sets(real_home: Path, name: str, size: int, classes: int, test: int) -> None:
    if not (real_home / "data" / f"{name}.zip").is_file():
        pytest.skip(f"no data/{name}.zip in EDGEPRUNE_HOME")
    dataset = data.load(name, size=size, download=False)
    assert len(dataset.classes) == classes
    assert len(dataset.test) == test
    assert all(np.diff(np.unique(s.labels)).min() >= 1 for s in (dataset.train, dataset.test))
    x, _ = next(iter(Loader(dataset.train, Convention(size), batch_size=64).epoch(1)))
    assert 0.2 < x.std() < 2
