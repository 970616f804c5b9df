"""Widths rounded up again: units come back from the dense network, and no answer changes.

A unit that comes back has the dense network's filters; what reads it starts at zero. So the network gives
the very logits it gave before, at the widths that run fast here, and training can use the room.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint, files, prune, records, runs
from ..errors import EdgepruneError
from ..graph import Graph, Group, trace
from ..graph.kept import kept_classes
from ..prune import Keep
from ..runs import Run


def fix(run: Run, block: int) -> tuple[Run | None, dict[str, tuple[int, int]]]:
    """Write the run ``NAME-fixed``, whose pruned network has widths in multiples of ``block``.

    Returns it and {group: (width before, after)}; None and {} where all widths are so already. Raises
    :class:`EdgepruneError` where the run is not pruned.
    """
    fixed = Run(run.path.with_name(f"{run.name}-fixed"))
    pruned = checkpoint.load(run, "pruned")
    if checkpoint.read_spec(run).factored:
        raise EdgepruneError(
            f"run {run.name}", "layers are written as pairs: their ranks are not rounded up",
            f"prune again with --way low-rank --round-to {block}",
        )  # fmt: skip
    dense = checkpoint.load(run, "dense")
    graph = trace(dense.model, dense.example)
    keep = rounded_up(graph, pruned.kept, block)
    changed = {
        name: (len(pruned.kept[name]), len(units))
        for name, units in keep.items()
        if len(units) != len(pruned.kept[name])
    }
    if not changed:
        return None, {}
    model = refilled(graph, pruned.kept, keep, pruned.model.state_dict())
    with torch.no_grad():
        before, after = pruned.model(pruned.example), model(pruned.example)
    gap = float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))
    if gap > 1e-4:  # a norm over all channels, say: then more channels are another network
        raise EdgepruneError(
            f"run {run.name}", f"with more channels it gives other answers (by {gap:.1g} of the scale)",
            f"prune again with --round-to {block}",
        )  # fmt: skip
    if not fixed.onnx_path(
        "pruned"
    ).is_file():  # written last: without it a killed one is made anew
        return _write(run, fixed, dense, graph, keep, model), changed
    if not _is(fixed, run, keep, model):
        raise EdgepruneError(
            f"run {fixed.name} is there already", next=f"remove or rename {fixed.path}"
        )
    return fixed, changed


def _is(fixed: Run, run: Run, keep: Keep, model: nn.Module) -> bool:
    """Whether the run holds what would be written: the same command was killed at its very end."""
    if fixed.recipe().fixed_from != run.name or not fixed.has("pruned"):
        return False
    there, _ = files.read_tensors(fixed.weights_path("pruned"))
    wanted = model.state_dict()
    same = there.keys() == wanted.keys() and all(torch.equal(there[k], wanted[k]) for k in there)
    return same and checkpoint.read_spec(fixed).kept == {n: list(u) for n, u in keep.items()}


def rounded_up(graph: Graph, kept: Keep, block: int) -> dict[str, list[int]]:
    """``kept`` with the strongest (L1) of the dropped units back, up to whole blocks of channels."""
    found = {}
    for name, units in kept.items():
        group = graph.group(name)
        wanted = min(_whole_blocks(len(units), _channels(group), block), group.width)
        scores = prune.l1(graph, group).clone()
        scores[list(units)] = scores.max() + 1  # above all others: they stay
        found[name] = prune.largest(scores, wanted)
    return found


def _channels(group: Group) -> int:
    """Channels that a unit has in its producer."""
    site = group.producing_sites()[0]
    return int((site.unit >= 0).sum()) // group.width


def _whole_blocks(width: int, channels: int, block: int) -> int:
    while width * channels % block:
        width += 1
    return width


def refilled(graph: Graph, before: Keep, after: Keep, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The dense network cut to ``after``, with ``tensors`` (of the one cut to ``before``) in their places;
    what reads a unit that came back is zero."""
    small = prune.narrow(graph, after)
    model, was = small.model, kept_classes(graph, before)
    state = {}
    for name, value in model.state_dict().items():
        value = value.clone()
        places = []
        for axis in range(value.ndim):
            labels = small.sites.get((name, axis))
            if labels is None:
                places.append(torch.arange(value.shape[axis]))
                continue
            stayed = torch.from_numpy(was.stays(labels))
            places.append(stayed.nonzero()[:, 0])
            if axis == _reading_axis(graph.model, name, value):
                back = (~stayed).nonzero()[:, 0]
                value.index_fill_(axis, back, 0)
        if name in tensors:
            old = tensors[name]
            value = old.clone() if value.ndim == 0 else _put(value, places, old)
        state[name] = value
    model.load_state_dict(state)
    return model.eval()


def _reading_axis(model: nn.Module, name: str, value: Tensor) -> int | None:
    """The axis of a weight that lies on what the layer reads."""
    if value.ndim < 2:
        return None
    layer = model.get_submodule(name.rpartition(".")[0])
    return 0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1


def _put(value: Tensor, places: list[Tensor], old: Tensor) -> Tensor:
    value[torch.meshgrid(*places, indexing="ij")] = old
    return value


def _write(run: Run, fixed: Run, dense: Any, graph: Graph, keep: Keep, model: nn.Module) -> Run:
    with fixed.lock():
        recipe = replace(run.recipe(), fixed_from=run.name, created=runs.now())
        shutil.copyfile(run.weights_path("dense"), fixed.weights_path("dense"))
        checkpoint.inherit(fixed, run)
        if run.score_folder.is_dir():
            shutil.copytree(run.score_folder, fixed.score_folder, dirs_exist_ok=True)
        widths = {name: group.width for name, group in graph.groups.items()}
        checkpoint.write_spec(
            fixed, dense.spec, dense.convention, dense.classes, widths, keep, dense.known
        )
        checkpoint.write_weights(fixed, "pruned", model, dense.spec, dense.convention)
        for record in run.history(records.Result):
            if record.network == "dense":
                fixed.append(record)
        files.write_json(fixed.recipe_path, records.plain(recipe))
    return fixed
