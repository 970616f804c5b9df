"""From a module to a :class:`Graph`: exported, constants folded, labels followed, groups found."""

from __future__ import annotations

import hashlib
import logging
import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..errors import EdgepruneError, closest
from . import rules
from .follow import Contraction, Follow, Refusal, short_name
from .groups import Group, find_groups
from .labels import Labelled, Vector


@dataclass(frozen=True, eq=False)
class Graph:
    """A network, its exported operators, and which of its channels leave together."""

    model: nn.Module  # without wrappers
    module: fx.GraphModule  # the same network as ATen operators; shares the model's tensors
    example: tuple[int, ...]  # shape of the traced input
    groups: dict[str, Group]  # by name, in execution order
    refusals: list[Refusal]
    kind: str = "module"  # "module": the user's own class; "graph": an fx.GraphModule
    values: dict[fx.Node, Any] = field(default_factory=dict, repr=False)
    sites: dict[tuple[str, int], Vector] = field(default_factory=dict, repr=False)
    contractions: dict[fx.Node, list[Contraction]] = field(default_factory=dict, repr=False)
    folded: dict[fx.Node, str] = field(default_factory=dict, repr=False)
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

    def constants(self) -> dict[str, Tensor]:
        """Every parameter, buffer and folded constant that the graph reads, by name, as it is now."""
        return {**leaves(self.module), **evaluate_folded(self.module, self.folded)}

    def group(self, group: Group | str) -> Group:
        """A group by its name; the error names what there is."""
        if isinstance(group, Group):
            return group
        if group not in self.groups:
            raise EdgepruneError(f"no group {group!r}", closest(group, list(self.groups)))
        return self.groups[group]


def trace(model: nn.Module, example: Tensor) -> Graph:
    """Follow the channels of ``model`` from one input of shape (2, C, H, W), float.

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
    folded = fold(module.graph)
    follow = Follow({**leaves(module), **evaluate_folded(module, folded)})
    follow.walk(module.graph, rules.rule_for, folded)
    return Graph(
        model=model,
        module=module,
        example=tuple(example.shape),
        groups=find_groups(follow, _tensors(follow.values)),
        refusals=_distinct(follow.refusals),
        kind="graph" if isinstance(model, fx.GraphModule) else "module",
        values=follow.values,
        sites=follow.sites,
        contractions=follow.contractions,
        folded=folded,
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
            # Functional, or a constant buffer that the forward fills would be folded with the
            # example's data; with an empty table, or conv and linear would be taken apart.
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
    """Drop the guards and assertions that export adds and nothing reads."""
    for node in reversed(list(module.graph.nodes)):
        guard = node.op == "call_module" or "_assert" in short_name(node)
        if guard and not node.users:
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every submodule gets its own mode back."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """torch.export warns and logs about things that we handle."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


FOLLOWED = (rules.move, rules.view, rules.pointwise, rules.same)


# -- constants -------------------------------------------------------------------------------------


def fold(graph: fx.Graph) -> dict[fx.Node, str]:
    """Nodes computed from parameters alone that the walk takes as parameters, with their names.

    What is computed from vectors (a layer scale's view, a frozen norm) is followed element by
    element; only tensors with several axes (standardised weights, position tables) are folded.
    """
    constant: set[fx.Node] = set()
    followed: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            constant.add(node)
            if _is_vector(node):
                followed.add(node)
        elif _computes_constant(node, constant):
            constant.add(node)
            moved = rules.rule_for(node) in FOLLOWED
            inputs = node.all_input_nodes
            if inputs and moved and _is_vector(node) and all(n in followed for n in inputs):
                followed.add(node)
    taken = {n for n in constant - followed if n.op != "get_attr"}
    return {
        node: f"folded_{node.name}"
        for node in graph.nodes
        if node in taken
        and isinstance(node.meta.get("val"), Tensor)
        and any(user not in taken for user in node.users)
    }


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


def evaluate_folded(module: fx.GraphModule, folded: Mapping[fx.Node, str]) -> dict[str, Tensor]:
    """The folded constants' values with the module's present parameters."""
    if not folded:
        return {}
    known: dict[fx.Node, Any] = {}

    def value(node: fx.Node) -> Any:
        if node not in known:
            if node.op == "get_attr":
                known[node] = fetch(module, str(node.target))
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), value)
                known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return known[node]

    with torch.no_grad():
        return {name: value(node) for node, name in folded.items()}


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


def _distinct(refusals: list[Refusal]) -> list[Refusal]:
    return list(dict.fromkeys(refusals))


def _plain_args(node: fx.Node) -> str:
    return str(fx.map_arg((node.args, node.kwargs), lambda n: n.name))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
