"""edgeprune from Python: ``from edgeprune import trace, plan, cut, repair, heal, save, load``.

graph = trace(model, torch.randn(2, 3, 224, 224))
smaller = cut(graph, plan(graph, keep_flops=0.5))
save(smaller, "smaller.safetensors")                 # weights and which channels stayed
again = load("smaller.safetensors", build_model)     # anywhere: bit-equal logits, no pickle
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import checkpoint, files, prices, prune, records
from .errors import EdgepruneError, closest
from .graph import Graph, trace
from .graph.graph import seen_otherwise
from .graph.inputs import example_of, only_inputs
from .graph.tensors import floating
from .prices import Target
from .prune import Criterion, Plan, own
from .prune import plan as planning
from .prune import scores as scoring
from .prune.compensate import lstsq
from .prune.evidence import Evidence, gather
from .prune.images import Images
from .records.signature import Inputs
from .runtime.device import Device, kept

__all__ = ["cut", "heal", "load", "plan", "repair", "save", "trace"]

KEY = "edgeprune.cuts"  # of the JSON in the file's metadata
FORMAT = 1


def plan(
    graph: Graph,
    *,
    keep_flops: float | None = None,
    keep_params: float | None = None,
    target: Target | None = None,
    score: str | Criterion | Callable[..., Any] = "l1",
    method: str = "uniform",
    images: Iterable[Any] = (),
    labels: Sequence[Tensor] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    device: str | None = None,
    own_class: bool = False,
    **limits: Any,
) -> Plan:
    """What stays when ``keep_flops`` (or ``keep_params``), a share 0..1, of the network is left.

    ``target``: the same in any price, ``Target("bytes", share=0.5)`` or, on a ``device`` that
    ``edgeprune doctor --probe`` has measured, ``Target("ms", value=12)``. ``score``: one of
    ``prune.SCORES``, or a function of your own, ``f(graph, group, evidence) -> [width]``, higher = keep,
    whose attribute ``needs`` ("maps", "gradients", "readers", "labels") says what ``evidence`` is to
    hold. Scores that look at data want ``images``, batches of what the network is called with, normalised
    (a few hundred in all), as a data loader gives them, and use ``labels`` [N] a batch where they are
    given. ``loss``: of what the network gives and of the labels, for scores by gradients ("taylor") of
    what is no classifier; without ``labels`` the last part of each batch is taken for them.
    ``own_class``: layers whose Python would not agree with smaller tensors stay whole, so that `cut`
    gives a network of the model's own class. ``limits``: ``floor``, ``multiple``, ``keep`` (globs of groups
    that stay whole), ``shares`` (glob -> share of the width that stays) and ``equal`` (parts of a split
    stay equally wide: True), as `prune.plan.Limits`.

    >>> from torchvision.models import resnet18
    >>> graph = trace(resnet18(), torch.randn(2, 3, 64, 64))
    >>> made = plan(graph, keep_params=0.5, multiple=8)
    >>> 0.4 < made.reached()["params"] <= 0.55
    True
    """
    given = prices.one({"flops": keep_flops, "params": keep_params})
    if target is not None and given is not None:
        raise EdgepruneError("a plan", "wants one target", "leave one out")
    by = _criterion(score)
    evidence = _evidence(graph, by, images, labels, loss) if by.needs else None
    curves = None
    if method in planning.FOLLOWS and by.lost is not None:
        curves = {n: list(by.lost(graph, n, evidence)) for n in graph.groups}
    known = scoring.scored(graph, by, evidence)
    bounds = _limits(limits)
    if method == planning.OWN and by.width is not None:
        own_shares = {n: by.width(graph, n, evidence) / g.width for n, g in graph.groups.items()}
        bounds = replace(bounds, shares={**own_shares, **bounds.shares})
    rows = None if device is None else prices.on(_known(device).model)

    def planned(whole: Sequence[str] = ()) -> Plan:
        kept = replace(bounds, keep=[*bounds.keep, *whole])
        return planning.make(
            graph, known, target or given, method=method, limits=kept, curves=curves, prices=rows
        )

    return own.own_class(graph, planned) if own_class else planned()


def _evidence(
    graph: Graph,
    by: Criterion,
    images: Iterable[Any],
    labels: Sequence[Tensor] | None,
    loss: Callable[[Any, Any], Tensor] | None,
) -> Evidence:
    if not images:
        raise EdgepruneError(f"score {by.name}", "looks at images", "pass images=[...]")
    scoring.sound(graph.model)
    return gather(graph, _images(graph, images, labels, loss), parts=by.parts)


def _criterion(score: str | Criterion | Callable[..., Any]) -> Criterion:
    if isinstance(score, Criterion):
        return score
    if isinstance(score, str):
        return scoring.criterion(score)
    if not callable(score):
        raise EdgepruneError(f"score {score!r}", "neither a name nor a function")
    return scoring.own(getattr(score, "__name__", "of your own"), score)


def _limits(words: Mapping[str, Any]) -> planning.Limits:
    known = [f.name for f in fields(planning.Limits)]
    for word in words:
        if word not in known:
            raise TypeError(f"plan() has no argument {word!r}; {closest(word, known)}")
    return planning.Limits(**{k: v for k, v in words.items() if v is not None})


def _known(device: str) -> Device:
    """What predicts times there."""
    known = kept(device)
    if known is None:
        raise EdgepruneError(
            f"device {device}", "was never probed", f"edgeprune doctor --probe --device {device}"
        )
    return known


def cut(
    graph: Graph,
    what: Plan | prune.Keep,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    ema: nn.Module | None = None,
) -> nn.Module:
    """The smaller network: an ordinary module, ready to be trained on, exported or saved.

    ``what`` is a plan, or for each group the units that stay. ``optimizer`` and ``ema`` follow, as
    in `prune.cut`. The graph's own model is left as it is.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> graph = trace(net, torch.randn(2, 3, 16, 16))
    >>> list(graph.groups)
    ['0']
    >>> smaller = cut(graph, {"0": [0, 2, 5]})
    >>> smaller[0].weight.shape, smaller[2].weight.shape
    (torch.Size([3, 3, 3, 3]), torch.Size([4, 3, 3, 3]))
    """
    keep = _keep(graph, what)
    smaller = prune.narrow(graph, keep, optimizer=optimizer, ema=ema).model
    return _marked(graph, keep, smaller)


def repair(graph: Graph, what: Plan | prune.Keep, images: Iterable[Any]) -> nn.Module:
    """As `cut`; then what left is folded by least squares into what reads it, without labels.

    ``images``: batches of what the network is called with (a few hundred in all), as a data loader gives
    them; labels beside them are passed over. No training: seconds, and most of the accuracy.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> images = [torch.randn(16, 3, 16, 16) for _ in range(4)]
    >>> graph = trace(net, images[0])
    >>> keep = {"0": [0, 1, 2, 3, 4]}
    >>> def off(model):
    ...     return (model(images[0]) - net(images[0])).square().mean().item()
    >>> off(repair(graph, keep, images)) < off(cut(graph, keep))
    True
    """
    keep = _keep(graph, what)
    scoring.sound(graph.model)
    smaller = prune.narrow(graph, keep)
    lstsq(graph, smaller, keep, _images(graph, images))
    return _marked(graph, keep, smaller.model)


def heal(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    dense: nn.Module | None = None,
    epochs: int = 5,
    task: str = "classification",
    told: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Retrain a network that was cut, in place, on any data loader; the mean loss of each epoch.

    As `prune --heal` does (:mod:`.train.heal`): AdamW from three tenths of the usual rate down half a
    cosine. ``batches``: (x, y), x [N, ...] and labels y as the ``task`` wants them; they are gone through
    once an epoch. ``dense`` teaches (Hinton et al. 2015); then x without labels will do for a classifier.
    ``told(epoch, loss)`` hears of each epoch: a logger of yours. Raises :class:`EdgepruneError` for other
    batches, and without the extra ``train``. In a loop of your own it needs none of this.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    >>> x = torch.randn(32, 3, 8, 8)
    >>> smaller = cut(trace(net, x), {"0": [0, 2, 5]})
    >>> losses = heal(smaller, [(x, (x.mean((1, 2, 3)) > 0).long())], epochs=20)
    >>> losses[-1] < losses[0]
    True
    """
    from .train import Recipe, fit_batches
    from .train.heal import healing

    recipe = healing(Recipe(task=task), epochs, distil=dense is not None)
    if dense is not None and isinstance(next(iter(batches), None), Tensor):
        recipe = recipe.but(teacher_share=1.0)
    return fit_batches(model, batches, recipe, teacher=dense, told=told)


def _keep(graph: Graph, what: Plan | prune.Keep) -> prune.Keep:
    """The units that stay; a plan of another network is refused."""
    if isinstance(what, Plan):
        what.check(graph)
    return what.keep if isinstance(what, Plan) else what


def _images(
    graph: Graph,
    images: Iterable[Any],
    labels: Sequence[Tensor] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
) -> Images:
    batches = list(images)
    if loss is not None and labels is None:
        labels = [b[-1] for b in batches if isinstance(b, list | tuple)]
        if len(labels) < len(batches):
            raise EdgepruneError("a loss of your own", "needs labels", "pass labels=[...]")
    return Images([only_inputs(graph.model, b) for b in batches], labels=labels, loss=loss)


def _marked(graph: Graph, keep: prune.Keep, smaller: nn.Module) -> nn.Module:
    """With the cuts that lead to it, for `save`."""
    one = {
        "inputs": records.plain(graph.inputs),
        "network": graph.fingerprint,
        "exact_norms": graph.exact_norms,
        "keep": {name: [int(i) for i in units] for name, units in keep.items()},
    }
    smaller.edgeprune_cuts = [*getattr(graph.model, "edgeprune_cuts", []), one]  # type: ignore[assignment]
    return smaller


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a network that `cut` made, after whatever training, as one ``.safetensors`` file.

    It holds the tensors and which channels stayed, nothing pickled; it is there whole or not at all.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> smaller = cut(trace(net, torch.randn(2, 3, 16, 16)), {"0": [0, 2, 5]})
    >>> save(smaller, "smaller.safetensors").name
    'smaller.safetensors'
    """
    cuts = getattr(model, "edgeprune_cuts", None)
    if cuts is None:
        raise EdgepruneError(
            f"this {type(model).__name__}",
            "was not made by edgeprune.cut",
            "save what cut returned",
        )
    path = Path(path)
    if path.suffix != ".safetensors":
        raise EdgepruneError(f"save to {path}", "the name must end in .safetensors")
    files.write_tensors(
        path, model.state_dict(), {KEY: json.dumps({"format": FORMAT, "cuts": cuts})}
    )
    return path


def load(path: str | Path, build: nn.Module | Callable[[], nn.Module]) -> nn.Module:
    """The network that `save` wrote, in eval mode, with bit-equal logits.

    ``build`` makes the network before the cut (its weights do not matter), or is that network.
    Raises :class:`EdgepruneError` where file and network do not belong together.

    >>> def build():
    ...     return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> smaller = cut(trace(build(), torch.randn(2, 3, 16, 16)), {"0": [0, 2, 5]})
    >>> again = load(save(smaller, "smaller.safetensors"), build)
    >>> x = torch.randn(1, 3, 16, 16)
    >>> torch.equal(again(x), smaller.eval()(x))
    True
    """
    tensors, metadata = files.read_tensors(path)
    cuts = _cuts(Path(path), metadata)
    model = build if isinstance(build, nn.Module) else build()
    if not isinstance(model, nn.Module):
        raise EdgepruneError(
            "load",
            f"build gave a {type(model).__name__}, not an nn.Module",
            "give load() a function that builds the dense network",
        )
    try:
        for one in cuts:
            model = _cut_again(path, model, one)
        checkpoint.fill(model, tensors)
    except EdgepruneError as e:
        if not any(seen_otherwise(one["network"]) for one in cuts):
            raise
        raise EdgepruneError(
            f"{path} was saved by a version of edgeprune that saw networks otherwise",
            f"and does not fit this {type(model).__name__}: {e}",
            "build the network as it was before the cut; else cut and save it once more",
        ) from None
    return model


def _cut_again(path: str | Path, model: nn.Module, one: Mapping[str, Any]) -> nn.Module:
    """One of the cuts that a file tells of; one that was seen otherwise need only fit."""
    example = example_of(one["inputs"], 2, floating(model))
    graph = trace(model.eval(), example, exact_norms=one.get("exact_norms") is True)
    if graph.differs(one["network"]) and not seen_otherwise(one["network"]):
        raise EdgepruneError(
            f"{path} was cut from another network",
            f"{type(model).__name__} has other layers or shapes",
            "build the network as it was before the cut",
        )
    return cut(graph, one["keep"])


def _cuts(path: Path, metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """The cuts in a file that may have been written by anybody."""
    if KEY not in metadata:
        raise EdgepruneError(str(path), "holds no cut network", "edgeprune.save writes one")
    try:
        value = json.loads(metadata[KEY])
        if value["format"] != FORMAT:
            raise EdgepruneError(str(path), f"format {value['format']!r}, {FORMAT} is known")
        cuts = value["cuts"]
        for one in cuts:
            if "inputs" not in one:  # files of version 0.1.0: the shape of the one input
                one["inputs"] = {"ports": [{"name": "x", "shape": one["example"][1:]}]}
            with suppress(EdgepruneError):  # what is none stays the dict that it is
                one["inputs"] = records.value(one["inputs"], Inputs, "inputs")
            sound = isinstance(one["keep"], dict) and isinstance(one["network"], str)
            if not sound or not isinstance(one["inputs"], Inputs):
                raise ValueError("cuts")
    except (KeyError, TypeError, ValueError):
        raise EdgepruneError(str(path), "its cuts are not readable", "save it again") from None
    return list(cuts)
