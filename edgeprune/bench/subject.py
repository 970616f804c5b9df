"""What stands in an .onnx file before it is run: whole or not, its metadata, its size in operations."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..errors import EdgepruneError
from ..export import axes
from ..records import Convention, Listed
from ..runtime.layout import QUANTISED


@dataclass(frozen=True)
class Subject:
    """One model to measure. ``files``: the .onnx and its external data, by the name the model uses."""

    name: str
    path: Path
    bytes: int  # with external data
    params: int | None
    macs: int | None
    flops: int | None
    counted_by: str  # "edgeprune" (the paper's convention, from the metadata) or "graph"
    int8: bool = False  # by its operators, whatever it is called
    metadata: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    open: tuple[str, ...] = ()  # inputs that leave more open than the batch, as --shape says them

    def listed(self) -> Listed:
        """What a result file says of it."""
        return Listed(
            name=self.name, file=self.path.name, bytes=self.bytes, params=self.params,
            macs=self.macs, flops=self.flops, counted_by=self.counted_by, int8=self.int8,
            metadata=self.metadata,
        )  # fmt: skip


def inspect(
    paths: Sequence[Path],
    names: Sequence[str] | None = None,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] = {},
) -> list[Subject]:
    """One :class:`Subject` a path, with names that differ and counts of one kind.

    edgeprune's own counts are used where every file carries them, else all files are counted alike.
    Raises :class:`EdgepruneError` for a file that is not a whole ONNX model.
    """
    models = [_parse(p) for p in paths]
    for path, model in zip(paths, models, strict=True):
        _check_shapes(path, model, shapes)
    metadata = [{p.key: p.value for p in m.metadata_props} for m in models]
    own = [_own_counts(m) for m in metadata]
    subjects = []
    for i, (path, model) in enumerate(zip(paths, models, strict=True)):
        external = _external(path, model)
        counted = own[i] if all(own) else count(model, batch=batch, shapes=shapes)
        subjects.append(
            Subject(
                name=names[i] if names else _distinct(paths, i),
                path=path,
                bytes=sum(p.stat().st_size for p in [path, *external.values()]),
                **(counted or {}),
                counted_by="edgeprune" if all(own) else "graph",
                int8=_in_8_bits(model),
                metadata=metadata[i],
                files=external,
                open=tuple(_open(model, shapes)),
            )
        )
    return subjects


def _in_8_bits(model: Any) -> bool:
    return any(node.op_type in QUANTISED for node in model.graph.node)


def check_kind(path: Path, int8: bool, sha256: str = "") -> None:
    """Refuse a file of a run that is not what its name says: float or in 8 bits by its operators, and, where
    its record says a hash, of that hash."""
    again = "edgeprune export" + (" --int8" if int8 else "")
    if _in_8_bits(_parse(path)) != int8:
        kinds = ("a float network", "a network in 8 bits")
        raise EdgepruneError(
            str(path),
            f"holds {kinds[not int8]}, its name says {kinds[int8]}",
            f"write it again: {again}",
        )
    if sha256 and files.sha256(path) != sha256:
        raise EdgepruneError(
            str(path), f"is not the file that {path.stem}.json tells of", f"write it again: {again}"
        )


def check_sized(subjects: Sequence[Subject]) -> None:
    """Refuse what cannot be run for want of sizes, before anything is sent to a device."""
    for one in subjects:
        if one.open:
            raise EdgepruneError(
                str(one.path), f"input {one.open[0].partition('=')[0]} leaves sizes open",
                "say those of one image: --shape " + " --shape ".join(one.open),
            )  # fmt: skip


def _open(model: Any, shapes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """``images=3xHxW`` for each input with an open axis behind the batch's."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        unsaid = value.name in _fed(model) and value.name not in shapes
        if unsaid and any(not d.dim_value for d in dims[1:]):
            sizes = (
                str(d.dim_value) if d.dim_value else (re.sub(r"\W+", "", d.dim_param) or "?")
                for d in dims[1:]
            )
            yield f"{value.name}={'x'.join(sizes)}"


def _parse(path: Path) -> Any:
    """The ModelProto, external data not loaded."""
    import onnx

    if not path.is_file():
        folder = path.is_dir()
        raise EdgepruneError(
            str(path),
            "a folder, not a model" if folder else "no such file",
            "edgeprune export writes one",
        )
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as e:  # protobuf's DecodeError, which has no public home
        raise EdgepruneError(str(path), f"not a whole ONNX file ({e})", "export it again") from None
    if not model.graph.node or not model.ir_version:
        raise EdgepruneError(str(path), "not an ONNX model: no graph in it", "export it again")
    return model


def _check_shapes(path: Path, model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse a --shape for an input that is not there or has another number of axes."""
    weights = {t.name for t in model.graph.initializer}
    inputs = {v.name: v.type.tensor_type.shape.dim for v in model.graph.input}
    for name, sizes in shapes.items():
        said = f"--shape {name}={','.join(map(str, sizes))}"
        if name not in inputs or name in weights:
            there = ", ".join(n for n in inputs if n not in weights)
            raise EdgepruneError(
                said, f"{path} has no such input, but: {there}", "name one of these"
            )
        if len(sizes) != len(inputs[name]):
            raise EdgepruneError(
                said,
                f"the input of {path} has {len(inputs[name])} axes",
                "edgeprune inspect --model FILE.onnx shows its inputs",
            )
        if min(sizes) < 1:
            raise EdgepruneError(said, "sizes are at least 1")


def _external(path: Path, model: Any) -> dict[str, Path]:
    """The files beside ``path`` that hold its weights; refuses one that points anywhere else."""
    found = {}
    bodies = [model.graph, *model.functions]
    for tensor in (t for body in bodies for t in _tensors(body)):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        told = {e.key: e.value for e in tensor.external_data}
        place = told.get("location", "")
        target = path.parent / place
        here, there = os.path.realpath(path.parent), os.path.realpath(target)
        inside = Path(there).is_relative_to(here)
        if not place or Path(place).is_absolute() or ".." in Path(place).parts or not inside:
            raise EdgepruneError(
                str(path),
                f"asks for a file outside its folder: {place!r}",
                "put the weights beside the .onnx file, and name them so",
            )
        if not target.is_file():
            raise EdgepruneError(
                str(path), f"its external data {place!r} is missing", f"put it beside {path.name}"
            )
        needed = _reaches_to(tensor, told)
        if needed is None or needed > target.stat().st_size:
            raise EdgepruneError(
                str(path), f"its external data {place!r} is cut off", "copy or export it again"
            )
        found[place] = target
    return found


# bytes of an element, by TensorProto's numbers: float, uint8, int8, int32, int64, float16, double
SIZES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 10: 2, 11: 8}


def _reaches_to(tensor: Any, told: Mapping[str, str]) -> int | None:
    """The byte of its file at which a tensor ends at the least; None for words that are no place."""
    size = SIZES.get(tensor.data_type, 0) * math.prod(tensor.dims)
    offset, length = told.get("offset", "0"), told.get("length", str(size))
    if not all(word.isdecimal() and len(word) < 20 for word in (offset, length)):
        return None
    return int(offset) + max(int(length), size)


def _tensors(graph: Any) -> Iterator[Any]:
    """The tensors of a graph or of a function's body, those inside its nodes too."""
    yield from getattr(graph, "initializer", ())
    sparse = list(getattr(graph, "sparse_initializer", ()))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse += attribute.sparse_tensors
            if attribute.HasField("sparse_tensor"):
                sparse.append(attribute.sparse_tensor)
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _tensors(inner)
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _own_counts(metadata: Mapping[str, str]) -> dict[str, int] | None:
    try:
        return {key: int(metadata[f"edgeprune.{key}"]) for key in ("params", "macs", "flops")}
    except (KeyError, ValueError):
        return None


def _distinct(paths: Sequence[Path], i: int) -> str:
    """The stem; with the folder before it, or the place in the list, where stems are the same."""
    stems = [p.stem for p in paths]
    if stems.count(stems[i]) == 1:
        return stems[i]
    named = [f"{p.parent.name}/{p.stem}" for p in paths]
    return named[i] if named.count(named[i]) == 1 else f"{stems[i]}#{i + 1}"


@dataclass(frozen=True)
class Weighted:
    """One node that is counted, with its shapes (of the batch asked for)."""

    node: Any  # onnx.NodeProto
    input: tuple[int, ...]
    weight: tuple[int, ...]
    out: tuple[int, ...]
    macs: int  # of one image


def count(
    model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] = {}
) -> dict[str, int | None]:
    """``params``, ``macs`` and ``flops`` (2 x MACs) of an ONNX graph, by shape inference.

    Counted are Conv, ConvTranspose, Gemm, MatMul and their integer forms, as other tools count; None
    where a shape stays unknown. Parameters are the elements of the initializers and of the
    ``Constant`` nodes, in which some exporters keep them.
    """
    import onnx

    indices = {onnx.TensorProto.INT64, onnx.TensorProto.BOOL}  # shapes and axes, not weights
    held = [*model.graph.initializer, *_constants(model.graph)]
    params = sum(math.prod(t.dims) for t in held if t.data_type not in indices)
    found = weighted(model, batch=batch, shapes=shapes)
    if found is None:
        return {"params": params, "macs": None, "flops": None}
    macs = sum(w.macs for w in found)
    return {"params": params, "macs": macs, "flops": 2 * macs}


def _constants(graph: Any) -> Iterator[Any]:
    """The tensors of the graph's ``Constant`` nodes."""
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (a.t for a in node.attribute if a.HasField("t"))


def inputs(path: Path) -> dict[str, tuple[int | None, ...]]:
    """The inputs of the model in ``path`` that are fed, weights left out; None: an axis is open."""
    return _fed(_parse(path))


def _fed(model: Any) -> dict[str, tuple[int | None, ...]]:
    weights = {t.name for t in model.graph.initializer}
    return {
        v.name: tuple(dim.dim_value or None for dim in v.type.tensor_type.shape.dim)
        for v in model.graph.input
        if v.name not in weights
    }


def recorded(path: Path, batch: int) -> dict[str, tuple[int, ...]]:
    """The sizes that edgeprune made a file with where it leaves more open than the batch; else nothing."""
    told = {p.key: p.value for p in _parse(path).metadata_props}.get(axes.SIZES, "{}")
    try:
        found = {
            str(name): tuple(batch if n == "N" else int(n) for n in sizes)
            for name, sizes in json.loads(told).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):  # anybody may have written it
        return {}
    return found if set(found) == set(inputs(path)) else {}


def weighted(
    model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] = {}
) -> list[Weighted] | None:
    """The counted nodes of an ONNX graph in their order; None where a shape stays unknown."""
    known = shapes_of(model, batch=batch, shapes=shapes)
    found = []
    for node in model.graph.node:
        if node.op_type in COUNTED:
            where = COUNTED[node.op_type]
            if len(node.input) <= where or not node.output:  # no valid file, but one may come
                return None
            first, out = known.get(node.input[0]), known.get(node.output[0])
            weight = known.get(node.input[where])
            if not weight or out is None or first is None:
                return None
            macs = _macs(node, first, weight, out) // batch
            found.append(Weighted(node, first, weight, out, macs))
    return found


def shapes_of(
    model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] = {}
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the graph that can be inferred; ``batch`` fills an open first axis."""
    import onnx

    sized = with_sizes(model, batch=batch, shapes=shapes)
    for value in [*sized.graph.output, *sized.graph.value_info]:
        value.type.tensor_type.ClearField("shape")  # else old symbols win over what is inferred
    del sized.graph.value_info[:]
    try:
        sized = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):  # an invalid file
        return {}
    known = {t.name: tuple(t.dims) for t in sized.graph.initializer}
    for value in [*sized.graph.input, *sized.graph.value_info, *sized.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.dim_value > 0 for d in dims):
            known.setdefault(value.name, tuple(d.dim_value for d in dims))
    return known


def with_sizes(model: Any, *, batch: int = 1, shapes: Mapping[str, Sequence[int]] = {}) -> Any:
    """A copy of the model whose inputs have these sizes; ``batch`` fills an open first axis."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    weights = {t.name for t in sized.graph.initializer}
    for value in sized.graph.input:
        for i, dim in enumerate(value.type.tensor_type.shape.dim):
            if value.name in shapes and value.name not in weights:
                dim.dim_value = shapes[value.name][i]
            elif i == 0 and not dim.dim_value:
                dim.dim_value = batch
    return sized


# operator -> which input holds the weights
COUNTED = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1,
    "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3,
}  # fmt: skip


def _macs(node: Any, first: Sequence[int], weight: Sequence[int], out: Sequence[int]) -> int:
    if (
        node.op_type == "ConvTranspose"
    ):  # weight (in, out/group, *kernel): each input pixel is spread
        return math.prod(first) * math.prod(weight[1:])
    if "Conv" in node.op_type:  # weight (out, in/group, *kernel): each output pixel is a sum
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type == "Gemm":
        flip = any(a.name == "transB" and a.i for a in node.attribute)
        return math.prod(out) * weight[1 if flip else 0]
    return math.prod(out) * weight[-2 if len(weight) > 1 else 0]


def convention(subject: Subject) -> Convention | None:
    """The input convention in the file's metadata, or None."""
    try:
        value = json.loads(subject.metadata["edgeprune.input"])
    except (KeyError, ValueError, RecursionError):
        return None
    return Convention.from_json(value) if isinstance(value, dict) else None
