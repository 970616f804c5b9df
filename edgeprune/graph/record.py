"""From a module to its ATen operators, by running it once on shapes alone.

The forward runs on values that have a shape, a type and a device but no numbers; a dispatch mode
writes each operator down as it comes. Under ``torch.inference_mode`` composite operators arrive
whole (``conv2d``, ``batch_norm``, ``linear``), so one table of rules serves. Three things are undone
on the way, so that the graph is functional and open in its sizes:

- **Writes in place.** Each value knows the memory it lies in and the views that led to it. A write
  becomes the operator's out-of-place twin and climbs to the root (``slice_scatter``, the inverse
  permutation ...); a view that is read after a write is made anew.
- **Sizes.** The forward is recorded at other sizes too, and what follows them becomes a formula
  (:mod:`.opening`). So a recording is light (:mod:`.tape`), and one alone becomes an fx graph.
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
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

from ..records.signature import Inputs
from .inputs import Example, arguments, empty, flat, inputs_of, nest_of, open_axes, size
from .modes import ATOMS, unchanged
from .module import module_of, sweep
from .opening import Refused, as_nodes, open_sizes
from .operators import Operator, row_of, twin_of
from .operators.pointwise import INTEGERS
from .operators.writes import View
from .tape import Step, Tape, mapped

aten = torch.ops.aten
META = torch.device("meta")
HERE = (os.path.dirname(torch.__file__) + os.sep, __file__)  # frames that are nobody's forward
QUANTISED = {"quantized", "qat", "observer", "fake_quantize"}  # in the names of torch.ao's modules
NOTHING = torch.empty(0, device=META)  # statistics that a frozen norm does not give
OUTSIDE = torch._C._InferenceMode  # torch.inference_mode, without its Python
LOCK = threading.RLock()  # a module's tensors are replaced for all threads


Modules = list[tuple[str, nn.Module]]  # by qualified name


class Value(Tensor):
    """A tensor without numbers; ``place`` says where in the recording it comes from."""

    meta: Tensor
    memory: int  # which is the address of the storage
    place: Place
    numbers: Tensor | None = None  # where the forward keeps it beyond the recording
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(meta: Tensor, device: torch.device, place: Place) -> Value:
        with OUTSIDE(False):  # what a forward keeps is differentiated later
            value = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                Value, meta.shape, strides=meta.stride(), storage_offset=meta.storage_offset(),
                dtype=meta.dtype, device=device,
            )  # fmt: skip
        value.meta, value.memory, value.place = meta, meta.untyped_storage()._cdata, place
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


@dataclass(eq=False, slots=True)
class Memory:
    """What views share; ``version`` counts the writes into it."""

    version: int = 0
    owned: bool = True  # False: a parameter or buffer, into which a forward may not write


@dataclass(eq=False, slots=True)
class Place:
    """A value's step, and the view of ``base`` that it is (none: the root of its memory)."""

    memory: Memory
    step: Step
    base: Value | None = None
    view: View | None = None
    version: int = 0


# -- the recording ---------------------------------------------------------------------------------


def _without_numbers(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


class Held:
    """What a module holds: its tensors as values, the same in all of its recordings."""

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.named_modules())
        _check_modules(modules)
        self.model = model
        self.names = _names(modules)  # id of a tensor -> its qualified name
        self.paths = {id(m): name for name, m in modules}
        self.values: dict[int, Value] = {}  # by the tensor's id
        self.constants: dict[str, Tensor] = {}  # by name
        self.steps: list[Step] = []
        self.slots: list[tuple[dict[str, Any], str, Value]] = []  # where the module has them
        self.known: dict[Any, Known] = {}  # the operators that its forward calls
        self.made: dict[Any, tuple[Any, ...]] = {}  # what an operator made of such arguments
        for _, m in modules:
            for kind in (m._parameters, m._buffers):
                self.slots += [(kind, n, self._value(t)) for n, t in kind.items() if t is not None]

    def _value(self, tensor: Tensor) -> Value:
        if id(tensor) not in self.values:
            name = self.names[id(tensor)]
            self.constants[name] = tensor
            step = Step("get_attr", name, free=True)
            step.meta["val"] = meta = _without_numbers(tensor)
            self.steps.append(step)
            place = Place(Memory(owned=False), step)
            self.values[id(tensor)] = Value.of(meta, tensor.device, place)
        return self.values[id(tensor)]


@dataclass(frozen=True, eq=False)
class Known:
    """What is asked of an operator each time that it runs."""

    row: Operator
    name: str
    mutable: bool
    takes_device: bool
    takes_tensor: bool

    @classmethod
    def of(cls, func: Any) -> Known:
        taken = func._schema.arguments
        return cls(
            row_of(func), _name(func), func._schema.is_mutable,
            any(a.name == "device" for a in taken), any(str(a.type) == "Tensor" for a in taken),
        )  # fmt: skip


@dataclass(eq=False)
class Recorder(TorchDispatchMode):
    """One run of a forward, operator by operator."""

    held: Held
    told: bool = True  # each step says which module's forward it is of, and where it stands
    path: list[str] = field(default_factory=lambda: [""])  # of the modules whose forward runs
    made: list[weakref.ref[Value]] = field(default_factory=list)  # of free steps

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # nobody compiles a recording
        return False

    def __post_init__(self) -> None:
        super().__init__()
        self.tape = Tape(self.held.steps)
        self.constants = dict(self.held.constants)  # read, by name
        self.leaves = dict(self.held.values)

    # -- values --

    def inputs(self, example: Example, inputs: Inputs) -> Example:
        """The example's tensors as values; the first of several is named as the only one is."""
        places = [f"x{i or ''}" for i in range(len(inputs.ports))]
        return nest_of(inputs, list(map(self._input, flat(example), places)))

    def _input(self, example: Tensor, name: str) -> Value:
        step = self.tape.add(Step("placeholder", name))
        return self._new(step, example)

    def leaf(self, tensor: Tensor) -> Value:
        """The value of a tensor that the module holds, or that its forward makes of literals."""
        if id(tensor) not in self.leaves:
            name = self.held.names.get(id(tensor), f"lifted_{len(self.constants)}")
            self.constants[name] = tensor
            step = self.tape.add(Step("get_attr", name, free=True))
            self.leaves[id(tensor)] = self._new(step, tensor, owned=False)
        return self.leaves[id(tensor)]

    def _new(self, step: Step, tensor: Tensor, owned: bool = True) -> Value:
        step.meta["val"] = meta = _without_numbers(tensor)
        return Value.of(meta, tensor.device, Place(Memory(owned=owned), step))

    def read(self, value: Value) -> Step:
        """The step that gives ``value`` now: a view of written memory is made anew."""
        place = value.place
        if place.version != place.memory.version:
            assert place.base is not None
            assert place.view is not None
            view = place.view
            meta = value.meta
            if view.index is not None:  # the parts beside it are made anew with it
                meta = view.func(place.base.meta, *view.args, **view.kwargs)
            step = self.call(view.func, (place.base, *view.args), view.kwargs, meta)
            if view.index is not None:
                step = self.tape.call_function(operator.getitem, (step, view.index))
            step.meta = {**step.meta, **place.step.meta, "val": value.meta}
            place.step, place.version = step, place.memory.version
        return place.step

    def call(self, func: Any, args: Any, kwargs: Any, meta: Any) -> Step:
        """A step of ``func``; values become the steps that give them now."""
        step = Step(
            "call_function", func, _mapped(args, self.read), _mapped(kwargs, self.read),
            self._of(func).name, all(v.place.step.free for v in _values((args, kwargs))),
        )  # fmt: skip
        step.meta["val"] = meta
        if self.told:
            where = self.path[-1]
            step.meta["nn_module_stack"] = {where: (where, "")}
            step.meta["stack_trace"] = _frame()
        return self.tape.add(step)

    def _of(self, func: Any) -> Known:
        known = self.held.known.get(func)
        if known is None:
            known = self.held.known[func] = Known.of(func)
        return known

    # -- operators --

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _lifted(args, self), _lifted(kwargs or {}, self)
        known = self._of(func)
        row = known.row
        if row.refused is not None and _in_force(func, args, kwargs):
            raise Refused(f"its forward {row.refused[0]} ({known.name})", row.refused[1])
        if row.asks:
            return self._number(func, args, kwargs)
        if row.guard:
            return None
        if known.mutable:
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
        known: dict[Step, Any] = {}
        refused = Refused(f"{_name(func)} asks for a tensor's numbers")
        if not all(v.place.step.free for v in asked):
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
        known, values = self._of(func), list(_values((args, kwargs)))
        row = known.row
        out: Any = _told(row, args, kwargs, values)
        if out is None:
            out = self._made_of(func, known, args, kwargs, values)
        if row.frozen:
            out = (out[0] if isinstance(out, tuple) else out, NOTHING, NOTHING)
        if isinstance(out, Tensor) and row.moves and _same_place(out, args[0]):
            return self._handed_on(args[0])
        device = _device(args, kwargs, values)
        step = self.call(func, args, kwargs, out)
        if isinstance(out, Tensor):
            return self._placed(step, out, device, values, (func, args, kwargs, None))
        if not isinstance(out, list | tuple):
            return out
        results = []
        for i, part in enumerate(out):
            if isinstance(part, Tensor) and part is not NOTHING:
                getitem = Step("call_function", operator.getitem, (step, i), free=step.free)
                getitem.meta = {**step.meta, "val": part}
                self.tape.add(getitem)
                made = func, args, kwargs, i
                results.append(self._placed(getitem, part, device, values, made))
            else:
                results.append(part)
        return type(out)(results) if type(out) in (list, tuple) else results

    def _made_of(self, func: Any, known: Known, args: Any, kwargs: Any, values: list[Value]) -> Any:
        """The operator on tensors without numbers; what is new memory it need not make again."""
        key = known, _key(args), _key(kwargs)
        made = self.held.made.get(key)
        if made is not None:
            shape, stride, dtype = made
            return torch.empty_strided(shape, stride, dtype=dtype, device=META)
        out = _on_shapes(func, known, args, kwargs)
        if isinstance(out, Tensor) and not out.is_complex() and not out.storage_offset():
            memory = out.untyped_storage()._cdata
            if all(v.memory != memory for v in values):
                self.held.made[key] = out.shape, out.stride(), out.dtype
        return out

    def _placed(
        self, step: Step, meta: Tensor, device: torch.device, values: list[Value], made: Any
    ) -> Value:
        """A result, ``made`` so: in the memory of an operand, or in new memory."""
        value = Value.of(meta, device, Place(Memory(), step))
        base = next((v for v in reversed(values) if v.memory == value.memory), None)
        if base is not None:
            func, args, kwargs, index = made
            offset = int(meta.storage_offset() - base.meta.storage_offset())
            memory, view = base.place.memory, View(func, args[1:], kwargs, index, offset)
            value.place = Place(memory, step, base, view, memory.version)
        if step.free:
            self.made.append(weakref.ref(value))
        return value

    def keep(self) -> bool:
        """Give what the forward keeps (a table in a cache) its numbers; whether there is such a thing."""
        kept = [value for value in (each() for each in self.made) if value is not None]
        known: dict[Step, Any] = {}
        with torch.inference_mode(False), torch.no_grad():
            for value in kept:
                value.numbers = self._computed(self.read(value), known).clone()
        return bool(kept)

    def _computed(self, step: Step, known: dict[Step, Any]) -> Any:
        """What a step that no input reaches computes."""
        if step not in known:
            if step.op == "get_attr":
                known[step] = self.constants[step.target]
            elif step.op != "call_function":
                raise Refused("its forward keeps what it computed of an input")
            else:
                args, kwargs = (
                    mapped(each, lambda s: self._computed(s, known))
                    for each in (step.args, step.kwargs)
                )
                known[step] = step.target(*args, **kwargs)
        return known[step]

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

    def _climb(self, target: Value, step: Step) -> None:
        """``target`` is ``step`` from now on, and so is its part of everything that it is a view of."""
        place, climbed = target.place, [target.place]
        while place.base is not None and place.view is not None:
            base, view = place.base, place.view
            whole, back = self.read(base), row_of(view.func).back
            if back is None:
                raise Refused(f"its forward writes into {_name(view.func)} of a tensor")
            place.step = step
            step = back(self.tape, step, whole, base.meta, view)
            step.meta = {**place.step.meta, "val": base.meta}
            place = base.place
            climbed.append(place)
        place.step = step
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
        meta.untyped_storage()._cdata == value.memory
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
        return _like(value, [v if type(v) in ATOMS else _mapped(v, f) for v in value])
    if isinstance(value, dict):
        return {k: _mapped(v, f) for k, v in value.items()} if value else value
    return value


def _like(value: Any, parts: list[Any]) -> Any:
    """``parts`` in the type of ``value``, a list, a tuple or one with names."""
    if type(value) is list:
        return parts
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)


def _values(value: Any) -> Iterator[Value]:
    for part in value.values() if isinstance(value, dict) else value:
        if type(part) in ATOMS:
            continue
        if isinstance(part, Value):
            yield part
        elif isinstance(part, list | tuple | dict):
            yield from _values(part)


def _key(value: Any) -> Any:
    """Arguments as far as they tell what an operator makes: of values shape, layout and type."""
    kind = type(value)
    if isinstance(value, Value):
        return value.meta.shape, value.meta.stride(), value.dtype
    if isinstance(value, list | tuple):
        return (kind, *map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(v)) for name, v in value.items())
    return kind, value


def _lifted(value: Any, r: Recorder) -> Any:
    """Tensors of the module, literals of its forward and what it kept, as values."""
    if isinstance(value, Value):
        tape = value.place.step.tape
        return value if tape is r.tape or tape is None else r.leaf(_real(value))
    if isinstance(value, Tensor):
        return r.leaf(value)
    if isinstance(value, list | tuple):
        return _like(value, [v if type(v) in ATOMS else _lifted(v, r) for v in value])
    if isinstance(value, dict):
        return {k: _lifted(v, r) for k, v in value.items()} if value else value
    return value


def _meta(value: Value) -> Tensor:
    return value.meta


def _on_shapes(func: Any, known: Known, args: Any, kwargs: Any) -> Any:
    """The operator itself, on tensors without numbers."""
    args = [META if isinstance(a, torch.device) else a for a in _mapped(args, _meta)]
    try:
        return func(*args, **_on_meta(known, kwargs))
    except NotImplementedError:
        raise Refused(
            f"the shape of {known.name} depends on a tensor's numbers",
            "give the part before it: of a detector the backbone and the head, without what"
            " chooses among its boxes",
        ) from None


def _told(row: Operator, args: Any, kwargs: Any, values: list[Value]) -> Tensor | None:
    """The result as the row says it, of real numbers of one type in the plain layout; else None.

    The operator's own code takes a hundred times as long to say it.
    """
    if (row.like is None and row.shape is None) or not values:
        return None
    x, *others = [v.meta for v in values]
    if not x.dtype.is_floating_point or not x.is_contiguous():
        return None
    if any(t.dtype != x.dtype for t in others) or any(isinstance(a, complex) for a in args):
        return None
    if row.shape is not None:
        plain = all(t.is_contiguous() for t in others)
        shape = row.shape(*_mapped(args, _meta), **_mapped(kwargs, _meta)) if plain else None
        return None if shape is None else torch.empty(shape, dtype=x.dtype, device=META)
    assert row.like is not None
    return x.clone() if isinstance(args[0], Value) and row.like(x, others) else None


def _on_meta(known: Known, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments with shapes for values; what is made is made without numbers."""
    found = {k: v.meta if isinstance(v, Value) else v for k, v in kwargs.items()}
    if known.takes_device and ("device" in found or not known.takes_tensor):
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
def _borrowed(held: Held) -> Iterator[None]:
    """Parameters and buffers are values; afterwards every module's attributes are as they were."""
    with unchanged(held.model):
        for container, name, value in held.slots:
            container[name] = value
        yield


@contextmanager
def _paths(recorder: Recorder) -> Iterator[None]:
    """Which module's forward runs, while it runs."""
    names = recorder.held.paths

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


def _names(modules: Modules) -> dict[int, str]:
    """Qualified names of the tensors that the modules hold, plain attributes among them."""
    found: dict[int, str] = {}
    for kind in ("_parameters", "_buffers", "__dict__"):
        for prefix, m in modules:
            for name, value in getattr(m, kind).items():
                if type(value) not in ATOMS and isinstance(value, Tensor):
                    found.setdefault(id(value), f"{prefix}.{name}".removeprefix("."))
    return found


def record(model: nn.Module, example: Example, opened: bool = True) -> fx.GraphModule:
    """The eval-mode forward as a functional graph of ATen operators, open in its inputs' sizes
    (``opened``; else at the example's, recorded once).

    Which axes of a node's tensor may have another size, its ``meta["open"]`` says; why an axis of the
    inputs may not, the module's ``meta["frozen"]``, by axis (:mod:`.opening`).

    Raises :class:`Refused` with what the forward does that cannot be recorded.
    """
    inputs, batch = inputs_of(model, example), size(example)
    with LOCK:
        recorder = settled(model, example)

        def at(n: int, more: Mapping[int, int]) -> Recorder:
            other = run(recorder.held, empty(inputs, example, n, more), told=False)
            other.keep()  # tables of this size, in a cache of the forward's own
            return other

        axes = open_axes(example)
        frozen, plan = open_sizes(recorder, batch, axes, at) if opened else ({}, {})
        graph = as_nodes(recorder.tape, plan)
        sweep(graph)
        used = [str(n.target) for n in graph.nodes if n.op == "get_attr"]
        saved = set(model.state_dict())
    tensors = {name: recorder.constants[name] for name in used}
    module = module_of(graph, tensors, {*used} - saved, type(model).__name__)
    module.meta["frozen"] = frozen
    return module


def settled(model: nn.Module, example: Example, told: bool = True) -> Recorder:
    """One recording at this size alone, in which what the forward keeps is read, not computed."""
    with LOCK:
        held = Held(model)
        recorder = run(held, example, told)
        return run(held, example, told) if recorder.keep() else recorder


def _check_modules(modules: Modules) -> None:
    """Refuse what a recording cannot look into, or would see in numbers of its own."""
    for name, m in modules:
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


def run(held: Held, example: Example, told: bool = True) -> Recorder:
    """One recording; it gives what the forward does, in the same lists and dicts.

    ``told``: whether its steps bear the module and the line that they are of.
    """
    recorder, model = Recorder(held, told), held.model
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator without a rule
    try:
        paths = _paths(recorder) if told else nullcontext()
        with torch.inference_mode(), _borrowed(held), paths:
            args, kwargs = arguments(recorder.inputs(example, inputs_of(model, example)))
            with recorder:
                out = model(*args, **kwargs)
            _check_given(out)
            given = _mapped(_lifted(out, recorder), recorder.read)
            recorder.tape.add(Step("output", "output", (given,)))
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
