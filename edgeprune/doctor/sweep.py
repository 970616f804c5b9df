"""Measurements on synthetic graphs: the roofline of this core, and layers at other widths."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..runtime.layout import Ask, Layer, asked
from ..runtime.roofline import Peaks
from .layers import network
from .profile import Heard, Profile, nobody, profile
from .synthetic import Builder

MIB = 2**20
WEIGHTS = tuple(int(m * MIB) for m in (0.25, 1, 4, 16, 48))  # bytes
MAPS = tuple(int(m * MIB) for m in (0.125, 0.5, 2, 8, 32))  # bytes read + written
SQUARES = (256, 512, 1024)


def run(models: Sequence[Any], seconds: float, heard: Heard = nobody) -> list[Profile]:
    """Profiles of ModelProtos, measured interleaved, ``seconds`` each."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="edgeprune-sweep-") as folder:
        paths = [Path(folder) / f"{i}.onnx" for i in range(len(models))]
        for path, model in zip(paths, models, strict=True):
            onnx.save(model, path)
        return profile(paths, seconds=seconds, heard=heard)


def peaks(*, int8: bool = False, seconds: float = 0.1, heard: Heard = nobody) -> Peaks:
    """About ``2 + 13 * seconds`` seconds. FLOPs by sgemm and a blocked 3x3 convolution, whichever is
    faster; bandwidths by matrix x vector (weights) and by a Relu (maps)."""
    arithmetic = [_square(n) for n in SQUARES] + [_convolution(False)]
    quantised = [_convolution(True)] if int8 else []
    reading = [_vector(size) for size in WEIGHTS]
    copying = [_copy(size) for size in MAPS]
    found = run([*arithmetic, *quantised, *reading, *copying, _smallest()], seconds, heard)
    *rest, smallest = found
    times = [_longest(p) for p in rest]
    work = [2 * n**3 for n in SQUARES] + [2 * CONVOLUTION] * (1 + len(quantised))
    speeds = [w / t for w, t in zip(work, times, strict=False)]
    first = len(work)
    return Peaks(
        flops=max(speeds[: len(arithmetic)]),
        int8=speeds[-1] if int8 else None,
        weights=tuple(zip(WEIGHTS, _per_second(WEIGHTS, times[first:]), strict=True)),
        maps=tuple(zip(MAPS, _per_second(MAPS, times[first + len(WEIGHTS) :]), strict=True)),
        call=min(n.seconds for n in smallest.nodes),
    )


def _longest(p: Profile) -> float:
    """The node that the graph was made for."""
    return max(
        n.seconds for n in p.nodes if n.name == COPIED or COPIED not in {m.name for m in p.nodes}
    )


def _per_second(sizes: Sequence[int], times: Sequence[float]) -> list[float]:
    return [size / t for size, t in zip(sizes, times, strict=False)]


def _square(n: int) -> Any:
    b = Builder()
    x = b.input("x", (n, n))
    b.output(b.op("MatMul", "y", [x, b.weight("w", (n, n))]))
    return b.model()


CONVOLUTION = 128 * 128 * 9 * 28 * 28  # multiply-adds


def _convolution(int8: bool) -> Any:
    b = Builder(int8=int8)
    x = b.conv("first", b.input("x", (1, 3, 28, 28)), 3, 128)
    b.output(b.conv("conv", x, 128, 128))
    return b.model()


def _vector(size: int) -> Any:
    b = Builder()
    columns = 1024
    rows = size // 4 // columns
    x = b.input("x", (1, rows))
    b.output(b.op("MatMul", "y", [x, b.weight("w", (rows, columns))]))
    return b.model()


COPIED = "copied"


def _copy(size: int) -> Any:
    """The Relu in the middle: what comes in and goes out of a graph meets the allocator as well."""
    b = Builder()
    x = b.op("Neg", "first", [b.input("x", (size // 8 // 1024, 1024))])
    b.output(b.op("ReduceMax", "last", [b.op("Relu", COPIED, [x])]))
    return b.model()


def _smallest() -> Any:
    b = Builder()
    x = b.input("x", (1, 16, 1, 1))
    for i in range(4):
        x = b.conv(f"c{i}", x, 16, 16, 1)
    b.output(x)
    return b.model()


def what_if(
    layers: Iterable[tuple[Layer, int, int]], *, seconds: float = 1.0, heard: Heard = nobody
) -> dict[Ask, float]:
    """Seconds of layers at other widths, each alone but all in one graph, so that their ratios hold.

    ``layers``: (layer, width in, width out); for a depthwise layer both are the same.
    """
    cases = {asked(layer, i, o): layer for layer, i, o in layers if len(layer.in_shape) == 3}
    if not cases:
        return {}
    b = Builder()
    for k, (ask, layer) in enumerate(cases.items()):
        groups = ask.width_in if layer.kind == "depthwise" else layer.groups
        x = b.input(f"x{k}", (1, ask.width_in, *layer.in_shape[1:]))
        b.int8 = layer.layout == "int8"
        if b.int8 or layer.kind != "conv" or ask.width_in % 4 == 0:
            # The input is made inside, so that a reorder is paid for once, not here.
            x = b.op("Relu", f"in{k}", [x])
        y = b.conv(
            f"layer{k}", x, ask.width_in, ask.width_out, layer.kernel, stride=layer.stride,
            groups=groups,
        )  # fmt: skip
        b.output(b.op("GlobalMaxPool", f"out{k}", [y]))
    found = run([b.model()], seconds, heard)[0]
    measured = network("what if", found, block=1)
    times = {layer.name: layer.seconds for layer in measured.layers}
    return {ask: times[f"layer{k}"] for k, ask in enumerate(cases)}
