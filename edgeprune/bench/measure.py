"""Measure models on a device and keep every sample."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import files, records, runs
from ..errors import EdgepruneError
from ..records import Convention
from . import devices, stats, subject, warnings
from .devices import Device
from .protocol import Request, Result, json_of
from .scratch import Scratch

SAVED_EVERY = 2.0  # seconds; writing more often would disturb what is measured
SAVING = (
    0.02  # share of the time that it may take: a document of many samples is written less often
)


class Images(NamedTuple):
    """A labelled split for top-1: blocks of uint8 [k, S, S, 3] (RGB), int [n], the input convention."""

    blocks: Iterable[np.ndarray]
    labels: np.ndarray
    convention: Convention


def images_of(split: Any, convention: Convention, at_once: int = 256) -> Images:
    """The evaluation crops of a :class:`edgeprune.data.Split`, ``at_once`` in memory at a time."""
    from ..data.transforms import centre

    places = np.array_split(np.arange(len(split)), max(1, -(-len(split) // at_once)))
    blocks = (centre(split.images(place), convention.size) for place in places)
    return Images(blocks, split.labels, convention)


def measure(
    models: Sequence[Path],
    *,
    out: Path,
    device: str | Device = "cpu",
    label: str | None = None,
    request: Request | None = None,
    names: Sequence[str] | None = None,
    accuracy: Images | None = None,
    answers: Sequence[Sequence[records.Output]] = (),
    watch: Callable[[records.Event], None] = lambda event: None,
) -> Result:
    """Measure ``models`` side by side, the first as the baseline, and write the result file ``out``.

    ``watch`` is given the runner's events; ``answers`` are what is known of each model's outputs
    (:func:`.answers.beside`).
    ``label`` is what the file calls the device, by default its name. Raises
    :class:`EdgepruneError`; what was measured until then stays in ``out``, marked incomplete.
    """
    request = request or Request()
    subjects = subject.inspect(models, names, batch=request.batch, shapes=request.shapes)
    subject.check_sized(subjects)
    files.check_writable(out)  # before minutes of measuring, not after them
    place = devices.connect(device) if isinstance(device, str) else device
    told = records.Bench(
        status="incomplete",
        created=runs.now(),
        device=label or str(device),
        emulated=place.emulated,
        request=request,
        models=[
            replace(s.listed(), outputs=list(answers[i]) if answers else [])
            for i, s in enumerate(subjects)
        ],
    )
    with place:
        answer = _run(place, subjects, accuracy, out, told, watch)
    listed = [_judged(m, r.accuracy) for m, r in zip(told.models, answer.read.models, strict=True)]
    summary = stats.summary(listed, answer.read, emulated=told.emulated)
    summary = replace(summary, warnings=warnings.warnings(summary.networks, answer.read))
    told = replace(
        told, status="complete", models=listed, measured=answer.raw, summary=summary
    )  # fmt: skip
    files.write_json(out, json_of(told))
    return Result(out, told)


def _judged(model: records.Listed, found: records.Correct | None) -> records.Listed:
    if found is None:
        return model
    return replace(model, images=found.n, top1=found.correct / found.n if found.n else None)


class Answer(NamedTuple):
    """A device's document: as it came, and read."""

    raw: Any  # JSON
    read: records.Measured


def _run(
    place: Device,
    subjects: Sequence[subject.Subject],
    accuracy: Images | None,
    out: Path,
    told: records.Bench,
    watch: Callable[[records.Event], None],
) -> Answer:
    """Push, run, and collect."""
    pushed: dict[str, Path] = {}
    there = []  # each model in a folder of its own: external data keep their names
    for i, model in enumerate(subjects):
        there.append(f"{i}/model.onnx")
        pushed[there[i]] = model.path
        pushed |= {f"{i}/{name}": path for name, path in model.files.items()}
    collected = Collected(len(subjects))
    next_save = time.monotonic() + SAVED_EVERY

    def save() -> None:
        files.write_json(out, json_of(replace(told, measured=collected.partial)))

    def on_line(line: str) -> None:
        nonlocal next_save
        event = collected.add(line)
        if event is not None:
            watch(event)
        begun = time.monotonic()
        if collected.rounds and begun > next_save:
            save()
            ended = time.monotonic()
            next_save = ended + max(SAVED_EVERY, (ended - begun) / SAVING)

    with Scratch() as folder:
        if accuracy is not None:
            pushed["images.npz"] = _pack(folder / "images.npz", accuracy)
        place.push(pushed)
        try:
            place.run(told.request, there, "images.npz" if accuracy else None, on_line)
            return collected.answer([s.path for s in subjects], there, told.device)
        except BaseException:
            if collected.rounds:
                save()
            raise


def _pack(path: Path, images: Images) -> Path:
    """The .npz that the runner reads, written block by block (``numpy.savez`` wants all at once)."""
    convention, n = images.convention, len(images.labels)
    shape = (n, convention.size, convention.size, 3)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("images.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for block in images.blocks:
                member.write(np.ascontiguousarray(block, np.uint8).tobytes())
        rest: dict[str, np.ndarray] = {
            "labels": np.asarray(images.labels, np.int64),
            "mean": np.asarray(convention.mean, np.float32),
            "std": np.asarray(convention.std, np.float32),
            "channels": np.asarray(convention.channels),
        }
        for name, value in rest.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value, allow_pickle=False)
    return path


class Collected:
    """The runner's lines, put together: what there is so far, and the document once it came."""

    def __init__(self, models: int) -> None:
        self.partial: Any = {"models": [{"sessions": []} for _ in range(models)]}  # JSON
        self._last: dict[str, Any] = {}
        self.rounds = 0

    def add(self, line: str) -> records.Event | None:
        """The line's event, or None if it is something else."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None  # not of the runner's making
        if not isinstance(value, dict):
            return None
        self._last = value
        if "event" not in value:
            return None
        try:
            event = records.parse(line, records.Event, "event")
        except EdgepruneError:
            return None
        if event.model >= len(self.partial["models"]):
            return None
        sessions = self.partial["models"][event.model]["sessions"]
        if event.event == "session":
            sessions.append({**value["session"], "rounds": []})
        elif event.event == "round":
            if not sessions:
                return None
            sessions[-1]["rounds"].append({**value["round"]})
            self.rounds += 1
        return event

    def answer(self, paths: Sequence[Path], there: Sequence[str], device: str) -> Answer:
        """The document; its error, with the device and the paths as the user knows them."""
        where = "" if device == "cpu" else f"{device}: "
        if "error" in self._last:
            model = self._last.get("model")
            named = str(paths[there.index(model)]) if model in there else "the runner"
            raise EdgepruneError(where + named, str(self._last["error"]))
        if "runner" not in self._last:
            raise EdgepruneError(f"{where}its answer was cut off", next="run it once more")
        return Answer(self._last, answered(self._last, len(paths)))


def answered(raw: Any, models: int) -> records.Measured:
    """A device's document about so many models, read; :class:`EdgepruneError` names what is wrong."""
    try:
        return records.value(raw, records.Measured, "document").of(models)
    except EdgepruneError as e:
        said = e.why if e.what == "document" else f"{e.what}: {e.why}"
        raise EdgepruneError(
            "the device's answer has another form",
            said,
            "use the runner.py of this edgeprune, and run it once more",
        ) from None
