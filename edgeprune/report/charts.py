"""Line charts for the page, as positions in per cent of the plot's width and height.

The page draws lines in one stretched SVG and sets every word and mark as HTML above it. So a chart
keeps its letters legible on a phone, follows light and dark, and prints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Mark:
    """A point or a word at (``x``, ``y``) per cent from the left and the top."""

    x: float
    y: float
    text: str
    style: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Line:
    """``points`` as an SVG polyline wants them; ``style`` and ``colour`` are CSS."""

    points: str
    style: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Chart:
    title: str
    x_ticks: Sequence[Mark]
    y_ticks: Sequence[Mark]
    lines: list[Line] = field(default_factory=list)
    dots: list[Mark] = field(default_factory=list)  # their text is shown on hovering
    words: list[Mark] = field(default_factory=list)  # names of lines, right of the plot
    x_label: str = ""


@dataclass(frozen=True)
class Axes:
    """Data coordinates to per cent; values beyond the range stay at the edge."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        return _share(x, self.x), 100 - _share(y, self.y)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], style: str = "", colour: str = ""
    ) -> Line:
        points = (self.at(x, y) for x, y in zip(xs, ys, strict=True))
        return Line(" ".join(f"{x:.2f},{y:.2f}" for x, y in points), style, colour)

    def mark(self, x: float, y: float, text: str, style: str = "", colour: str = "") -> Mark:
        return Mark(*self.at(x, y), text, style, colour)

    def level(self, y: float, style: str) -> Line:
        return self.line(self.x, (y, y), style)

    def x_ticks(self, show: Callable[[float], str], count: int, least: float = 0) -> list[Mark]:
        return [self.mark(v, self.y[0], show(v)) for v in ticks(*self.x, count, least)]

    def y_ticks(self, show: Callable[[float], str], count: int = 5) -> list[Mark]:
        return [self.mark(self.x[0], v, show(v)) for v in ticks(*self.y, count)]


def ticks(low: float, high: float, count: int, least: float = 0) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them, at least ``least`` apart.

    >>> ticks(0, 33, 5)
    [0.0, 10.0, 20.0, 30.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(least, next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9)))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def apart(words: Sequence[Mark], least: float) -> list[Mark]:
    """The words moved as little as needed for neighbours to be ``least`` per cent apart.

    Words that collide become a block around their mean (pooling of neighbours); blocks stay within
    0..100 as long as they fit.
    """
    ordered = sorted(words, key=lambda w: w.y)
    blocks: list[list[float]] = []  # the wanted heights of each block's words

    def top(block: list[float]) -> float:
        length = least * (len(block) - 1)
        start = sum(block) / len(block) - length / 2
        return max(0.0, min(start, 100.0 - length))

    for word in ordered:
        blocks.append([word.y])
        while len(blocks) > 1 and top(blocks[-1]) < top(blocks[-2]) + least * len(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    heights = [top(block) + least * i for block in blocks for i in range(len(block))]
    return [replace(word, y=y) for word, y in zip(ordered, heights, strict=True)]


def _share(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(100.0, max(0.0, 100 * (value - low) / (high - low if high > low else 1)))
