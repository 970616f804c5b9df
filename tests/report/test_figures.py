"""The paper's figures: as many curves and tiles as there are layers and filters, values as given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from edgeprune.errors import EdgepruneError
from edgeprune.report import figures
from edgeprune.report.figures import Filters, History, LayerNorms, Sensitivity, Step

RNG = np.random.default_rng(0)
LAYERS = [
    LayerNorms("conv1 (features.0)", RNG.uniform(1, 5, 64), 27),
    LayerNorms("conv2 (features.2)", RNG.uniform(1, 90, 128), 576),
    LayerNorms("conv3", np.zeros(8), 9),
]


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


@pytest.mark.parametrize("normalise", figures.NORMALISATIONS)
def test_one_ranked_curve_a_layer(normalise):
    figure = figures.ranked_norms({"A": LAYERS, "B": LAYERS[:2]}, normalise)
    a, b = figure.axes
    assert (len(curves(a)), len(curves(b))) == (3, 2)
    assert a.get_xlim() == b.get_xlim()
    assert a.get_ylim() == b.get_ylim()
    for layer in LAYERS:
        data = curves(a)[layer.label]
        assert len(data) == len(layer.norms)
        assert (np.diff(data[:, 1]) <= 0).all()
        assert np.isfinite(data).all()


def test_normalisations_do_what_they_say():
    norms = {
        n: curves(figures.ranked_norms({"A": LAYERS}, n).axes[0]) for n in figures.NORMALISATIONS
    }
    label, layer = LAYERS[1].label, LAYERS[1]
    ranked = np.sort(layer.norms)[::-1]
    assert np.allclose(norms["none"][label], np.c_[np.arange(1, 129), ranked])
    assert np.allclose(norms["max"][label], np.c_[np.arange(1, 129) / 128, ranked / ranked[0]])
    assert np.allclose(norms["size"][label], np.c_[np.arange(1, 129), ranked / 576])


def boxes(figure, ax):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # the words alone: an annotation's own extent holds the line to what it names
    return {t.get_text(): Text.get_window_extent(t, canvas.get_renderer()) for t in ax.texts}


@pytest.mark.parametrize("normalise", figures.NORMALISATIONS)
def test_each_line_bears_its_name_in_its_colour_and_no_name_covers_another(normalise):
    layers = [
        LayerNorms(
            f"conv{i} (features.{i})", RNG.uniform(1, 2 + (i == 13) * 90, 16 * 2 ** (i // 3)), 9
        )
        for i in range(14)
    ]
    figure = figures.ranked_norms({"A": layers, "B": layers[:5]}, normalise)
    for ax, count in zip(figure.axes, (14, 5), strict=True):
        words = {t.get_text(): t for t in ax.texts}
        assert sorted(words) == sorted(f"conv{i} (features.{i})" for i in range(count))
        for line in ax.get_lines():
            assert words[line.get_label()].get_color() == line.get_color()
        found = list(boxes(figure, ax).values())
        # a line's height of 7 points; glyphs themselves are lower than their boxes
        assert not [
            (a, b) for i, a in enumerate(found) for b in found[:i]
            if a.overlaps(b) and abs(a.y0 - b.y0) < 0.6 * a.height
        ]  # fmt: skip


def test_of_a_hundred_layers_those_that_have_a_place_are_named():
    layers = [Sensitivity(f"layer{i}", [0.25, 0.5], [0.8, i / 100], 0.9) for i in range(100)]
    figure = figures.sensitivity({"A": layers})
    names = list(boxes(figure, figure.axes[0]))
    assert {"layer0", "layer99"} <= set(names)
    assert 40 < len(names) < 80


def test_unknown_normalisation_is_refused():
    with pytest.raises(EdgepruneError, match="known: none, max, size"):
        figures.ranked_norms({"A": LAYERS}, "log")


def test_depth_is_a_scale_from_dark_to_light():
    luminance = [np.dot(c[:3], (0.2126, 0.7152, 0.0722)) for c in figures._depth(13)]
    assert (np.diff(luminance) > 0).all()


def test_sensitivity_starts_at_the_baseline():
    layers = [Sensitivity(f"conv{i}", [0.25, 0.5], [0.8, 0.3], 0.9) for i in range(13)]
    ax = figures.sensitivity({"A": layers}).axes[0]
    found = curves(ax)
    assert len([k for k in found if k.startswith("conv")]) == 13
    assert found["conv0"].tolist() == [[0, 0.9], [0.25, 0.8], [0.5, 0.3]]
    assert found["baseline"][0][1] == 0.9


@pytest.mark.parametrize(("filters", "rows"), [(64, 8), (32, 4), (21, 3)])
def test_a_tile_a_filter(filters, rows):
    weights = RNG.normal(size=(filters, 3, 3, 3))
    image = figures.tiles(weights, columns=8, zoom=2)
    tile, gap = 6, 1
    assert image.shape == (rows * (tile + gap) - gap, 8 * (tile + gap) - gap, 3)
    white = (image == 1).all(-1)
    corners = [(i // 8 * (tile + gap), i % 8 * (tile + gap)) for i in range(rows * 8)]
    drawn = [not white[y : y + tile, x : x + tile].all() for y, x in corners]
    assert drawn == [True] * filters + [False] * (rows * 8 - filters)


def test_tiles_show_channels_as_red_green_blue_and_zero_as_grey():
    weights = np.zeros((8, 3, 3, 3))
    weights[0, 0], weights[1, 2] = 1, -1  # all red, no blue
    image = figures.tiles(weights, zoom=1)
    assert image[0, 0].tolist() == [1, 0.5, 0.5]
    assert image[0, 4].tolist() == [0.5, 0.5, 0]  # a tile of 3 and a line of 1 further
    assert image[0, 8].tolist() == [0.5, 0.5, 0.5]


def test_removed_filters_are_crossed_out():
    weights = RNG.normal(size=(10, 3, 3, 3))
    left, right = figures.first_filters({"A": Filters(weights, [0, 9]), "B": Filters(weights)}).axes
    assert left.get_title(loc="left").endswith("2 of 10 filters left")
    assert right.get_title(loc="left").endswith("\n10 filters")
    assert (len(left.get_lines()), len(right.get_lines())) == (16, 0)
    crossed = {tuple(line.get_xydata().mean(0).round(1)) for line in left.get_lines()}
    assert crossed == {(21 * i + 8.5, 8.5) for i in range(1, 8)} | {(8.5, 29.5)}


def test_dead_filters_and_grey_inputs_draw():
    assert np.isfinite(figures.tiles(np.zeros((4, 1, 3, 3)))).all()
    with pytest.raises(EdgepruneError, match="4 input channels"):
        figures.tiles(np.zeros((4, 4, 3, 3)))


def history(undone: float | None = None) -> History:
    steps = [
        Step(0, 0.9, None, 1, 1),
        Step(1, 0.895, 0.894, 0.8, 0.9),
        Step(2, 0.893, 0.6, 0.6, 0.8),
    ]
    if undone is not None:
        steps.append(Step(3, undone, 0.2, 0.5, 0.7, kept=False))
    return History(steps, 0.9, 0.89)


def test_history_draws_kept_and_undone_steps_apart():
    figure = figures.history({"A": history(0.885), "B": history()})
    upper, lower = figure.axes[0], figure.axes[2]
    assert curves(upper)["after retraining"].tolist() == [[0, 0.9], [1, 0.895], [2, 0.893]]
    assert curves(upper)["beyond the limit, undone"].tolist() == [[3, 0.885]]
    floor = upper.get_ylim()[0]
    assert curves(upper)["right after the cut"].tolist() == [[1, 0.894]]
    assert curves(upper)["right after the cut, further down"].tolist() == [[2, floor], [3, floor]]
    assert curves(lower)["parameters"].tolist() == [[0, 1], [1, 0.8], [2, 0.6]]
    assert "beyond the limit, undone" not in curves(figure.axes[1])


def test_the_rule_of_one_point_is_read_however_deep_an_undone_step_falls():
    """The distance of the limit from the baseline takes at least a third of the axis."""
    for undone in (0.885, 0.5, 0.0):
        upper = figures.history({"A": history(undone)}).axes[0]
        low, high = upper.get_ylim()
        assert 0.01 / (high - low) > 1 / 3
        assert low < 0.89
    below = curves(upper)["beyond the limit, undone, further down"]
    assert below.tolist() == [[3, low]]


def test_files_are_pictures_and_the_same_each_time():
    def drawn():
        return figures.ranked_norms({"$a_b$ <c>": LAYERS[:1]})

    image = Image.open(io.BytesIO(figures.png(drawn())))
    assert image.format == "PNG"
    assert image.width > 800
    svg = figures.svg(drawn())
    assert svg == figures.svg(drawn())
    assert b"<svg" in svg
    assert b"&lt;c&gt;" in svg
    assert b"$a_b$" in svg
