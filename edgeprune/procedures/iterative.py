"""The paper's procedure (Hubens et al. 2020, section 3.2): one layer at a time, retraining in between.

    repeat: choose (layer, m) from the sensitivity analysis
            remove the m filters of smallest L1 norm, with their maps and the next layer's kernels
            retrain the whole network, at the lowest learning rate of the dense training
            validation accuracy more than max_drop below the baseline: take the step back and stop

What the paper leaves open is decided here and said: the choice of the layer (`choose`), m
(``step``), "1 %" as points, the failing step rolled back, a fresh optimizer in each step.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import checkpoint, files, graph, prune, train
from ..checkpoint import Loaded
from ..runs import Run
from .asked import Asked, Pruning
from .dense import record_result, result
from .record import Recorder, Watch

if TYPE_CHECKING:
    from ..data import Dataset, Split
    from ..graph import Cost, Graph

SHARES = (0.125, 0.25, 0.5, 0.75)  # of a layer's filters, in the sensitivity analysis
Keep = dict[str, list[int]]


@dataclass(frozen=True)
class Curve:
    """Accuracy of the dense network with a share of one layer's lowest filters removed, not retrained."""

    layer: str
    shares: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, share: float) -> float:
        """Linear between the measured points, and from the last one down to nothing at share 1."""
        points = [*zip(self.shares, self.accuracy, strict=True), (1.0, 0.0)]
        for (s0, a0), (s1, a1) in pairwise(points):
            if share <= s1:
                return a0 + (a1 - a0) * (share - s0) / (s1 - s0)
        return points[-1][1]


@dataclass(frozen=True)
class Position:
    """Where the procedure stands: steps done, what is kept, how it ended (None: it goes on)."""

    step: int
    kept: Keep
    ended: str | None = None


def iterative(run: Run, asked: Asked, dense: Loaded, dataset: Dataset, watch: Watch) -> str:
    """Prune the run's dense network as far as ``asked.pruning`` allows; returns why it stopped.

    Writes ``pruned.safetensors`` and ``spec.json``; a killed one goes on from ``state/pruning``.
    """
    settings = asked.pruning
    assert settings is not None
    if run.has("pruned") and not run.state_folder.exists():
        watch.note(f"run {run.name} is pruned already; remove {run.path} to start over")
        return str(result(run, "pruned")["stopped"])
    precision = result(run, "dense")["precision"]
    baseline = _accuracy(dense.model, dataset.validation, dense, precision)
    retrain = asked.recipe.but(
        epochs=max(1, settings.retrain_epochs), schedule="constant", warmup_epochs=0, patience=0,
        lr=result(run, "dense")["lowest_lr"], precision=precision,
    )  # fmt: skip
    curves = sensitivity(run, dense, dataset, settings, precision, watch)
    _say_forecast(dense, dataset, settings, retrain, watch)
    position = _read_position(run) or _write_position(run, Position(0, {}), dense.graph)
    while position.ended is None:
        position = _step(run, asked, dense, dataset, retrain, baseline, curves, position, watch)
    _finish(run, dense, dataset, position)
    return position.ended


def _step(
    run: Run, asked: Asked, dense: Loaded, dataset: Dataset, retrain: train.Recipe, baseline: float,
    curves: Sequence[Curve], position: Position, watch: Watch,
) -> Position:  # fmt: skip
    """One prune-and-retrain round; the new position is on disk when it returns."""
    settings, number, started = asked.pruning, position.step + 1, time.perf_counter()
    assert settings is not None
    traced = _read_network(run, dense, position)
    if settings.max_steps is not None and number > settings.max_steps:
        return _write_position(run, replace(position, ended="--max-steps reached"), traced)
    widths = {name: group.width for name, group in traced.groups.items()}
    chosen = choose(curves, widths, _dense_widths(run), settings, traced)
    if chosen is None:
        return _write_position(run, replace(position, ended="no layer can give more"), traced)
    layer, width = chosen
    keep = {layer: prune.largest(prune.l1(traced, layer), width)}
    kept = prune.compose(position.kept, keep)
    smaller = prune.narrow(traced, keep)
    before = _accuracy(smaller.model, dataset.validation, dense, retrain.precision)
    accuracy = before
    state = run.state_folder / "retrain.safetensors"
    if settings.retrain_epochs:
        trained = train.fit(
            smaller.model, dataset, dense.convention, retrain.but(seed=asked.seed + number), state=state,
            watch=Recorder(run, watch, "pruned", "retrain", number),
        )  # fmt: skip
        accuracy = trained.best_validation
    good = baseline - accuracy <= settings.max_drop / 100 + 1e-9
    cost = graph.cost(smaller)
    record: dict[str, Any] = {
        "step": number,
        "layer": layer,
        "removed": _removed(_dense_widths(run), position.kept, kept, layer),
        "widths": widths | {layer: width},
        "params": cost.params,
        "flops": cost.flops,
        "macs": cost.macs,
        "before": before,
        "accuracy": accuracy,
        "baseline": baseline,
        "kept": good,
        "seconds": time.perf_counter() - started,
    }
    run.append(kind="step", **record)
    watch.on_step(record)
    if good:
        after = _write_position(run, Position(number, kept), smaller)
    else:
        reason = f"step {number} fell more than {settings.max_drop:g} points below the baseline"
        after = _write_position(run, replace(position, ended=reason), traced)
    state.unlink(missing_ok=True)
    return after


def _say_forecast(
    dense: Loaded, dataset: Dataset, settings: Pruning, retrain: train.Recipe, watch: Watch
) -> None:
    """How long a step takes at first (a smaller network is faster), and all of them at most."""
    if not settings.retrain_epochs:
        return
    step = train.measure(dense.model, dataset, dense.convention, retrain).seconds(retrain.epochs)
    steps = settings.max_steps or round(len(convolutions(dense.graph)) / settings.step)
    flags = ("--retrain-epochs", "--limit", "--step", "--max-steps")
    watch.note(
        f"each pruning step takes {train.sentence(step, ())}, at most {steps} steps "
        f"{train.sentence(step * steps, flags)}"
    )


def sensitivity(
    run: Run, dense: Loaded, dataset: Dataset, settings: Pruning, precision: str, watch: Watch
) -> list[Curve]:
    """Figure 1b of the paper, measured once: each layer alone loses its lowest filters, no retraining."""
    some = dataset.validation.take(settings.sensitivity_images)
    known = {r["layer"]: r for r in run.history("sensitivity")}
    traced = dense.graph
    layers = convolutions(traced)
    if len(known) < len(layers):
        watch.note(f"sensitivity of {len(layers)} layers on {len(some)} validation images")
    start = _accuracy(dense.model, some, dense, precision)
    curves = []
    for done, layer in enumerate(layers, 1):
        if layer not in known:
            known[layer] = _curve(layer, traced, dense, some, start, precision)
            run.append(kind="sensitivity", **known[layer])
        curves.append(Curve(layer, tuple(known[layer]["shares"]), tuple(known[layer]["accuracy"])))
        watch.on_progress("sensitivity", done, len(layers))
    return curves


def choose(
    curves: Sequence[Curve], widths: Mapping[str, int], dense: Mapping[str, int], settings: Pruning,
    traced: Graph,
) -> tuple[str, int] | None:  # fmt: skip
    """The layer that loses filters next and its new width; None when no layer can.

    Every layer would go down by ``step`` of its dense width, to the nearest multiple of
    ``round_to``. Of the layers whose measured curve falls least (to within the noise of the sample,
    one standard error), the one that saves the largest share of parameters and FLOPs, taken
    together, is chosen.
    """
    now = graph.cost(traced)
    candidates = []
    for curve in curves:
        width = next_width(widths[curve.layer], dense[curve.layer], settings)
        if width is not None:
            accuracy = curve.at(1 - width / dense[curve.layer])
            saved = _saved(now, graph.cost(traced, {curve.layer: width}))
            candidates.append((accuracy, saved, curve.layer, width))
    if not candidates:
        return None
    best = max(c[0] for c in candidates)
    noise = (max(best * (1 - best), 0.01) / settings.sensitivity_images) ** 0.5
    _, _, layer, width = max((c for c in candidates if c[0] >= best - noise), key=lambda c: c[1])
    return layer, width


def next_width(width: int, dense: int, settings: Pruning) -> int | None:
    """``width`` less ``step * dense``, on the grid of ``round_to``; None if it is at its least.

    A step takes half of what is left at most: a quarter of 512 filters is all that a layer of 128 has.
    """
    grid = settings.round_to
    below = (width - 1) // grid * grid  # the next width on the grid
    half = -(-width // (2 * grid)) * grid
    wanted = round((width - settings.step * dense) / grid) * grid
    new = min(below, max(wanted, half))
    return new if new >= max(grid, 1) else None


def convolutions(traced: Graph) -> list[str]:
    """Groups made by convolutions; the paper's dense layers keep their width."""
    rows = {row.layer: row.kind for row in graph.cost(traced).rows}
    return [
        n for n, g in traced.groups.items() if all("conv" in rows.get(p, "") for p in g.producers)
    ]


def _curve(
    layer: str, traced: Graph, dense: Loaded, some: Split, start: float, precision: str
) -> dict[str, Any]:
    norms = prune.l1(traced, layer)
    accuracy = [start]
    for share in SHARES:
        left = max(1, round(len(norms) * (1 - share)))
        smaller = prune.narrow(traced, {layer: prune.largest(norms, left)}).model
        accuracy.append(_accuracy(smaller, some, dense, precision))
    return {"layer": layer, "shares": [0.0, *SHARES], "accuracy": accuracy, "baseline": start}


def _accuracy(model: nn.Module, split: Split, dense: Loaded, precision: str) -> float:
    """For choices: in the training's precision, the same for all that is compared."""
    return train.evaluate(model, split, dense.convention, precision=precision).top1


def _saved(now: Cost, then: Cost) -> float:
    return (now.params - then.params) / now.params + (now.flops - then.flops) / now.flops


def _removed(dense: Mapping[str, int], before: Keep, after: Keep, layer: str) -> list[int]:
    """Units of the dense network that this step took."""
    there = before.get(layer, list(range(dense[layer])))
    return sorted(set(there) - set(after[layer]))


def _dense_widths(run: Run) -> dict[str, int]:
    return checkpoint.read_spec(run)["dense"]


def _finish(run: Run, dense: Loaded, dataset: Dataset, position: Position) -> None:
    """Judge on the test split, once, and write the pruned network; then the state may go."""
    if not run.has("pruned"):
        traced = _read_network(run, dense, position)
        model = traced.model
        validation = train.evaluate(model, dataset.validation, dense.convention)
        test = train.evaluate(model, dataset.test, dense.convention)
        record_result(
            run, "pruned", traced, validation.top1, test.top1,
            steps=position.step, stopped=position.ended,
        )  # fmt: skip
        checkpoint.write_spec(
            run, dense.spec, dense.convention, dense.classes, _dense_widths(run), position.kept
        )
        checkpoint.write_weights(run, "pruned", model, dense.spec, dense.convention)
    shutil.rmtree(run.state_folder, ignore_errors=True)


def _write_position(run: Run, position: Position, network: Graph) -> Position:
    """One file holds the position and the weights, so that they agree whenever the process dies."""
    words = {"step": position.step, "kept": position.kept, "ended": position.ended}
    path = run.state_folder / "pruning.safetensors"
    files.write_tensors(path, network.model.state_dict(), {"position": json.dumps(words)})
    return position


def _read_position(run: Run) -> Position | None:
    path = run.state_folder / "pruning.safetensors"
    if not path.is_file():
        return None
    words = json.loads(files.read_tensors(path)[1]["position"])
    return Position(words["step"], words["kept"], words["ended"])


def _read_network(run: Run, dense: Loaded, position: Position) -> Graph:
    """Always from the file, so that a broken and an unbroken run compute on the same memory layout."""
    tensors, _ = files.read_tensors(run.state_folder / "pruning.safetensors")
    return checkpoint.rebuild(dense.graph, position.kept, tensors)
