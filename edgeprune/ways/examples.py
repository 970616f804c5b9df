"""What a network is calibrated with: decoded photos, or arrays of whatever it takes. No labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import Rows as LabelledRows
from ..data import Split
from ..data.transforms import Pixels, centre, normalise, zoom_and_flip
from ..errors import EdgepruneError, raised
from ..graph.inputs import Example, flat, inputs_of, mapped, named, nest_of
from ..models import Convention, code
from ..prune.images import Images
from ..records import Inputs, Port

HELD_OUT = 5  # each fifth example judges
BATCH = 32
ARRAYS = (".npy", ".npz")
BATCHES = "let it give batches of what the network takes: a tensor, a tuple of arguments or a dict"
Rows = NDArray[Any]
Labels = NDArray[Any]


class Examples(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...

    def view(self, rows: Rows, number: int, rng: np.random.Generator | None = None) -> Example:
        """A batch of these, in their view of that number; 0: as the network is evaluated."""
        ...


@dataclass(frozen=True, eq=False)
class Photos:
    """Decoded images, uint8 RGB [N, canvas, canvas, 3], canvas >= the side of the network's input.

    View 0: the centre; 1: mirrored; from 2 on: a random crop, scaled.
    """

    pixels: Pixels
    convention: Convention
    space: tuple[int, int] | None = None  # height and width, where they differ

    def __post_init__(self) -> None:
        size = self.convention.size
        if self.pixels.ndim != 4 or min(self.pixels.shape[1:3]) < size:
            raise EdgepruneError(
                f"calibration images of shape {self.pixels.shape[1:]}",
                f"the network wants {size} x {size}",
                f"give larger ones, or --size {min(self.pixels.shape[1:3])}",
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def view(self, rows: Rows, number: int, rng: np.random.Generator | None = None) -> Tensor:
        size, pixels = self.convention.size, self.pixels[rows]
        if number >= 2 and rng is not None:
            return self._middle(normalise(zoom_and_flip(pixels, size, rng), self.convention))
        x = normalise(np.ascontiguousarray(centre(pixels, size)), self.convention)
        return self._middle(x.flip(3) if number else x)

    def _middle(self, x: Tensor) -> Tensor:
        if self.space is None:
            return x
        top, left = ((side - part) // 2 for side, part in zip(x.shape[2:], self.space, strict=True))
        return x[:, :, top : top + self.space[0], left : left + self.space[1]]


@dataclass(frozen=True, eq=False)
class Arrays:
    """An array for each input of the network, as the network is called; they have one view."""

    arrays: tuple[NDArray[Any], ...]  # [N, ...] each; one that does not follow the batch: whole
    inputs: Inputs

    def __len__(self) -> int:
        return next(
            len(a) for a, p in zip(self.arrays, self.inputs.ports, strict=True) if p.batch == 0
        )

    def view(self, rows: Rows, number: int, rng: np.random.Generator | None = None) -> Example:
        parts = zip(self.arrays, self.inputs.ports, strict=True)
        some = [np.ascontiguousarray(a[rows] if p.batch == 0 else a) for a, p in parts]
        types = [getattr(torch, p.dtype) for p in self.inputs.ports]
        return nest_of(
            self.inputs, [torch.from_numpy(a).to(t) for a, t in zip(some, types, strict=True)]
        )

    def take(self, n: int) -> Arrays:
        """``n`` of the examples, evenly spaced (all, where there are no more)."""
        rows = np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).round().astype(np.int64))
        parts = zip(self.arrays, self.inputs.ports, strict=True)
        return replace(self, arrays=tuple(a[rows] if p.batch == 0 else a for a, p in parts))


def photos(pixels: Pixels, convention: Convention, inputs: Inputs) -> Photos:
    """Photos for a network of one image."""
    h, w = space_of(inputs)
    return Photos(pixels, convention, None if h == w else (h, w))


def space_of(inputs: Inputs) -> tuple[int, int]:
    """Height and width of the one image that a network takes; refused where it takes something else."""
    port = inputs.ports[0]
    if len(inputs.ports) > 1 or len(port.shape) != 3 or port.shape[0] not in (1, 3):
        raise EdgepruneError(
            f"the network takes {inputs.said}", "and images give it [N, 3, H, W] or grey [N, 1, H, W]",
            "--images FILE.npy, FILE.npz (an array for each input) or FILE.py:FUNCTION gives arrays",
        )  # fmt: skip
    return port.shape[1], port.shape[2]


def convention_of(inputs: Inputs, given: Convention) -> Convention:
    """``given`` for images of these inputs: their longer side, and whether they are grey."""
    h, w = space_of(inputs)
    grey = inputs.ports[0].shape[0] == 1
    return replace(given, size=max(h, w), channels="GREY" if grey else given.channels)


# -- arrays ----------------------------------------------------------------------------------------


def are_arrays(name: str | None) -> bool:
    """Whether such ``--images`` are arrays of a file, or what a function of the user's makes."""
    return name is not None and (name.endswith(ARRAYS) or ".py:" in name)


def arrays(name: str, model: nn.Module, limit: int, notes: Callable[[str], None]) -> Arrays:
    """What ``FILE.npy``, ``FILE.npz`` or ``FILE.py:FUNCTION`` holds, at most ``limit`` examples of it.

    An .npz has an array for each argument of the network's forward, by its name; a function gives a
    batch of what the network is called with, or many of them one after another.
    """
    found = _made(name, model, limit) if ".py:" in name else _read(name, model)
    few = found.take(limit)
    if len(few) < len(found):
        notes(f"{name}: looks at {len(few):,} of {len(found):,} examples, evenly spaced (--limit)")
    for array, port in zip(few.arrays, few.inputs.ports, strict=True):
        if not np.isfinite(array).all():
            raise EdgepruneError(
                f"--images {name}",
                f"NaN or infinite values in {port.name}",
                "leave those examples out",
            )
    return few


def _read(name: str, model: nn.Module) -> Arrays:
    path = Path(name).expanduser()
    if not path.is_file():
        raise EdgepruneError(f"--images {name}", "no such file", code.FROM_HERE)
    try:
        found = np.load(path, allow_pickle=False)
        parts = {"x": found} if isinstance(found, np.ndarray) else dict(found.items())
    except Exception as e:  # damaged files raise whatever NumPy stumbles over
        why = raised(e)[:200]
        if "pickle" in why:  # NumPy advises to load it all the same
            why = "it is no file of numbers, or holds Python objects"
        raise EdgepruneError(
            f"--images {name}", f"not readable ({why})", "save it with numpy.save or numpy.savez"
        ) from None
    with np.errstate(over="ignore"):  # what is infinite in 32 bits is refused below
        tensors = {key: _tensor(name, key, value) for key, value in parts.items()}
    if not tensors:
        raise EdgepruneError(
            f"--images {name}", "holds no array", "save one for each input with numpy.savez"
        )
    example = next(iter(tensors.values())) if len(tensors) == 1 else tensors
    return _arrays(name, model, example)


def _tensor(name: str, key: str, value: NDArray[Any]) -> Tensor:
    if not isinstance(value, np.ndarray):  # a member of an archive that is no array
        raise EdgepruneError(f"--images {name}", f"{key} is no array", "save it with numpy.savez")
    if value.dtype.kind not in "fiub" or value.ndim < 1 or not value.size:
        raise EdgepruneError(
            f"--images {name}", f"{key} is {value.dtype} {list(value.shape)}, not numbers [N, ...]",
            "save numbers, examples along the first axis",
        )  # fmt: skip
    return _as_tensors(value)  # type: ignore[no-any-return]


def _made(name: str, model: nn.Module, limit: int) -> Arrays:
    """All that the user's function gives, until there are ``limit`` examples."""
    make = code.function(name, "--images")
    try:
        given = make()
        batches: list[list[Tensor]] = []
        first: Example = None
        for batch in _batches(given):
            batch = mapped(_as_tensors(batch), _plain)
            if not flat(batch):
                raise _no_tensor(f"--images {name}")
            first = batch if first is None else first
            batches.append(_parts(f"--images {name}", first, batch))
            if sum(len(b[0]) for b in batches) >= limit:
                break
        whole = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:  # whatever the user's code raises
        raise EdgepruneError(f"--images {name}", raised(e)[:200], BATCHES) from None
    if not whole or not all(t.numel() for t in whole):
        raise _no_tensor(f"--images {name}")
    inputs = inputs_of(model, first)
    return _arrays(name, model, nest_of(inputs, whole))


def _parts(what: str, first: Example, batch: Example) -> list[Tensor]:
    """A batch's tensors in the order of the first one's, which it must be like."""
    there, wanted = dict(named(batch)), dict(named(first))
    for place, t in wanted.items():
        other = there.get(place)
        if len(there) != len(wanted) or other is None or other.shape[1:] != t.shape[1:]:
            raise EdgepruneError(
                what, f"its batches differ: {_like(wanted)}, then {_like(there)}",
                "let all be alike but for their length",
            )  # fmt: skip
    return [there[place] for place in wanted]


def _like(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{place} {list(t.shape)}".strip() for place, t in tensors.items())


def made_inputs(name: str, model: nn.Module) -> Inputs:
    """What the batch is that the user's function after ``--shape`` makes."""
    what = f"--shape {name}"
    try:
        made = next(_batches(code.function(name, "--shape")()), None)  # of many the first
        made = mapped(_as_tensors(made), _plain)
        if any(t.ndim and t.numel() for t in flat(made)[:1]):
            return inputs_of(model, made)
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:  # whatever the user's code raises
        raise EdgepruneError(
            what, raised(e)[:200], "let it give a batch of what the network takes"
        ) from None
    raise _no_tensor(what)


def _no_tensor(what: str) -> EdgepruneError:
    return EdgepruneError(
        what, "gives no tensor, or an empty one", BATCHES
    )  # fmt: skip


def _plain(t: Tensor) -> Tensor:
    """As NumPy can hold it."""
    t = t.detach().cpu().to_dense()
    return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t


def _batches(given: Any) -> Iterator[Any]:
    """One batch, or many: what is a tensor, an array, a tuple or a dict of them is one."""
    one = isinstance(given, Tensor | np.ndarray | dict) or (
        isinstance(given, tuple) and all(isinstance(v, Tensor | np.ndarray) for v in given)
    )
    return iter([given] if one else given)


def _as_tensors(batch: Any) -> Any:
    if isinstance(batch, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(batch, _type(batch.dtype)))
    if isinstance(batch, dict):
        return {k: _as_tensors(v) for k, v in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_as_tensors(v) for v in batch)
    return batch


def _type(given: np.dtype[Any]) -> np.dtype[Any]:
    """The type that torch reckons in: floats of 32 bits, whole numbers signed, of this machine's order."""
    wider = {2: np.int32, 4: np.int64, 8: np.int64}
    if given.kind == "u" and given.itemsize in wider:
        return np.dtype(wider[given.itemsize])
    return np.dtype(np.float32) if given.kind == "f" else given.newbyteorder("=")


def _arrays(name: str, model: nn.Module, example: Example) -> Arrays:
    inputs = inputs_of(model, example)
    lengths = {p.name: len(t) for p, t in zip(inputs.ports, flat(example), strict=True) if t.ndim}
    if len(set(lengths.values())) != 1:
        raise EdgepruneError(
            f"--images {name}", f"its arrays differ in length: {lengths}",
            "the first axis of each counts the examples",
        )  # fmt: skip
    return Arrays(tuple(t.numpy() for t in flat(example)), inputs)


def typed_as(given: Arrays, inputs: Inputs, source: str) -> Arrays:
    """The arrays of ``source`` (``--images x.npy``) as these inputs, which ``--shape`` or a run says; refused
    where their shapes differ."""
    for mine, theirs in zip(given.inputs.ports, inputs.ports, strict=False):
        if (mine.shape, mine.batch) != (theirs.shape, theirs.batch):
            break
    else:
        if len(given.inputs.ports) == len(inputs.ports):
            return replace(given, inputs=inputs)
    raise EdgepruneError(
        f"{source} gives {given.inputs.said}", f"the network takes {inputs.said}",
        "give arrays of that shape, or say another --shape",
    )  # fmt: skip


def of_split(split: Split, convention: Convention, inputs: Inputs) -> Examples:
    """What the examples of a labelled set look like to a network, labels left out."""
    if isinstance(split, LabelledRows):
        return typed_as(Arrays((split.x,), shaped_as(split.x)), inputs, "the data set")
    return photos(split.images(range(len(split))), convention, inputs)


def shaped_as(x: NDArray[Any]) -> Inputs:
    """The one input whose examples these are."""
    return Inputs((Port("x", tuple(x.shape[1:])),))


# -- rows and batches ------------------------------------------------------------------------------


def split(n: int) -> tuple[Rows, Rows]:
    """Rows that calibrate and rows that judge: each fifth."""
    rows = np.arange(n)
    return rows[rows % HELD_OUT != HELD_OUT - 1], rows[rows % HELD_OUT == HELD_OUT - 1]


def plain(examples: Examples, rows: Sequence[int] | Rows | None = None) -> list[Example]:
    """Batches of these rows (all) in their order, as the network is evaluated."""
    rows = np.arange(len(examples)) if rows is None else rows
    return [examples.view(some, 0) for some in in_batches(rows)]


def calibration(
    examples: Examples,
    views: int,
    seed: int,
    rows: Rows | None = None,
    labels: Labels | None = None,
) -> Images:
    """``views`` of each of these rows (all), first views before any second one, and ``labels`` [N] if any.

    A layer that cannot look at all of them then looks at as many different examples as it can.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(examples)) if rows is None else rows
    sets = list(in_batches(rng.permutation(len(rows))))  # the first ones are a sample
    return Images(
        [examples.view(rows[some], i, rng) for i in range(views) for some in sets],
        [source for _ in range(views) for source in range(len(sets))],
        None
        if labels is None
        else [torch.from_numpy(labels[some]) for _ in range(views) for some in sets],
    )


def endless(examples: Examples, rows: Rows, seed: int) -> Iterator[Example]:
    """Random views of these rows, reshuffled round by round."""
    rng = np.random.default_rng(seed)
    while True:
        for some in in_batches(rng.permutation(len(rows))):
            if len(some) == min(BATCH, len(rows)):
                yield examples.view(rows[some], 2, rng)


def in_batches(rows: Sequence[int] | Rows, size: int = BATCH) -> Iterator[Rows]:
    numbers = np.asarray(rows)
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


__all__ = [
    "Arrays", "Examples", "Photos", "Port", "are_arrays", "arrays", "calibration", "convention_of",
    "endless", "in_batches", "photos", "plain", "space_of", "split", "typed_as",
]  # fmt: skip
