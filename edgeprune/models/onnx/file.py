"""An .onnx file, checked before anything is made of it.

A file is data from anywhere: it is parsed, its external data are looked for in its own folder only
(no links, no ``..``), ONNX's checker reads it, and what cannot be is refused in one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
import onnx.inliner

from ...errors import EdgepruneError, one_line

LARGEST = 2 << 30  # bytes of a file and its data
OLDEST, NEWEST = 7, 23  # opsets
LONGEST = 1000  # characters of a path
MANY = 1 << 16  # nodes
NEXT = "export it again"
Proto = Any  # onnx.ModelProto, whose members are made at run time


def read(path: Path) -> Proto:
    """The model in ``path``, with its external data inside. Raises :class:`EdgepruneError`."""
    return parsed(bundle(path), path.name, str(path))


def bundle(path: Path) -> dict[str, bytes]:
    """The file and the external data that it names: name below its folder -> content."""
    found = {path.name: _bytes(path, str(path))}
    proto = _proto(found[path.name], str(path))
    for tensor in _tensors(proto):
        for name in _external(tensor, str(path)):
            if name not in found:
                found[name] = _bytes(_inside(path.parent, name, str(path)), str(path))
            if sum(map(len, found.values())) > LARGEST:
                raise EdgepruneError(str(path), "holds more than 2 GiB", "split the network")
    return found


def parsed(found: Mapping[str, bytes], name: str, what: str) -> Proto:
    """The model of a bundle, checked."""
    proto = _proto(found[name], what)
    room = LARGEST
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            room -= _fill(tensor, found, what)
            if room < 0:  # many may name the same bytes
                raise EdgepruneError(what, "its weights are more than 2 GiB", "split the network")
    opset = opset_of(proto)
    if not OLDEST <= opset <= NEWEST:
        raise EdgepruneError(
            what, f"is of opset {opset}; {OLDEST} to {NEWEST} are read", "onnx.version_converter"
        )
    try:
        if proto.functions:
            _bounded(proto, what)
            proto = onnx.inliner.inline_local_functions(proto)
        onnx.checker.check_model(proto)
    except EdgepruneError:
        raise
    except Exception as e:  # the checker's classes, and what its C++ raises
        raise EdgepruneError(what, f"is not valid ONNX: {one_line(str(e))[:200]}", NEXT) from None
    return proto


def opset_of(proto: Proto) -> int:
    versions = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def _bytes(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise EdgepruneError(what, "holds more than 2 GiB", "split the network")
        return path.read_bytes()
    except OSError as e:
        raise EdgepruneError(
            what, f"{e.strerror or e}: {path.name}", "name a file that can be read"
        ) from None


def _proto(data: bytes, what: str) -> Proto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's own class
        raise EdgepruneError(what, "is no ONNX file, or is cut short", NEXT) from None
    if not proto.graph.node and not proto.graph.output:
        raise EdgepruneError(what, "is no ONNX file, or holds no network", NEXT)
    return proto


def _tensors(proto: Proto) -> Iterator[Proto]:
    """All tensors of a model: of its graph, of nodes, of the graphs inside nodes, of functions."""
    graphs = [proto.graph]
    for nodes in (proto.graph.node, *(f.node for f in proto.functions)):
        graphs += _graphs(nodes)
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for nodes in (*(g.node for g in graphs), *(f.node for f in proto.functions)):
        for attribute in (a for node in nodes for a in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _graphs(nodes: Iterable[Proto]) -> Iterator[Proto]:
    """The graphs inside nodes, at any depth (protobuf reads a hundred levels at most)."""
    for attribute in (a for node in nodes for a in node.attribute):
        for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            yield inner
            yield from _graphs(inner.node)


def _bounded(proto: Proto, what: str) -> None:
    """Refuse functions that would become too large a graph, are written for another opset, or call
    themselves, before anything is put in their places."""
    own = {(f.domain, f.name, f.overload): f for f in proto.functions}
    opset = opset_of(proto)
    for f in own.values():
        its = max((o.version for o in f.opset_import if o.domain in ("", "ai.onnx")), default=opset)
        if its != opset:
            raise EdgepruneError(
                what, f"function {f.name[:60]!r} is of opset {its}, the file of {opset}", NEXT
            )
    sizes: dict[tuple[str, str, str], tuple[int, int]] = {}

    def grown(nodes: Iterable[Proto], inside: tuple[Any, ...]) -> tuple[int, int]:
        """Nodes and bytes of a list of nodes, when all that it calls stands in its place."""
        amount, held = 0, 0
        for node in (*nodes, *(n for g in _graphs(nodes) for n in g.node)):
            key = (node.domain, node.op_type, node.overload)
            if key in own and key in inside:
                raise EdgepruneError(what, f"function {node.op_type[:60]!r} calls itself", NEXT)
            if key in own and key not in sizes:
                sizes[key] = grown(own[key].node, (*inside, key))
            more = sizes.get(key, (1, node.ByteSize()))
            amount, held = amount + more[0], held + more[1]
        return amount, held

    amount, held = grown(proto.graph.node, ())
    if amount > MANY or held > LARGEST:
        raise EdgepruneError(
            what, f"its functions stand for {amount:,} nodes and {held:,} bytes", NEXT
        )


def _entries(tensor: Proto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _external(tensor: Proto, what: str) -> Iterator[str]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        yield _entries(tensor).get("location", "")


def _inside(folder: Path, name: str, what: str) -> Path:
    """A file below the model's folder, reached without links."""
    place = PurePosixPath(name)
    bad = not name or "\\" in name or "\0" in name or place.is_absolute() or ".." in place.parts
    bad = bad or len(name) > LONGEST
    path = folder / name if not bad else folder
    steps = [folder.joinpath(*place.parts[: i + 1]) for i in range(len(place.parts))]
    if bad or any(step.is_symlink() for step in steps):
        raise EdgepruneError(
            what, f"names external data outside of its folder: {name[:100]!r}",
            "put the data beside the file, or save it as one file",
        )  # fmt: skip
    if not path.is_file():
        raise EdgepruneError(
            what, f"its external data are not there: {name[:100]}", "put them beside the file"
        )
    return path


def _fill(tensor: Proto, found: Mapping[str, bytes], what: str) -> int:
    """Move external data into the tensor; how many bytes."""
    entries = _entries(tensor)
    data = found.get(entries.get("location", ""), b"")
    try:
        start = int(entries.get("offset", 0))
        length = int(entries.get("length", len(data) - start))
    except ValueError:
        start, length = -1, 0
    if start < 0 or length < 0 or start + length > len(data):
        raise EdgepruneError(what, f"external data of {tensor.name[:60]!r} are cut short", NEXT)
    tensor.raw_data = data[start : start + length]
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
    return length
