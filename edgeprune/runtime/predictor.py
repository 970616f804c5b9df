"""Milliseconds of layers that were never run, from a probe of this device. Pure.

A layer's least time by the roofline is scaled by how far layers like it were from theirs in the probe:
Gaussian process regression (Rasmussen & Williams 2006, ch. 2) of log(seconds / roofline) over the
logarithms of shapes, one for each way in which the runtime computes. Widths enter as the runtime pads
them, so 49 to 64 channels take the same time, and one that falls off the layout is another way.

Where only whole networks can be timed (:func:`fit_whole`), a layer's least time is a line in its
arithmetic, its copies, its weights and its maps, of the way's own, such that the layers' sums are the
networks' times: non-negative least squares of the relative errors, reweighted (Huber 1964).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from .. import extras
from ..errors import EdgepruneError
from ..records import FINITE, Positive
from .layout import Network, laid_out, padded
from .roofline import Peaks, bandwidth

BYTES = 4  # of a float32
NONE = Peaks(1e30, None, ((1.0, 1e30),), ((1.0, 1e30),), 0.0)  # not measured
TICK = 1e-6  # seconds: what the profiler's clock tells apart


class Row(Protocol):
    """What the predictor reads of a layer; ``edgeprune.graph.cost`` and ``runtime.layout`` give it."""

    @property
    def kind(self) -> str: ...  # conv, depthwise, grouped, linear; others cost nothing here
    @property
    def width_in(self) -> int: ...
    @property
    def width_out(self) -> int: ...
    @property
    def kernel(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def groups(self) -> int: ...  # of a convolution; what is depthwise need not say it
    @property
    def out_shape(self) -> tuple[int, ...]: ...  # without N


COUNTED = ("conv", "depthwise", "grouped", "linear")
LIKE = {  # a way that a probe has not met takes the time of another, of as much arithmetic
    "plain grouped": "plain kxk",
    "blocked grouped": "blocked kxk",
}


@dataclass(frozen=True)
class Process:
    """A fitted Gaussian process: ``mean + kernel(x, points) @ weights``, squared-exponential."""

    __pydantic_config__: ClassVar[Any] = FINITE
    points: list[list[float]]
    weights: list[float]
    scales: list[float]
    variance: float
    mean: float

    def __post_init__(self) -> None:
        alike = all(len(p) == len(self.scales) for p in self.points) and all(self.scales)
        if len(self.points) != len(self.weights) or not alike:
            raise EdgepruneError("a process", "points, weights and scales do not go together")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``x`` [n, features] -> [n]."""
        scales = np.asarray(self.scales)
        a, b = x / scales, np.asarray(self.points) / scales
        distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1)
        return self.mean + self.variance * np.exp(-distance / 2) @ np.asarray(self.weights)


@dataclass(frozen=True)
class Model:
    """Everything that a device's probe taught."""

    __pydantic_config__: ClassVar[Any] = FINITE
    block: Positive
    peaks: Peaks
    processes: Mapping[str, Process]  # by way
    move: tuple[float, float]  # seconds of a reorder: constant, and per byte
    rest: tuple[
        float, float, float
    ]  # of a network beside its layers: constant, per layer, per byte of maps
    lines: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by way; of terms()
    whole: tuple[float, ...] = ()  # correction of a network's sum; of about()

    def __post_init__(self) -> None:
        if len(self.whole) not in (0, ABOUT) or any(len(v) != TERMS for v in self.lines.values()):
            raise EdgepruneError(
                "a predictor", f"lines of {TERMS} terms and a whole of {ABOUT} are read"
            )


@dataclass(frozen=True)
class Prediction:
    layers: tuple[float, ...]  # seconds of each counted row, its reorders included
    seconds: float  # of the whole network


@np.errstate(over="ignore", invalid="ignore")  # numbers of no device are told at the end
def predict(model: Model, rows: Sequence[Row]) -> Prediction:
    """Seconds a run (batch 1, 1 thread) of each layer and of the network, in the rows' order.

    ``rows`` of other kinds (norms fold into convolutions) are passed over.
    """
    rows = [row for row in rows if row.kind in COUNTED]
    if not rows:
        return Prediction((), 0.0)
    total = weight_bytes(rows, model.block)
    seconds = np.zeros(len(rows))
    ways = [way(row, model.block) for row in rows]
    for name in sorted(set(ways)):
        mine = [i for i, w in enumerate(ways) if w == name]
        x = np.array([features(rows[i], model.block, total) for i in mine])
        base = np.array([_least(model, name, rows[i], total) for i in mine])
        process = model.processes.get(name) or model.processes.get(LIKE.get(name, ""))
        seconds[mine] = base * (np.exp(process(x)) if process else 1.0)
    for i, moved in enumerate(moves(rows, model.block)):
        seconds[i] += model.move[0] * (moved > 0) + model.move[1] * moved
    whole = float(seconds.sum() + np.dot(model.rest, _rest_features(rows)))
    if model.whole:
        whole = corrected(model.whole, rows, whole, model.block)
    if not 0 < whole < math.inf:
        raise EdgepruneError(
            "the device's profile",
            f"predicts {whole:g} s a run",
            "edgeprune doctor --probe makes it anew",
        )
    return Prediction(tuple(map(float, seconds)), whole)


NAMES = ("inputs of a filter", "filters", "places of its map", "kernel", "stride")  # of features()
NEAR = 0.1  # of a logarithm to base 2, by which a shape may lie beyond the probe's (assumption)


def strange(model: Model, rows: Sequence[Row]) -> tuple[str, ...]:
    """Of each counted row what the probe never met of its like; "" where it did, or where only whole
    networks were probed."""
    rows = [row for row in rows if row.kind in COUNTED]
    if not model.processes:
        return ("",) * len(rows)
    total = weight_bytes(rows, model.block)
    return tuple(_beyond(model, row, total) for row in rows)


def _beyond(model: Model, row: Row, total: int) -> str:
    name = way(row, model.block)
    process = model.processes.get(name)
    if process is None:
        return f"the probe met no {name} layer"
    for what, mine, met in zip(
        NAMES, features(row, model.block, total), zip(*process.points, strict=True), strict=False
    ):
        if not min(met) - NEAR <= mine <= max(met) + NEAR:
            low, high = (round(2**value) for value in (min(met), max(met)))
            return f"{round(2**mine)} {what}, the probe met {low} to {high}"
    return ""


def corrected(line: Sequence[float], rows: Sequence[Row], seconds: float, block: int) -> float:
    """A network's ``seconds``, the sum of its layers', as its own runs take them."""
    return seconds * math.exp(float(np.clip(np.dot(line, about(rows, seconds, block)), *MOST)))


def way(row: Row, block: int) -> str:
    """How the runtime computes the layer."""
    if row.kind == "linear":
        return "linear"
    kind, groups = grouping(row)
    blocked = laid_out(kind, row.width_in, row.width_out, groups, block)
    if kind == "conv":
        if blocked and row.width_in < block:
            return "first"
        return ("blocked " if blocked else "plain ") + ("1x1" if row.kernel == 1 else "kxk")
    return ("blocked " if blocked else "plain ") + kind


def grouping(row: Row) -> tuple[str, int]:
    """Its kind and its groups: counted as a convolution, one of several groups is "grouped"."""
    if row.kind == "depthwise":
        return row.kind, row.width_in
    if row.kind == "conv" and row.groups > 1:
        return "grouped", row.groups
    return row.kind, row.groups


def inputs_of(row: Row, wide_in: int) -> int:
    """Channels that one filter reads, of ``wide_in``."""
    _, groups = grouping(row)
    return 1 if row.kind == "depthwise" else max(1, wide_in // groups)


def features(row: Row, block: int, total: int) -> list[float]:
    """Logarithms of what the kernels loop over; ``total``: bytes of the whole network's weights."""
    wide_in, wide_out = _padded(row, block)
    height, width = _space(row)
    filled = (
        wide_out // block % 4 if block > 1 else 0
    )  # blocked kernels take 4 blocks of filters at a time
    read = wide_in if row.kind == "depthwise" else inputs_of(row, wide_in)
    return [
        math.log2(read), math.log2(wide_out), math.log2(height * width), math.log2(row.kernel),
        math.log2(row.stride), math.log2(total), float(filled != 0) * (4 - filled) / max(wide_out / block, 1),
    ]  # fmt: skip


def roofline(row: Row, block: int, peaks: Peaks, total: int) -> float:
    """Seconds if arithmetic, weights, maps and the call came one after another."""
    height, width = _space(row)
    wide_in, wide_out = _padded(row, block)
    per_output = row.kernel**2 * inputs_of(row, wide_in)
    weights = BYTES * per_output * wide_out
    maps = BYTES * height * width * (wide_out + wide_in * row.stride**2)
    return (
        peaks.call
        + 2 * per_output * wide_out * height * width / peaks.flops
        + weights / bandwidth(peaks.weights, total)
        + maps / bandwidth(peaks.maps, maps)
    )


def _least(model: Model, name: str, row: Row, total: int) -> float:
    if model.lines:
        return float(np.dot(_line_of(model, name), terms(row, model.block)))
    return roofline(row, model.block, model.peaks, total)


def _line_of(model: Model, name: str) -> Sequence[float]:
    """The way's own; else that of one like it."""
    return model.lines.get(name) or model.lines.get(LIKE.get(name, "")) or [0.0] * TERMS


MOST = (math.log(0.5), math.log(2))  # of a correction
TERMS, ABOUT = 6, 5  # of terms(), of about()
ROUNDS, USUAL = 10, 0.03  # of reweighting; share by which an undisturbed network is missed


def terms(row: Row, block: int) -> list[float]:
    """What a layer's time is a line in, for way(row): a call, its multiply-adds, the patches that are
    copied together (k*k*I a place), its weights, its output, and the remainder of its filters by 8
    (a tail that is computed as if it were whole)."""
    height, width = _space(row)
    wide_in, wide_out = _padded(row, block)
    per_output = row.kernel**2 * inputs_of(row, wide_in)
    places = height * width
    return [
        1.0, per_output * wide_out * places, per_output * places, per_output * wide_out,
        wide_out * places, per_output * (-wide_out % 8) * places,
    ]  # fmt: skip


def moves(rows: Sequence[Row], block: int) -> list[int]:
    """Bytes that are laid out anew before each row: where the layout changes from one to the next."""
    found, before = [], False
    for row in rows:
        name = way(row, block)
        now = name.startswith("blocked")
        height, width = _space(row)
        found.append(BYTES * row.width_in * height * width * row.stride**2 if now != before else 0)
        before = now or name == "first"
    return found


def weight_bytes(rows: Iterable[Row], block: int) -> int:
    """Of all weights as they lie in memory, padding included."""
    total = 0
    for row in rows:
        wide_in, wide_out = _padded(row, block)
        total += BYTES * wide_out * row.kernel**2 * inputs_of(row, wide_in)
    return total


def fit(networks: Sequence[Network], peaks: Peaks, block: int) -> Model:
    """The model that these measured networks teach. Takes some seconds (hyperparameters by maximum
    likelihood)."""
    samples: dict[str, list[tuple[list[float], float, float]]] = {}
    moved: list[tuple[int, float]] = []
    for network in networks:
        rows = [x for x in network.layers if x.kind in COUNTED and x.seconds > 0]
        total = weight_bytes(rows, block)
        for row in rows:
            excess = math.log(row.seconds / roofline(row, block, peaks, total))
            doubt = (TICK / row.seconds) ** 2
            samples.setdefault(way(row, block), []).append(
                (features(row, block, total), excess, doubt)
            )
            if row.moves:
                moved.append((BYTES * math.prod(row.in_shape) * row.moves, row.moving))
    return Model(
        block, peaks, {name: _process(values) for name, values in samples.items()},
        _line(moved), _rest(networks),
    )  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """A network of which only the whole was timed."""

    rows: tuple[Row, ...]
    seconds: float


def fit_whole(networks: Sequence[Whole], block: int) -> Model:
    """The model of a device whose runtime tells no layer's time."""
    from scipy.optimize import nnls

    ways = sorted({way(row, block) for n in networks for row in n.rows})
    columns = {name: TERMS * i for i, name in enumerate(ways)}
    a = np.zeros((len(networks), TERMS * len(ways) + 3))
    for i, n in enumerate(networks):
        for row in n.rows:
            at = columns[way(row, block)]
            a[i, at : at + TERMS] += terms(row, block)
        a[i, -3:] = _rest_features(n.rows)
        a[i] /= n.seconds
    scale = np.maximum(a.max(0), 1e-300)
    weight = np.ones(len(networks))
    for _ in range(ROUNDS):  # Huber's weights: one that met other work does not bend the lines
        found, _ = nnls(a / scale * weight[:, None], weight)
        missed = np.abs(a / scale @ found - 1)
        weight = np.sqrt(np.minimum(1.0, USUAL / np.maximum(missed, USUAL)))
    found = found / scale
    lines = {name: tuple(map(float, found[at : at + TERMS])) for name, at in columns.items()}
    rest = (float(found[-3]), float(found[-2]), float(found[-1]))
    return Model(block, NONE, {}, (0.0, 0.0), rest, lines)


def _process(samples: Sequence[tuple[Sequence[float], float, float]]) -> Process:
    """``samples``: (features, log excess, variance of the clock's step in it)."""
    with extras.needed("probe", "a device's probe"):
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x = np.array([s[0] for s in samples])
    y = np.array([s[1] for s in samples])
    mean = float(y.mean())
    if len(y) < 4:  # too few to learn a shape from
        return Process(x.tolist(), [0.0] * len(y), [1.0] * x.shape[1], 0.0, mean)
    kernel = ConstantKernel(0.2, (1e-3, 10)) * RBF([2.0] * x.shape[1], (0.5, 30)) + WhiteKernel(
        2e-3, (2e-4, 0.1)
    )
    import warnings

    with warnings.catch_warnings():  # a scale at its bound says that a feature does not matter
        warnings.simplefilter("ignore")
        found = GaussianProcessRegressor(kernel, alpha=np.array([s[2] for s in samples])).fit(
            x, y - mean
        )
    smooth = found.kernel_.k1
    scales = np.broadcast_to(smooth.k2.length_scale, x.shape[1:])
    return Process(
        x.tolist(), found.alpha_.tolist(), scales.tolist(), float(smooth.k1.constant_value), mean
    )


def about(rows: Sequence[Row], seconds: float, block: int) -> list[float]:
    """What a network's correction is a line in: logarithms of its weights, time, maps and layers."""
    rows = [row for row in rows if row.kind in COUNTED]
    maps = BYTES * sum(math.prod(row.out_shape) for row in rows)
    sizes = (weight_bytes(rows, block), 1e6 * seconds, maps, len(rows))
    return [1.0, *(math.log2(max(v, 1e-3)) for v in sizes)]


def correction(
    networks: Sequence[Sequence[Row]], said: Sequence[float], seconds: Sequence[float], block: int
) -> tuple[float, ...]:
    """``Model.whole``: from what was ``said`` of networks that a fit had not seen to their ``seconds``.

    Under the profiler, beside others, a network's weights come from further away than in its own runs.
    """
    a = np.array([about(rows, s, block) for rows, s in zip(networks, said, strict=True)])
    found = np.linalg.lstsq(a, np.log(np.array(seconds) / np.array(said)), rcond=None)[0]
    return tuple(map(float, found))


def _line(moved: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Constant and slope, neither negative, each sample counting by its share."""
    from scipy.optimize import nnls

    if not moved:
        return 0.0, 0.0
    size, seconds = (np.array(v, float) for v in zip(*moved, strict=True))
    weight = 1 / np.maximum(seconds, 1e-6)
    found, _ = nnls(np.stack([weight, size * weight], 1), seconds * weight)
    return float(found[0]), float(found[1])


def _rest(networks: Sequence[Network]) -> tuple[float, float, float]:
    from scipy.optimize import nnls

    a, y = [], []
    for network in networks:
        rows = [x for x in network.layers if x.kind in COUNTED]
        rest = network.seconds - sum(x.seconds + x.moving for x in rows)
        a.append(np.array(_rest_features(rows)) / network.seconds)
        y.append(max(rest, 0.0) / network.seconds)
    found, _ = nnls(np.array(a), np.array(y))
    return float(found[0]), float(found[1]), float(found[2])


def _rest_features(rows: Sequence[Row]) -> tuple[float, float, float]:
    return 1.0, float(len(rows)), float(BYTES * sum(math.prod(row.out_shape) for row in rows))


def _space(row: Row) -> tuple[int, int]:
    shape = row.out_shape[1:] if row.kind != "linear" else ()
    return (shape[0], shape[1]) if len(shape) == 2 else (1, 1)


def _padded(row: Row, block: int) -> tuple[int, int]:
    kind, groups = grouping(row)
    return padded(kind, row.width_in, row.width_out, groups, block)
