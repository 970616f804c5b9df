"""``report.html``: the whole run on one page that needs nothing but itself.

No script, no font, no request: inline CSS and SVG only, and a policy in the page that forbids the rest.
Every word of the run is escaped by the template.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files, units
from ..runs import Run
from . import charts, diagnosis, results
from .charts import Axes, Chart, Mark
from .results import Measurement, Results

FILES = {  # what lies in a run folder
    "recipe.json": "what was asked, all defaults resolved",
    "history.jsonl": "what was done: epochs, sensitivity, steps, results",
    "spec.json": "how to build the networks; which filters are left",
    "plan.json": "what stays in each group, why, and what that promises",
    "dense.safetensors": "weights of the dense network",
    "pruned.safetensors": "weights of the pruned network",
    "dense.onnx": "the dense network for any ONNX runtime",
    "pruned.onnx": "the pruned network for any ONNX runtime",
    "report.html": "this page",
}


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
    name: str  # the qualified name
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


def html(found: Results) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgeprune.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html")
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
        bars=bars(found),
        speedups=[s for s in map(speedup, found.measurements) if s],
        comparison=replace(table, rows=[r for r in table.rows if r["unit"] != "ratio"]),
        notes=results.missing(found) + results.warned(found),
        diagnosis=diagnosis.read(found.run),
        steps=results.history_table(found),
        stopped=found.pruned.get("stopped"),
        benches=found.measurements,
        contents=contents(found.run),
        versions=found.recipe.get("versions") or {},
        classes=found.spec.get("classes") or [],
        created=str(found.recipe.get("created") or ""),
    )


def headline(found: Results) -> str:
    """The answer in one sentence, as far as the run has come."""
    what = f"{network_name(found.recipe.get('model'))} on {Path(_set_of(found.recipe)).name}"
    dense, pruned = found.dense, found.pruned
    if not dense:
        return f"{what}: training has not ended yet."
    if not pruned:
        done = f", {len(found.steps)} pruning steps so far" if found.steps else ", not pruned yet"
        test = dense.get("test_accuracy")
        score = "no labels" if test is None else f"{results.accuracy(test)} on the test split"
        return f"{what}: {score}{done}."
    params, flops = (pruned[k] / dense[k] for k in ("params", "flops"))
    kept = (
        f"{what} keeps {units.percent(params, 0)} of its parameters and {units.percent(flops, 0)} of "
        "its FLOPs, and"
    )
    if pruned.get("test_accuracy") is None:
        same = results.accuracy(pruned["agreement"])
        return f"{kept} gives the dense network's answer to {same} of the images held out."
    change = pruned["test_accuracy"] - dense["test_accuracy"]
    did = "gains" if change > 0 else "loses"
    return f"{kept} {did} {100 * abs(change):.2f} points of test accuracy."


def network_name(model: Any) -> str:
    known = {"vgg16": "VGG16", "mobilenetv1": "MobileNetV1", "mobilenetv2": "MobileNetV2"}
    return known.get(str(model), str(model))


def facts(found: Results) -> list[Fact]:
    dense, pruned = found.dense, found.pruned
    if not dense:
        return []
    last = pruned or dense

    def counted(name: str, key: str, show: Any) -> Fact:
        if not pruned:
            return Fact(name, show(dense[key]), "dense")
        less = results.signed(pruned[key] / dense[key] - 1, 0) + " %"
        return Fact(name, less, f"{show(dense[key])} → {show(pruned[key])}")

    shown = [
        counted("Parameters", "params", units.count),
        counted("FLOPs", "flops", units.count),
        accuracy_fact(dense, pruned, last),
    ]
    return [*shown, latency_fact(found)]


def accuracy_fact(
    dense: Mapping[str, Any], pruned: Mapping[str, Any], last: Mapping[str, Any]
) -> Fact:
    if last.get("test_accuracy") is None:
        if last.get("agreement") is None:
            return Fact("Test accuracy", "not known", "no labels", measured=False)
        same = results.accuracy(last["agreement"])
        return Fact("Dense network's answer", same, f"of {last['images']:,} held-out images")
    change = pruned and results.points(pruned["test_accuracy"] - dense["test_accuracy"])
    return Fact("Test accuracy", results.accuracy(last["test_accuracy"]), str(change or "dense"))


def latency_fact(found: Results) -> Fact:
    if not found.measurements:
        return Fact("Latency", "not measured", "yet: edgeprune bench", measured=False)
    latest = found.measurements[0]
    times = [(latest.network(n).get("latency") or {}).get("median_s") for n in results.NETWORKS]
    spelt = " → ".join(units.duration(t) for t in times if t is not None)
    pruned = latest.network("pruned")
    if pruned.get("speedup") is None:
        return Fact("Latency", spelt, latest.where)
    same = pruned.get("verdict") == "no measurable difference"
    value = "none" if same else f"{pruned['speedup']:.2f}×"
    return Fact("Measurable speed-up" if same else "Speed-up", value, f"{spelt}, {latest.where}")


def command(recipe: Mapping[str, Any]) -> str:
    words = recipe.get("argv")
    return "edgeprune " + shlex.join(map(str, words)) if isinstance(words, list) and words else ""


def asked(found: Results) -> list[tuple[str, str]]:
    """The recipe in words: ``(term, sentence)``."""
    recipe = found.recipe
    said = [
        ("Network", _network(found)),
        ("First weights", _weights(recipe)),
        ("Images", _images(recipe)),
        ("Training", _training(recipe.get("recipe") or {})),
        ("Pruning", _pruning(recipe.get("pruning") or {})),
        ("Seed", str(recipe.get("seed", ""))),
    ]
    return [(term, text) for term, text in said if text]


def _network(found: Results) -> str:
    recipe, classes = found.recipe, found.spec.get("classes") or []
    head = {"paper": "with the paper's head (pooling, dense 512, classes)",
            "original": "with its original head"}.get(str(recipe.get("head")), "")  # fmt: skip
    text = f"{network_name(recipe.get('model'))} {head}".strip()
    return f"{text}, {len(classes)} classes" if classes else text


def _weights(recipe: Mapping[str, Any]) -> str:
    init = str(recipe.get("init", ""))
    if init == "scratch":
        return "random (He initialisation)"
    fresh = recipe.get("fresh") or []
    return f"{init}; fresh: {', '.join(map(str, fresh))}" if fresh else init


def _images(recipe: Mapping[str, Any]) -> str:
    if "data" not in recipe:
        return ""
    text = _set_of(recipe)
    if recipe.get("size"):
        text += f", {recipe['size']} × {recipe['size']} pixels"
    if recipe.get("limit") and not recipe.get("images"):
        text += f", only {recipe['limit']:,} of the training images"
    if recipe.get("images"):
        text += f"; unlabelled, at most {recipe.get('limit') or 0:,}: {recipe['images']}"
    return text + (", unreadable images skipped" if recipe.get("skip_bad") else "")


def _set_of(recipe: Mapping[str, Any]) -> str:
    """The labelled set, or the unlabelled images where there is none."""
    return str(recipe.get("data") or recipe.get("images") or "no images")


def _training(recipe: Mapping[str, Any]) -> str:
    known = {
        "epochs": "at most {} epochs", "batch_size": "batches of {}", "optimizer": "{}",
        "lr": "learning rate {:g}", "schedule": "{} schedule", "warmup_epochs": "warm-up {:g} epochs",
        "weight_decay": "weight decay {:g}", "label_smoothing": "label smoothing {:g}",
        "augment": "augmentation: {}", "precision": "precision: {}",
    }  # fmt: skip
    return ", ".join(text.format(recipe[k]) for k, text in known.items() if recipe.get(k))


def _pruning(settings: Mapping[str, Any]) -> str:
    if settings.get("way", "paper") not in ("paper", "iterative"):
        return _to_target(settings)
    known: dict[str, tuple[str, Callable[[Any], str]]] = {
        "step": (
            "one layer at a time loses {} of its filters, those of lowest score "
            f"({settings.get('score', 'l1')})",
            units.percent,
        ),
        "round_to": ("widths are multiples of {}", str),
        "retrain_epochs": ("{} epochs of retraining after each step", str),
        "max_drop": ("as long as validation accuracy stays within {} points of the baseline", str),
        "max_steps": ("at most {} steps", str),
    }
    said = [(settings[k], *how) for k, how in known.items() if settings.get(k) is not None]
    return "; ".join(text.format(show(value)) for value, text, show in said)


def _to_target(settings: Mapping[str, Any]) -> str:
    """One of the ways that go to a target, in words."""
    own = settings.get("settings") or {}
    goals = [
        f"{units.percent(own[k])} of the {name} stay"
        for k, name in (("keep_flops", "FLOPs"), ("keep_params", "parameters"))
        if own.get(k) is not None
    ]
    said = [str(settings["way"]), *(goals or ["by a plan that was given"])]
    said.append(
        f"score {own.get('score')}, spread {own.get('method')}, repair {own.get('compensate')}"
    )
    if own.get("distil_steps"):
        said.append(f"{own['distil_steps']} batches of distillation without labels")
    for key in ("rounds", "cuts"):
        if settings.get(key):
            said.append(f"{settings[key]} {key}, {settings.get('schedule')} schedule")
    if settings.get("retrain_epochs"):
        taught = ", the dense network teaches" if settings.get("distil") else ""
        rate = f" ({settings['heal']})" if settings.get("heal") else ""
        said.append(f"{settings['retrain_epochs']} epochs of retraining{rate}{taught}")
    return "; ".join(said)


def _x_axis(last: int) -> tuple[float, float]:
    return (0.0, float(max(last, 1)))


def accuracy_chart(found: Results) -> Chart | None:
    """Validation accuracy after each step; the cut before retraining as rings."""
    steps = [s for s in found.steps if s.get("accuracy") is not None]
    if not steps or found.baseline is None:
        return None
    kept = [s for s in steps if s.get("kept", True)]
    xs, ys = [0, *(s["step"] for s in kept)], [found.baseline, *(s["accuracy"] for s in kept)]
    levels = [*ys, *(s["accuracy"] for s in steps), *([found.limit] if found.limit else [])]
    spread = max(max(levels) - min(levels), 0.005)
    bounds = (max(0.0, min(levels) - 0.9 * spread), min(1.0, max(levels) + 0.25 * spread))
    axes = Axes(_x_axis(steps[-1]["step"]), bounds)
    chart = Chart(
        "Validation accuracy",
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
    for s in steps:
        chart.dots.extend(_step_dots(axes, s, found))
    words.append(axes.mark(axes.x[1], ys[-1], "retrained", "accent"))
    chart.words.extend(charts.apart(words, 9))
    return chart


def _step_dots(axes: Axes, step: Mapping[str, Any], found: Results) -> list[Mark]:
    layer = (
        found.short_labels().get(str(step.get("layer")), "") if step.get("layer") else "all layers"
    )
    head = f"step {step['step']}, {layer}: "
    dots = []
    before = step.get("before")
    if before is not None:
        style = "ring" if before >= axes.y[0] else "below"
        dots.append(
            axes.mark(
                step["step"], before, f"{head}{results.accuracy(before)} after the cut", style
            )
        )
    kept = step.get("kept", True)
    text = f"{head}{results.accuracy(step['accuracy'])} retrained" + ("" if kept else ", undone")
    dots.append(axes.mark(step["step"], step["accuracy"], text, "dot" if kept else "undone"))
    return dots


def size_chart(found: Results) -> Chart | None:
    """Parameters and FLOPs left after each step that was kept, in per cent of the dense network."""
    kept = [s for s in found.steps if s.get("kept", True)]
    if not kept or not found.dense:
        return None
    axes = Axes(_x_axis(found.steps[-1]["step"]), (0.0, 1.0))
    chart = Chart(
        "Left of the dense network",
        axes.x_ticks(lambda v: f"{v:.0f}", 6, least=1),
        axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="pruning step",
    )
    xs, words = [0, *(s["step"] for s in kept)], []
    for key, name, style in (("flops", "FLOPs", "second"), ("params", "params", "accent")):
        ys = [1.0, *(s[key] / found.dense[key] for s in kept)]
        chart.lines.append(axes.line(xs, ys, style))
        words.append(axes.mark(axes.x[1], ys[-1], f"{name} {units.percent(ys[-1], 0)}", style))
    chart.words.extend(charts.apart(words, 9))
    return chart


def training_chart(found: Results) -> Chart | None:
    """Validation accuracy of the dense network over its epochs."""
    epochs = [e for e in found.epochs if e.get("phase") == "train" and e.get("network") == "dense"]
    points = {e["epoch"]: e["validation_accuracy"] for e in epochs if "validation_accuracy" in e}
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
    curves = [c for c in found.curves if c.get("shares") and c.get("accuracy")]
    if not curves:
        return None
    values = [a for c in curves for a in c["accuracy"]]
    right = max(s for c in curves for s in c["shares"])
    axes = Axes((0.0, right), (0.0, min(1.0, max(values) + 0.05)))
    chart = Chart(
        "Validation accuracy, one layer cut, not retrained",
        axes.x_ticks(lambda v: units.percent(v, 0), 5),
        axes.y_ticks(lambda v: units.percent(v, 0)),
        x_label="filters removed in that layer alone",
    )
    names, words = found.short_labels(), []
    for i, c in enumerate(curves):
        pairs = sorted(zip(c["shares"], c["accuracy"], strict=False))
        if pairs[0][0] > 0 and c.get("baseline") is not None:
            pairs = [(0.0, c["baseline"]), *pairs]
        xs, ys = [p[0] for p in pairs], [p[1] for p in pairs]
        depth = 100 * i / max(len(curves) - 1, 1)
        colour = f"color-mix(in oklch, var(--late) {depth:.0f}%, var(--early))"
        chart.lines.append(axes.line(xs, ys, "layer", colour))
        layer = names.get(str(c["layer"]), str(c["layer"]))
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
        pruned = next((s["widths"] for s in reversed(found.steps) if s.get("kept", True)), {})
    widest = max(dense.values(), default=1)
    names = found.short_labels()
    return [
        Bar(names[g], g if names[g] != g else "", width, pruned.get(g), 100 * width / widest,
            100 * pruned.get(g, width) / widest)
        for g, width in dense.items()
    ]  # fmt: skip


def speedup(measurement: Measurement) -> SpeedUp | None:
    """What was promised beside what was measured, on one device."""
    pruned = measurement.network("pruned")
    if pruned.get("speedup") is None:
        return None
    low, high = pruned.get("speedup_interval") or (None, None)
    measured, promised = pruned["speedup"], pruned.get("promised_speedup")
    longest = 1.08 * max(v for v in (1.0, measured, promised, high) if v is not None)
    interval = None if low is None or high is None else (100 * low / longest, 100 * high / longest)
    rows = [("measured", results.ratio(measured, pruned.get("speedup_interval")),
             100 * measured / longest, interval)]  # fmt: skip
    if promised is not None:
        rows.insert(0, ("promised by FLOPs", f"{promised:.2f}×", 100 * promised / longest, None))
    realised = pruned.get("realised_speedup")
    said = realised and results.ratio(realised, pruned.get("realised_speedup_interval"))
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
