"""A network as one self-contained .onnx file whose names lead back to its layers.

onnxruntime names the rows of a profile after nodes and their outputs, so both are named here after
the module that owns the weights:

* a convolution, dense layer or transposed convolution is called by its module: ``features.3.pw.conv``;
* what only works on its output carries the name on: ``features.3.pw.conv/Relu``;
* everything else is called after the module it ran in and its operator: ``avgpool/ReduceMean``.

A second use of a name gets ``#2``. :func:`layer_of` reads the layer back.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn

from .. import files
from ..errors import EdgepruneError, raised
from ..graph.inputs import Example, flat, has_places, inputs_of, mapped
from ..graph.trace import recorded, unwrap
from ..models.onnx import Interface, Port
from ..models.onnx.file import opset_of
from ..records import Convention, Inputs, plain
from ..records import Port as InputPort
from ..tasks import Task
from ..version import __version__
from . import axes, parity
from .again import as_it_was

WEIGHTS = "its weights are made for one size"  # why an axis cannot be open
OPSET = 18  # onnxruntime 1.14 and later; the exporter's own, so nothing is converted
INPUT, OUTPUT = (
    "images",
    "logits",
)  # of a classifier of images; others by their arguments and places
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FOLLOWERS = (  # operators on one tensor that the runtime may fuse into what is before them
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu",
    "BatchNormalization",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was found to be right."""

    path: Path
    bytes: int
    opset: int
    nodes: int
    simplified: int  # nodes that onnx-simplifier took away
    parity: parity.Parity
    open: tuple[str, ...] = (axes.BATCH,)  # axes of the inputs that may have another size
    shut: Mapping[str, str] = field(
        default_factory=dict
    )  # open in the file it came from, and why not here


@dataclass(frozen=True)
class Card:
    """What a file says of itself."""

    convention: Convention | None = None  # how an image becomes its input
    classes: Sequence[str] = ()
    more: Mapping[str, str] = field(default_factory=dict)


def write(
    model: nn.Module,
    path: Path,
    *,
    real: parity.Real,
    card: Card = Card(),
    opset: int | None = None,
    interface: Interface | None = None,
    opened: Sequence[str] = (),
) -> Exported:
    """Export ``model`` to ``path``: open batch, and what ``opened`` names (:mod:`.axes`).

    The input is called ``images`` and the output ``logits`` of a classifier of images, else they have the
    names of the forward's arguments and of the places in what it gives. On ``real`` examples torch and
    onnxruntime must agree (:mod:`.parity`). Beyond tolerance no file is left and :class:`EdgepruneError`
    says by how much. ``model`` may be any module, an fx graph too, and is left as it was. With the
    ``interface`` of the file that it came from, names, open axes and metadata are that file's, and, where
    the converter can, its opset.
    """
    wanted = opset or (interface.opset if interface else OPSET)
    with _evaluating(model):
        given = parity.prepare(model, real.samples)
        example = mapped(parity.part(real.samples, 0, 2), Tensor.contiguous)
        taken = _taken(model, example, opened, interface)
        proto, taken = _as_open_as_it_can(taken, names_of(given, real.task), max(wanted, OPSET))
        _rename(proto)
        before = len(proto.graph.node)
        proto = _simplify(proto)
        _dress(proto, card)
        if interface is not None:
            proto = as_it_was(proto, interface, wanted)
        _note_sizes(proto, example)
        path.unlink(missing_ok=True)  # an older file must not pass for this network if this fails
        with files.atomic(path) as temporary:
            _save(proto, temporary)
            found = parity.check(model, temporary, real, taken.axes)
    words = {axis: word for word, axis in axes.words_of(example).items()}
    return Exported(
        path=path,
        bytes=path.stat().st_size,
        opset=opset_of(proto),
        nodes=len(proto.graph.node),
        simplified=before - len(proto.graph.node),
        parity=found,
        open=(axes.BATCH, *(words[axis] for axis in taken.axes)),
        shut={words.get(axis, f"axis {axis}"): why for axis, why in taken.shut.items()},
    )


def layer_of(name: str) -> str:
    """The layer that a node, a tensor or a row of onnxruntime's profile belongs to ("" if none).

    >>> layer_of("features.3.pw.conv/Relu_nchwc")
    'features.3.pw.conv'
    """
    name = name.removesuffix("_nchwc")
    return name.partition("/")[0].partition("#")[0]


def is_image(inputs: Inputs) -> bool:
    """Whether it is one tensor of three axes, as a classifier of images takes it."""
    return len(inputs.ports) == 1 and len(inputs.ports[0].shape) == 3


def names_of(given: Sequence[tuple[str, Tensor]], task: Task) -> list[str]:
    """What the outputs are called in a file: ``logits``, or after their places."""
    if len(given) == 1 and task.classifies:
        return [OUTPUT]
    return [_name(place) or "output" for place, _ in given]


def _name(place: str) -> str:
    """``1.0`` -> ``output_1_0``; ``out`` stays."""
    words = re.sub(r"\W+", "_", place)
    return f"output_{words}" if words[:1].isdigit() else words


@dataclass(frozen=True)
class _Taken:
    """A recorded forward, ready for torch's exporter."""

    steps: fx.GraphModule
    inputs: Inputs
    example: list[Tensor]
    axes: tuple[int, ...]  # that are open besides the batch
    shut: Mapping[int, str]  # that were open in the file it came from -> why they cannot be
    asked: tuple[int, ...]  # of the open ones, by the user


def _taken(
    model: nn.Module, example: Example, opened: Sequence[str], interface: Interface | None
) -> _Taken:
    """The forward's operators as :mod:`edgeprune.graph` records them, open in what is asked for.

    Of a network that came from a file, what was open there stays open where it can.
    """
    inner = unwrap(model)
    steps = recorded(inner, example)
    frozen = steps.meta["frozen"]
    asked = set(axes.asked(opened, example, frozen))
    before = {axis for port in interface.inputs for axis in _open(port)} if interface else set()
    kept = before & set(axes.words_of(example).values()) - set(frozen)
    shut = {axis: frozen.get(axis, WEIGHTS) for axis in sorted(before - kept)}
    chosen = tuple(sorted(asked | kept))
    return _Taken(
        steps, inputs_of(inner, example), flat(example), chosen, shut, tuple(sorted(asked))
    )


def _open(port: Port) -> tuple[int, ...]:
    """The axes behind the batch that are open."""
    return tuple(i for i, n in enumerate(port.axes or ()) if i and not isinstance(n, int))


def _as_open_as_it_can(
    taken: _Taken, outputs: list[str], opset: int
) -> tuple[onnx.ModelProto, _Taken]:
    """The file, and what is open in it: torch's exporter cannot solve every size that a file leaves open.

    Then one axis alone is tried, and at last what was asked for alone.
    """
    more = tuple(axis for axis in taken.axes if axis not in taken.asked)
    lost: dict[int, str] = {}
    for chosen in [more, *([axis] for axis in more if len(more) > 1), ()]:
        shut = {axis: why for axis, why in lost.items() if axis not in chosen}
        tried = replace(
            taken, axes=tuple(sorted({*taken.asked, *chosen})), shut={**taken.shut, **shut}
        )
        try:
            return _exported(tried, outputs, opset), tried
        except EdgepruneError as e:
            if not chosen:
                raise
            lost.update(dict.fromkeys(chosen, e.why))
    raise AssertionError


def _exported(taken: _Taken, outputs: list[str], opset: int) -> onnx.ModelProto:
    ports = taken.inputs.ports
    names = [INPUT] if is_image(taken.inputs) else [_name(p.name) for p in ports]
    outputs = [f"{name}_out" if name in names else name for name in outputs]
    dynamic = torch.export.Dim.DYNAMIC
    shapes = tuple(
        dict.fromkeys(_axes_of(port, t, taken.axes), dynamic)
        for port, t in zip(ports, taken.example, strict=True)
    )
    try:
        with quiet():
            program = torch.onnx.export(
                taken.steps,
                tuple(taken.example),
                input_names=names,
                output_names=outputs,
                dynamic_shapes=shapes,
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            return program.model_proto
    except Exception as e:  # the exporter's own errors are many and long: their first words will do
        cause = e.__cause__ or e
        raise EdgepruneError(
            "this network cannot be exported",
            raised(cause)[:300],
            "edgeprune inspect says what of it is supported",
        ) from e


def _axes_of(port: InputPort, t: Tensor, more: Sequence[int]) -> list[int]:
    """The axes of one input that are open."""
    batch = [] if port.batch is None else [port.batch]
    return [*batch, *(axis for axis in more if has_places(t) and axis < t.ndim)]


def _note_sizes(proto: onnx.ModelProto, example: Example) -> None:
    """The sizes that the file was made with, for those who measure it."""
    rest = {p.key: p.value for p in proto.metadata_props if p.key != axes.SIZES}
    found = axes.sizes(proto.graph, example)
    del proto.metadata_props[:]
    own = {axes.SIZES: json.dumps(found)} if found else {}
    onnx.helper.set_model_props(proto, rest | own)


def _simplify(proto: onnx.ModelProto) -> onnx.ModelProto:
    """onnx-simplifier's result; the graph as it is when that cannot read it (it says so by raising)."""
    import onnxsim

    with quiet():
        try:
            smaller, same = onnxsim.simplify(proto)
        except Exception as e:
            raise EdgepruneError(
                "onnx-simplifier failed on this network",
                str(e)[:300],
                "try another --opset, or another version of onnxsim",
            ) from e
    return smaller if same else proto


def _rename(proto: onnx.ModelProto) -> None:
    """Name nodes and their outputs after the layers (see the top of this file)."""
    weights = {t.name for t in proto.graph.initializer}
    ends = {v.name for v in [*proto.graph.input, *proto.graph.output]}
    layers: dict[str, str] = {}  # tensor -> the layer whose output it is
    used: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    for node in proto.graph.node:
        first = node.input[0] if node.input else ""
        if node.op_type in WEIGHTED:
            layer = _owner(node, weights) or _scope(node)
            name = layer or node.op_type
        elif node.op_type in FOLLOWERS and layers.get(first):
            layer = layers[first]
            name = f"{layer}/{node.op_type}"
        else:
            layer, scope = "", _scope(node)
            name = f"{scope}/{node.op_type}" if scope else f"/{node.op_type}"
        used[name] += 1
        if used[name] > 1:
            name = f"{name}#{used[name]}"
        node.name = name
        for i, output in enumerate(node.output):
            layers[output] = layer
            if output and output not in ends:
                own = f"{name}#0" if name in ends else name  # an output may be called as a layer is
                renamed[output] = own if i == 0 else f"{name}:{i}"
    _apply(proto.graph, renamed)


def _owner(node: Any, weights: set[str]) -> str:
    """The module of the node's weight: ``features.0`` for ``features.0.weight``."""
    for name in node.input[1:2]:
        if name in weights and "." in name:
            return name.rpartition(".")[0]
    return ""


def _scope(node: Any) -> str:
    """The module in whose forward the node arose, as the exporter noted it."""
    noted = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
    try:
        scopes = ast.literal_eval(noted)
    except (ValueError, SyntaxError):
        return ""
    return scopes[-2] if isinstance(scopes, list) and len(scopes) > 1 else ""


def _apply(graph: Any, renamed: Mapping[str, str]) -> None:
    """Rename tensors throughout a graph and the graphs inside its nodes."""
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                _apply(inner, renamed)
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _dress(proto: onnx.ModelProto, card: Card) -> None:
    """Metadata in, the exporter's notes out (they hold source paths), open axes called N, height ..."""
    own = {"edgeprune.version": __version__}
    if card.convention is not None:
        own["edgeprune.input"] = json.dumps(plain(card.convention))
    if card.classes:
        own["edgeprune.classes"] = json.dumps(list(card.classes), ensure_ascii=False)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {**own, **card.more})
    proto.producer_name, proto.producer_version = "edgeprune", __version__
    proto.ir_version = onnx.helper.find_min_ir_version_for(list(proto.opset_import))
    graph = proto.graph
    graph.name = card.more.get("edgeprune.model", "network")
    for part in [graph, *graph.node, *graph.value_info, *graph.input, *graph.output]:
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    axes.name(graph)


def _save(proto: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
        data = proto.SerializeToString()
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise EdgepruneError(
            "the exported graph is not valid ONNX", str(e)[:300], "try another --opset"
        ) from e
    except ValueError as e:  # protobuf's limit of 2 GiB
        raise EdgepruneError(
            "the network is too large for one .onnx file",
            str(e)[:300],
            "files of ONNX hold 2 GiB: prune it further",
        ) from e
    path.write_bytes(data)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In eval mode inside, as it was afterwards, module by module."""
    modes = [(m, m.training) for m in model.modules()]
    for module, _ in modes:  # not model.eval(): a graph made by torch.export refuses it
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches stdout or stderr, from C++ neither; no warnings; no log lines below errors."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    kept = [os.dup(1), os.dup(2)]
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for fd, old in zip((1, 2), kept, strict=True):
            os.dup2(old, fd)
            os.close(old)
        os.close(silence)
        logging.disable(level)
