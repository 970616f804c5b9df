"""A network and its run folder: write what is needed to build it again, and build it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from . import files, models, prune, records
from .errors import EdgepruneError
from .graph import Graph, trace
from .graph.inputs import Example, example_of
from .graph.kept import Keep
from .graph.probe import image, probe
from .graph.tensors import floating
from .models import Convention, ModelSpec, code, onnx
from .prune import low_rank
from .records import Inputs, Signature
from .runs import Run


@dataclass(frozen=True)
class Loaded:
    """A network out of a run folder, ready for use, in eval mode."""

    model: nn.Module
    spec: ModelSpec
    convention: Convention
    classes: tuple[str, ...]
    kept: dict[str, list[int]]  # group -> units of the dense network that are left; {} = all
    known: Signature | None = None  # of the run's spec
    interface: onnx.Interface | None = None  # of the .onnx file that the network came from

    @cached_property
    def signature(self) -> Signature:
        """What goes in and comes out: the network is asked; where its run says otherwise it is refused."""
        found = probe(self.model, self.inputs)
        if self.known is not None and _seen(self.known) != _seen(found):
            raise EdgepruneError(
                f"the run's {self.spec.model}", f"its spec.json says that it {self.known.said}; "
                f"this network {found.said}", "prune it anew: this run is of another network",
            )  # fmt: skip
        return self.known or found

    @property
    def inputs(self) -> Inputs:
        """What goes in."""
        return self.known.inputs if self.known else image(self.model, self.convention.size)

    @cached_property
    def graph(self) -> Graph:
        """The network with its channels followed; traced when it is first asked for."""
        return trace(self.model, self.example)

    @property
    def example(self) -> Example:
        """A batch of 2 of noise."""
        return example_of(self.inputs, 2, floating(self.model))


def _seen(signature: Signature) -> list[tuple[object, ...]]:
    """What of its outputs does not depend on the weights."""
    return [(p.name, p.shape, p.dtype, p.batch) for p in signature.outputs]


def example(convention: Convention) -> Tensor:
    """A batch of 2 normalised images of noise, ``[2, 3, S, S]``: what a network is traced with."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, convention.size, convention.size, generator=generator)


def write_spec(
    run: Run, spec: ModelSpec, convention: Convention, classes: Sequence[str], dense: Mapping[str, int],
    kept: Keep, signature: Signature | None = None, factored: Mapping[str, Any] = {},
) -> None:  # fmt: skip
    """``spec.json``: ``dense`` holds each group's width, ``kept`` what is left of it; ``factored``: the
    layers that are pairs in the pruned network, and in which form.

    A user's own FILE.py is copied into the run, and the ``signature`` kept, when this is first written.
    """
    there = read_spec(run) if run.spec_path.is_file() else None
    written = records.Spec(
        code=there.code if there else code.keep(run, spec),
        signature=signature or (there.signature if there else None),
        model=spec, input=convention, classes=list(classes), dense=dict(dense),
        kept={name: list(map(int, units)) for name, units in kept.items()}, factored=dict(factored),
    )  # fmt: skip
    files.write_json(run.spec_path, records.plain(written))


def write_weights(
    run: Run, network: str, model: nn.Module, spec: ModelSpec, convention: Convention
) -> None:
    """``dense.safetensors`` or ``pruned.safetensors``; the metadata carry the input convention."""
    metadata = {
        "edgeprune.network": network,
        "edgeprune.model": json.dumps(records.plain(spec)),
        "edgeprune.input": json.dumps(records.plain(convention)),
    }
    files.write_tensors(run.weights_path(network), model.state_dict(), metadata)


def read_spec(run: Run) -> records.Spec:
    return records.read(run.spec_path, records.Spec)


def load(run: Run, network: str) -> Loaded:
    """The ``"dense"`` or ``"pruned"`` network of a run, bit-equal to the one that was written.

    Raises :class:`EdgepruneError` with the next command when the run has no such network.
    """
    if not run.has(network):
        raise lacking(run, network)
    value = read_spec(run)
    spec, convention = value.model, value.input
    kept = value.kept if network == "pruned" else {}
    tensors, _ = files.read_tensors(run.weights_path(network))
    built = _built(run, value)
    interface = built.interface if isinstance(built, onnx.OnnxNetwork) else None
    names = tuple(value.classes)
    dense = Loaded(built, spec, convention, names, {}, value.signature, interface)
    if not kept:
        fill(dense.model, tensors, str(run.weights_path(network)))
        return dense
    whole = _factored(run, dense, value.factored) if value.factored else dense.graph
    graph = rebuild(whole, kept, tensors, str(run.weights_path(network)))
    loaded = replace(dense, model=graph.model, kept=kept)
    loaded.__dict__["graph"] = graph  # known already
    return loaded


def _factored(run: Run, dense: Loaded, how: Mapping[str, str]) -> Graph:
    """The dense network whose layers of ``how`` are pairs, at full rank; their weights are still to come."""
    try:
        return trace(low_rank.decomposed(dense.model, how, weights=False), dense.example)
    except KeyError as e:
        raise EdgepruneError(
            str(run.spec_path), f"factored: {e.args[0]!r} is no layer that can be written as a pair",
            "prune it anew: this run is of another network",
        ) from None  # fmt: skip


def lacking(run: Run, network: str) -> EdgepruneError:
    """What to raise where a run has no such network (yet), with the command that makes it."""
    return EdgepruneError(f"run {run.name} has no {network} network", next=run.go_on())


def untrained(run: Run, seed: int) -> nn.Module:
    """The run's dense network with the random weights of ``seed``; an .onnx file has none, it is refused."""
    spec = read_spec(run)
    if code.is_onnx(spec.model.model):
        raise EdgepruneError(
            spec.model.model, "is never without its weights", "it cannot be trained from scratch"
        )
    return _built(run, spec, seed).eval()


def _built(run: Run, spec: records.Spec, seed: int = 0) -> nn.Module:
    """The run's dense network with fresh weights; code that the run brings along must be allowed."""
    if spec.code is None:
        return models.fresh(spec.model, seed)
    found = code.kept(run, spec.code)
    if code.is_onnx(spec.code.file):  # data: nothing of it runs
        what = f"{run.name}'s {spec.code.file}"
        return onnx.of(onnx.parsed(found, spec.code.file, what), what)
    if not code.allowed(found):
        raise EdgepruneError(
            f"run {run.name} brings code of its own ({spec.code.file})",
            "it was never allowed to run on this machine",
            f"read {run.code_folder}, then: edgeprune trust {run.word}",
        )
    _, function = code.parts(spec.model.model)
    with code.written_out(found) as folder:
        return models.fresh(spec.model.but(model=f"{folder / spec.code.file}:{function}"), seed)


def trust(run: Run) -> tuple[list[str], str]:
    """Allow the code that a run brings along: ``(its files, their SHA-256)``; ([], "") if it has none."""
    spec = read_spec(run)
    if code.is_onnx(spec.model.model):
        return [], ""
    if spec.code is not None:
        found = code.kept(run, spec.code)
    elif code.is_own(spec.model.model):
        found = code.bundle(code.parts(spec.model.model)[0])
    else:
        return [], ""
    code.allow(found, str(run.path.resolve()))
    return sorted(found), code.digest(found)


def inherit(run: Run, parent: Run) -> records.Spec:
    """``parent``'s spec, without cuts, and its copy of the user's code, into ``run``."""
    spec = replace(read_spec(parent), kept={}, factored={})
    if spec.code is not None:
        for name, content in code.kept(parent, spec.code).items():
            files.write_bytes(run.code_folder / name, content)
    files.write_json(run.spec_path, records.plain(spec))
    return spec


def rebuild(
    dense: Graph, kept: Keep, tensors: Mapping[str, Tensor], where: str = "weights"
) -> Graph:
    """A new network: ``dense`` cut to ``kept`` and filled with ``tensors``; what does not fit is refused."""
    graph = prune.narrow(dense, kept)
    fill(graph.model, tensors, where)
    return graph


def fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str = "weights") -> None:
    """All of ``model``'s tensors from ``tensors``; names and shapes must be the same."""
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as e:
        reason = " ".join(str(e).split("\n")[1:3])
        raise EdgepruneError(
            f"{where} of another network", reason, "take the weights that belong to it"
        ) from None
    model.eval()
