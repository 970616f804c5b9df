"""A device's probe: a minute of random networks under the profiler, kept as the device's profile."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, records, runs
from ..bench import Request, devices
from ..bench import measure as bench
from ..errors import EdgepruneError
from ..runtime import Network, Prediction, channel_block, predictor
from ..runtime.device import Device, Error, cpu, profile_path
from ..runtime.predictor import Whole
from ..runtime.roofline import Peaks
from . import sweep
from .layers import counted, network
from .profile import Watch, nobody
from .synthetic import Builder

NETWORKS = 48
SECONDS = 0.4  # of runs for each network
ELSEWHERE = 64  # networks, where only whole ones are timed
TOGETHER = 8  # of them on the device at once
REQUEST = Request(rounds=6, passes=2, seconds=0.3, samples=12, limit=4)  # of each of them
FOLDS = 8  # for the error on networks that were left out


def measure(
    device: str = "cpu",
    note: Callable[[str], None] = nobody,
    watch: Watch = nobody,
    threads: int = 1,
) -> Device:
    """Probe ``device`` (as ``bench --device`` takes it) and keep its profile; a minute or two.

    This machine's layers are timed by the runtime's profiler, on one thread; elsewhere, and on more, whole
    networks are timed, and what a layer takes is what makes their sums right.
    """
    note(f"probing {device}, a minute or two")
    here = device == "cpu" and threads == 1
    found = probe(watch=watch) if here else probe_elsewhere(device, watch=watch, threads=threads)
    path = profile_path(device, threads)
    files.write_json(path, records.plain(found))
    note(f"kept in {path}")
    return found


def probe(
    count: int = NETWORKS, seconds: float = SECONDS, seed: int = 0, watch: Watch = nobody
) -> Device:
    """Measure random networks and fit. Two minutes on a quiet core."""
    block = channel_block()
    random = np.random.default_rng(seed)
    models = [random_network(random, block) for _ in range(count)]
    profiles = sweep.run(models, seconds, partial(watch, "layers of random networks"))
    networks = [network(f"probe {i}", p, block) for i, p in enumerate(profiles)]
    peaks = sweep.peaks(heard=partial(watch, "what this core can attain"))
    timed, _ = _timed(models, "cpu", watch)
    unseen = left_out(networks, peaks, block)
    whole = predictor.correction(
        [n.layers for n in networks], [u.seconds for u in unseen], timed, block
    )
    return Device(
        cpu=cpu(),
        onnxruntime=str(profiles[0].environment["onnxruntime"]),
        model=replace(predictor.fit(networks, peaks, block), whole=whole),
        error=missed(networks, unseen, timed, block),
        created=runs.now(),
    )


def left_out(networks: Sequence[Network], peaks: Peaks, block: int) -> list[Prediction]:
    """What is said of each network by a fit without it: every eighth is left out in turn."""
    said: dict[int, Prediction] = {}
    for fold in range(min(FOLDS, len(networks))):
        model = predictor.fit(
            [n for i, n in enumerate(networks) if i % FOLDS != fold], peaks, block
        )
        for i in range(fold, len(networks), FOLDS):
            said[i] = predictor.predict(model, networks[i].layers)
    return [said[i] for i in range(len(networks))]


def missed(
    networks: Sequence[Network], unseen: Sequence[Prediction], timed: Sequence[float], block: int
) -> Error:
    """By how much, with a correction that has not seen the network either."""
    whole, layers = [], []
    for i, (one, said) in enumerate(zip(networks, unseen, strict=True)):
        others = [k for k in range(len(networks)) if k % FOLDS != i % FOLDS]
        line = predictor.correction(
            [networks[k].layers for k in others], [unseen[k].seconds for k in others],
            [timed[k] for k in others], block,
        )  # fmt: skip
        corrected = predictor.corrected(line, one.layers, said.seconds, block)
        whole.append(abs(corrected / timed[i] - 1))
        rows = [x for x in one.layers if x.kind in predictor.COUNTED]
        layers += [
            abs(s / (x.seconds + x.moving) - 1)
            for s, x in zip(said.layers, rows, strict=True)
            if x.seconds + x.moving > 0
        ]
    return Error(statistics.median(whole), max(whole), statistics.median(layers), len(networks))


def probe_elsewhere(
    device: str, count: int = ELSEWHERE, seed: int = 0, watch: Watch = nobody, threads: int = 1
) -> Device:
    """Time random networks on ``device`` through bench, some at a time, and fit."""
    random = np.random.default_rng(seed)
    models = [random_network(random, 8) for _ in range(count)]
    found, environment = _timed(models, device, watch, threads)
    timed = [Whole(counted(model), seconds) for model, seconds in zip(models, found, strict=True)]
    flags = environment.cpu.flags
    block = channel_block(set(flags)) if flags else 1
    return Device(
        cpu=environment.cpu.name or str(environment.system),
        onnxruntime=environment.onnxruntime,
        model=predictor.fit_whole(timed, block),
        error=left_out_whole(timed, block),
        created=runs.now(),
    )


def _timed(
    models: Sequence[Any], device: str, watch: Watch, threads: int = 1
) -> tuple[list[float], records.Environment]:
    """Median seconds of each, some beside each other at a time; and the device's environment."""
    import onnx

    place = devices.reach(device)
    seconds: list[float] = []
    for first in range(0, len(models), TOGETHER):
        with tempfile.TemporaryDirectory(prefix="edgeprune-probe-") as name:
            paths = []
            for i, model in enumerate(models[first : first + TOGETHER]):
                paths.append(Path(name) / f"{i}.onnx")
                onnx.save(model, paths[-1])
            result = bench(
                paths, out=Path(name) / "probe.json", device=place, label=device,
                request=replace(REQUEST, threads=threads),
                watch=partial(_measured, watch, first, len(models)),
            )  # fmt: skip
        medians = [n.latency.median_s for n in result.networks]
        seconds += [s for s in medians if s is not None]
    if len(seconds) < len(models):
        raise EdgepruneError(
            f"device {device}",
            "is emulated: its times say nothing",
            "probe the real device, for example --device ssh://USER@HOST",
        )
    return seconds, result.measured().environment


def _measured(watch: Watch, first: int, of: int, event: records.Event) -> None:
    """A round of TOGETHER networks is over, before which ``first`` were done."""
    if event.round is not None and event.model == 0:
        rounds = REQUEST.rounds
        done = first * rounds + min(event.round.round + 1, rounds) * min(TOGETHER, of - first)
        watch("whole random networks", done, of * rounds)


def left_out_whole(networks: Sequence[Whole], block: int) -> Error:
    """As :func:`left_out`, where only whole networks were timed."""
    missed = []
    for fold in range(FOLDS):
        model = predictor.fit_whole([n for i, n in enumerate(networks) if i % FOLDS != fold], block)
        missed += [
            abs(predictor.predict(model, n.rows).seconds / n.seconds - 1)
            for n in networks[fold::FOLDS]
        ]
    return Error(statistics.median(missed), max(missed), None, len(networks))


def random_network(random: np.random.Generator, block: int) -> Any:
    """A chain as people build them, with widths on and off the grid."""
    drawn = random.random()
    return (_plain if drawn < 0.4 else _separable if drawn < 0.88 else _grouped)(random, block)


def _width(random: np.random.Generator, low: int, high: int, block: int, off: float) -> int:
    width = float(np.exp(random.uniform(np.log(low), np.log(high))))
    multiple = random.choice([1, 4, max(block, 8)], p=[off, 0.1, 0.9 - off])
    return int(max(multiple, round(width / multiple) * multiple))


def _plain(random: np.random.Generator, block: int) -> Any:
    """3x3 convolutions with pooling between, now and then a 1x1 or 5x5, dense layers at the end."""
    b = Builder(int(random.integers(1 << 31)))
    side = int(random.choice([32, 48, 64]))
    off = 0.5 if random.random() < 0.4 else 0.0
    scale = 32 / side
    x, channels = b.input("x", (1, 3, side, side)), 3
    base, depth = int(random.integers(16, 72)), 0
    while side > 1 and depth < 12:
        for _ in range(int(random.integers(1, 4))):
            high = min(base * 2.0 * scale + 16, 512.0)
            to = _width(random, max(int(high / 3), 8), int(high), block, off)
            kernel = int(random.choice([1, 3, 5], p=[0.15, 0.82, 0.03]))
            x = b.conv(f"c{depth}", x, channels, to, kernel)
            channels, depth = to, depth + 1
        x = b.op("MaxPool", f"pool{depth}", [x], kernel_shape=[2, 2], strides=[2, 2])
        side, base = side // 2, base * 2
    return _head(b, x, channels, random, block, off)


def _separable(random: np.random.Generator, block: int) -> Any:
    """A strided stem, then depthwise and pointwise pairs, now and then expanded with a shortcut."""
    b = Builder(int(random.integers(1 << 31)))
    side = int(random.choice([32, 64, 96, 128, 160, 192, 224]))
    off = 0.5 if random.random() < 0.4 else 0.0
    x = b.input("x", (1, 3, side, side))
    base = int(random.integers(12, 40))
    channels = _width(random, base // 2 + 4, base, block, off)
    x, side = b.conv("stem", x, 3, channels, stride=2), side // 2
    inverted = random.random() < 0.3
    for i in range(int(random.integers(8, 14))):
        stride = 2 if i % 2 and side > 4 else 1
        base = min(base * 2, 900) if stride == 2 or not i else base
        skip = x
        inner, to = channels, _width(random, max(base // 2, 8), base, block, off)
        if inverted:
            to = channels if stride == 1 else max(to // 2, 8)
            inner = min(_width(random, 2 * channels, 6 * channels, block, off), 768)
            x = b.conv(f"b{i}.expand", x, channels, inner, 1)
        x = b.conv(f"b{i}.dw", x, inner, inner, stride=stride, groups=inner)
        x = b.conv(f"b{i}.pw", x, inner, to, 1, activation="" if inverted else "Relu")
        if inverted and stride == 1:
            x = b.op("Add", f"b{i}.add", [x, skip])
        channels, side = to, -(-side // stride)
    return _head(b, x, channels, random, block, off)


def _grouped(random: np.random.Generator, block: int) -> Any:
    """A strided stem, then bottlenecks with a convolution in groups (Xie et al. 2017, ResNeXt)."""
    b = Builder(int(random.integers(1 << 31)))
    side = int(random.choice([32, 64, 96, 128]))
    off = 0.5 if random.random() < 0.4 else 0.0
    channels = _width(random, 16, 48, block, off)
    x, side = b.conv("stem", b.input("x", (1, 3, side, side)), 3, channels, stride=2), side // 2
    for i in range(int(random.integers(4, 9))):
        stride = 2 if i % 2 and side > 4 else 1
        groups = int(random.choice([2, 4, 8, 16, 32]))
        inner = groups * max(1, _width(random, 32, 320, block, off) // groups)
        to = _width(random, 32, 384, block, off)
        x = b.conv(f"b{i}.reduce", x, channels, inner, 1)
        x = b.conv(f"b{i}.grouped", x, inner, inner, stride=stride, groups=groups)
        x = b.conv(f"b{i}.expand", x, inner, to, 1)
        channels, side = to, -(-side // stride)
    return _head(b, x, channels, random, block, off)


def _head(
    b: Builder, x: str, channels: int, random: np.random.Generator, block: int, off: float
) -> Any:
    x = b.op("Flatten", "flat", [b.op("GlobalAveragePool", "gap", [x])])
    hidden = _width(random, 64, 1024, block, off)
    x = b.op("Relu", "fc/Relu", [b.dense("fc", x, channels, hidden)])
    b.output(b.dense("classes", x, hidden, int(random.choice([10, 100, 1000]))))
    return b.model()
