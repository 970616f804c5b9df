"""From a module to a :class:`Graph`: exported, constants folded, labels followed, groups found."""

from __future__ import annotations

import hashlib
import logging
import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..errors import EdgepruneError, closest
from . import rules
from .follow import Contraction, Follow, Refusal, short_name
from .functional import functional
from .groups import Group, find_groups
from .labels import Labelled, Vector
from .norms import write_out


@dataclass(frozen=True, eq=False)
class Graph:
    """A network, its exported operators, and which of its channels leave together."""

    model: nn.Module  # without wrappers
    module: fx.GraphModule  # the same network as ATen operators; shares the model's tensors
    example: tuple[int, ...]  # shape of the traced input
    groups: dict[str, Group]  # by name, in execution order
    refusals: list[Refusal]
    kind: str = "module"  # "module": the user's own class; "graph": an fx.GraphModule
    exact_norms: bool = False  # as it was traced
    recipe: fx.GraphModule | None = field(default=None, repr=False)  # of the folded constants
    values: dict[fx.Node, Any] = field(default_factory=dict, repr=False)
    sites: dict[tuple[str, int], Vector] = field(default_factory=dict, repr=False)
    contractions: dict[fx.Node, list[Contraction]] = field(default_factory=dict, repr=False)
    roots: Vector = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)

    @property
    def fingerprint(self) -> str:
        """Hash of the operators, shapes and groups: equal for networks that prune alike."""
        digest = hashlib.sha256()
        for node in self.module.graph.nodes:
            digest.update(f"{node.op} {node.target} {_plain_args(node)}\n".encode())
        for (name, axis), labels in self.sites.items():
            digest.update(f"{name} {axis} ".encode() + self.roots[labels].tobytes())
        return digest.hexdigest()[:16]

    @property
    def folded(self) -> tuple[str, ...]:
        """Names of the constants that the graph computes from parameters."""
        return () if self.recipe is None else tuple(n.name for n in outputs(self.recipe.graph))

    def constants(self) -> dict[str, Tensor]:
        """Every parameter, buffer and folded constant that the graph reads, as it is now."""
        share_tensors(self.model, self.module)
        if self.recipe is not None:
            share_tensors(self.model, self.recipe)
            evaluate(self.recipe, self.module)
        return leaves(self.module)

    def sources(self, tensor: str) -> set[str]:
        """The parameters that a folded constant is computed from (none for any other tensor)."""
        known = [] if self.recipe is None else outputs(self.recipe.graph)
        nodes = [node for node in known if node.name == tensor]
        found: set[str] = set()
        while nodes:
            node = nodes.pop()
            found |= {str(node.target)} if node.op == "get_attr" else set()
            nodes += node.all_input_nodes
        return found

    def group(self, group: Group | str) -> Group:
        """A group by its name; the error names what there is."""
        if isinstance(group, Group):
            return group
        if group not in self.groups:
            known = list(self.groups)
            why = closest(group, known) if known else "nothing of this network can leave"
            raise EdgepruneError(f"no group {group!r}", why)
        return self.groups[group]


def trace(model: nn.Module, example: Tensor, *, exact_norms: bool = False) -> Graph:
    """Follow the channels of ``model`` from one input of shape (2, C, H, W), float.

    ``exact_norms`` lets channels leave that a layer norm or a mean over channels counts, at the price
    of slower norms and of a result that is a graph (:mod:`.norms`); else they stay.
    The model's mode and weights are left as they are. Raises :class:`EdgepruneError` when
    ``torch.export`` refuses the module.
    """
    if example.ndim < 2 or example.shape[0] < 2:
        raise EdgepruneError(
            f"example of shape {tuple(example.shape)}",
            "a batch of 1 hides which axis is the batch",
            "trace with a batch of 2",
        )
    model = unwrap(model)
    module = export(model, example)
    recipe = fold(module)
    if exact_norms:
        write_out(module)
    follow = Follow(leaves(module))
    follow.walk(module.graph, rules.rule_for)
    return Graph(
        model=model,
        module=module,
        example=tuple(example.shape),
        groups=find_groups(follow, _tensors(follow.values)),
        refusals=list(dict.fromkeys(follow.refusals)),
        kind="graph" if isinstance(model, fx.GraphModule) else "module",
        exact_norms=exact_norms,
        recipe=recipe,
        values=follow.values,
        sites=follow.sites,
        contractions=follow.contractions,
        roots=follow.classes.parent,
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, _PARALLEL):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def export(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """The eval-mode network as a functional graph of high-level ATen operators."""
    dynamic = ({0: torch.export.Dim.AUTO},)
    with evaluating(model), quiet(), torch.no_grad():
        try:
            program = torch.export.export(model, (example,), dynamic_shapes=dynamic)
            module = program.module()
            assert isinstance(module, fx.GraphModule)
            inline(module)
            # Functional, or a constant buffer that the forward fills would be folded with the
            # example's data; with an empty table, or conv and linear would be taken apart.
            if not functional(module):
                module = program.run_decompositions({}).module()
        except Exception as e:
            raise EdgepruneError(
                f"{type(model).__name__} cannot be traced",
                f"torch.export: {_first_line(e)}",
                "make its forward exportable (no data-dependent Python, one tensor in)",
            ) from e
    assert isinstance(module, fx.GraphModule)
    return clean(module)


def clean(module: fx.GraphModule) -> fx.GraphModule:
    """Drop what export adds and nothing needs: guards, assertions, copies, slices of everything."""
    inline(module)
    for node in reversed(list(module.graph.nodes)):
        guard = node.op == "call_module" or "_assert" in short_name(node)
        if guard and not node.users:
            module.graph.erase_node(node)
        elif short_name(node) == "copy":
            _undo_copy(node)
        elif short_name(node) in ("slice", "slice_scatter"):
            _undo_whole_slice(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def inline(module: fx.GraphModule) -> None:
    """Take the operators out of ``with torch.no_grad()`` and disabled ``autocast`` blocks."""
    for node in list(module.graph.nodes):
        position = _WRAPPERS.get(str(node.target))
        enabled_autocast = "autocast" in str(node.target) and node.args[2:3] != (False,)
        if node.op != "call_function" or position is None or enabled_autocast:
            continue
        body = module.get_submodule(str(node.args[position].target))
        assert isinstance(body, fx.GraphModule)
        inline(body)
        inputs = [n for n in body.graph.nodes if n.op == "placeholder"]
        known = dict(zip(inputs, node.args[position + 1 :], strict=True))
        with module.graph.inserting_before(node):
            result = module.graph.graph_copy(body.graph, known)
        for user in list(node.users):
            if user.target is operator.getitem:
                user.replace_all_uses_with(result[user.args[1]])  # type: ignore[index]
                module.graph.erase_node(user)
        module.graph.erase_node(node)


_WRAPPERS = {"wrap_with_autocast": 4, "wrap_with_set_grad_enabled": 1}  # where their body is


def _undo_whole_slice(node: fx.Node) -> None:
    """A slice along an axis that takes all of it, or is overwritten whole."""
    moved = node.args[1] if short_name(node) == "slice_scatter" else node.args[0]
    if not isinstance(moved, fx.Node):
        return
    old, new = moved.meta["val"], node.meta["val"]
    if old.shape == new.shape and (len(node.args) < 5 or node.args[-1] == 1):
        node.replace_all_uses_with(moved)
        node.graph.erase_node(node)


def _undo_copy(node: fx.Node) -> None:
    """The functional ``target[...] = x`` is ``x`` in the target's shape and type."""
    target, x = node.args[:2]
    assert isinstance(target, fx.Node)
    assert isinstance(x, fx.Node)
    old, new = target.meta["val"], x.meta["val"]
    if old.dtype != new.dtype:
        return
    if old.shape == new.shape:
        node.replace_all_uses_with(x)
        node.graph.erase_node(node)
    else:
        node.target, node.args = torch.ops.aten.expand_as.default, (x, target)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every submodule has its own mode back."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """torch.export warns, logs and prints about things that we handle."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


# -- constants -------------------------------------------------------------------------------------

FOLLOWED = (rules.move, rules.view, rules.pointwise, rules.same)


def fold(module: fx.GraphModule) -> fx.GraphModule | None:
    """Replace what is computed from parameters alone by buffers; return how they are computed.

    What is computed from vectors (a layer scale's view, a frozen norm) is followed element by
    element; only tensors with several axes (standardised weights, position tables) are folded.
    """
    constant, followed = _constant_nodes(module.graph)
    taken = {n for n in constant - followed if n.op != "get_attr"}
    front = [
        node
        for node in module.graph.nodes
        if node in taken
        and isinstance(node.meta.get("val"), Tensor)
        and any(user not in taken for user in node.users)
    ]
    if not front:
        return None
    recipe = _recipe(module, front)
    evaluate(recipe, module)
    for node in front:
        with module.graph.inserting_before(node):
            leaf = module.graph.get_attr(_folded_name(node))
        leaf.meta = dict(node.meta)
        node.replace_all_uses_with(leaf)
    module.graph.eliminate_dead_code()
    module.recompile()
    return recipe


def _constant_nodes(graph: fx.Graph) -> tuple[set[fx.Node], set[fx.Node]]:
    """Nodes that no input reaches, and those of them that are followed as vectors."""
    constant: set[fx.Node] = set()
    followed: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            constant.add(node)
            if _is_vector(node):
                followed.add(node)
        elif _computes_constant(node, constant):
            constant.add(node)
            inputs = node.all_input_nodes
            moved = inputs and rules.rule_for(node) in FOLLOWED
            if moved and _is_vector(node) and all(n in followed for n in inputs):
                followed.add(node)
    return constant, followed


def _folded_name(node: fx.Node) -> str:
    return f"folded_{node.name}"


def _recipe(module: fx.GraphModule, front: list[fx.Node]) -> fx.GraphModule:
    """The operators that compute ``front``; its outputs are named as the folded buffers."""
    graph, nodes = fx.Graph(), dict[fx.Node, fx.Node]()
    needed = set(front)
    for node in reversed(module.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in module.graph.nodes:
        if node in needed:
            nodes[node] = graph.node_copy(node, nodes.__getitem__)
    for node in front:
        nodes[node].name = _folded_name(node)
    graph.output(tuple(nodes[node] for node in front))
    return fx.GraphModule(module, graph, class_name="Recipe")


def outputs(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that a recipe returns."""
    return list(graph.output_node().args[0])  # type: ignore[arg-type]


@torch.no_grad()
def evaluate(recipe: fx.GraphModule, module: fx.GraphModule) -> None:
    """Write the folded constants, from the present parameters, into ``module``."""
    for node, value in zip(outputs(recipe.graph), recipe(), strict=True):
        put(module, node.name, value.detach())


def _computes_constant(node: fx.Node, constant: set[fx.Node]) -> bool:
    if node.op != "call_function" or not all(n in constant for n in node.all_input_nodes):
        return False
    if node.target is operator.getitem:
        return True
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or "_assert" in short_name(node):
        return False
    return torch.Tag.nondeterministic_seeded not in target.tags


def _is_vector(node: fx.Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return sum(int(size) != 1 for size in value.shape) <= 1


def unsaved(model: nn.Module) -> set[str]:
    """Names of the buffers that no file holds: each build makes them anew."""
    return {name for name, _ in model.named_buffers()} - set(model.state_dict())


def leaves(module: fx.GraphModule) -> dict[str, Tensor]:
    return {
        str(node.target): fetch(module, str(node.target))
        for node in module.graph.nodes
        if node.op == "get_attr"
    }


def fetch(module: nn.Module, name: str) -> Tensor:
    """The tensor at a qualified name."""
    path, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(path), leaf)


def put(root: nn.Module, name: str, value: Tensor, persistent: bool = True) -> None:
    """Set a parameter or buffer at a qualified name, making empty modules on the way.

    ``persistent``: whether a file of the network holds the buffer.
    """
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]  # type: ignore[assignment]
    root._parameters.pop(leaf, None)
    root._buffers.pop(leaf, None)
    if isinstance(value, nn.Parameter):
        root.register_parameter(leaf, value)
    else:
        root.register_buffer(leaf, value, persistent)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def share_tensors(model: nn.Module, module: fx.GraphModule) -> None:
    """Let ``module`` read the model's present tensors (``model.to`` makes new buffers)."""
    named = named_tensors(model)
    for name, value in leaves(module).items():
        if name in named and named[name] is not value:
            put(module, name, named[name])


# -- small things ----------------------------------------------------------------------------------


def _tensors(values: Mapping[fx.Node, Any]) -> list[Labelled]:
    found: list[Labelled] = []
    for value in values.values():
        found += [
            v
            for v in (value if isinstance(value, list | tuple) else [value])
            if isinstance(v, Labelled)
        ]
    return found


def _plain_args(node: fx.Node) -> str:
    return str(fx.map_arg((node.args, node.kwargs), lambda n: n.name))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
