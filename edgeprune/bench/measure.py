"""Measure models on a device and keep every sample."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import files, runs
from ..errors import EdgepruneError
from ..records import Convention
from . import devices, schema, stats, subject, warnings
from .devices import Device
from .protocol import FORMAT, VERSION, Request, Result
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
    watch: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Result:
    """Measure ``models`` side by side, the first as the baseline, and write the result file ``out``.

    ``watch`` is given the runner's events (``{"event": "session" | "round" | "accuracy", "model": i}``).
    ``label`` is what the file calls the device, by default its name. Raises
    :class:`EdgepruneError`; what was measured until then stays in ``out``, marked incomplete.
    """
    request = request or Request()
    subjects = subject.inspect(models, names, batch=request.batch, shapes=request.shapes)
    files.check_writable(out)  # before minutes of measuring, not after them
    place = devices.connect(device) if isinstance(device, str) else device
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "status": "incomplete",
        "created": runs.now(),
        "device": label or str(device),
        "emulated": place.emulated,
        "request": asdict(request),
        "models": [s.to_json() for s in subjects],
    }
    with place:
        document["measured"] = _run(place, request, subjects, accuracy, out, document, watch)
    for model, raw in zip(document["models"], document["measured"]["models"], strict=True):
        found = raw["accuracy"]
        model["images"] = found["n"] if found else None
        model["top1"] = found["correct"] / found["n"] if found and found["n"] else None
    summary = stats.summary(document["models"], document["measured"], emulated=document["emulated"])
    seen = warnings.warnings(summary["networks"], document["measured"])
    document["summary"] = {**summary, "warnings": [w.to_json() for w in seen]}
    document["status"] = "complete"
    files.write_json(out, document)
    return Result(out, document)


def _run(
    place: Device,
    request: Request,
    subjects: Sequence[subject.Subject],
    accuracy: Images | None,
    out: Path,
    document: dict[str, Any],
    watch: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Push, run, and collect; the runner's document."""
    pushed: dict[str, Path] = {}
    there = []  # each model in a folder of its own: external data keep their names
    for i, model in enumerate(subjects):
        there.append(f"{i}/model.onnx")
        pushed[there[i]] = model.path
        pushed |= {f"{i}/{name}": path for name, path in model.files.items()}
    collected = Collected(len(subjects))
    next_save = time.monotonic() + SAVED_EVERY

    def on_line(line: str) -> None:
        nonlocal next_save
        event = collected.add(line)
        if event is not None:
            watch(event)
        begun = time.monotonic()
        if collected.rounds and begun > next_save:
            files.write_json(out, {**document, "measured": collected.partial})
            ended = time.monotonic()
            next_save = ended + max(SAVED_EVERY, (ended - begun) / SAVING)

    with Scratch() as folder:
        if accuracy is not None:
            pushed["images.npz"] = _pack(folder / "images.npz", accuracy)
        place.push(pushed)
        try:
            place.run(request, there, "images.npz" if accuracy else None, on_line)
            return collected.document([s.path for s in subjects], there, document["device"])
        except BaseException:
            if collected.rounds:
                files.write_json(out, {**document, "measured": collected.partial})
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
        self.partial: dict[str, Any] = {"models": [{"sessions": []} for _ in range(models)]}
        self._last: dict[str, Any] = {}
        self.rounds = 0

    def add(self, line: str) -> dict[str, Any] | None:
        """The line's event, or None if it is something else."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None  # not of the runner's making
        if not isinstance(value, dict):
            return None
        self._last = value
        if not schema.is_event(value, len(self.partial["models"])):
            return None
        sessions = self.partial["models"][value["model"]]["sessions"]
        if value["event"] == "session":
            sessions.append({**value["session"], "rounds": []})
        elif value["event"] == "round":
            if not sessions:
                return None
            sessions[-1]["rounds"].append({**value["round"]})
            self.rounds += 1
        return value

    def document(self, paths: Sequence[Path], there: Sequence[str], device: str) -> dict[str, Any]:
        """The document; its error, with the device and the paths as the user knows them."""
        where = "" if device == "cpu" else f"{device}: "
        if "error" in self._last:
            model = self._last.get("model")
            named = str(paths[there.index(model)]) if model in there else "the runner"
            raise EdgepruneError(where + named, str(self._last["error"]))
        if "runner" not in self._last:
            raise EdgepruneError(f"{where}its answer was cut off", next="run it once more")
        schema.check(self._last, len(paths))
        return self._last
