"""The value that all else reads: a network, its operators, and which channels leave together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from ..errors import EdgepruneError, closest
from ..records.signature import Inputs
from .follow import Contraction, Refusal
from .groups import Group
from .labels import Vector
from .recipe import evaluate, outputs, sources
from .tensors import leaves, share_tensors

RECORDING = 3  # raised whenever networks are recorded, or their channels grouped, in another way


@dataclass(frozen=True, eq=False)
class Graph:
    """A network, its exported operators, and which of its channels leave together."""

    model: nn.Module  # without wrappers
    module: fx.GraphModule  # the same network as ATen operators; shares the model's tensors
    inputs: Inputs  # what its forward takes
    groups: dict[str, Group]  # by name, in execution order
    refusals: list[Refusal]
    batch: int = 2  # examples that it was traced with
    kind: str = "module"  # "module": the user's own class; "graph": an fx.GraphModule
    exact_norms: bool = False  # as it was traced
    recipe: fx.GraphModule | None = field(default=None, repr=False)  # of the folded constants
    values: dict[fx.Node, Any] = field(default_factory=dict, repr=False)
    sites: dict[tuple[str, int], Vector] = field(default_factory=dict, repr=False)
    contractions: dict[fx.Node, list[Contraction]] = field(default_factory=dict, repr=False)
    roots: Vector = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)
    frozen: dict[int, str] = field(default_factory=dict)  # axis of the inputs -> why its size is
    vanished: dict[str, str] = field(default_factory=dict, repr=False)
    # parameter -> the operator of the whole network that it stands for
    gone: tuple[
        str, ...
    ] = ()  # groups that left as a whole, or whose layers nothing reads any more

    @property
    def fingerprint(self) -> str:
        """Hash of the operators, shapes and groups: equal for networks that prune alike.

        Before it stands which way of recording saw them so.
        """
        digest = hashlib.sha256()
        for node in self.module.graph.nodes:
            digest.update(f"{node.op} {node.target} {_plain_args(node)}\n".encode())
        for (name, axis), labels in self.sites.items():
            digest.update(f"{name} {axis} ".encode() + self.roots[labels].tobytes())
        return f"{RECORDING}-{digest.hexdigest()[:16]}"

    def differs(self, fingerprint: str) -> str:
        """Why what was made for the network of that fingerprint is not for this one; "" where it is."""
        if fingerprint == self.fingerprint:
            return ""
        if seen_otherwise(fingerprint):
            return "was made by a version of edgeprune that saw networks otherwise"
        return "is for another network"

    @property
    def open(self) -> dict[str, tuple[int, ...]]:
        """The axes of each input, by name, that may have another size, the batch among them."""
        given = [n for n in self.module.graph.nodes if n.op == "placeholder"]
        return {n.name: n.meta.get("open", ()) for n in given}

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
        """The parameters and buffers that a folded constant is computed from (none for any other tensor)."""
        return sources(self.recipe, tensor)

    @property
    def widths(self) -> dict[str, int]:
        """How many units each group has; 0 of those that are gone."""
        return dict.fromkeys(self.gone, 0) | {name: g.width for name, g in self.groups.items()}

    def group(self, group: Group | str) -> Group:
        """A group by its name; the error names what there is."""
        if isinstance(group, Group):
            return group
        if group not in self.groups:
            known = list(self.groups)
            why = closest(group, known) if known else "nothing of this network can leave"
            raise EdgepruneError(f"no group {group!r}", why, "edgeprune inspect lists the groups")
        return self.groups[group]


def seen_otherwise(fingerprint: str) -> bool:
    """Whether another way of recording made it: it tells nothing of a network that is recorded now."""
    return fingerprint.partition("-")[0] != str(RECORDING)


def _plain_args(node: fx.Node) -> str:
    return str(fx.map_arg((node.args, node.kwargs), lambda n: n.name))
