"""From a module to a :class:`Graph`: recorded, constants folded, labels followed, groups found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx, nn

from ..errors import EdgepruneError, told
from .fold import fold
from .follow import Follow
from .graph import Graph
from .groups import find_groups
from .labels import Labelled
from .modes import evaluating, quiet, uncollected
from .operators import operator_of, rule_for
from .operators.written_out import Writer
from .record import record
from .tensors import leaves


def trace(model: nn.Module, example: Tensor, *, exact_norms: bool = False) -> Graph:
    """Follow the channels of ``model`` from one input of shape (2, C, H, W), float.

    ``exact_norms`` lets channels leave that a layer norm or a mean over channels counts, at the price
    of slower norms and of a result that is a graph (:mod:`.operators.written_out`); else they stay.
    The model's mode and weights are left as they are. Raises :class:`EdgepruneError` when its
    forward cannot be recorded (:mod:`.record`).
    """
    if not isinstance(example, Tensor):
        raise EdgepruneError(
            f"example of type {type(example).__name__}",
            "networks of one input tensor (N, C, ...) are followed",
            "wrap the network in a module that makes its other inputs of one tensor",
        )
    if example.ndim < 2 or example.shape[0] < 2:
        raise EdgepruneError(
            f"example of shape {tuple(example.shape)}",
            "a batch of 1 hides which axis is the batch",
            "trace with a batch of 2",
        )
    model = unwrap(model)
    with (
        told(f"{type(model).__name__} cannot be traced", "please report this network"),
        uncollected(),
    ):
        return _trace(model, example, exact_norms)


def _trace(model: nn.Module, example: Tensor, exact_norms: bool) -> Graph:
    module = recorded(model, example)
    recipe = fold(module)
    if exact_norms:
        write_out(module)
    follow = Follow(leaves(module))
    follow.walk(module.graph, rule_for)
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


def recorded(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """The eval-mode network as a functional graph of ATen operators."""
    try:
        with evaluating(model), quiet():
            return record(model, example)
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:
        raise EdgepruneError(
            f"{type(model).__name__} cannot be traced",
            _first_line(e),
            "make its forward follow from the input's shape alone (no data-dependent Python, one tensor in)",
        ) from e


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


def write_out(module: fx.GraphModule) -> None:
    """Replace norms and means over channels by sums and products that are exact after a cut, in place."""
    for node in list(module.graph.nodes):
        write = operator_of(node).exact
        if write is None or not isinstance(node.meta.get("val"), Tensor):
            continue
        with module.graph.inserting_before(node):
            out = write(Writer(module, node), *node.args, **node.kwargs)
        if out is not None:
            node.replace_all_uses_with(out)
            module.graph.erase_node(node)
    module.recompile()


def _tensors(values: Mapping[fx.Node, Any]) -> list[Labelled]:
    found: list[Labelled] = []
    for value in values.values():
        found += [
            v
            for v in (value if isinstance(value, list | tuple) else [value])
            if isinstance(v, Labelled)
        ]
    return found


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
