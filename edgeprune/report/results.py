"""What a run's files say, as values and tables. A part that is not there (yet) is None or empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import records, units
from ..errors import EdgepruneError
from ..runs import Run
from . import eight_bits
from .outputs import Figure, figures, plain_classes, small
from .tables import ABSENT, Cell, Column, Table

if TYPE_CHECKING:
    from ..tasks import Measure, Task
    from ..ways import Way

NETWORKS = ("dense", "pruned")
Show = Callable[[Any], str]  # a value as people read it


@dataclass(frozen=True)
class Measurement:
    """One whole bench of this run's networks (file format: ``edgeprune.bench.protocol``)."""

    path: Path
    told: records.Bench

    @property
    def created(self) -> str:
        return self.told.created

    @property
    def device(self) -> str:
        return self.told.device or "unknown device"

    @property
    def threads(self) -> int:
        return self.told.request.threads

    @property
    def summary(self) -> records.Summary:
        assert self.told.summary is not None  # it is whole
        return self.told.summary

    @property
    def where(self) -> str:
        return f"{self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def network(self, name: str) -> records.Judged | None:
        """The summary of ``"dense"`` or ``"pruned"``; None if it was not measured."""
        return next((n for n in self.summary.networks if n.name == name), None)


@dataclass(frozen=True)
class Results:
    """Everything in a run folder that a table, a figure or the page tells of."""

    run: Run
    recipe: records.Recipe
    spec: records.Spec | None  # None while there is none
    epochs: list[records.Epoch]
    curves: list[records.Sensitivity]  # in the network's order
    steps: list[records.Step]
    networks: dict[str, records.Result]  # "dense", "pruned", as far as they are there
    measurements: list[Measurement]  # the latest first, one a device and thread count
    eight: dict[str, records.Int8]  # in 8 bits, by the float network's name
    left_out: list[str]  # sentences: measurements that do not count, and why

    @property
    def dense(self) -> records.Result | None:
        return self.networks.get("dense")

    @property
    def pruned(self) -> records.Result | None:
        return self.networks.get("pruned")

    @property
    def dense_widths(self) -> dict[str, int]:
        """Group -> width of the dense network, in execution order."""
        if self.spec is not None:
            return self.spec.dense
        return self.dense.widths if self.dense else {}

    @property
    def pruned_widths(self) -> dict[str, int]:
        """Group -> width of the pruned network; {} while there is none."""
        if self.kept:
            return self.dense_widths | {name: len(units) for name, units in self.kept.items()}
        return self.pruned.widths if self.pruned else {}

    @property
    def kept(self) -> dict[str, list[int]]:
        """Group -> its units in the pruned network; {} while there is none."""
        return dict(self.spec.kept) if self.spec is not None else {}

    @property
    def state(self) -> str:
        """How far the run has come, in a word or two."""
        if self.measurements:
            return "measured"
        if self.pruned:
            return "exported" if self.run.onnx_path("pruned").is_file() else "pruned"
        if self.dense:
            return "pruning" if self.steps or self.curves else "trained"
        return "training" if self.epochs else "begun"

    @property
    def way(self) -> Way | None:
        """How it is pruned, as the way's row reads it; None where it is not, or cannot be read."""
        return _way(self.recipe.pruning)[0]

    @property
    def baseline(self) -> float | None:
        """Validation accuracy of the dense network."""
        return self.dense.validation_accuracy if self.dense else None

    @property
    def limit(self) -> float | None:
        """Validation accuracy below which pruning stops."""
        drop = getattr(self.way, "max_drop", None)  # of the way that goes by the accuracy
        return None if drop is None or self.baseline is None else self.baseline - drop / 100

    def labels(self) -> dict[str, str]:
        """Group -> the paper's name beside the qualified one: ``conv3 (features.5)``."""
        names = self.short_labels()
        return {g: g if names[g] == g else f"{names[g]} ({g})" for g in names}

    def short_labels(self) -> dict[str, str]:
        """Group -> the paper's name, ``conv3``; the qualified name where the paper has none."""
        from ..models import layer_names

        known = layer_names(self.spec.model) if self.spec else {}
        said = [*(s.layer or "all" for s in self.steps), *(c.layer for c in self.curves)]
        mentioned = [*self.dense_widths, *said]
        return {group: known.get(group, group) for group in dict.fromkeys(mentioned)}


def read(run: Run) -> Results:
    """All of a run's files. Only the recipe must be there; what is broken is left out and said."""
    recipe, odd = records.read_leniently(run.recipe_path, records.Recipe)
    spec = None
    if run.spec_path.is_file():
        try:
            spec = records.read(run.spec_path, records.Spec)
        except EdgepruneError as e:
            odd.append(f"spec.json left out: {e.why}")
    history, more = run.told()
    order = {group: i for i, group in enumerate(spec.dense if spec else ())}
    curves = {r.layer: r for r in history if isinstance(r, records.Sensitivity)}
    steps = {r.step: r for r in history if isinstance(r, records.Step)}  # the last one counts
    networks = {
        r.network: r for r in history if isinstance(r, records.Result) and r.network in NETWORKS
    }
    measurements, left_out = _measurements(run, networks)
    eight, stale = eight_bits.of_run(run)
    return Results(
        run=run,
        recipe=recipe,
        spec=spec,
        epochs=[r for r in history if isinstance(r, records.Epoch)],
        curves=sorted(curves.values(), key=lambda r: order.get(r.layer, len(order))),
        steps=list(steps.values()),
        networks=networks,
        measurements=measurements,
        eight=eight,
        left_out=[*odd, *more, *left_out, *stale],
    )


def _way(told: records.Pruning | None) -> tuple[Way | None, list[str]]:
    """The value of a way, or the sentence that says why there is none; imports what prunes only here."""
    from ..ways import way_told

    try:
        return way_told(told), []
    except EdgepruneError as e:
        return None, [f"recipe.json: pruning left out: {e.why}"]


def _measurements(
    run: Run, networks: Mapping[str, records.Result]
) -> tuple[list[Measurement], list[str]]:
    """Whole measurements of the networks as they are now, and a sentence for each other file."""
    from ..bench import protocol

    found: dict[tuple[str, int], Measurement] = {}
    left_out = []
    for path in sorted(run.bench_folder.glob("*.json")):
        try:
            measurement = Measurement(path, protocol.load(path).told)
            stale = _stale(measurement, networks)
        except EdgepruneError as e:
            left_out.append(f"bench/{path.name} left out: {e.why}")
            continue
        if stale:
            left_out.append(f"bench/{path.name} left out: {stale}")
            continue
        key = (measurement.device, measurement.threads)
        if key not in found or found[key].created <= measurement.created:
            found[key] = measurement
    return sorted(found.values(), key=lambda m: m.created, reverse=True), left_out


def _stale(measurement: Measurement, networks: Mapping[str, records.Result]) -> str:
    """Why the measurement is not of this run's networks as they are now; "" if it is."""
    measured = {name: measurement.network(name) for name in NETWORKS}
    if not any(measured.values()):
        return "it measures neither dense nor pruned"
    for name in NETWORKS:
        own, then = networks.get(name), measured[name]
        if own is None or then is None or then.flops is None or then.counted_by != "edgeprune":
            continue
        if own.flops != then.flops:
            return f"it measured another {name} network ({units.count(then.flops)} FLOPs)"
    return ""


def comparison(run: Run, results: Results | None = None) -> Table:
    """Dense against pruned: what is promised (counts) and what was measured.

    Records: ``quantity``, ``unit``, ``dense``, ``pruned`` and ``change`` (pruned / dense - 1; for
    accuracies the difference of shares, for a speed-up nothing); for a share of images also their
    number ``images`` and the intervals of 95 % ``dense_interval`` and ``pruned_interval``.
    """
    found = results or read(run)
    columns = [
        Column("quantity", "Quantity", align="left"),
        Column("unit", hidden=True),
        Column("dense", "Dense"),
        Column("pruned", "Pruned"),
        Column("change", "Change", change),
        Column("images", hidden=True),
        Column("dense_interval", hidden=True),
        Column("pruned_interval", hidden=True),
    ]
    rows = [vars(r) for r in (*promised_rows(found), *measured_rows(found)) if found.dense]
    return Table(f"{found.run.name}: dense against pruned", columns, rows, notes(found))


@dataclass(frozen=True)
class Row:
    """One quantity of the dense network beside the pruned one's."""

    quantity: str
    unit: str
    dense: Cell
    pruned: Cell
    change: Cell | float | None = None  # pruned / dense - 1; of shares the difference
    images: int | None = None  # that a share is of
    dense_interval: list[float] | None = None  # of 95 %
    pruned_interval: list[float] | None = None

    @property
    def known(self) -> bool:
        return self.dense.value is not None or self.pruned.value is not None


def promised_rows(found: Results) -> list[Row]:
    """Parameters, FLOPs and weights of both networks, from the run's results."""
    return [
        _row("Parameters", "count", found, "params", units.count),
        _row("FLOPs, one image", "count", found, "flops", units.count),
        _row("Weights", "bytes", found, "bytes", units.size),
    ]


def measured_rows(found: Results) -> list[Row]:
    """Accuracy, file size, latency, memory and realised speed-up, as far as they were measured."""
    onnx = {n: _bytes(found.run.onnx_path(n)) for n in NETWORKS}
    word, task = score_word(found), judged_by(found)

    def told(measure: Measure) -> Row:
        dense, pruned = (_measured(found, network, measure.name) for network in NETWORKS)
        unit = "share" if measure.show is units.percent else ""
        return _quantity(f"Test {small(measure.title)}", unit, dense, pruned, measure.show)

    rows = [
        _quantity(".onnx file", "bytes", onnx["dense"], onnx["pruned"], units.size),
        _shares(f"Validation {word}", found, "validation_accuracy", "validation_images"),
        _shares(f"Test {word}", found, "test_accuracy", "test_images"),
        *map(told, task.told if task else ()),
        _shares("Dense network's answer", found, "agreement", "images"),
        _row("Variance of the logits kept", "share", found, "variance_kept", accuracy),
    ]
    outputs = found.pruned.outputs if found.pruned else []
    if outputs and not plain_classes(outputs):
        rows = [*rows[:-2], *map(_figure, figures(outputs))]
    known = [r for r in (*rows, *eight_rows(found)) if r.known]
    if not found.measurements:
        return known
    return known + bench_rows(found.measurements[0])


def eight_rows(found: Results) -> list[Row]:
    """What 8 bits keep of each network, where it comes in 8 bits too."""
    dense, pruned = (found.eight.get(name) for name in NETWORKS)
    if dense is None and pruned is None:
        return []

    def row(quantity: str, unit: str, key: str, show: Show) -> Row:
        own, other = (getattr(one, key, None) for one in (dense, pruned))
        return _quantity(f"In 8 bits: {quantity}", unit, own, other, show)

    return [
        row(".onnx file", "bytes", "bytes", units.size),
        row(f"test {score_word(found)}", "share", "accuracy", accuracy),
        _eight_row(
            "as its float file", *(one.beside_float if one else [] for one in (dense, pruned))
        ),
        _eight_row("as the dense network", [], pruned.beside_dense if pruned else []),
        row("layers left in float", "count", "layers_in_float", str),
    ]


def _eight_row(quantity: str, dense: list[records.Output], pruned: list[records.Output]) -> Row:
    """The first figure of the outputs beside another network's."""
    first = [next(iter(figures(outputs)), None) for outputs in (dense, pruned)]
    own, other = (Cell(f.value if f else None, f.text if f else ABSENT) for f in first)
    word = next((small(f.quantity) for f in first if f), "")
    return Row(f"In 8 bits: {quantity}, {word}", "", own, other)


def judged_by(found: Results) -> Task | None:
    """The task that the run's labels are of; None: classes, or it is not known here."""
    said, spec = found.recipe.task, found.spec
    if said in (None, "", "classification") or spec is None or spec.signature is None:
        return None
    from .. import tasks  # imports torch, which a list of runs must not

    judged = tasks.labelled(tasks.judged(spec.signature, said))
    return judged[1] if judged and not judged[1].classifies else None


def score_word(found: Results) -> str:
    """What the score is called: accuracy, mIoU, ..."""
    task = judged_by(found)
    return "accuracy" if task is None else task.by_labels.title


def _measured(found: Results, network: str, name: str) -> float | None:
    result = found.networks.get(network)
    return result.test_measures.get(name) if result else None


def _figure(figure: Figure) -> Row:
    """A row of what an output has kept of the dense network's."""
    return _quantity(figure.quantity, "", None, figure.value, lambda v: figure.text)


def bench_rows(measurement: Measurement) -> list[Row]:
    """What a bench says of both networks; accuracy only where it was asked for."""
    dense, pruned = (measurement.network(name) for name in NETWORKS)

    def row(quantity: str, unit: str, show: Show, *path: str) -> Row:
        return _quantity(quantity, unit, _at(dense, *path), _at(pruned, *path), show)

    rows = [
        row("Test accuracy, onnxruntime", "share", accuracy, "top1"),
        row("Latency, median", "s", units.duration, "latency", "median_s"),
        row("Latency, 90th percentile", "s", units.duration, "latency", "p90_s"),
        row("Time to load", "s", units.duration, "load", "load_s"),
        row("Peak memory", "bytes", units.size, "memory", "peak"),
        *_eight_measured(measurement),
    ]
    rows = [r for r in rows if r.known]
    ratios = [
        ("Speed-up promised (FLOPs)", "promised_speedup"),
        ("Speed-up measured", "speedup"),
        ("Realised speed-up", "realised_speedup"),
    ]
    for quantity, key in ratios:
        value = getattr(pruned, key, None)
        if value is not None:
            cell = Cell(value, ratio(value, getattr(pruned, f"{key}_interval", None)))
            rows.append(Row(quantity, "ratio", Cell(None, ABSENT), cell))
    return rows


def _eight_measured(measurement: Measurement) -> list[Row]:
    """Of the networks in 8 bits, each beside the float dense one."""
    dense, pruned = (measurement.network(records.int8_of(name)) for name in NETWORKS)

    def row(quantity: str, unit: str, show: Show, *path: str) -> Row:
        own, other = (_at(one, *path) for one in (dense, pruned))
        return replace(_quantity(f"In 8 bits: {quantity}", unit, own, other, show), change=None)

    return [
        row("test accuracy, onnxruntime", "share", accuracy, "top1"),
        row("latency, median", "s", units.duration, "latency", "median_s"),
        row("speed-up over dense", "", lambda v: f"{v:.2f}×", "speedup"),
        row("peak memory", "bytes", units.size, "memory", "peak"),
    ]


def notes(found: Results) -> list[str]:
    """The sentences below the comparison: what is missing, and the verdict of the latest bench."""
    said = missing(found)
    said += _of_how_many(found)
    said += _of_which_class(found)
    said += [
        f"{one.network}: {s}" for one in found.eight.values() for s in eight_bits.sentences(one)
    ]
    if found.measurements:
        latest = found.measurements[0]
        said.append(f"Measured on {latest.where}: {verdict(latest)}.")
    return said + warned(found)


def _of_which_class(found: Results) -> list[str]:
    """Whether the pruned network is of its own class in Python, and why not."""
    pruned = found.pruned
    if pruned is None or pruned.class_name is None:
        return []
    if not pruned.class_lost:
        return [f"in Python the pruned network is the {pruned.class_name} that it was"]
    why = pruned.class_lost if len(pruned.class_lost) < 90 else pruned.class_lost[:89] + "…"
    return [f"in Python the pruned network is a graph, no {pruned.class_name} any more: {why}"]


def go_on(found: Results) -> str:
    run = found.run
    return found.recipe.go_on(run.word, found.dense is not None, run.frontier_path.is_file())


def missing(found: Results) -> list[str]:
    """What is not there (yet), with the command that makes it."""
    _, odd = _way(found.recipe.pruning)
    name, said = found.run.word, [*found.left_out, *odd]
    if not found.dense:
        said.append(f"not trained to the end yet: {go_on(found)}")
    elif not found.pruned:
        said.append(f"not pruned to the end yet: {go_on(found)}")
    elif not found.run.onnx_path("pruned").is_file():
        said.append(f"not exported yet: edgeprune export {name}")
        if not found.measurements:
            said.append(f"latency and memory not measured yet: then edgeprune bench {name}")
    elif not found.measurements:
        said.append(f"latency and memory not measured yet: edgeprune bench {name}")
    return said


def warned(found: Results) -> list[str]:
    """The warnings of the latest bench: seen, likely cause, what to do next."""
    warnings = found.measurements[0].summary.warnings if found.measurements else []
    return [f"{w.seen}: {w.cause} — {w.next}" for w in warnings]


def verdict(measurement: Measurement) -> str:
    """One clause: "the pruned network runs at 1.24× …", or "no measurable difference"."""
    pruned = measurement.network("pruned")
    if pruned is None:
        return "the pruned network was not measured"
    if pruned.speedup is not None and pruned.verdict in ("faster", "slower"):
        by = ratio(pruned.speedup, pruned.speedup_interval)
        return f"the pruned network runs at {by} the dense one's speed"
    return pruned.verdict


def history_table(found: Results) -> Table:
    """The pruning steps, one row each."""
    dense = found.dense
    rows = []
    for step in found.steps:
        layer = step.layer or "all"
        taken, width = len(step.removed), step.widths.get(layer)
        rows.append(
            {
                "step": step.step,
                "layer": layer,
                "removed": taken,
                "width": Cell(width, ABSENT if width is None else f"{width + taken} → {width}"),
                "params": step.params,
                "params_left": _share(step.params, dense.params if dense else None),
                "flops": step.flops,
                "flops_left": _share(step.flops, dense.flops if dense else None),
                "before": step.before,
                "accuracy": step.accuracy,
                "images": step.images,
                "kept": step.kept,
            }
        )
    columns = [
        Column("step", "#"),
        Column("layer", "Layer", align="left", wraps=True),
        Column("removed", hidden=True),
        Column("width", "Filters"),
        Column("params", "Params", units.count),
        Column("params_left", hidden=True),
        Column("flops", "FLOPs", units.count),
        Column("flops_left", hidden=True),
        Column("before", "Cut", accuracy),
        Column("accuracy", "Retrained", accuracy),
        Column("images", hidden=True),
        Column("kept", "", lambda kept: "" if kept else "undone", align="left"),
    ]
    return Table("Pruning steps", columns, rows)


def widths_table(found: Results) -> Table:
    """Width of each group in the dense and in the pruned network."""
    names, pruned = found.labels(), found.pruned_widths
    rows = [
        {
            "layer": names[group],
            "dense": width,
            "pruned": pruned.get(group),
            "left": _share(pruned.get(group), width),
        }
        for group, width in found.dense_widths.items()
    ]
    columns = [
        Column("layer", "Layer", align="left"),
        Column("dense", "Dense"),
        Column("pruned", "Pruned"),
        Column("left", "Left", lambda s: units.percent(s, 0)),
    ]
    return Table("Widths", columns, rows)


def summary(found: Mapping[str, Results]) -> Table:
    """The paper's tables 2 and 4, ``{row title: results}``: each run's dense, then pruned network.

    Size is the weights' 4 bytes a parameter in MiB; the paper's "MB" is that and a file's container.
    """
    rows = []
    for title, results in found.items():
        dense = results.dense
        for name, own in results.networks.items():
            before = dense if dense and own is not dense else None
            rows.append(
                {
                    "network": f"{title} {name}",
                    "params": own.params,
                    "flops": own.flops,
                    "bytes": own.bytes,
                    "params_reduction": before and 1 - own.params / before.params,
                    "flops_reduction": before and 1 - own.flops / before.flops,
                    "test_accuracy": own.test_accuracy,
                }
            )
    columns = [
        Column("network", "Network", align="left"),
        Column("params", "Params (M)", lambda n: f"{n / 1e6:,.2f}"),
        Column("flops", "MFLOPs", lambda n: f"{n / 1e6:,.2f}"),
        Column("bytes", "MiB", lambda n: f"{n / 2**20:,.2f}"),
        Column("params_reduction", "−Params", units.percent),
        Column("flops_reduction", "−FLOPs", units.percent),
        Column("test_accuracy", "Test", accuracy),
    ]
    return Table("Parameters, FLOPs and size", columns, rows)


def accuracy(share: float) -> str:
    """``0.90731 -> '90.73 %'``: the paper's limit is 1 point, so two digits are read."""
    return units.percent(share, 2)


def change(value: float) -> str:
    return signed(value) + " %"


def points(difference: float) -> str:
    """A difference of two accuracies: ``-0.0081 -> '−0.81 points'``."""
    return signed(difference, 2) + " points"


def signed(share: float, digits: int = 1) -> str:
    """A share as signed per cents, with a true minus: ``-0.7711 -> '−77.1'``, ``0 -> '0.0'``."""
    text = f"{100 * share:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def ratio(value: float, interval: Sequence[float | None] | None) -> str:
    """``1.24× (1.21–1.27)``; an open end of the interval is said."""
    if not interval:
        return f"{value:.2f}×"
    low, high = interval
    ends = [f"{low or 0:.2f}", "∞" if high is None else f"{high:.2f}"]
    return f"{value:.2f}× ({'–'.join(ends)})"


def _row(quantity: str, unit: str, found: Results, key: str, show: Show) -> Row:
    dense, pruned = (getattr(found.networks.get(n), key, None) for n in NETWORKS)
    return _quantity(quantity, unit, dense, pruned, show)


def _shares(quantity: str, found: Results, key: str, images: str) -> Row:
    """A row of shares of images: each with its interval, where their number is known."""
    row = _row(quantity, "share", found, key, accuracy)
    if judged_by(found) is not None:  # a score that is no share of the images: no such interval
        return row
    dense, pruned = (getattr(found.networks.get(name), images, None) for name in NETWORKS)
    return replace(
        row,
        dense=_of_images(row.dense, dense),
        pruned=_of_images(row.pruned, pruned),
        images=(pruned if row.pruned.value is not None else None) or dense,
        dense_interval=_interval(row.dense, dense),
        pruned_interval=_interval(row.pruned, pruned),
    )


def _of_images(share: Cell, n: int | None) -> Cell:
    return (
        share if share.value is None or not n else Cell(share.value, units.share_of(share.value, n))
    )


def _interval(share: Cell, n: int | None) -> list[float] | None:
    return None if share.value is None or not n else list(units.wilson(share.value, n))


def _of_how_many(found: Results) -> list[str]:
    """What the shares are shares of, and what the difference of the test accuracies says."""
    said: list[str] = []
    counts = found.pruned or found.dense
    if counts is None:
        return said
    named = (("validation", counts.validation_images), ("test", counts.test_images))
    known = [f"{n:,} {what}" for what, n in named if n]
    if known and judged_by(found) is None:
        said.append(
            f"Accuracies are of {' and '.join(known)} images; in brackets or after ± the "
            "interval of 95 %."
        )
    elif known:
        said.append(f"{score_word(found)}: of {' and '.join(known)} examples.")
    if counts.agreement is not None and counts.images:
        said.append(
            f"The dense network's answer: on {counts.images:,} held-out images, without labels."
        )
    if found.pruned and apart(found) is False:
        said.append("On so many test images the two networks' accuracies are not told apart.")
    return said


def apart(found: Results) -> bool | None:
    """Whether the test accuracies of the two networks differ beyond their intervals; None: not known.

    Newcombe 1998, method 10: Wilson's intervals of both shares.
    """
    dense, pruned = found.dense, found.pruned
    if not dense or not pruned or dense.test_accuracy is None or pruned.test_accuracy is None:
        return None
    if not dense.test_images or not pruned.test_images or judged_by(found):
        return None
    low, high = units.difference(
        (dense.test_accuracy, dense.test_images), (pruned.test_accuracy, pruned.test_images)
    )
    return not low <= 0 <= high


def _quantity(quantity: str, unit: str, dense: Any, pruned: Any, show: Show) -> Row:
    left, right = (Cell(v, ABSENT if v is None else show(v)) for v in (dense, pruned))
    change: Cell | float | None = None
    if dense is not None and pruned is not None:
        if unit == "share":
            change = Cell(pruned - dense, points(pruned - dense))
        elif dense:
            change = pruned / dense - 1
    return Row(quantity, unit, left, right, change)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _at(network: records.Judged | None, *path: str) -> Any:
    found: Any = network
    for key in path:
        found = None if found is None else getattr(found, key)
    return found


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
