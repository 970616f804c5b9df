"""A file's nodes as steps to run: which constants are weights, which are numbers, under which names.

- What decides sizes (the shape of a Reshape, the pads of a Pad) must be numbers; everything that these
  are computed of is, back to the shapes of tensors. Where the way back ends at an input, the network's
  shapes depend on its data, and it is refused by name.
- Constants of whole numbers, and single ones beside a tensor, are numbers; all others are weights.
- Weights are called after their layer, as in a state dict: ``conv1.weight``, ``bn1.running_mean``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ...errors import EdgepruneError, closest, one_line
from . import file
from .interface import Interface
from .known import MOST, Known, known
from .operators import HALVES, REFUSED, ROWS, Node, NotSupported, Row, row_of

REPORT = "if onnxruntime runs this file, please report it"
NAMED = 80  # characters of a name in a message
DEEPEST = 32  # modules within modules
FEW = 64  # whole numbers of a constant that may be sizes
BUFFERS = ("running_mean", "running_var")
Words = dict[str, str]  # tensor of the file -> name in the network


@dataclass(frozen=True, eq=False)
class Step:
    """A node: ``inputs`` are values of the file by name, None where left out."""

    node: Node
    run: Callable[..., Any]
    known: Callable[..., Any] | None  # in place of ``run``, where all inputs are numbers
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]


@dataclass(eq=False)
class Plan:
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)  # by name in the network
    words: Words = field(default_factory=dict)
    numbers: dict[str, Known] = field(default_factory=dict)


def plan(proto: file.Proto, interface: Interface, what: str) -> Plan:
    nodes = list(proto.graph.node)
    for node in nodes:
        _check(node, interface.opset, what)
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise EdgepruneError(what, f"weight {name!r} is sparse", "save it with dense weights")
    constants = _constants(proto, what)
    alias = {
        n.output[0]: n.input[0]
        for n in nodes
        if n.op_type == "Identity" and n.input[0] in constants
    }
    for new, old in alias.items():  # exporters write equal constants once
        constants[new] = constants[old]
    nodes = [n for n in nodes if n.op_type != "Constant" and n.output[0] not in constants]
    wanted = _wanted(nodes, constants, interface, what)
    return _Making(constants, alias, wanted, interface, what).of(nodes)


def _check(node: Any, opset: int, what: str) -> None:
    """Refuse an operator that is not read, by name."""
    name = node.op_type
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise EdgepruneError(
                what, f"{attribute.name} of {name} {node.name[:NAMED]!r} is a function's", file.NEXT
            )
    if node.domain not in ("", "ai.onnx"):
        raise EdgepruneError(
            what, f"operator {node.domain}.{name} is not ONNX's own",
            "export it again, without a runtime's optimisations",
        )  # fmt: skip
    if name in REFUSED:
        why, remedy = REFUSED[name]
        raise EdgepruneError(what, f"{why} ({name} {node.name[:NAMED]!r})", remedy)
    if name != "Constant" and row_of(name, opset) is None:
        near = "" if name in ROWS else f"; {closest(name, sorted(ROWS))}"[:60]
        raise EdgepruneError(
            what, f"operator {name} of opset {opset} is not read ({node.name[:NAMED]!r}{near})",
            "please report this network",
        )  # fmt: skip


def _constants(proto: file.Proto, what: str) -> dict[str, Tensor]:
    """Initializers and the values of Constant nodes, half types as float32."""
    found = {}
    for tensor in proto.graph.initializer:
        found[tensor.name] = _tensor(tensor, what)
    for node in proto.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = _constant(node, what)
    return found


def _constant(node: Any, what: str) -> Tensor:
    (attribute,) = node.attribute
    if attribute.name == "value":
        return _tensor(attribute.t, what)
    if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        given = onnx.helper.get_attribute_value(attribute)
        whole = attribute.name.startswith("value_int")
        return torch.tensor(given, dtype=torch.int64 if whole else torch.float32)
    raise EdgepruneError(
        what, f"constant {node.name[:NAMED]!r} holds {attribute.name}", "export it again"
    )


def _tensor(tensor: Any, what: str) -> Tensor:
    try:
        array = numpy_helper.to_array(tensor)
        if array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        found = torch.from_numpy(np.array(array))
    except Exception as e:  # sizes that do not fit the data; strings
        why = f"constant {tensor.name[:NAMED]!r} cannot be read ({one_line(str(e))[:100]})"
        raise EdgepruneError(what, why, file.NEXT) from None
    return found.float() if found.dtype in HALVES else found


def _known(value: Tensor) -> Known:
    array = np.empty(tuple(value.shape), object)
    array[...] = np.asarray(value.tolist(), object).reshape(array.shape)
    return known(array, value.dtype)


def _wanted(
    nodes: list[Any], constants: Mapping[str, Tensor], interface: Interface, what: str
) -> set[str]:
    """Values that must be numbers, since sizes are computed of them."""
    makers = {name: node for node in nodes for name in node.output if name}
    wanted: set[str] = set()
    for asking in nodes:
        row = _row(asking, interface.opset)
        todo = [n for i, n in enumerate(asking.input) if i in row.numbers and n]
        while todo:
            name = todo.pop()
            if name in wanted:
                continue
            wanted.add(name)
            if name in constants:
                continue
            maker = makers.get(name)
            if maker is not None and maker.op_type in ("Shape", "Size"):
                continue
            if maker is None or _row(maker, interface.opset).known is None:
                made = (
                    f"the input {name}"
                    if maker is None
                    else f"{maker.op_type} {maker.name[:NAMED]!r}"
                )
                raise EdgepruneError(
                    what,
                    f"{asking.op_type} {asking.name[:NAMED]!r} takes sizes from the numbers of {made}",
                    "give the part of the network whose shapes follow from its input's shape",
                )
            todo += [n for n in maker.input if n]
    return wanted


def _row(node: Any, opset: int) -> Row:
    row = row_of(node.op_type, opset)
    assert row is not None  # checked
    return row


def attributes(node: Any, what: str) -> dict[str, Any]:
    """A node's attributes as Python's values; tensors as numbers."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = _known(_tensor(value, what))
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, list | tuple):
            value = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in value]
        found[attribute.name] = value
    return found


# -- names -----------------------------------------------------------------------------------------


def layer_name(node: Any, weight: str) -> str:
    """The layer of a node: of its weight's name where that says one, else of the node's own.

    ``layer1.0.conv1.weight`` and ``/layer1/layer1.0/conv1/Conv`` both give ``layer1.0.conv1``.
    """
    said = weight.rpartition(".")[0]
    if clean(said) and "::" not in weight and "/" not in weight:
        return clean(said)
    parts: list[str] = []
    for part in re.split(r"[/:]+", node.name)[:-1] if "/" in node.name else [node.name]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        if part:
            parts.append(part)
    return clean(".".join(parts)) or clean(weight) or node.op_type.lower()


def clean(name: str) -> str:
    """A name that modules can bear: letters, digits, ``_``, between dots."""
    parts = [re.sub(r"\W+", "_", p, flags=re.ASCII).strip("_") for p in re.split(r"[./]", name)]
    parts = [f"{p}_" if hasattr(nn.Module, p) or p in TAKEN else p for p in parts if p]
    return ".".join(parts[-DEEPEST:])


TAKEN = frozenset(vars(nn.Module())) | {"steps", "numbers", "interface", "words"}


def above(name: str) -> list[str]:
    """``a``, ``a.b``, ``a.b.c`` of ``a.b.c``."""
    return list(accumulate(name.split("."), lambda a, b: f"{a}.{b}"))


# -- steps -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Making:
    constants: Mapping[str, Tensor]
    alias: Mapping[str, str]
    wanted: set[str]
    interface: Interface
    what: str
    made: Plan = field(default_factory=Plan)
    layers: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)  # all that a weight lies in
    numbers: dict[str, int] = field(default_factory=dict)  # the last of layers of one name

    def of(self, nodes: list[Any]) -> Plan:
        readers: dict[str, list[Row]] = {}
        for node in nodes:
            for name in node.input:
                row = _row(node, self.interface.opset)
                readers.setdefault(self.alias.get(name, name), []).append(row)
        self.readers = readers
        for node in nodes:
            self.made.steps.append(self._step(node))
        for port in self.interface.outputs:
            if port.name in self.constants:
                self._place(port.name, None, "", "")
        return self.made

    def _step(self, proto: Any) -> Step:
        row = _row(proto, self.interface.opset)
        outputs, second = tuple(proto.output), (*proto.input, "", "")[1]
        node = Node(
            proto.op_type, (proto.name or next(filter(None, outputs), ""))[:NAMED],
            attributes(proto, self.what),
            self.interface.opset, fixed=self.interface.fixed, outputs=sum(map(bool, outputs)),
            weight=tuple(self.constants[second].shape) if second in self.constants else (),
        )  # fmt: skip
        inputs: list[str | None] = [name or None for name in proto.input]
        run, laid = row.run, self._laid(row, node, inputs)
        held = [
            n for n, leaf in zip(inputs, row.leaves, strict=False) if leaf and n in self.constants
        ]
        layer = self._layer(proto, held) if held or laid else ""
        for i, name in enumerate(inputs):
            if name is not None and name in self.constants and not (laid and i in laid[1]):
                leaf = row.leaves[i] if i < len(row.leaves) else ""
                inputs[i] = self._place(name, row, layer, leaf)
        if laid:
            run = laid[0]
            inputs = self._replaced(inputs, laid[1], layer)
        made = row.known if not row.makes or any(o in self.wanted for o in outputs) else None
        if row.known is None and not row.numbers:
            made = _on_tensors(run)
        return Step(node, run, made, tuple(inputs), outputs)

    def _laid(self, row: Row, node: Node, inputs: list[str | None]) -> Any:
        """Constants as PyTorch wants them, where no other node reads them."""
        if row.lay is None:
            return None
        given = {i: self.constants[n] for i, n in enumerate(inputs) if n and n in self.constants}
        shared = [
            i for i in given
            if self.constants[str(inputs[i])].ndim > 1
            and len(self.readers[self.alias.get(str(inputs[i]), str(inputs[i]))]) > 1
        ]  # fmt: skip
        if shared and row.leaves:
            return None
        if any(n and i not in given for i, n in enumerate(inputs) if 0 < i < len(row.leaves)):
            return None
        try:
            return row.lay(node, given)
        except (NotSupported, RuntimeError, ValueError, IndexError) as e:
            raise EdgepruneError(self.what, one_line(str(e))[:200], REPORT) from None

    def _replaced(
        self, inputs: list[str | None], tensors: Mapping[int, tuple[str, Tensor]], layer: str
    ) -> list[str | None]:
        for position, (leaf, value) in tensors.items():
            inputs += [None] * (position + 1 - len(inputs))
            name = f"{layer}.{leaf}"
            self._hold(name, value)
            self.made.words[name] = name
            inputs[position] = name
        if max(tensors) >= 8:  # a recurrent layer's, behind the node's own
            inputs[1:4] = [None] * len(inputs[1:4])
        return inputs

    def _layer(self, node: Any, held: list[str | None]) -> str:
        """The name of the layer whose weights ``held`` are."""
        weight = str(held[0]) if held else ""
        name = self._numbered(layer_name(node, self.alias.get(weight, weight)), self._is_taken)
        self.layers.add(name)
        return name

    def _is_taken(self, name: str) -> bool:
        return name in self.layers or any(n in self.made.weights for n in above(name))

    def _numbered(self, name: str, taken: Callable[[str], bool]) -> str:
        """``name``, or ``name_2`` and so on where it is taken."""
        found = name
        while taken(found):
            self.numbers[name] = self.numbers.get(name, 1) + 1
            found = f"{name}_{self.numbers[name]}"
        return found

    def _place(self, name: str, row: Row | None, layer: str, leaf: str) -> str:
        """A constant under the name by which a step reads it: a number, or a weight of the network."""
        value, own = self.constants[name], self.alias.get(name, name)
        if own in self.made.numbers or self._is_number(name, value, row, leaf):
            if own not in self.made.numbers:
                self.made.numbers[own] = _known(value)
            return own
        if leaf and (value.ndim <= 1 or own not in self.made.words):
            word = f"{layer}.{leaf}"
            self._hold(word, value)
            self.made.words.setdefault(own, word)
            key = (
                own if self.made.words[own] == word else f"{own}\n{word}"
            )  # an own copy of a vector
            self.made.words[key] = word
            return key
        if own not in self.made.words:
            word = self._numbered(clean(own) or "constant", self._in_the_way)
            self._hold(word, value)
            self.made.words[own] = word
        return own

    def _in_the_way(self, name: str) -> bool:
        return name in self.modules or any(n in self.made.weights for n in above(name))

    def _is_number(self, name: str, value: Tensor, row: Row | None, leaf: str) -> bool:
        if name in self.wanted or self.alias.get(name) in self.wanted:
            return value.numel() <= MOST
        if not value.is_floating_point():
            return value.numel() <= FEW
        rows = self.readers.get(self.alias.get(name, name), [])
        return value.numel() == 1 and not leaf and all(r.scalars for r in rows) and row is not None

    def _hold(self, name: str, value: Tensor) -> None:
        if name in self.made.weights:
            return
        whole = not value.is_floating_point()
        buffer = whole or name.rpartition(".")[2] in BUFFERS
        held = value.clone()
        self.made.weights[name] = held if buffer else nn.Parameter(held)
        self.modules.update(above(name)[:-1])


def _on_tensors(run: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that knows tensors only, of numbers."""
    cpu = torch.device("cpu")

    def of_known(node: Node, *values: Known | None) -> Any:
        return run(node, *(None if v is None else v.tensor(cpu) for v in values))

    return of_known


def last_uses(steps: list[Step], kept: Iterator[str]) -> list[tuple[str, ...]]:
    """For each step the values that nothing reads behind it."""
    last: dict[str, int] = {}
    for i, step in enumerate(steps):
        for name in (*step.inputs, *step.outputs):
            if name:
                last[name] = i
    for name in kept:
        last.pop(name, None)
    free: list[tuple[str, ...]] = [()] * len(steps)
    for name, i in last.items():
        free[i] = (*free[i], name)
    return free


def trained(step: Step, training: bool) -> Node:
    return replace(step.node, training=True) if training else step.node
