"""The paper's figures from plain arrays (Hubens et al. 2020: figures 1a, 1b, 3-6).

Every figure takes panels, ``{title: content}``: one network, or one beside another on the same axes.
Depth is the colour: one perceptually uniform scale from the first layer (dark) to the last. Neighbours
look alike on it, so each line bears its name at its end.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from ..errors import EdgepruneError
from ..records import Frontier
from ..records.bench import Interval
from .charts import Mark, apart

INK, QUIET, RULE = "#1d1d1b", "#6b6a66", "#e3e1dc"
ACCENT, SECOND = "#0b6e7f", "#c2571a"  # teal and orange: told apart in every colour vision
DEPTH = mpl.colormaps["viridis"]
NORMALISATIONS = ("none", "max", "size")
LINE, FRAME = 0.125, 1.0  # inches of a line's name, and of what stands above and below the axes
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "edgeprune",  # the same numbers give the same file
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class LayerNorms:
    """The L1 norms of a layer's filters, ``s_j = sum_{c,u,v} |W[j,c,u,v]|``."""

    label: str
    norms: NDArray[Any]  # [filters], in the network's order
    filter_size: int  # weights in one filter (inputs x kernel height x kernel width)


@dataclass(frozen=True)
class Sensitivity:
    """Accuracy against the share of its lowest-norm filters removed from one layer alone."""

    label: str
    shares: Sequence[float]  # 0..1, ascending
    accuracy: Sequence[float]  # 0..1, without retraining
    baseline: float | None = None  # accuracy with nothing removed


@dataclass(frozen=True)
class Filters:
    """The first convolution: ``weights`` [O, C, kH, kW] with C = 1 or 3 (RGB), and which stayed."""

    weights: NDArray[Any]
    left: Sequence[int] | None = None  # None: nothing was removed from it


@dataclass(frozen=True)
class Step:
    """One prune-and-retrain round."""

    step: int
    accuracy: float | None  # after retraining, 0..1
    before: float | None  # right after the cut
    params: float  # share of the dense network's
    flops: float  # share of the dense network's
    kept: bool = True  # False: rolled back


@dataclass(frozen=True)
class History:
    """Step 0 is the dense network; ``limit`` is the accuracy below which pruning stops."""

    steps: Sequence[Step]
    baseline: float | None = None
    limit: float | None = None


def ranked_norms(panels: Mapping[str, Sequence[LayerNorms]], normalise: str = "none") -> Figure:
    """Figures 1a, 3 and 5: one curve a layer, its filters in descending order of their L1 norm.

    ``normalise``: ``none`` raw norms by rank; ``max`` norm / the layer's greatest by rank / number
    of filters (Li et al. 2017, figure 2); ``size`` norm / weights in the filter, by rank, so that
    layers of different fan-in can be compared.
    """
    if normalise not in NORMALISATIONS:
        raise EdgepruneError(f"normalise {normalise!r}", "known: " + ", ".join(NORMALISATIONS))

    def curve(layer: LayerNorms) -> tuple[NDArray[Any], NDArray[Any]]:
        y = np.sort(np.asarray(layer.norms, dtype=float))[::-1]
        x = np.arange(1, len(y) + 1, dtype=float)
        if normalise == "max":
            return x / len(y), y / (y[0] if len(y) and y[0] > 0 else 1.0)
        return x, y / layer.filter_size if normalise == "size" else y

    y_label = {
        "none": "L1 norm",
        "max": "L1 norm / layer's greatest",
        "size": "L1 norm / weights in the filter",
    }[normalise]
    with mpl.rc_context(STYLE):
        height = _height(panels.values())
        figure, axes = _panels(panels, height=height)
        for ax, layers in zip(axes, panels.values(), strict=True):
            for layer, colour in zip(layers, _depth(len(layers)), strict=True):
                ax.plot(*curve(layer), color=colour, label=layer.label)
            ax.set_xlabel(
                "rank / filters in the layer" if normalise == "max" else "rank of the filter"
            )
        axes[0].set_ylim(bottom=0)
        axes[0].set_xlim(left=0 if normalise == "max" else 1)
        axes[0].margins(x=0)
        axes[0].set_ylabel(y_label)
        for ax, layers in zip(axes, panels.values(), strict=True):
            _name_lines(ax, [layer.label for layer in layers], height)
    return figure


def sensitivity(panels: Mapping[str, Sequence[Sensitivity]]) -> Figure:
    """Figure 1b: one curve a layer, accuracy against the share of its filters removed."""
    with mpl.rc_context(STYLE):
        height = _height(panels.values())
        figure, axes = _panels(panels, height=height)
        for ax, curves in zip(axes, panels.values(), strict=True):
            for layer, colour in zip(curves, _depth(len(curves)), strict=True):
                x, y = list(layer.shares), list(layer.accuracy)
                if layer.baseline is not None and (not x or x[0] > 0):
                    x, y = [0.0, *x], [layer.baseline, *y]
                ax.plot(x, y, color=colour, label=layer.label, marker="o", markersize=2.4)
            baseline = next((c.baseline for c in curves if c.baseline is not None), None)
            _reference(ax, baseline, "baseline")
            ax.set_xlabel("filters removed in this layer alone")
            ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        furthest = [x for curves in panels.values() for c in curves for x in c.shares]
        axes[0].set_xlim(0, max(furthest, default=1))
        axes[0].set_ylabel("validation accuracy, not retrained")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for ax, curves in zip(axes, panels.values(), strict=True):
            _name_lines(ax, [c.label for c in curves], height)
    return figure


def first_filters(panels: Mapping[str, Filters]) -> Figure:
    """Figures 4 and 6: the first layer's filters ``[O, 3, kH, kW]`` (RGB) as tiles, 8 to a row.

    Grey is a weight of 0. One scale for a panel, cut at the 99.5th percentile of |weight|, so a
    filter near zero looks grey and not like noise blown up. Filters that were removed are pale and
    crossed out.
    """
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        rows = max(math.ceil(len(p.weights) / 8) for p in panels.values())
        figure, axes = _panels(panels, height=0.42 * rows + 0.65, width=3.5, share=False)
        for ax, (title, panel) in zip(axes, panels.items(), strict=True):
            image, zoom = tiles(panel.weights, columns=8), 6
            ax.set_axis_off()
            ax.set_anchor("NW")
            count, _, height, width = panel.weights.shape
            gone = sorted(
                set(range(count)) - set(range(count) if panel.left is None else panel.left)
            )
            for i in gone:
                y, x = (place * (side * zoom + zoom // 2) for place, side in
                        zip(divmod(i, 8), (height, width), strict=True))  # fmt: skip
                tile = image[y : y + height * zoom, x : x + width * zoom]
                tile[:] = 1 - 0.3 * (1 - tile)
                right, low = x + width * zoom - 1, y + height * zoom - 1
                ax.plot([x, right], [y, low], color=SECOND, lw=0.8)
                ax.plot([x, right], [low, y], color=SECOND, lw=0.8)
            ax.imshow(image, interpolation="nearest")
            said = f"{count - len(gone)} of {count} filters left" if gone else f"{count} filters"
            ax.set_title(f"{_label(title)}\n{said}")
    return figure


def tiles(weights: NDArray[Any], columns: int = 8, zoom: int = 6) -> NDArray[np.float64]:
    """``[O, C, kH, kW]`` with C = 1 or 3 -> an RGB image ``[height, width, 3]`` in 0..1.

    Each weight is ``zoom`` x ``zoom`` pixels, white lines of half a weight part the tiles, which
    stand in the network's order.
    """
    filters, channels, height, width = weights.shape
    if channels not in (1, 3):
        raise EdgepruneError(
            f"first-layer filters with {channels} input channels", "tiles need 1 or 3 (RGB)"
        )
    values = np.asarray(weights, dtype=float)
    bound = float(np.quantile(np.abs(values), 0.995)) or 1.0
    values = np.clip(0.5 + values / (2 * bound), 0, 1).transpose(0, 2, 3, 1)
    rows = math.ceil(filters / columns)
    values = values.repeat(zoom, axis=1).repeat(zoom, axis=2)
    height, width, gap = height * zoom, width * zoom, max(zoom // 2, 1)
    image = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for index, tile in enumerate(values):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        image[y : y + height, x : x + width] = tile  # one channel fills all three: grey
    return image


def history(panels: Mapping[str, History]) -> Figure:
    """Accuracy (above) and what is left of the network (below), step by step."""
    with mpl.rc_context(STYLE):
        figure = _figure(len(panels), 4.6)
        grid = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False)
        floor, ceiling = _floor(panels.values())
        for (upper, lower), (title, run) in zip(grid.T, panels.items(), strict=True):
            upper.set_title(_label(title))
            _accuracy(upper, run, floor)
            kept = [s for s in run.steps if s.kept]
            x = [s.step for s in kept]
            lower.plot(x, [s.flops for s in kept], color=SECOND, marker="s", ms=3, label="FLOPs")
            lower.plot(
                x, [s.params for s in kept], color=ACCENT, marker="o", ms=3, label="parameters"
            )
            lower.set_xlabel("pruning step")
            lower.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        top, bottom = grid[0, 0], grid[1, 0]
        top.set_ylim(floor, ceiling)
        top.set_ylabel("validation accuracy")
        top.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        bottom.set_ylabel("left of the dense network")
        bottom.set_ylim(0, 1.05)
        bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(figure, list(grid.flat))
    return figure


def frontier(name: str, found: Frontier) -> Figure:
    """Answers kept against milliseconds: the dense network, and each smaller one by its number.

    The line joins what is worth taking, the dashed one (open marks) what is in 8 bits; intervals are those
    of 95 %.
    """
    points = [p for p in found.points if p.latency.median_s is not None]
    ms, kept = _ms([p.latency.median_s for p in points]), [p.kept for p in points]
    with mpl.rc_context(STYLE):
        figure, (ax,) = _panels({f"{name} on {found.device}": None}, height=3.6, width=5.0)
        for bits in (False, True):
            worth = [i for i, p in enumerate(points) if p.beaten_by is None and p.int8 == bits]
            ax.plot(
                ms[worth], [kept[i] for i in worth], color=RULE, zorder=1, ls="--" if bits else "-"
            )
        for i, p in enumerate(points):
            colour = SECOND if not p.number else ACCENT if p.beaten_by is None else QUIET
            ax.errorbar(
                ms[i], kept[i], fmt="s" if not p.number else "o", ms=4.5, color=colour,
                mfc="white" if p.int8 else colour, elinewidth=0.9,
                xerr=_around(ms[i], _in_ms(p.latency.median_interval_s)),
                yerr=_around(kept[i], p.kept_interval),
            )  # fmt: skip
            ax.annotate(
                p.name, (ms[i], kept[i]), (6, -9),
                textcoords="offset points", color=colour, fontsize=8,
            )  # fmt: skip
        ax.set_xlim(left=0, right=1.12 * float(max(ms, default=1.0)))
        lowest = min([0.5, *(p.kept_interval[0] if p.kept_interval else p.kept for p in points)])
        ax.set_ylim(max(0.0, lowest - 0.05), 1.05)
        ax.set_xlabel(
            "milliseconds a run" if found.threads == 1 else f"milliseconds, {found.threads} threads"
        )
        shares = all(p.kept_interval for p in points if p.number or p.int8)
        ax.set_ylabel("dense network's answers kept" if shares else "of the dense outputs kept")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


@dataclass(frozen=True)
class Kept:
    """What is left of each layer's filters, averaged over seeds: one line of `kept_widths`."""

    label: str
    layers: Sequence[str]
    share: Sequence[float]  # 0..1, one a layer
    least: Sequence[float]  # over the seeds
    most: Sequence[float]


def kept_widths(panels: Mapping[str, Sequence[Kept]]) -> Figure:
    """Late against early: the share of each layer's filters that is left, one line a start."""
    with mpl.rc_context(STYLE):
        figure, axes = _panels(panels, height=3.6, width=5.6)
        for ax, lines in zip(axes, panels.values(), strict=True):
            for line, colour in zip(lines, (ACCENT, SECOND, INK, QUIET), strict=False):
                x = range(len(line.layers))
                ax.plot(x, line.share, color=colour, marker="o", markersize=3, label=line.label)
                ax.fill_between(x, line.least, line.most, color=colour, alpha=0.15, linewidth=0)
            names = lines[0].layers if lines else []
            ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
        axes[0].set_ylim(0, 1.05)
        axes[0].set_ylabel("filters left")
        axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(figure, axes)
    return figure


def _in_ms(interval: Interval | None) -> Interval | None:
    return None if interval is None or None in interval else (1e3 * interval[0], 1e3 * interval[1])  # type: ignore[operator]


def _around(value: float, interval: Interval | None) -> Any:
    """An interval as matplotlib wants it: how far down and up from the value."""
    if interval is None or interval[0] is None or interval[1] is None:
        return None
    return [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]


def _floor(runs: Iterable[History]) -> tuple[float, float]:
    """The accuracies at the lower and the upper end of the axis.

    The limit is to be read, a point from the baseline as a rule; how deep a network falls when it is
    cut, or in a step that was undone, is not: what lies lower is drawn at the lower end.
    """
    levels: list[float] = []
    undone: list[float] = []
    for r in runs:
        levels += [v for v in (r.baseline, r.limit) if v is not None]
        for s in r.steps:
            if s.accuracy is not None:
                (levels if s.kept else undone).append(s.accuracy)
    low, high = (min(levels), max(levels)) if levels else (0.0, 1.0)
    span = max(high - low, 0.01)
    low = min([low, *(v for v in undone if v >= low - 2 * span)])
    return max(0.0, low - 0.6 * span), min(1.0, high + 0.3 * span)


def _accuracy(ax: Axes, run: History, floor: float) -> None:
    kept = {s.step: s.accuracy for s in run.steps if s.kept and s.accuracy is not None}
    undone = {s.step: s.accuracy for s in run.steps if not s.kept and s.accuracy is not None}
    cuts = {s.step: s.before for s in run.steps if s.before is not None}

    def draw(points: Mapping[int, float], label: str, **style: Any) -> None:
        if points:
            ax.plot(list(points), list(points.values()), label=label, **style)

    def deep(points: Mapping[int, float], label: str, colour: str) -> None:
        below = {step: floor for step, v in points.items() if v < floor}
        style: Any = {"marker": "v", "ms": 3.5, "ls": "", "clip_on": False, "zorder": 3}
        draw(below, f"{label}, further down", color=colour, **style)

    def within(points: Mapping[int, float]) -> dict[int, float]:
        return {step: v for step, v in points.items() if v >= floor}

    draw(kept, "after retraining", color=ACCENT, marker="o", ms=3.5)
    cut, lost = "right after the cut", "beyond the limit, undone"
    draw(within(cuts), cut, color=QUIET, marker="o", ms=3.5, mfc="white", ls="")
    deep(cuts, cut, QUIET)
    draw(within(undone), lost, color=SECOND, marker="x", ms=5, ls="")
    deep(undone, lost, SECOND)
    _reference(ax, run.baseline, "dense")
    if run.limit is not None:
        ax.axhline(run.limit, color=SECOND, lw=0.9, ls=(0, (1, 2)), label="limit")


@dataclass(frozen=True)
class LayerTimes:
    """A network's layers in order, with seconds; a missing one is None."""

    layers: Sequence[str]
    measured: Sequence[float | None]
    roofline: Sequence[float | None]
    predicted: Sequence[float | None]


def layer_times(panels: Mapping[str, LayerTimes]) -> Figure:
    """Milliseconds of each layer: measured as bars, the roofline and the prediction as marks."""
    with mpl.rc_context(STYLE):
        most = max(len(p.layers) for p in panels.values())
        figure, axes = _panels(panels, height=max(2.4, 0.2 * most + 1.2))
        for ax, panel in zip(axes, panels.values(), strict=True):
            places = np.arange(len(panel.layers))
            ax.barh(places, _ms(panel.measured), color=ACCENT, height=0.62, label="measured")
            marks: list[tuple[str, Sequence[float | None], Any]] = [
                ("roofline", panel.roofline, {"marker": "|", "color": INK}),
                ("predicted", panel.predicted, {"marker": "o", "color": SECOND, "mfc": "none"}),
            ]
            for label, values, style in marks:
                if any(v is not None for v in values):
                    ax.plot(_ms(values), places, ls="", ms=6, label=label, **style)
            ax.set_yticks(places, [_label(name) for name in panel.layers], fontsize=7)
            ax.set_xlabel("ms a run")
            ax.grid(axis="y", visible=False)
        axes[0].invert_yaxis()
        _legend(figure, axes)
    return figure


def _ms(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else 1e3 * v for v in values])


def png(figure: Figure, dpi: int = 200) -> bytes:
    return _saved(figure, "png", dpi=dpi)


def svg(figure: Figure) -> bytes:
    """SVG with text as text and no date in it."""
    return _saved(figure, "svg", metadata={"Date": None})


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    with mpl.rc_context(STYLE):
        out = io.BytesIO()
        figure.savefig(out, format=kind, facecolor="white", **options)
        return out.getvalue()


def _figure(panels: int, height: float, width: float = 4.6) -> Figure:
    figure = Figure(figsize=(width * panels + 1.6, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    return figure


def _panels(
    panels: Mapping[str, Any], *, height: float, width: float = 4.6, share: bool = True
) -> tuple[Figure, list[Axes]]:
    figure = _figure(len(panels), height, width)
    axes = list(figure.subplots(1, len(panels), sharex=share, sharey=share, squeeze=False)[0])
    for ax, title in zip(axes, panels, strict=True):
        ax.set_title(_label(title))
    return figure, axes


def _height(panels: Iterable[Sequence[Any]]) -> float:
    """Inches in which each line's name has its place, as far as a page is high."""
    return min(8.0, max(3.5, LINE * max((len(lines) for lines in panels), default=0) + FRAME))


def _name_lines(ax: Axes, names: Sequence[str], height: float) -> None:
    """The name of each line at its end, in its colour, moved as little as needed to be read.

    Of more lines than have a place some are named, the first and the last among them.
    """
    drawn = {str(line.get_label()): line for line in ax.get_lines()}
    least = 100 * LINE / (height - FRAME)
    most = math.floor(100 / least) + 1
    if len(names) > most:
        names = [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
    ends = {name: np.asarray(drawn[name].get_xydata(), dtype=float)[-1] for name in names}
    columns: dict[float, list[Mark]] = {}  # lines that end at one place, by how far right that is
    for name, end in ends.items():
        x, y = ax.transAxes.inverted().transform(ax.transData.transform(end))
        columns.setdefault(round(100 * x, 1), []).append(Mark(100 * x, 100 * (1 - y), name))
    placed: list[Mark] = []
    for _, column in sorted(columns.items(), reverse=True):
        for word in reversed(apart(column, least)):
            placed.append(_free(word, placed, least))
    for word in placed:
        colour, (x, y) = drawn[word.text].get_color(), ends[word.text]
        text = ax.annotate(
            _short(word.text), (x, y), (word.x / 100 + 0.03, 1 - word.y / 100),
            textcoords="axes fraction", color=colour, fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "relpos": (0, 0.5),
                        "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _free(word: Mark, placed: Sequence[Mark], least: float) -> Mark:
    """``word`` at the nearest height at which it covers no other one."""

    def covers(y: float) -> bool:
        return any(
            abs(y - other.y) < 0.99 * least
            and word.x < other.x + _width(other.text)
            and other.x < word.x + _width(word.text)
            for other in placed
        )

    tries = [word.y + sign * i * least / 2 for i in range(120) for sign in (-1, 1)]
    return replace(word, y=next((y for y in tries if 0 <= y <= 100 and not covers(y)), word.y))


def _width(name: str) -> float:
    """About how wide a name is, in per cent of the axes."""
    return 2 + 1.3 * len(_short(name))


def _short(name: str) -> str:
    return _label(name)


def _depth(layers: int) -> list[Any]:
    """Colours of the layers, first to last; the scale's palest end is not read on white."""
    return [DEPTH(0.85 * i / max(layers - 1, 1)) for i in range(layers)]


def _reference(ax: Axes, value: float | None, label: str) -> None:
    if value is not None:
        ax.axhline(value, color=QUIET, lw=0.9, ls=(0, (4, 3)), label=label, zorder=1)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend right of the panels; what stands in several of them is named once."""
    named: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(
            list(named.values()), list(named), loc="outside right upper", handlelength=1.4
        )


def _label(text: str) -> str:
    """A name as literal text: a dollar sign would start mathematics."""
    return "".join(c for c in text if c.isprintable()).replace("$", r"\$")
