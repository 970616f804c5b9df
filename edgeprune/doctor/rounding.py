"""The multiple of channels that a device computes in: what ``--round-to auto`` means.

A runtime either takes a time in proportion to a layer's width, or the time of the next multiple of some
block. A short sweep tells which: the same little network at widths between 32 and 48, one from each class
of divisibility, measured by bench on the device itself. A class whose time lies above the line between 32
and 48 wastes it. What was measured is kept in the home folder's ``devices/``; where nothing was, what is
known of the runtime counts.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from .. import fetch, files, records, runs
from ..bench import Request, devices, measure
from ..bench.devices import profiles
from ..errors import EdgepruneError
from ..runtime import channel_block
from ..runtime.device import profile_path
from .profile import Watch, nobody
from .synthetic import Builder

FORMAT = 1
LEAST, MOST = 32, 48  # on every grid
CLASSES = {
    1: 39,
    2: 38,
    4: 36,
    8: 40,
}  # multiple -> a width that is on its grid and on no coarser one
STEP = 1.05  # time over the line between LEAST and MOST from which a class is one that wastes
INT8 = 16  # depthwise kernels in int8 step there on x86
REQUEST = Request(rounds=24, passes=4, seconds=0.8, samples=32, limit=15)
FIXED = {"browser": 1, "arm64": 1}  # kinds whose runtime has no blocks of channels


@dataclass(frozen=True)
class Rounding:
    """The multiple that widths want on a device, and what odd widths cost there."""

    multiple: records.Count
    how: str  # "measured", or "known" where the sweep was not made or could not tell
    device: str
    int8: bool = False
    waste: dict[str, list[float]] | None = None  # class -> time over the line, with its interval
    onnxruntime: str | None = None
    created: str | None = None
    format: int = FORMAT
    __pydantic_config__: ClassVar[Any] = records.FINITE


def multiple(device: str = "cpu", *, int8: bool = False) -> int:
    """The multiple for ``--round-to auto`` on ``device`` (as ``bench --device`` takes it).

    What was measured there once counts; else what is known of its runtime; only a device of which
    nothing is known is measured now (ssh, adb; about 20 s). Raises :class:`EdgepruneError` where
    such a device is not reached.
    """
    kept = load(device, int8)
    if kept is not None:
        return kept.multiple
    transport = _transport(device)
    kind = transport.partition(":")[0]
    if transport not in devices.forms(kind):  # its name holds an address: it is looked for
        return probe(device, int8=int8).multiple
    if kind == "cpu":
        return INT8 if int8 and channel_block() > 1 else 1 if int8 else channel_block()
    return FIXED[kind] if kind in FIXED else probe(device, int8=int8).multiple


def probe(device: str = "cpu", *, int8: bool = False, watch: Watch = nobody) -> Rounding:
    """Measure ``device`` and keep what was found, where it was clear. About 20 s on a quiet machine."""
    import onnx

    widths = [MOST, LEAST, *CLASSES.values()]
    place = devices.reach(device)
    with tempfile.TemporaryDirectory(prefix="edgeprune-sweep-") as name:
        paths = [Path(name) / f"{width}.onnx" for width in widths]
        for path, width in zip(paths, widths, strict=True):
            onnx.save(network(width, int8), path)
        result = measure(
            paths, out=Path(name) / "sweep.json", device=place, label=device, request=REQUEST,
            names=[str(w) for w in widths], watch=partial(_measured, watch),
        )  # fmt: skip
    environment = result.measured().environment
    known = channel_block(set(environment.cpu.flags or []))
    if int8:
        known = INT8 if known > 1 else 1
    measured = {} if place.emulated else times(result.networks)
    found, waste = judged(measured)
    rounding = Rounding(
        multiple=found or known,
        how="measured" if found else "known",
        device=device,
        int8=int8,
        waste=waste,
        onnxruntime=environment.onnxruntime,
        created=runs.now(),
    )
    if found:
        with suppress(
            EdgepruneError
        ):  # a home folder that may not be written: then it is asked again
            files.write_json(kept_path(device, int8), records.plain(rounding))
    return rounding


def _measured(watch: Watch, event: records.Event) -> None:
    if event.round is not None and event.model == 0:
        watch("widths", min(event.round.round + 1, REQUEST.rounds), REQUEST.rounds)


def network(width: int, int8: bool = False) -> Any:
    """64 -> ``width`` -> 64, by 3x3 and by 1x1, depthwise, 1x1; its arithmetic is in proportion to
    ``width``."""
    b = Builder(int8=int8)
    x = b.conv("first", b.input("x", (1, 3, 28, 28)), 3, 64, stride=2)
    for i in range(3):
        x = b.conv(f"{i}.wide", x, 64, width)
        x = b.conv(f"{i}.back", x, width, 64)
        x = b.conv(f"{i}.expand", x, 64, width, 1)
        x = b.conv(f"{i}.dw", x, width, width, groups=width)
        x = b.conv(f"{i}.project", x, width, 64, 1)
    b.output(b.op("GlobalAveragePool", "pool", [x]))
    return b.model()


Times = Mapping[int, tuple[float, float, float]]  # width -> (time, low, high), as shares of MOST's


def times(networks: Sequence[records.Judged]) -> Times:
    """From bench's summary, whose baseline is the network of width MOST."""
    found = {MOST: (1.0, 1.0, 1.0)}
    for n in networks[1:]:
        low, high = n.speedup_interval or (None, None)
        if n.speedup is None or low is None or high is None or low <= 0:
            return {}
        found[int(n.name)] = (1 / n.speedup, 1 / high, 1 / low)
    return found


def judged(measured: Times) -> tuple[int | None, dict[str, list[float]]]:
    """(the smallest multiple that wastes nothing, or None where that is not clear; waste by class)."""
    if LEAST not in measured:
        return None, {}
    least = measured[LEAST]
    waste = {}
    for one, width in CLASSES.items():
        part = (width - LEAST) / (MOST - LEAST)
        value, low, high = (
            measured[width][i] / (least[j] + part * (1 - least[j]))
            for i, j in ((0, 0), (1, 2), (2, 1))
        )
        waste[one] = [value, low, high]
    found = 2 * max(CLASSES)
    for one in sorted(waste, reverse=True):  # coarse to fine, while nothing is wasted
        value, low, high = waste[one]
        if low <= STEP <= high:
            return None, {str(k): v for k, v in waste.items()}
        if value > STEP:
            break
        found = one
    return found, {str(k): v for k, v in waste.items()}


def kept_path(device: str, int8: bool) -> Path:
    """``devices/DEVICE-widths.json`` in the home folder; this machine's under its processor's name."""
    if device == "cpu":
        stem = profile_path().stem
    else:
        stem = re.sub(r"[^A-Za-z0-9.]+", "-", device).strip("-").lower()[:120]
    return fetch.home() / "devices" / f"{stem}-widths{'-int8' if int8 else ''}.json"


def load(device: str, int8: bool = False) -> Rounding | None:
    """What was measured there; None where nothing was, or by another version."""
    path = kept_path(device, int8)
    return read(path) if path.is_file() else None


def read(path: Path) -> Rounding | None:
    """The sweep in a file; None if it is of another version."""
    if records.read(path, records.Format).format != FORMAT:
        return None
    try:
        found = records.read(path, Rounding)
    except EdgepruneError as e:
        raise EdgepruneError(str(path), f"not a sweep of widths ({e.why})", "delete it") from None
    return found if found.multiple in (*CLASSES, 2 * max(CLASSES)) else None


def _transport(device: str) -> str:
    profile = profiles.find(device)
    return profile.transport if profile else device
