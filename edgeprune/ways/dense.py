"""The dense baseline: words become a trained network in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import checkpoint, graph, models, prune, records, tasks, train
from ..checkpoint import Loaded
from ..data import Rows
from ..errors import EdgepruneError
from ..graph.inputs import example_of
from ..graph.probe import image, inputs_said, probe
from ..graph.tensors import floating
from ..models import Convention, ModelSpec, code, onnx
from ..models.fit import Fit as Filled
from ..models.weights import Source
from ..prune.scores import sound
from ..records import Signature
from ..runs import Run
from . import aim
from .asked import Asked
from .examples import convention_of
from .opening import write_recipe
from .record import Recorder, Watch
from .way import Way

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import Graph
    from ..train import Judged


def dense(run: Run, asked: Asked, dataset: Dataset, watch: Watch) -> Loaded:
    """The run's dense network: loaded if it is there, else built, initialised, trained and written.

    A training that was killed goes on from ``state/dense.safetensors``. The test split is touched
    once, at the end.
    """
    if run.has("dense"):
        return checkpoint.load(run, "dense")
    source = models.find(ModelSpec(asked.model), asked.init)
    spec, convention = describe(asked, source, len(dataset.classes) or ModelSpec.classes)
    network = models.fresh(spec, asked.seed)
    fit = models.fill(network, spec, source, partial=asked.partial) if source else None
    inputs = inputs_said(asked.shape.split(",")) if asked.shape else image(network, convention.size)
    signature = probe(network, inputs)
    if not isinstance(dataset.train, Rows):
        convention = convention_of(inputs, convention)
    task = tasks.named(asked.task)
    if task.classifies:
        _as_many(asked, signature, len(dataset.classes))
    dataset = fitted(dataset, signature, asked.task)
    traced = graph.trace(network, example_of(inputs, 2, floating(network)))
    refuse_early(traced, asked.pruning, asked.model)
    _say_init(run, asked, fit, watch)
    widths = {name: group.width for name, group in traced.groups.items()}
    checkpoint.write_spec(run, spec, convention, dataset.classes, widths, {}, signature)
    state = run.state_folder / "dense.safetensors"
    trained = train.fit(
        network,
        dataset,
        convention,
        asked.training,
        state=state,
        watch=Recorder(run, watch, "dense", "train"),
    )
    if trained.at_chance:
        watch.note(f"the network learned nothing, pruning it shows nothing: {train.REMEDY}")
    validation = train.evaluate(network, dataset.validation, convention, task=task)
    test = train.evaluate(network, dataset.test, convention, task=task)
    record_result(
        run, "dense", traced, validation, test,
        lowest_lr=trained.lowest_lr, stopped=trained.stopped, precision=trained.precision,
        at_chance=trained.at_chance,
    )  # fmt: skip
    checkpoint.write_weights(run, "dense", network, spec, convention)
    state.unlink(missing_ok=True)
    return checkpoint.load(run, "dense")


def fitted(dataset: Dataset, signature: Signature, task: str) -> Dataset:
    """The set with its labels as the task's loss takes them; refused where they do not fit the output."""
    judged = tasks.labelled(tasks.judged(signature, task))
    assert judged is not None  # `wanted.trained_as` refused it
    port, row = judged
    parts = {p: getattr(dataset, p) for p in ("train", "validation", "test")}
    return replace(dataset, **{p: s.labelled(row.fitted(port, s.labels)) for p, s in parts.items()})


def _as_many(asked: Asked, signature: Signature, classes: int) -> None:
    """Refuse a network that does not give a score for each class."""
    given = signature.outputs[0].shape[0]
    if given != classes:
        if not classes:
            raise EdgepruneError(
                f"{asked.model} gives {given} class scores, and the labels of {asked.data} are no classes",
                next="say what they are: --task labels (0 or 1 each), values, …",
            )
        raise EdgepruneError(
            f"{asked.model} gives {given} class scores, and {asked.data} has {classes:,} classes",
            next="a function of a FILE.py may take their number: def net(classes)",
        )


def whole(
    model: str,
    source: Source | None,
    heads: Sequence[str],
    size: int | None,
    notes: Callable[[str], None] | None = None,
) -> Loaded:
    """A trained network as its checkpoint holds it, classifier and all; nothing is trained.

    The input convention and the number of classes are the checkpoint's (``size`` may be another);
    ``notes`` hears which reading of the file was taken. Raises :class:`EdgepruneError` for a part of a
    network.
    """
    if source is None and code.is_onnx(model):
        return of_file(model, size, notes)
    if source is None:
        raise EdgepruneError(
            f"{model} from scratch", "is not trained", "give --weights FILE, --init NAME, or a run"
        )
    said = {"padding": source.padding, "bn_eps": source.bn_eps}
    spec = ModelSpec(model).but(**{k: v for k, v in said.items() if v is not None})
    spec, network, told = models.whole(spec, source, heads)
    convention = replace(source.input, size=size or source.input.size)
    if notes is not None:
        assumed = assumption(source, convention, chosen=size is not None)
        for note in (told, narrower(source), assumed):
            if note:
                notes(note)
    names = tuple(str(i) for i in range(spec.classes))
    sound(network, model)
    return Loaded(network, spec, convention, names, {})


def of_file(model: str, size: int | None, notes: Callable[[str], None] | None = None) -> Loaded:
    """The network of an .onnx file, whose weights are in it; its input as edgeprune wrote it there, else
    assumed."""
    network = models.fresh(ModelSpec(model), 0)
    assert isinstance(network, onnx.OnnxNetwork)
    sound(network, model)
    said = network.interface.metadata.get("edgeprune.input")
    convention = Convention(224) if said is None else Convention.from_json(json.loads(said))
    convention = replace(convention, size=size or convention.size)
    if said is None and notes is not None:
        notes(f"{model} does not say its input: assumes RGB, ImageNet mean and std")
    axes = network.interface.outputs[0].axes or ()
    last = axes[-1] if len(axes) == 2 else None
    spec = ModelSpec(model, last if isinstance(last, int) and last > 1 else ModelSpec.classes)
    names = tuple(str(i) for i in range(spec.classes))
    return Loaded(network, spec, convention, names, {}, interface=network.interface)


def named_classes(dense: Loaded, classes: Sequence[str], where: str) -> Loaded:
    """The network with its classes' names, which must be as many."""
    if len(classes) != len(dense.classes):
        raise EdgepruneError(
            f"{where} has {len(dense.classes)} classes, the data set {len(classes)}",
            next="give the data set that it was trained on, or --images alone",
        )
    return replace(dense, classes=tuple(classes))


def assumption(source: Source, convention: Convention, *, chosen: bool) -> str:
    """What is taken for granted of an input that the file does not say; "" where it says all."""
    silent = source.assumed - ({"size"} if chosen else set())
    side = f"{convention.size}x{convention.size}" if "size" in silent else ""
    colours = f"{convention.channels}, ImageNet mean and std" if "colours" in silent else ""
    assumed = ", ".join(part for part in (side, colours) if part)
    remedy = " (--size says another)" if side else ""
    return f"{source.where} does not say its input: assumes {assumed}{remedy}" if assumed else ""


def narrower(source: Source) -> str:
    """What becomes of numbers of fewer bits than the network is computed in; "" where there are none."""
    types = " and ".join(source.narrow)
    return f"{source.where} holds {types}: computed in float32" if types else ""


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
    run: Run, network: str, traced: Graph, validation: Judged | None, test: Judged | None,
    **more: Any,
) -> None:  # fmt: skip
    """One ``result`` line: accuracies and of how many images (None: no labels), the network's counts as
    trained, and ``more`` of what `records.Result` knows."""
    cost, lost = graph.cost(traced), getattr(traced.model, "edgeprune_reason", None)
    run.append(
        records.Result(
            network=network, params=cost.params, flops=cost.flops, macs=cost.macs, bytes=cost.bytes,
            widths=traced.widths,
            validation_accuracy=validation.score if validation else None,
            validation_images=validation.n if validation else None,
            test_accuracy=test.score if test else None, test_images=test.n if test else None,
            test_measures=test.measures if test else {}, class_lost=lost,
            class_name=None if lost is None else type(traced.model).__name__, **more,
        )
    )  # fmt: skip


def refuse_early(traced: Graph, way: Way | None, model: str) -> None:
    """What cannot be pruned as asked is refused before any work: nothing may leave, or not so much."""
    if way is None:
        return
    if not traced.groups:
        reasons = "; ".join(f"{r.where}: {r.reason}" for r in traced.refusals[:3])
        raise EdgepruneError(
            f"{model}: nothing to prune",
            f"no group of channels can leave ({reasons})" if reasons else "no channels can leave",
            f"edgeprune inspect --model {model} says why, layer by layer",
        )
    settings = way.settings
    if settings.target is not None:
        prune.plan.make(
            traced,
            {name: prune.l1(traced, name) for name in traced.groups},
            settings.target,
            limits=settings.limits(),
            prices=aim.rows(settings.target),
        )


def result(run: Run, network: str) -> records.Result:
    """The ``result`` line of a network of this run; an error where there is none."""
    for record in run.history(records.Result):
        if record.network == network:
            return record
    raise EdgepruneError(
        str(run.history_path), f"no result of the {network} network", "the run is not whole: make it anew"
    )  # fmt: skip


def trained_in(run: Run) -> str:
    """The precision that the dense network was trained in."""
    return result(run, "dense").precision or "fp32"


def _say_init(run: Run, asked: Asked, fit: Filled | None, watch: Watch) -> None:
    """Which tensors start fresh goes into the output and into the recipe."""
    if fit is None:
        return
    body = [name for name in fit.fresh if name not in fit.head]
    if fit.said:
        watch.note(fit.said)
    if fit.head:
        watch.note(f"the head starts fresh: {', '.join(fit.head)}")
    if body:
        watch.note(f"--partial: {len(body)} more tensors start fresh: {', '.join(body)}")
    write_recipe(run, asked, run.recipe().argv, fresh=fit.fresh)
