"""From a module to its ATen operators, by running it once on shapes alone.

The forward runs on values that have a shape, a type and a device but no numbers; a dispatch mode
writes each operator down as it comes. Under ``torch.inference_mode`` composite operators arrive
whole (``conv2d``, ``batch_norm``, ``linear``), so one table of rules serves. Three things are undone
on the way, so that the graph is functional and open in its sizes:

- **Writes in place.** Each value knows the memory it lies in and the views that led to it. A write
  becomes the operator's out-of-place twin and climbs to the root (``slice_scatter``, the inverse
  permutation ...); a view that is read after a write is made anew.
- **Sizes.** The forward is recorded at other sizes too, and what follows them becomes a formula
  (:mod:`.opening`).
- **The module's own state.** Parameters and buffers are values for a while; every attribute and
  container of every module is put back as it was, also after an exception.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

from ..records.signature import Inputs
from .inputs import Example, arguments, empty, flat, inputs_of, nest_of, open_axes, size
from .modes import unchanged
from .module import module_of
from .opening import Refused, open_sizes
from .operators import Operator, row_of, twin_of
from .operators.pointwise import INTEGERS
from .operators.writes import View

aten = torch.ops.aten
META = torch.device("meta")
HERE = (os.path.dirname(torch.__file__) + os.sep, __file__)  # frames that are nobody's forward
QUANTISED = {"quantized", "qat", "observer", "fake_quantize"}  # in the names of torch.ao's modules
NOTHING = torch.empty(0, device=META)  # statistics that a frozen norm does not give
LOCK = threading.RLock()  # a module's tensors are replaced for all threads


class Value(Tensor):
    """A tensor without numbers; ``place`` says where in the recording it comes from."""

    meta: Tensor
    place: Place
    numbers: Tensor | None = None  # where the forward keeps it beyond the recording
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(meta: Tensor, device: torch.device, place: Place) -> Value:
        with torch.inference_mode(False):  # what a forward keeps is differentiated later
            value = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                Value, meta.shape, strides=meta.stride(), storage_offset=meta.storage_offset(),
                dtype=meta.dtype, device=device,
            )  # fmt: skip
        value.meta, value.place = meta, place
        return value

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        args, kwargs = (_mapped(each, _real) for each in (args, kwargs or {}))
        return func(*args, **kwargs)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Value({tuple(self.shape)}, {self.dtype})"

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise Refused("numpy() asks for numbers")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Refused("numpy asks for numbers")

    def tolist(self) -> Any:
        raise Refused("tolist() asks for numbers")

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, new: Any) -> None:  # which no operator tells of
        meta = getattr(new, "meta", None)
        if meta is None or meta.dtype != self.dtype or not _same_place(meta, self):
            raise Refused("its forward sets the .data of a tensor")


def _real(value: Value) -> Tensor:
    if value.numbers is None:
        raise Refused("its forward uses a tensor outside of the recording")
    return value.numbers


@dataclass(eq=False)
class Memory:
    """What views share; ``version`` counts the writes into it."""

    version: int = 0
    owned: bool = True  # False: a parameter or buffer, into which a forward may not write


@dataclass(eq=False)
class Place:
    """A value's node, and the view of ``base`` that it is (none: the root of its memory)."""

    memory: Memory
    node: fx.Node
    base: Value | None = None
    view: View | None = None
    version: int = 0


# -- the recording ---------------------------------------------------------------------------------


@dataclass(eq=False)
class Recorder(TorchDispatchMode):
    """One run of a forward, operator by operator."""

    names: Mapping[int, str]  # id of a tensor that the module holds -> its qualified name
    graph: fx.Graph = field(default_factory=fx.Graph)
    constants: dict[str, Tensor] = field(default_factory=dict)  # read, by name
    leaves: dict[int, Value] = field(default_factory=dict)
    path: list[str] = field(default_factory=lambda: [""])  # of the modules whose forward runs
    free: set[fx.Node] = field(default_factory=set)  # that no input reaches
    made: list[weakref.ref[Value]] = field(default_factory=list)  # of free nodes

    def __post_init__(self) -> None:
        super().__init__()
        self.first: fx.Node | None = None  # before which leaves are written

    # -- values --

    def inputs(self, example: Example, inputs: Inputs) -> Example:
        """The example's tensors as values; the first of several is named as the only one is."""
        places = [f"x{i or ''}" for i in range(len(inputs.ports))]
        return nest_of(inputs, list(map(self._input, flat(example), places)))

    def _input(self, example: Tensor, name: str) -> Value:
        meta = torch.empty_strided(
            example.shape, example.stride(), dtype=example.dtype, device="meta"
        )
        node = self.graph.placeholder(name)
        return self._new(node, meta, example.device)

    def leaf(self, tensor: Tensor) -> Value:
        """The value of a tensor that the module holds, or that its forward makes of literals."""
        if id(tensor) not in self.leaves:
            name = self.names.get(id(tensor), f"lifted_{len(self.constants)}")
            self.constants[name] = tensor
            meta = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta"
            )
            node = self.graph.get_attr(name)
            self.free.add(node)
            self.leaves[id(tensor)] = self._new(node, meta, tensor.device, owned=False)
        return self.leaves[id(tensor)]

    def _new(self, node: fx.Node, meta: Tensor, device: torch.device, owned: bool = True) -> Value:
        node.meta["val"] = meta
        return Value.of(meta, device, Place(Memory(owned=owned), node))

    def read(self, value: Value) -> fx.Node:
        """The node that holds ``value`` now: a view of written memory is made anew."""
        place = value.place
        if place.version != place.memory.version:
            assert place.base is not None
            assert place.view is not None
            view = place.view
            meta = value.meta
            if view.index is not None:  # the parts beside it are made anew with it
                meta = view.func(place.base.meta, *view.args, **view.kwargs)
            node = self.call(view.func, (place.base, *view.args), view.kwargs, meta)
            if view.index is not None:
                node = self.graph.call_function(operator.getitem, (node, view.index))
            node.meta.update({**place.node.meta, "val": value.meta})
            place.node, place.version = node, place.memory.version
        return place.node

    def call(self, func: Any, args: Any, kwargs: Any, meta: Any) -> fx.Node:
        """A node of ``func``; values become the nodes that hold them now."""
        node_args = _mapped(args, self.read)
        node_kwargs = _mapped(kwargs, self.read)
        node = self.graph.create_node("call_function", func, node_args, node_kwargs, _name(func))
        where = self.path[-1]
        node.meta = {"val": meta, "nn_module_stack": {where: (where, "")}, "stack_trace": _frame()}
        if all(n in self.free for n in node.all_input_nodes):
            self.free.add(node)
        return node

    # -- operators --

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _lifted(args, self), _lifted(kwargs or {}, self)
        row = row_of(func)
        if row.refused is not None and _in_force(func, args, kwargs):
            raise Refused(f"its forward {row.refused[0]} ({_name(func)})", row.refused[1])
        if row.asks:
            return self._number(func, args, kwargs)
        if row.guard:
            return None
        if func._schema.is_mutable:
            return self._write(func, args, kwargs)
        if row.hands_on:
            return self._handed_on(args[0])
        evaluating = row.evaluating and row.evaluating(*args, **kwargs)
        if evaluating:
            return self._result(*evaluating, {})[0]
        return self._result(func, args, kwargs)

    def _number(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operator tells of a tensor that neither an input nor training changes (a stride)."""
        asked = list(_values((args, kwargs)))
        known: dict[fx.Node, Any] = {}
        refused = Refused(f"{_name(func)} asks for a tensor's numbers")
        if not all(v.place.node in self.free for v in asked):
            raise refused
        with torch.inference_mode(False), torch.no_grad():
            args, kwargs = (
                _mapped(each, lambda v: self._computed(self.read(v), known))
                for each in (args, kwargs)
            )
            found = func(*args, **kwargs)
        trained = any(isinstance(t, nn.Parameter) and t.requires_grad for t in known.values())
        if trained or isinstance(found, Tensor):
            raise refused
        return found

    def _handed_on(self, x: Value) -> Value:
        return Value.of(x.meta, x.device, x.place)

    def _result(self, func: Any, args: Any, kwargs: Any) -> Any:
        row = row_of(func)
        out: Any = _as_first(row, args, kwargs)
        if out is None:
            out = _on_shapes(func, args, kwargs)
        if row.frozen:
            out = (out[0] if isinstance(out, tuple) else out, NOTHING, NOTHING)
        values = list(_values((args, kwargs)))
        device = _device(args, kwargs, values)
        operands = {v.meta.untyped_storage()._cdata: v for v in values}
        if isinstance(out, Tensor) and row.moves and _same_place(out, args[0]):
            return self._handed_on(args[0])
        node = self.call(func, args, kwargs, out)
        if isinstance(out, Tensor):
            return self._placed(node, out, device, operands, View(func, args[1:], kwargs, None, 0))
        if not isinstance(out, list | tuple):
            return out
        results = []
        for i, part in enumerate(out):
            if isinstance(part, Tensor) and part is not NOTHING:
                getitem = self.graph.call_function(operator.getitem, (node, i))
                getitem.meta = {**node.meta, "val": part}
                view = View(func, args[1:], kwargs, i, 0)
                results.append(self._placed(getitem, part, device, operands, view))
            else:
                results.append(part)
        return type(out)(results) if type(out) in (list, tuple) else results

    def _placed(
        self, node: fx.Node, meta: Tensor, device: torch.device, operands: Mapping[int, Value], view: View
    ) -> Value:  # fmt: skip
        """A result: in the memory of an operand, or in new memory."""
        base = operands.get(meta.untyped_storage()._cdata)
        if base is None:
            return self._known(Value.of(meta, device, Place(Memory(), node)))
        view = replace(view, offset=int(meta.storage_offset() - base.meta.storage_offset()))
        memory = base.place.memory
        return self._known(Value.of(meta, device, Place(memory, node, base, view, memory.version)))

    def _known(self, value: Value) -> Value:
        if all(n in self.free for n in value.place.node.all_input_nodes):
            self.made.append(weakref.ref(value))
        return value

    def keep(self) -> bool:
        """Give what the forward keeps (a table in a cache) its numbers; whether there is such a thing."""
        kept = [value for value in (each() for each in self.made) if value is not None]
        known: dict[fx.Node, Any] = {}
        with torch.inference_mode(False), torch.no_grad():
            for value in kept:
                value.numbers = self._computed(self.read(value), known).clone()
        return bool(kept)

    def _computed(self, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
        """What a node that no input reaches computes."""
        if node not in known:
            if node.op == "get_attr":
                known[node] = self.constants[str(node.target)]
            elif node.op != "call_function":
                raise Refused("its forward keeps what it computed of an input")
            else:
                args, kwargs = fx.map_arg(
                    (node.args, node.kwargs), lambda n: self._computed(n, known)
                )
                known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return known[node]

    # -- writes in place --

    def _write(self, func: Any, args: Any, kwargs: Any) -> Any:
        written = [
            a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments
        ]
        twin, target = twin_of(func), args[0] if args else None
        if torch.Tag.inplace_view in func.tags and not (twin and row_of(twin).hands_on):
            raise Refused(f"{_name(func)} changes a tensor's shape in place")
        if (
            twin is None
            or not isinstance(target, Value)
            or written != [True, *[False] * (len(written) - 1)]
        ):
            raise Refused(f"{_name(func)} writes where no twin is known")
        if row_of(twin).hands_on:  # detach_ writes nothing
            return target
        if not target.place.memory.owned:
            raise Refused("its forward writes into a parameter or buffer")
        value = args[1] if row_of(twin).copies else self._result(twin, args, kwargs)
        self._climb(target, self.read(self._fitted(value, target)))
        return target

    def _fitted(self, x: Value, target: Value) -> Value:
        """``x`` in the type and shape of what it is written into."""
        if x.dtype != target.dtype:
            x = self._result(aten._to_copy.default, (x,), {"dtype": target.dtype})
        if x.shape != target.shape:
            x = self._result(aten.expand_as.default, (x, target), {})
        return x

    def _climb(self, target: Value, node: fx.Node) -> None:
        """``target`` is ``node`` from now on, and so is its part of everything that it is a view of."""
        place, climbed = target.place, [target.place]
        while place.base is not None and place.view is not None:
            base, view = place.base, place.view
            whole, back = self.read(base), row_of(view.func).back
            if back is None:
                raise Refused(f"its forward writes into {_name(view.func)} of a tensor")
            place.node = node
            node = back(self.graph, node, whole, base.meta, view)
            node.meta = {**place.node.meta, "val": base.meta}
            place = base.place
            climbed.append(place)
        place.node = node
        place.memory.version += 1
        for each in climbed:
            each.version = place.memory.version


def _in_force(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operator does what it is refused for: a dropout that is told to train, no other."""
    words = [a.name for a in func._schema.arguments]
    given = {**dict(zip(words, args, strict=False)), **kwargs}
    flags = [name for name in ("train", "training") if name in words]
    return all(given.get(name) for name in flags) and given.get("p") != 0


def _same_place(meta: Tensor, value: Any) -> bool:
    """Whether a move moved nothing."""
    return isinstance(value, Value) and bool(
        meta.untyped_storage()._cdata == value.meta.untyped_storage()._cdata
        and meta.shape == value.meta.shape
        and meta.stride() == value.meta.stride()
        and meta.storage_offset() == value.meta.storage_offset()
    )


def _name(func: Any) -> str:
    return str(func._schema.name).removeprefix("aten::")


# -- arguments -------------------------------------------------------------------------------------


def _mapped(value: Any, f: Callable[[Value], Any]) -> Any:
    """``value`` with ``f`` of every :class:`Value` in its lists, tuples and dicts."""
    if isinstance(value, Value):
        return f(value)
    if isinstance(value, list | tuple):
        return _like(value, [_mapped(v, f) for v in value])
    if isinstance(value, dict):
        return {k: _mapped(v, f) for k, v in value.items()}
    return value


def _like(value: Any, parts: list[Any]) -> Any:
    """``parts`` in the type of ``value``, a list, a tuple or one with names."""
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)


def _values(value: Any) -> Iterator[Value]:
    if isinstance(value, Value):
        yield value
    elif isinstance(value, list | tuple):
        for v in value:
            yield from _values(v)
    elif isinstance(value, dict):
        yield from _values(list(value.values()))


def _lifted(value: Any, r: Recorder) -> Any:
    """Tensors of the module, literals of its forward and what it kept, as values."""
    if isinstance(value, Value) and value.place.node.graph is not r.graph:
        return r.leaf(_real(value))
    if isinstance(value, Tensor) and not isinstance(value, Value):
        return r.leaf(value)
    if isinstance(value, list | tuple):
        return _like(value, [_lifted(v, r) for v in value])
    if isinstance(value, dict):
        return {k: _lifted(v, r) for k, v in value.items()}
    return value


def _meta(value: Value) -> Tensor:
    return value.meta


def _on_shapes(func: Any, args: Any, kwargs: Any) -> Any:
    """The operator itself, on tensors without numbers."""
    args = [META if isinstance(a, torch.device) else a for a in _mapped(args, _meta)]
    try:
        return func(*args, **_on_meta(func, kwargs))
    except NotImplementedError:
        raise Refused(
            f"the shape of {_name(func)} depends on a tensor's numbers",
            "give the part before it: of a detector the backbone and the head, without what"
            " chooses among its boxes",
        ) from None


def _as_first(row: Operator, args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first operand's like, where the row says so, for real numbers in the plain layout; else None.

    The operator's own code takes a hundred times as long to say it.
    """
    first = args[0]
    if row.like is None or not isinstance(first, Value):
        return None
    x, others = first.meta, [v.meta for v in _values((args[1:], kwargs))]
    if not x.dtype.is_floating_point or not x.is_contiguous():
        return None
    if any(t.dtype != x.dtype for t in others) or any(isinstance(a, complex) for a in args):
        return None
    return x.clone() if row.like(x, others) else None


def _on_meta(func: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments with shapes for values; what is made is made without numbers."""
    found = {k: v.meta if isinstance(v, Value) else v for k, v in kwargs.items()}
    if any(a.name == "device" for a in func._schema.arguments) and (
        "device" in found or not any(str(a.type) == "Tensor" for a in func._schema.arguments)
    ):
        found["device"] = META
    return found


def _device(args: Any, kwargs: Mapping[str, Any], values: list[Value]) -> torch.device:
    asked = kwargs.get("device") or next((a for a in args if isinstance(a, torch.device)), None)
    if asked is not None:
        return torch.device(asked)
    found = next((v for v in values if v.ndim), values[0] if values else None)
    return torch.get_default_device() if found is None else found.device


def _frame() -> str:
    """``File "...", line ...`` of the innermost frame that is not PyTorch's or this file's."""
    frame = sys._getframe(2)
    inner = frame
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(HERE):
            return f'File "{file}", line {frame.f_lineno}, in {frame.f_code.co_name}'
        frame = frame.f_back  # type: ignore[assignment]
    return f'File "{inner.f_code.co_filename}", line {inner.f_lineno}, in forward'


# -- the module ------------------------------------------------------------------------------------


@contextmanager
def _borrowed(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Parameters and buffers are values; afterwards every module's attributes are as they were."""
    with unchanged(model):
        for m in list(model.modules()):
            for kind in (m._parameters, m._buffers):
                for name, tensor in kind.items():
                    if tensor is not None:
                        kind[name] = recorder.leaf(tensor)  # type: ignore[assignment]
        yield


@contextmanager
def _paths(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Which module's forward runs, while it runs."""
    names = {id(m): name for name, m in model.named_modules()}

    def enter(module: nn.Module, _: Any) -> None:
        recorder.path.append(names.get(id(module), recorder.path[-1]))

    def leave(*_: Any) -> None:
        recorder.path.pop()

    first = hooks.register_module_forward_pre_hook(enter)
    last = hooks.register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        first.remove()
        last.remove()


def _names(model: nn.Module) -> dict[int, str]:
    """Qualified names of the tensors that the module holds, plain attributes among them."""
    named = [*model.named_parameters(), *model.named_buffers()]
    found = {id(t): name for name, t in reversed(named)}
    for prefix, m in model.named_modules():
        for name, value in m.__dict__.items():
            if isinstance(value, Tensor):
                found.setdefault(id(value), f"{prefix}.{name}".removeprefix("."))
    return found


def record(model: nn.Module, example: Example) -> fx.GraphModule:
    """The eval-mode forward as a functional graph of ATen operators, open in its inputs' sizes.

    Which axes of a node's tensor may have another size, its ``meta["open"]`` says; why an axis of the
    inputs may not, the module's ``meta["frozen"]``, by axis (:mod:`.opening`).

    Raises :class:`Refused` with what the forward does that cannot be recorded.
    """
    inputs, batch = inputs_of(model, example), size(example)
    with LOCK:
        recorder = settled(model, example)

        def at(n: int, more: Mapping[int, int]) -> Recorder:
            other = run(model, empty(inputs, example, n, more))
            other.keep()  # tables of this size, in a cache of the forward's own
            return other

        frozen = open_sizes(recorder, batch, open_axes(example), at)
        recorder.graph.eliminate_dead_code()
        used = [str(n.target) for n in recorder.graph.nodes if n.op == "get_attr"]
        saved = set(model.state_dict())
    tensors = {name: recorder.constants[name] for name in used}
    module = module_of(recorder.graph, tensors, {*used} - saved, type(model).__name__)
    module.meta["frozen"] = frozen
    return module


def settled(model: nn.Module, example: Example) -> Recorder:
    """One recording at this size alone, in which what the forward keeps is read, not computed."""
    with LOCK:
        recorder = run(model, example)
        return run(model, example) if recorder.keep() else recorder


def _check_modules(model: nn.Module) -> None:
    """Refuse what a recording cannot look into, or would see in numbers of its own."""
    for name, m in model.named_modules():
        if isinstance(m, torch.jit.ScriptModule):
            raise Refused(
                f"{name or 'it'} is a torch.jit module (a script), into which nobody can look",
                "give the Python module that it was made of",
            )
        if _quantised(tuple(base.__module__ for base in type(m).__mro__)):
            why, remedy = INTEGERS
            raise Refused(f"{name or 'it'} {why} ({type(m).__module__}.{type(m).__name__})", remedy)


@cache
def _quantised(bases: tuple[str, ...]) -> bool:
    """Whether a class, by the modules of its bases, is torch.ao's or torchao's for integers."""
    return any(
        package == "torchao" or (package == "torch" and not QUANTISED.isdisjoint(parts))
        for package, *parts in (base.split(".") for base in bases)
    )


def run(model: nn.Module, example: Example) -> Recorder:
    """One recording; its graph returns what the forward does, in the same lists and dicts."""
    _check_modules(model)
    recorder = Recorder(_names(model))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator without a rule
    try:
        with torch.inference_mode(), _borrowed(model, recorder), _paths(model, recorder):
            args, kwargs = arguments(recorder.inputs(example, inputs_of(model, example)))
            with recorder:
                out = model(*args, **kwargs)
            _check_given(out)
            recorder.graph.output(_mapped(_lifted(out, recorder), recorder.read))
            del out  # what still lives is kept by the forward
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return recorder


def _check_given(out: Any) -> None:
    """What a forward may give: tensors, numbers and words, in lists, tuples and dicts."""
    if isinstance(out, list | tuple | dict):
        for part in out.values() if isinstance(out, dict) else out:
            _check_given(part)
    elif not isinstance(out, Tensor | int | float | complex | str | torch.dtype | None):
        raise Refused(
            f"its forward gives a {type(out).__name__}; tensors, lists, dicts are followed"
        )
