"""Decoded once and kept, or streamed: splits of a data set, and the batches drawn from them."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import EdgepruneError, closest
from ..records import Convention
from ..runs import cores
from . import splits
from .faults import Faults
from .pictures import PARTS, Found, Pictures
from .sources import Progress, find, judged_by, judges
from .transforms import AUGMENTS, Augment, BadImageError, Pixels, canvas_for, centre, normalise

Random = np.random.Generator | None
CHUNK = 64  # images that a thread decodes before it reports
MAX_SIZE = 2048  # pixels


class Split:
    """One part of a set: labels [n], and its images as squares of ``canvas`` pixels.

    Kept as one uint8 array where the set fits into memory, else decoded when asked for.
    """

    def __init__(
        self, pictures: Pictures, index: splits.Indices, labels: NDArray[Any], canvas: int
    ) -> None:
        self.labels, self.canvas = labels, canvas
        self._pictures, self._index = pictures, index
        self._kept = pictures.whole(canvas)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_memory(self) -> bool:
        return self._kept is not None

    def images(self, indices: Sequence[int] | NDArray[Any]) -> Pixels:
        """uint8 RGB [len(indices), canvas, canvas, 3], from any thread."""
        at = self._index[np.asarray(indices, np.int64)]
        if self._kept is not None:
            return self._kept[at]
        out = np.empty((len(at), self.canvas, self.canvas, 3), np.uint8)
        for row, i in enumerate(at.tolist()):
            try:
                out[row] = self._pictures.get(i, self.canvas)
            except BadImageError as e:
                raise EdgepruneError(
                    self._pictures.name(i),
                    f"{e}, though it was whole when the set was loaded",
                    "restore the file and run the same command again",
                ) from None
        return out

    def take(self, n: int) -> Split:
        """``n`` of the images, evenly spaced over the split (all, where there are no more)."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).round().astype(np.int64))
        return self.at(rows)

    def at(self, rows: NDArray[Any]) -> Split:
        """The images of these rows, in their order."""
        part = copy.copy(self)
        part.labels, part._index = self.labels[rows], self._index[rows]
        return part

    def labelled(self, labels: NDArray[Any]) -> Split:
        """The same images with other labels, one for each."""
        part = copy.copy(self)
        part.labels = labels
        return part

    def batch(
        self, at: splits.Indices, convention: Convention, augment: Augment, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """x float32 [N, 3, S, S] and the labels of these rows; without ``rng`` the middle crop."""
        images, size = self.images(at), convention.size
        if rng is None:
            x = normalise(centre(images, size), convention)
        else:
            x = normalise(augment.crop(images, size, rng), convention, augment.jitter, rng)
        return x, torch.from_numpy(self.labels[at])

    def decode(self, keep: bool, faults: Faults, told: Callable[[int], None]) -> None:
        """Decode every image once, on all cores: keep the pixels, or only see that they are whole.

        What cannot be decoded goes to ``faults`` and leaves the split.
        """
        if self._kept is not None:
            return
        n = len(self)
        out = np.empty((n if keep else 0, self.canvas, self.canvas, 3), np.uint8)
        whole = np.ones(n, bool)

        def run(start: int) -> int:
            rows = range(start, min(start + CHUNK, n))
            for row in rows:
                i = int(self._index[row])
                try:
                    pixels = self._pictures.get(i, self.canvas)
                except BadImageError as e:
                    faults.add(self._pictures.name(i), str(e))
                    whole[row] = False
                else:
                    if keep:
                        out[row] = pixels
            return len(rows)

        with _pool(cores()) as pool:
            for done in pool.map(run, range(0, n, CHUNK)):
                told(done)
        rows = np.flatnonzero(whole)
        self.labels = self.labels[rows]
        self._index = rows if keep else self._index[rows]
        self._kept = out if keep else None


@dataclass(frozen=True)
class Dataset:
    """A set, split. ``source`` says where it came from and how it was split (JSON-able)."""

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    source: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class How:
    """What is made of a data set.

    ``size`` is the side of the network's input in pixels. A test or validation split of the set's
    own stays what it is; what is missing is taken from the training images, class by class, by
    ``seed``. ``test`` names another set that judges instead: its test part, or all
    of it. ``limit`` then takes that many of the training images, each class in proportion.
    """

    size: int
    seed: int = 0
    limit: int | None = None
    skip_bad: bool = False  # what cannot be used is left out and counted
    test: str | None = None
    parts: Sequence[str] = PARTS  # the others are neither checked nor kept, but can be read
    memory: int | None = None  # bytes of uint8 that may be kept; None: `memory_budget`
    download: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_SIZE:
            raise EdgepruneError(f"--size {self.size}", f"1 to {MAX_SIZE} pixels are possible")


def load(name: str, how: How, notes: Callable[[str], None], progress: Progress) -> Dataset:
    """The data set ``name`` (a known name, a path, a name in the home folder), split and checked.

    Every image of ``how.parts`` is decoded once, so that none is found broken later; all are kept as
    uint8 where they take at most ``how.memory`` bytes, else they are read again as they are needed.

    Raises :class:`EdgepruneError` for whatever cannot be used; with ``how.skip_bad`` it is left out,
    counted and reported through ``notes`` and in ``Dataset.notes``.
    """
    faults = Faults(name, how.skip_bad)
    found = find(name, faults, download=how.download, progress=progress)
    if how.test is not None:
        found = judged_by(found, how.test, faults, progress)
    said = [*found.notes, *faults.settle()]
    indices, split, more = _split(found, how.seed, how.limit)
    split |= {"test": f"all of {how.test}"} if how.test is not None else {}
    said += more
    loaded = {}
    for part in PARTS:
        pictures, labels = found.parts[part if part in found.parts else "train"]
        own = indices[part]
        loaded[part] = Split(pictures, own, labels[own], canvas_for(how.size))
    decode([loaded[part] for part in how.parts], how.memory, faults, progress)
    said += faults.settle()
    absent = _absent(name, loaded, len(found.classes))
    if absent:
        by = "" if how.limit is None else f" (--limit {how.limit})"
        said.append(f"no training image left of {absent:,} of {len(found.classes):,} classes{by}")
    for note in said:
        notes(note)
    source = {
        **found.origin,
        "split": split,
        "seed": how.seed,
        "limit": how.limit,
        "images": {part: len(own) for part, own in loaded.items()},
        "in_memory": all(loaded[part].in_memory for part in how.parts),
    }
    return Dataset(name, found.classes, **loaded, source=source, notes=said)


def _absent(name: str, loaded: Mapping[str, Split], classes: int) -> int:
    """How many classes have no training image; a part without any image is refused."""
    for part, split in loaded.items():
        if not len(split):
            raise EdgepruneError(
                f"data {name}", f"no image left in {part}", "give more images, or a larger --limit"
            )
    return int((np.bincount(loaded["train"].labels, minlength=classes) == 0).sum())


def decode(parts: Sequence[Split], memory: int | None, faults: Faults, progress: Progress) -> None:
    """Decode every image of the parts: all are kept where they take at most ``memory`` bytes."""
    waiting = [split for split in parts if not split.in_memory]
    total = sum(map(len, waiting))
    budget = memory_budget() if memory is None else memory
    keep = sum(len(split) * split.canvas**2 * 3 for split in waiting) <= budget
    done = 0

    def told(n: int) -> None:
        nonlocal done
        done += n
        progress(f"{'decoding' if keep else 'checking'} {faults.source}", done, total)

    for split in parts:
        split.decode(keep, faults, told)


def held_out(
    test: str,
    classes: Sequence[str],
    *,
    size: int,
    skip_bad: bool = False,
    notes: Callable[[str], None] = lambda note: None,
    progress: Progress = lambda what, done, total: None,
) -> Split:
    """The images that judge, none of them split off: the test part of the set ``test``, or all of it.

    ``classes`` are the network's, which the set's are matched with by name; where those are only
    numbers, the set's classes in alphabetical order.
    """
    faults = Faults(test, skip_bad)
    pictures, labels, said = judges(test, tuple(classes), faults, progress)
    split = Split(pictures, np.arange(len(labels)), labels, canvas_for(size))
    decode([split], None, faults, progress)
    for note in [*said, *faults.settle()]:
        notes(note)
    if not len(split):
        raise EdgepruneError(
            f"--test {test}",
            "no image left in it",
            "give a folder with one folder of images a class",
        )
    return split


def _split(
    found: Found, seed: int, limit: int | None
) -> tuple[dict[str, splits.Indices], dict[str, str], list[str]]:
    """``(indices of each part, how each came about, notes)``; missing parts come from training."""
    shares = {"test": splits.TEST_SHARE, "validation": splits.VALIDATION_SHARE}
    shares = {part: share for part, share in shares.items() if part not in found.parts}
    labels = found.parts["train"][1]
    drawn, notes = splits.carve(labels, shares, seed)
    chosen = {p: np.arange(len(own)) for p, (_, own) in found.parts.items() if p != "train"} | drawn
    base = "the training images" if len(found.parts) > 1 else "all images"
    taken = {**shares, "train": 1 - sum(shares.values())} if shares else {}
    how = {
        part: f"{100 * taken[part]:.0f} % of {base}" if part in taken else "its own"
        for part in PARTS
    }
    if limit is not None:
        train = chosen["train"]
        kept = splits.subset(labels[train], limit, seed)
        chosen["train"] = train[kept]
        how["train"] += f", of which {len(kept):,} of {len(train):,}, each class in proportion"
    return chosen, how, notes


def memory_budget() -> int:
    """Bytes a set may keep: 2 GiB, or a quarter of what is free (a container's limit counts)."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(2 << 30, max(0, free) // 4)


class Loader:
    """Batches of a split, made ahead in the background, for one epoch at a time.

    ``augment`` is one of `transforms.AUGMENTS`. Order and augmentation depend on ``(seed, epoch)``
    only, never on the timing of threads: an epoch can be repeated or taken up again.
    """

    def __init__(
        self,
        split: Split,
        convention: Convention,
        *,
        batch_size: int,
        augment: str = "none",
        seed: int = 0,
        drop_last: bool = False,
        workers: int | None = None,
    ) -> None:
        if augment not in AUGMENTS:
            raise EdgepruneError(f"augmentation {augment!r}", closest(augment, list(AUGMENTS)))
        if convention.size > split.canvas:
            raise EdgepruneError(
                f"images of {split.canvas} px", f"the network wants {convention.size} px"
            )
        if batch_size < 1:
            raise EdgepruneError(f"batch size {batch_size}", "at least 1")
        self.split, self.convention, self.batch_size = split, convention, batch_size
        self.augment, self.seed, self.drop_last = AUGMENTS[augment], seed, drop_last
        # One core is left to whoever consumes; more than 8 threads stand in each other's way.
        self.workers = workers or min(8, max(1, cores() - 1))

    def __len__(self) -> int:
        """Batches in an epoch of training."""
        n = len(self.split)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def epoch(self, n: int | None, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(x float32 [N, 3, S, S] channels_last, y int64 [N]) for epoch ``n``.

        ``None`` is the order of evaluation: as stored, every image, the middle crop. ``start``
        leaves out that many batches at the beginning (an epoch taken up again).
        """
        count = len(self.split)
        order = np.arange(count) if n is None else splits.order(count, self.seed, n)
        batches = -(-count // self.batch_size) if n is None else len(self)

        def make(k: int) -> tuple[Tensor, Tensor]:
            at = order[k * self.batch_size : (k + 1) * self.batch_size]
            rng = None if n is None else np.random.default_rng((self.seed, n, k))
            return self.split.batch(at, self.convention, self.augment, rng)

        with _pool(self.workers) as pool:
            ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
            for k in range(start, batches):
                ahead.append(pool.submit(make, k))
                if len(ahead) > self.workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()


def evaluation_batches(
    split: Split, convention: Convention, batch_size: int = 256
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, the middle crop, normalised."""
    return Loader(split, convention, batch_size=batch_size).epoch(None)


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that end with the block, also when its user stops early; what waits is dropped."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="edgeprune-data")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
