"""The dense baseline: words become a trained network in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import checkpoint, graph, models, train
from ..checkpoint import Loaded
from ..models import Convention, ModelSpec
from ..models.weights import Fit as Filled
from ..runs import Run
from .asked import Asked
from .record import Recorder, Watch

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import Graph


def dense(run: Run, asked: Asked, dataset: Dataset, watch: Watch) -> Loaded:
    """The run's dense network: loaded if it is there, else built, initialised, trained and written.

    A training that was killed goes on from ``state/dense.safetensors``. The test split is touched
    once, at the end.
    """
    if run.has("dense"):
        return checkpoint.load(run, "dense")
    source = models.find(ModelSpec(asked.model), asked.init)
    spec, convention = describe(asked, source, len(dataset.classes))
    network = models.fresh(spec, asked.seed)
    fit = models.fill(network, spec, source, partial=asked.partial) if source else None
    _say_init(run, asked, fit, watch)
    traced = graph.trace(network, checkpoint.example(convention))
    widths = {name: group.width for name, group in traced.groups.items()}
    checkpoint.write_spec(run, spec, convention, dataset.classes, widths, kept={})
    state = run.state_folder / "dense.safetensors"
    trained = train.fit(
        network,
        dataset,
        convention,
        asked.recipe,
        state=state,
        watch=Recorder(run, watch, "dense", "train"),
    )
    if trained.at_chance:
        watch.note(f"the network learned nothing, pruning it shows nothing: {train.REMEDY}")
    validation = train.evaluate(network, dataset.validation, convention)
    test = train.evaluate(network, dataset.test, convention)
    record_result(
        run, "dense", traced, validation.top1, test.top1,
        lowest_lr=trained.lowest_lr, stopped=trained.stopped, precision=trained.precision,
        at_chance=trained.at_chance,
    )  # fmt: skip
    checkpoint.write_weights(run, "dense", network, spec, convention)
    state.unlink(missing_ok=True)
    return checkpoint.load(run, "dense")


def describe(asked: Asked, source: Any, classes: int) -> tuple[ModelSpec, Convention]:
    """How to build what was asked, and its input: the weights decide padding, batch-norm eps, mean, std."""
    spec = ModelSpec(asked.model, classes, asked.head)
    if source is None:
        return spec, Convention(asked.size)
    said = {"padding": source.padding, "bn_eps": source.bn_eps}
    spec = spec.but(**{k: v for k, v in said.items() if v is not None})
    given = source.input
    return spec, Convention(asked.size, given.mean, given.std, given.channels)


def record_result(
    run: Run, network: str, traced: Graph, validation: float, test: float, **more: Any
) -> None:
    """One ``result`` line: accuracies as shares, the counts of the network as trained."""
    cost = graph.cost(traced)
    run.append(
        kind="result", network=network, validation_accuracy=validation, test_accuracy=test,
        params=cost.params, flops=cost.flops, macs=cost.macs, bytes=cost.bytes,
        widths={name: group.width for name, group in traced.groups.items()}, **more,
    )  # fmt: skip


def result(run: Run, network: str) -> dict[str, Any]:
    """The ``result`` line of a network of this run."""
    return next(r for r in run.history("result") if r["network"] == network)


def _say_init(run: Run, asked: Asked, fit: Filled | None, watch: Watch) -> None:
    """Which tensors start fresh goes into the output and into the recipe."""
    if fit is None:
        return
    from .asked import write_recipe

    body = [name for name in fit.fresh if name not in fit.head]
    if fit.head:
        watch.note(f"the head starts fresh: {', '.join(fit.head)}")
    if body:
        watch.note(f"--partial: {len(body)} more tensors start fresh: {', '.join(body)}")
    recipe = run.recipe()
    write_recipe(run, asked, recipe.get("argv", []), fresh=fit.fresh)
