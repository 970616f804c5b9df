"""``report.html``: the whole run on one page that needs nothing but itself.

No script, no font, no request: inline CSS and SVG only, and a policy in the page that forbids the rest.
Every word of the run is escaped by the template.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, prices, units
from ..records import Judged, Recipe, Result, Step, Training
from ..runs import Run
from . import charts, diagnosis, frontier, results
from .charts import Axes, Chart, Mark
from .outputs import figures, plain_classes, sentence
from .results import Measurement, Results

if TYPE_CHECKING:
    from ..ways import Way

NAMES = ("dense", "pruned", "dense-int8", "pruned-int8")
FILES = {  # what lies in a run folder
    "recipe.json": "what was asked, all defaults resolved",
    "history.jsonl": "what was done: epochs, sensitivity, steps, results",
    "spec.json": "how to build the networks; which filters are left",
    "plan.json": "what stays in each group, why, and what that promises",
    "dense.safetensors": "weights of the dense network",
    "pruned.safetensors": "weights of the pruned network",
    "dense.onnx": "the dense network for any ONNX runtime",
    "pruned.onnx": "the pruned network for any ONNX runtime",
    "dense-int8.onnx": "the dense network in 8 bits",
    "dense-int8.json": "how it came to them, and what they keep",
    "pruned-int8.onnx": "the pruned network in 8 bits",
    "pruned-int8.json": "how it came to them, and what they keep",
    **{f"{name}.ort": "in onnxruntime's mobile format" for name in NAMES},
    "operators.config": "the operators that these need, for a build with no others",
    "frontier/frontier.json": "networks from exact to fast, as they were measured",
    "frontier/bench.json": "every sample of them",
    "report.html": "this page",
}


SHOWN = 60  # names of classes
NAMED = 16  # curves that can be named beside a chart; of more, the first and the last are


@dataclass(frozen=True)
class Fact:
    """One of the figures at the head of the page."""

    name: str
    value: str
    detail: str
    measured: bool = True


@dataclass(frozen=True)
class Bar:
    """A layer's width before and after, in per cent of the widest layer."""

    label: str
    paper: str  # what the paper calls it; "" where it does not
    dense: int
    pruned: int | None
    dense_share: float
    pruned_share: float


@dataclass(frozen=True)
class SpeedUp:
    """Promised and measured speed-up on one scale from 0; per cent of its length."""

    where: str
    verdict: str
    realised: str  # "" where nothing was promised
    rows: Sequence[tuple[str, str, float, tuple[float, float] | None]]  # name, text, end, interval
    one: float  # where 1x lies


def write(found: Results) -> Path:
    """Write the run's ``report.html`` and return its path."""
    files.write_text(found.run.report_path, html(found))
    return found.run.report_path


@lru_cache(maxsize=2)
def template(name: str) -> Any:
    """A page's template; what two of them share is ``macros.html`` and ``style.css``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgeprune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def html(found: Results) -> str:
    page = template("page.html")
    measured, odd = frontier.told(found.run)
    table = results.comparison(found.run, found)  # its speed-ups are drawn instead
    return page.render(
        run=found.run.name,
        headline=headline(found).replace(" %", "\N{NO-BREAK SPACE}%"),
        facts=facts(found),
        command=command(found.recipe),
        asked=asked(found),
        accuracy=accuracy_chart(found),
        size=size_chart(found),
        training=training_chart(found),
        sensitivity=sensitivity_chart(found),
        frontier=None if measured is None else frontier.chart(measured),
        networks=None if measured is None else frontier.table(found.run.name, measured),
        bars=bars(found),
        speedups=speedups(found.measurements),
        comparison=replace(table, rows=[r for r in table.rows if r["unit"] != "ratio"]),
        notes=results.missing(found) + results.warned(found) + odd,
        diagnosis=diagnosis.read(found.run),
        steps=results.history_table(found),
        pruning=pruning_words(found),
        go_on="" if found.pruned else results.go_on(found),
        benches=found.measurements,
        contents=contents(found.run),
        versions=found.recipe.versions,
        classes=classes(found),
        created=found.recipe.created or "",
    )


def headline(found: Results) -> str:
    """The answer in one sentence, as far as the run has come."""
    what = f"{network_name(found.recipe.model)} on {Path(_set_of(found.recipe)).name}"
    dense, pruned = found.dense, found.pruned
    if not dense:
        return f"{what}: training has not ended yet."
    if not pruned:
        done = f", {len(found.steps)} pruning steps so far" if found.steps else ", not pruned yet"
        test = dense.test_accuracy
        score = "no labels" if test is None else f"{results.accuracy(test)} on the test split"
        return f"{what}: {score}{done}."
    params, flops = pruned.params / dense.params, pruned.flops / dense.flops
    kept = (
        f"{what} keeps {units.percent(params, 0)} of its parameters and {units.percent(flops, 0)} of "
        "its FLOPs, and"
    )
    if pruned.test_accuracy is None or dense.test_accuracy is None:
        if pruned.outputs and not plain_classes(pruned.outputs):
            return (
                f"{kept} {sentence(pruned.outputs)}, on {pruned.images or 0:,} held-out examples."
            )
        if pruned.agreement is None:
            return f"{kept} nobody has judged its answers: there are no labels."
        same, many = results.accuracy(pruned.agreement), "images"
        if pruned.images:
            same, many = of_how_many(pruned.agreement, pruned.images), f"{pruned.images:,} images"
        return f"{kept} gives the dense network's answer to {same} of the {many} held out."
    change = pruned.test_accuracy - dense.test_accuracy
    if results.apart(found) is None:  # how many images that rests on is not known
        both = (
            f"{results.accuracy(dense.test_accuracy)} and {results.accuracy(pruned.test_accuracy)}"
        )
        return f"{kept} has {both} of test {results.score_word(found)} before and after."
    if results.apart(found) is False:
        return (
            f"{kept} shows no measurable change of test accuracy on {pruned.test_images:,} images "
            f"({results.points(change)})."
        )
    did = "gains" if change > 0 else "loses"
    return (
        f"{kept} {did} {100 * abs(change):.2f} points of test accuracy, judged on "
        f"{pruned.test_images:,} images."
    )


def of_how_many(share: float, images: int) -> str:
    """``78.12 % (61–89)``: a share and its interval of 95 %."""
    low, high = units.wilson(share, images)
    return f"{results.accuracy(share)} ({100 * low:.0f}–{100 * high:.0f})"


def network_name(model: Any) -> str:
    known = {"vgg16": "VGG16", "mobilenetv1": "MobileNetV1", "mobilenetv2": "MobileNetV2"}
    return known.get(str(model), str(model))


def facts(found: Results) -> list[Fact]:
    dense, pruned = found.dense, found.pruned
    if not dense:
        return []

    def counted(name: str, before: int, after: int | None) -> Fact:
        if after is None:
            return Fact(name, units.count(before), "dense")
        less = results.signed(after / before - 1, 0) + " %"
        return Fact(name, less, f"{units.count(before)} → {units.count(after)}")

    shown = [
        counted("Parameters", dense.params, pruned.params if pruned else None),
        counted("FLOPs", dense.flops, pruned.flops if pruned else None),
        accuracy_fact(found, dense, pruned),
    ]
    return [*shown, latency_fact(found)]


def accuracy_fact(found: Results, dense: Result, pruned: Result | None) -> Fact:
    last = pruned or dense
    if last.test_accuracy is None:
        if last.outputs and not plain_classes(last.outputs):
            first = figures(last.outputs)[0]
            return Fact(first.quantity, first.text, f"of {last.images or 0:,} held-out examples")
        if last.agreement is None:
            return Fact("Test accuracy", "not known", "no labels", measured=False)
        detail = f"of {last.images or 0:,} held-out images"
        if last.images:
            detail += f", {_span(last.agreement, last.images)}"
        return Fact("Dense network's answer", results.accuracy(last.agreement), detail)
    detail = "dense"
    if pruned and dense.test_accuracy is not None:
        detail = results.points(last.test_accuracy - dense.test_accuracy)
    if last.test_images and results.judged_by(found) is None:
        detail += f", {_span(last.test_accuracy, last.test_images)} ({last.test_images:,} images)"
    name = f"Test {results.score_word(found)}"
    return Fact(name, results.accuracy(last.test_accuracy), detail)


def _span(share: float, images: int) -> str:
    """``61.2–89.0 %``: the interval of 95 % of a share of ``images``."""
    low, high = units.wilson(share, images)
    return f"{100 * low:.1f}–{units.percent(high)}"


def latency_fact(found: Results) -> Fact:
    if not found.measurements:
        return Fact("Latency", "not measured", "yet: edgeprune bench", measured=False)
    latest = found.measurements[0]
    measured = [latest.network(name) for name in results.NETWORKS]
    times = [n.latency.median_s for n in measured if n is not None]
    spelt = " → ".join(units.duration(t) for t in times if t is not None)
    pruned = latest.network("pruned")
    if pruned is None or pruned.speedup is None:
        return Fact("Latency", spelt, latest.where)
    same = pruned.verdict == "no measurable difference"
    value = "none" if same else f"{pruned.speedup:.2f}×"
    return Fact("Measurable speed-up" if same else "Speed-up", value, f"{spelt}, {latest.where}")


def command(recipe: Recipe) -> str:
    return "edgeprune " + shlex.join(recipe.argv) if recipe.argv else ""


def asked(found: Results) -> list[tuple[str, str]]:
    """The recipe in words: ``(term, sentence)``."""
    recipe = found.recipe
    said = [
        ("Network", _network(found)),
        ("First weights", _weights(recipe)),
        ("Images", _images(recipe)),
        ("Training", _training(recipe.recipe) if recipe.recipe else ""),
        ("Pruning", _pruning(found.way) if found.way else ""),
        ("Seed", "" if recipe.seed is None else str(recipe.seed)),
    ]
    return [(term, text) for term, text in said if text]


def _network(found: Results) -> str:
    from ..models import has_paper_head

    text, spec = network_name(found.recipe.model), found.spec
    if spec is None:
        return text
    if has_paper_head(spec.model):
        text += " with the paper's head (pooling, dense 512, classes)"
    return f"{text}, {len(spec.classes)} classes" if spec.classes else text


def _weights(recipe: Recipe) -> str:
    init = recipe.init or ""
    if init == "scratch":
        return "random (He initialisation)"
    return f"{init}; fresh: {', '.join(recipe.fresh)}" if recipe.fresh else init


def _images(recipe: Recipe) -> str:
    if recipe.data is None and recipe.images is None:
        return ""
    text = _set_of(recipe)
    if recipe.size:
        text += f", {recipe.size} × {recipe.size} pixels"
    if recipe.limit and not recipe.images:
        text += f", only {recipe.limit:,} of the training images"
    if recipe.images:
        where = "" if recipe.data is None else f": {recipe.images}"
        many = f", at most {recipe.limit:,}" if recipe.limit else ""
        text += f"; looked at without labels{many}{where}"
    if recipe.test:
        text += f"; judged on {recipe.test}"
    return text + (", unreadable images skipped" if recipe.skip_bad else "")


def _set_of(recipe: Recipe) -> str:
    """The labelled set, or the unlabelled images where there is none."""
    return recipe.data or recipe.images or "no images"


def _training(recipe: Training) -> str:
    known = {
        "epochs": "at most {} epochs", "batch_size": "batches of {}", "optimizer": "{}",
        "lr": "learning rate {:g}", "schedule": "{} schedule", "warmup_epochs": "warm-up {:g} epochs",
        "weight_decay": "weight decay {:g}", "label_smoothing": "label smoothing {:g}",
        "augment": "augmentation: {}", "precision": "precision: {}",
    }  # fmt: skip
    given = {k: getattr(recipe, k) for k in known}
    return ", ".join(text.format(given[k]) for k, text in known.items() if given[k])


def _pruning(way: Way) -> str:
    from ..ways import Paper, row_of

    if not isinstance(way, Paper):
        return _to_target(way, row_of(way).name)
    known: dict[str, tuple[str, Callable[[Any], str]]] = {
        "step": (
            f"one layer at a time loses {{}} of its filters, those of lowest score ({way.score})",
            units.percent,
        ),
        "round_to": ("widths are multiples of {}", str),
        "retrain_epochs": ("{} of retraining after each step", _epochs),
        "max_drop": ("as long as validation accuracy stays within {} points of the baseline", str),
        "max_steps": ("at most {} steps", str),
    }
    given = {k: getattr(way, k) for k in known}
    said = [(given[k], *how) for k, how in known.items() if given[k] is not None]
    return "; ".join(text.format(show(value)) for value, text, show in said)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def pruning_words(found: Results) -> str:
    """How pruning ended, in a sentence; "" while it has not."""
    if not found.pruned:
        return ""
    return f"Pruning ended: {found.pruned.stopped}." if found.pruned.stopped else "Pruned."


def classes(found: Results) -> str:
    """The names of the classes, of many the first; "" where they are only numbers."""
    names = found.spec.classes if found.spec else []
    if names == [str(i) for i in range(len(names))]:
        return ""
    return units.some(names, SHOWN)


def _to_target(way: Way, name: str) -> str:
    """One of the ways that go to a target, in words."""
    own = way.settings
    said = [name, prices.goal(own.target) if own.target else "by a plan that was given"]
    said.append(f"score {own.score}, spread {own.method}, repair {own.compensate}")
    if own.own_class:
        said.append("the network's own class kept")
    if own.distil_steps:
        said.append(f"{own.distil_steps} batches of distillation without labels")
    rounds, schedule, epochs, heal, distil = (
        getattr(way, k, None) for k in ("rounds", "schedule", "retrain_epochs", "heal", "distil")
    )
    if rounds:
        said.append(f"{rounds} rounds, {schedule} schedule")
    if epochs:
        taught = ", the dense network teaches" if distil else ""
        rate = f" ({heal})" if heal else ""
        said.append(f"{_epochs(epochs)} of retraining{rate}{taught}")
    return "; ".join(said)


def _x_axis(last: int) -> tuple[float, float]:
    return (0.0, float(max(last, 1)))


def accuracy_chart(found: Results) -> Chart | None:
    """Validation accuracy after each step; the cut before retraining as rings."""
    steps = [(s, s.accuracy) for s in found.steps if s.accuracy is not None]
    if not steps or found.baseline is None:
        return None
    kept = [(s.step, accuracy) for s, accuracy in steps if s.kept]
    xs, ys = [0, *(n for n, _ in kept)], [found.baseline, *(a for _, a in kept)]
    levels = [*ys, *(a for _, a in steps), *([found.limit] if found.limit else [])]
    spread = max(max(levels) - min(levels), 0.005)
    bounds = (max(0.0, min(levels) - 0.9 * spread), min(1.0, max(levels) + 0.25 * spread))
    axes = Axes(_x_axis(steps[-1][0].step), bounds)
    images = found.dense.validation_images if found.dense else None
    chart = Chart(
        f"Validation accuracy, {images:,} images" if images else "Validation accuracy",
        axes.x_ticks(lambda v: f"{v:.0f}", 6, least=1),
        axes.y_ticks(lambda v: units.percent(v, 1)),
        x_label="pruning step",
    )
    chart.lines.append(axes.level(found.baseline, "reference"))
    words = [axes.mark(axes.x[1], found.baseline, "dense", "quiet")]
    if found.limit is not None:
        chart.lines.append(axes.level(found.limit, "limit"))
        words.append(axes.mark(axes.x[1], found.limit, "limit", "second"))
    chart.lines.append(axes.line(xs, ys, "accent"))
    for s, accuracy in steps:
        chart.dots.extend(_step_dots(axes, s, accuracy, found))
    words.append(axes.mark(axes.x[1], ys[-1], "retrained", "accent"))
    chart.words.extend(charts.apart(words, 9))
    return chart


def _step_dots(axes: Axes, step: Step, accuracy: float, found: Results) -> list[Mark]:
    layer = step.layer or "all layers"
    head = f"step {step.step}, {layer}: "
    dots = []
    before = step.before
    if before is not None:
        style = "ring" if before >= axes.y[0] else "below"
        dots.append(
            axes.mark(step.step, before, f"{head}{results.accuracy(before)} after the cut", style)
        )
    text = f"{head}{results.accuracy(accuracy)} retrained" + ("" if step.kept else ", undone")
    dots.append(axes.mark(step.step, accuracy, text, "dot" if step.kept else "undone"))
    return dots


def size_chart(found: Results) -> Chart | None:
    """Parameters and FLOPs left after each step that was kept, in per cent of the dense network."""
    kept = [s for s in found.steps if s.kept]
    if not kept or not found.dense:
        return None
    axes = Axes(_x_axis(found.steps[-1].step), (0.0, 1.0))
    chart = Chart(
        "Left of the dense network",
        axes.x_ticks(lambda v: f"{v:.0f}", 6, least=1),
        axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="pruning step",
    )
    xs, words = [0, *(s.step for s in kept)], []
    flops = [s.flops / found.dense.flops for s in kept]
    params = [s.params / found.dense.params for s in kept]
    for left, name, style in ((flops, "FLOPs", "second"), (params, "params", "accent")):
        ys = [1.0, *left]
        chart.lines.append(axes.line(xs, ys, style))
        words.append(axes.mark(axes.x[1], ys[-1], f"{name} {units.percent(ys[-1], 0)}", style))
    chart.words.extend(charts.apart(words, 9))
    return chart


def training_chart(found: Results) -> Chart | None:
    """Validation accuracy of the dense network over its epochs."""
    points = {
        e.epoch: e.validation_accuracy
        for e in found.epochs
        if (e.phase, e.network) == ("train", "dense") and e.validation_accuracy is not None
    }
    if len(points) < 2:
        return None
    xs, ys = list(points), list(points.values())
    top = min(1.0, max(ys) + 0.05)
    axes = Axes((min(xs), max(xs)), (max(0.0, min(ys) - 0.05), top))
    chart = Chart(
        "Validation accuracy of the dense network",
        axes.x_ticks(lambda v: f"{v:.0f}", 6, least=1),
        axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="epoch",
    )
    chart.lines.append(axes.line(xs, ys, "accent"))
    chart.dots.extend(
        axes.mark(x, y, f"epoch {x}: {results.accuracy(y)}", "dot") for x, y in points.items()
    )
    chart.words.append(axes.mark(xs[-1], ys[-1], results.accuracy(ys[-1]), "accent"))
    return chart


def sensitivity_chart(found: Results) -> Chart | None:
    """One curve a layer, coloured by depth: dark first, light last."""
    curves = [c for c in found.curves if c.shares]
    if not curves:
        return None
    values = [a for c in curves for a in c.accuracy]
    right = max(s for c in curves for s in c.shares)
    axes = Axes((0.0, right), (0.0, min(1.0, max(values) + 0.05)))
    chart = Chart(
        "Validation accuracy, one layer cut, not retrained",
        axes.x_ticks(lambda v: units.percent(v, 0), 5),
        axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="filters removed in that layer alone",
    )
    words = []
    for i, c in enumerate(curves):
        pairs = sorted(zip(c.shares, c.accuracy, strict=True))
        if pairs[0][0] > 0 and c.baseline is not None:
            pairs = [(0.0, c.baseline), *pairs]
        xs, ys = [p[0] for p in pairs], [p[1] for p in pairs]
        depth = 100 * i / max(len(curves) - 1, 1)
        colour = f"color-mix(in oklch, var(--late) {depth:.0f}%, var(--early))"
        chart.lines.append(axes.line(xs, ys, "layer", colour))
        layer = c.layer
        chart.dots.extend(
            axes.mark(
                x, y, f"{layer}, {units.percent(x, 1)} removed: {results.accuracy(y)}", "small"
            )
            for x, y in pairs
        )
        words.append(axes.mark(right, ys[-1], layer, colour=colour))
    chart.words.extend(charts.apart(words if len(words) <= NAMED else [words[0], words[-1]], 5.5))
    return chart


def bars(found: Results) -> list[Bar]:
    dense, pruned = found.dense_widths, found.pruned_widths
    if not pruned and found.steps:
        pruned = next((s.widths for s in reversed(found.steps) if s.kept), {})
    widest = max(dense.values(), default=1)
    names = found.short_labels()
    return [
        Bar(g, names[g] if names[g] != g else "", width, pruned.get(g), 100 * width / widest,
            100 * pruned.get(g, width) / widest)
        for g, width in dense.items()
    ]  # fmt: skip


def speedups(measurements: Sequence[Measurement]) -> list[SpeedUp]:
    """What was promised beside what was measured, a device each, all on one scale."""
    known = [(m, n) for m in measurements if (n := m.network("pruned")) and n.speedup is not None]
    ends = [1.0]
    for _, pruned in known:
        _, high = pruned.speedup_interval or (None, None)
        ends += [v for v in (pruned.speedup, pruned.promised_speedup, high) if v is not None]
    return [_speedup(m, pruned, 1.08 * max(ends)) for m, pruned in known]


def _speedup(measurement: Measurement, pruned: Judged, longest: float) -> SpeedUp:
    low, high = pruned.speedup_interval or (None, None)
    measured, promised = pruned.speedup or 0.0, pruned.promised_speedup
    interval = None if low is None or high is None else (100 * low / longest, 100 * high / longest)
    rows = [("measured", results.ratio(measured, pruned.speedup_interval),
             100 * measured / longest, interval)]  # fmt: skip
    if promised is not None:
        rows.insert(0, ("promised by FLOPs", f"{promised:.2f}×", 100 * promised / longest, None))
    realised = pruned.realised_speedup
    said = realised and results.ratio(realised, pruned.realised_speedup_interval)
    verdict = results.verdict(measurement)
    return SpeedUp(measurement.where, verdict, said or "", rows, 100 / longest)


def contents(run: Run) -> list[tuple[str, str, str]]:
    """``(name, size, what it is)`` of what lies in the folder."""
    found = [
        (name, units.size((run.path / name).stat().st_size), about)
        for name, about in FILES.items()
        if (run.path / name).is_file() and name != "report.html"
    ]
    for path in sorted(run.bench_folder.glob("*.json")):
        found.append(
            (f"bench/{path.name}", units.size(path.stat().st_size), "every sample of a bench")
        )
    for path in sorted((run.path / "doctor").glob("*.*")):
        found.append(
            (f"doctor/{path.name}", units.size(path.stat().st_size), "where the time goes")
        )
    return found
