"""The cut network as an nn.Module: the user's own class where its Python agrees, else a graph."""

from __future__ import annotations

import copy
import copyreg
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import EdgepruneError
from ..graph import Graph
from ..graph.inputs import Example, arguments, example_of, flat, mapped
from ..graph.modes import ATOMS, evaluating, quiet, set_modes, unchanged
from ..graph.module import sweep
from ..graph.operators import operator_of
from ..graph.tensors import floating, named_tensors, put, unsaved
from .alike import alike

BATCH = 3  # of the fresh input: not the traced 2
OTHER = "its forward gives other values than the cut graph"
TOLERANCE = {torch.float64: 1e-9}  # of the outputs' scale; other types:
TOLERANCE.update(dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), 1e-4))
WRITTEN = (
    1e-6  # in double precision, of a forward that was recorded in another: types are written in it
)

ATEN = torch.ops.aten

CONTAINERS = (dict, OrderedDict, set)  # of a module; most are empty
Sizes = Mapping[int, int]  # a size in a module's forward -> what it is after the cut
Numbers = Mapping[str, Sizes]  # by module


class Reason(str):
    """Why the user's class does not come back ("": it does); ``layer``: whose forward raised, if known."""

    layer = ""

    @classmethod
    def of(cls, error: Exception, model: nn.Module) -> Reason:
        layer = _layer(model, error)
        where = f" in {layer}" if layer else ""
        return cls.at(layer, f"its forward raises{where}: {_words(error)}")

    @classmethod
    def at(cls, layer: str, said: str) -> Reason:
        """That it is a layer's."""
        found = cls(said)
        found.layer = layer
        return found


@dataclass(frozen=True)
class Parts:
    """What a cut makes of a module: its smaller tensors, and what its layers are to count anew."""

    tensors: Mapping[str, Tensor]
    groups: Mapping[str, int]  # of convolutions and group norms, by the name of their weight
    written: (
        Numbers  # the sizes that operators of a module's own forward bear, and what became of them;
    )
    # where an attribute of the module is such a size, it follows, if the forward then agrees
    weights: Mapping[str, Tensor] = field(default_factory=dict)  # that layers compute, by layer


Renumbered = list[tuple[nn.Module, str, Any]]  # attributes that were set, and what was there before
Differs = Callable[[nn.Module], Reason]  # why a copy's forward is not the cut graph's; "": it is


def patched(model: nn.Module, parts: Parts, differs: Differs) -> tuple[nn.Module | None, Reason]:
    """``(copy of model around the smaller tensors, "")``, or ``(None, why its forward differs)``."""
    named = named_tensors(model)
    foreign = [name for name in parts.tensors if name not in named]
    if foreign:
        said = f"{foreign[0]} is computed or made by the cut, not a tensor of the module"
        return None, Reason(said)
    if isinstance(model, fx.GraphModule):
        return None, Reason("the network is an fx.GraphModule")
    # Wherever the copy would hold an old tensor (tied weights: in several places), the new one.
    memo: dict[int, Any] = {id(named[name]): value for name, value in parts.tensors.items()}
    memo.update(_computed(model, parts.weights))
    try:
        small = copied(model, memo)
    except Exception as e:
        return None, Reason(f"it cannot be copied: {_words(e)}")
    by_id = {id(named[name]): count for name, count in parts.groups.items() if name in named}
    by_name = {name: by_id[id(t)] for name, t in named.items() if id(t) in by_id}
    adapt(small, {**parts.groups, **by_name}, parts.weights)
    before = renumber(small, parts.written)
    reason = differs(small)
    if reason and _agrees_with_fewer(small, before, differs):
        reason = Reason()
    return (None if reason else small), reason


def copied(model: nn.Module, known: Mapping[int, Any]) -> nn.Module:
    """As ``copy.deepcopy`` does with the memo ``known``.

    Modules that leave it to Python are copied here, attribute by attribute, which is quicker; where
    others copy themselves, all is looked at once more (:func:`restore`).
    """
    memo = dict(known)
    plain = [m for m in model.modules() if _is_plain(type(m)) and id(m) not in memo]
    for m in plain:
        memo[id(m)] = type(m).__new__(type(m))
    for m in reversed(plain):  # children before parents
        memo[id(m)].__setstate__(_copy_items(m.__getstate__(), {}, memo))
    small = copy.deepcopy(model, memo)
    if any(not _is_plain(type(m)) for m in model.modules()):
        restore(small, model, memo)
    return small


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether a copy of such a module is a copy of its attributes and nothing else."""
    own = ("__deepcopy__", "__getnewargs__", "__getnewargs_ex__", "__slots__")
    python = ("__new__", "__reduce__", "__reduce_ex__")
    return (
        not any(hasattr(kind, name) for name in own)
        and all(getattr(kind, name) is getattr(object, name) for name in python)
        and kind.__getstate__ is nn.Module.__getstate__
        and kind not in copyreg.dispatch_table
    )


def _copy_items(whole: Any, new: Any, memo: dict[int, Any]) -> Any:
    """``new``, filled with copies of what is in a dict."""
    for key, value in whole.items():
        name = key if type(key) in ATOMS else copy.deepcopy(key, memo)
        if type(value) in ATOMS:
            new[name] = value
        elif id(value) in memo:
            new[name] = memo[id(value)]
        elif type(value) in CONTAINERS and (not value or type(value) is not set):
            new[name] = memo[id(value)] = inner = type(value)()
            if value:
                _copy_items(value, inner, memo)
        else:
            new[name] = copy.deepcopy(value, memo)
    return new


def _agrees_with_fewer(small: nn.Module, before: Renumbered, differs: Differs) -> bool:
    """Whether the forward is the cut graph's once some attributes are as they were: a number that was as
    large as a size, and is none (a layer's place among others). In place.

    They are tried by kind, that is by class and name: none of them, all but one, one alone.
    """
    kinds = list(dict.fromkeys((type(m), name) for m, name, _ in before))
    new = [getattr(m, name) for m, name, _ in before]
    tries = [[], *([k for k in kinds if k != one] for one in kinds), *([one] for one in kinds)]
    for chosen in [own for i, own in enumerate(tries) if own not in tries[:i]] if before else ():
        for (m, name, old), value in zip(before, new, strict=True):
            setattr(m, name, value if (type(m), name) in chosen else old)
        if not differs(small):
            return True
    return False


def _computed(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Weights that a hook left as an attribute when it last computed them: none is copied as it is."""
    return {
        id(value): weights.get(prefix, value).detach().clone()
        for prefix, m in model.named_modules()
        for value in vars(m).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }


def restore(small: nn.Module, model: nn.Module, memo: dict[int, Any]) -> None:
    """Give a copy what its class's own ``__deepcopy__`` left out: attributes, hooks, flags, modes."""
    pairs = list(zip(small.modules(), model.modules(), strict=True))
    for new, old in pairs:
        own = vars(new)
        for attribute, value in vars(old).items():
            if attribute in own and not attribute.endswith("_hooks"):
                continue
            empty = attribute.endswith("_hooks") and not getattr(new, attribute, None)
            if attribute not in own or (empty and value):
                new.__dict__[attribute] = copy.deepcopy(value, memo)
    for p, whole in zip(small.parameters(), model.parameters(), strict=True):
        p.requires_grad_(whole.requires_grad)
    set_modes({new: old.training for new, old in pairs})


def adapt(
    model: nn.Module, groups: Mapping[str, int], weights: Mapping[str, Tensor] | None = None
) -> None:
    """Set each layer's own counts to what its tensors now have.

    ``groups``: of convolutions and group norms, by the name of their weight. ``weights``: that layers
    compute, by layer.
    """
    for name, layer in model.named_modules():
        own = {**layer._buffers, **layer._parameters}
        found = (own.get(leaf) for leaf in ("weight", "running_mean", "weight_ih_l0", "weight_ih"))
        weight = next((t for t in found if t is not None), (weights or {}).get(name))
        if weight is not None:
            _adapt(layer, weight, groups.get(f"{name}.weight".removeprefix(".")))


def _adapt(module: nn.Module, weight: Tensor, groups: int | None) -> None:
    if isinstance(module, nn.modules.conv._ConvNd):
        module.groups = groups or module.groups
        first, second = weight.shape[0], weight.shape[1] * module.groups
        if module.transposed:
            first, second = weight.shape[1] * module.groups, weight.shape[0]
        module.out_channels, module.in_channels = first, second
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.GroupNorm):
        module.num_channels, module.num_groups = weight.shape[0], groups or module.num_groups
    elif isinstance(module, nn.RNNBase):
        module.input_size = weight.shape[1]
        if not module.proj_size:
            module.hidden_size = module.get_parameter("weight_hh_l0").shape[1]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size = weight.shape[1]
        module.hidden_size = module.get_parameter("weight_hh").shape[1]
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]


def renumber(model: nn.Module, written: Numbers) -> Renumbered:
    """Set the attributes that are sizes written in a module's forward (``self.c`` of ``split((self.c,
    self.c), 1)``), in place; what was there before."""
    before = []
    for path, sizes in written.items():
        module = model.get_submodule(path)
        for name, value in list(vars(module).items()):
            new = _renumbered(value, sizes)
            if new is not value and new != value:
                before.append((module, name, value))
                setattr(module, name, new)
    return before


def follow_numbers(model: nn.Module, small: nn.Module, written: Numbers) -> None:
    """Give a model the attributes that :func:`renumber` set in its cut twin, in place."""
    for path in written:
        module, twin = model.get_submodule(path), small.get_submodule(path)
        for name, value in list(vars(module).items()):
            if type(value) in (int, list, tuple):
                setattr(module, name, getattr(twin, name, value))


def _renumbered(value: Any, sizes: Sizes) -> Any:
    if type(value) is int:
        return sizes.get(value, value)
    if type(value) in (list, tuple) and all(type(v) is int for v in value):
        return type(value)(sizes.get(v, v) for v in value)
    return value


# -- does the module's own Python agree? -----------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Judge:
    """Of copies of a module around a cut graph's tensors, which one's forward is the graph's."""

    graph: fx.GraphModule
    whole: Graph

    def disagrees(self, small: nn.Module) -> Reason:
        """Why the copy's forward is not the graph's ("" if it is): operator by operator, or else on a
        fresh example."""
        graph, whole = self.graph, self.whole
        with evaluating(small), quiet():
            traced = example_of(whole.inputs, whole.batch, floating(graph))
            same = alike(small, graph, traced)
            reason = Reason() if same else Reason(OTHER) if same is False else self._differs(small)
        if reason or not _has_training_parts(small, graph):
            return reason
        error = _train_error(small, whole)
        return Reason(f"its forward raises in training mode: {error}" if error else "")

    @cached_property
    def _asked(self) -> tuple[Mapping[str, Tensor], Example, object]:
        """What every copy is asked, and the answer: it takes longer than all else of a cut."""
        return _probe(self.graph, self.whole)

    def _differs(self, small: nn.Module) -> Reason:
        shaken, x, expected = self._asked
        try:
            got = _run(small, shaken, mapped(x, Tensor.clone))  # a forward may write to its input
        except Exception as e:
            return Reason.of(e, small)
        ours, theirs = flat(got), flat(expected)
        pairs = list(zip(ours, theirs, strict=False))
        same = len(ours) == len(theirs) > 0
        least = 0.0 if floating(self.graph).dtype == torch.float64 else WRITTEN
        same = same and all(a.shape == b.shape and _close(a, b, least) for a, b in pairs)
        return Reason("" if same else OTHER)


def _has_training_parts(model: nn.Module, graph: fx.GraphModule) -> bool:
    """Whether eval mode, which the graph is, leaves out parameters (auxiliary classifiers)."""
    read = {id(t) for t in named_tensors(graph).values()}
    return any(id(p) not in read for p in model.parameters())


def _probe(graph: fx.GraphModule, whole: Graph) -> tuple[Mapping[str, Tensor], Example, object]:
    """Weights, example, and what the graph makes of them: random weights in float64, so that no
    tiny layer scale hides a difference, and another batch than the traced one, where it can."""
    like = floating(graph)
    tensors = named_tensors(graph)
    for batch in (BATCH, whole.batch):
        try:
            shaken = {name: _shaken(t, i) for i, (name, t) in enumerate(tensors.items())}
            x = example_of(whole.inputs, batch, like.double())
            expected = _run(graph, shaken, x)
            if all(bool(t.isfinite().all()) for t in flat(expected)):
                return shaken, x, expected
        except Exception:  # a type is written in the forward, or the device has no float64
            pass
        x = example_of(whole.inputs, batch, like)
        with suppress(Exception):  # the batch is written in the forward
            return tensors, x, _run(graph, tensors, x)
    raise EdgepruneError("the cut network does not run", "", "please report this network")


def _train_error(small: nn.Module, whole: Graph) -> str:
    """What a training-mode forward raises since the cut ("" if nothing); statistics are not touched.

    Shapes tell, but for what asks for numbers.
    """
    for numbers in (False, True):
        error = _raised(small, whole, numbers)
        if not error:
            return ""
        before = _raised(whole.model, whole, numbers)
        if not before:
            return error
    return "" if error == before else error


def _raised(model: nn.Module, whole: Graph, numbers: bool) -> str:
    with evaluating(model):
        own = {n: t.clone() if numbers else t.to("meta") for n, t in named_tensors(model).items()}
        model.train()
        try:
            x = example_of(whole.inputs, BATCH, floating(model))
            with nullcontext() if numbers else _Fitting():
                _run(model, own, x if numbers else mapped(x, lambda t: t.to("meta")))
        except Exception as e:
            return _words(e)
    return ""


class _Fitting(TorchDispatchMode):
    """Operators on ``meta``, as strict as with numbers: a transposed convolution of other channels passes
    there. Fake tensors see it, too, and take ten times as long, most of it for batch norms."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is ATEN.convolution.default:
            x, weight, transposed, groups = args[0], args[1], args[6], args[8]
            _fits(x, 1 - weight.ndim, weight.shape[0] if transposed else weight.shape[1] * groups)
        if func is ATEN.native_batch_norm.default:
            x, *parts = args[:5]
            for part in parts:
                _fits(x, 1, x.shape[1] if part is None else part.numel())
            return torch.empty_like(x), *(x.new_empty(x.shape[1]) for _ in range(2))
        return func(*args, **(kwargs or {}))


def _fits(x: Tensor, axis: int, channels: int) -> None:
    if x.shape[axis] != channels:
        raise RuntimeError(
            f"expected input{list(x.shape)} to have {channels} channels,"
            f" but got {x.shape[axis]} channels instead"
        )


def _run(model: nn.Module, tensors: Mapping[str, Tensor], x: Example) -> object:
    args, kwargs = arguments(flat(x) if isinstance(model, fx.GraphModule) else x)
    with torch.no_grad(), quiet(), unchanged(model), torch.random.fork_rng(devices=[]):
        return torch.func.functional_call(model, dict(tensors), args, kwargs)


def _shaken(value: Tensor, seed: int) -> Tensor:
    """A random float64 tensor of that shape; positive where it may be a variance."""
    if not value.is_floating_point():
        return value
    random = torch.Generator().manual_seed(seed)
    uniform = torch.rand(value.shape, generator=random, dtype=torch.float64)
    if value.ndim <= 1:
        shaken = uniform + 0.5
    else:
        fan_in = max(1, value[0].numel())
        shaken = (uniform - 0.5) * (12 / fan_in) ** 0.5
    return shaken.to(value.device)


def _close(a: Tensor, b: Tensor, least: float) -> bool:
    """Floats within rounding, ``least`` at least; integers and truth values exactly."""
    if a.dtype != b.dtype or not (b.is_floating_point() or b.is_complex()):
        return torch.equal(a, b)
    size = b.abs()
    share = max(least, TOLERANCE[size.dtype])
    return not b.numel() or bool((a - b).abs().max() <= share * size.max())


def _layer(model: nn.Module, error: Exception) -> str:
    """The module whose forward raised; "" where it is not known."""
    names = {id(m): name for name, m in model.named_modules() if name}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = names.get(id(frame.f_locals.get("self")))
        found = name or found
    return found


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


# -- a graph that can be trained ---------------------------------------------------------------


def trainable(graph: fx.GraphModule) -> fx.GraphModule:
    """A copy around the same tensors whose batch norms and dropouts are modules again.

    Export froze eval mode into the operators. Stochastic depth is gone from the graph for good.
    """
    root, anew = nn.Module(), unsaved(graph)
    for name, value in named_tensors(graph).items():
        put(root, name, value, persistent=name not in anew)
    operators = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    operators.output(operators.graph_copy(graph.graph, nodes))
    operators.set_codegen(graph.graph._codegen)
    for node in list(operators.nodes):
        restore = operator_of(node).restore
        if restore is not None:
            restore(root, node)
    sweep(operators)
    return fx.GraphModule(root, operators, class_name=type(graph).__name__)
