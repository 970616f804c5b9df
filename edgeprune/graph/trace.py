"""From a module to a :class:`Graph`: recorded, constants folded, labels followed, groups found."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..errors import EdgepruneError, first_line, told
from .fold import fold
from .follow import Follow
from .graph import Graph
from .groups import find_groups
from .inputs import Example, arguments, flat, inputs_of, only_inputs, size
from .labels import Labelled
from .modes import evaluating, quiet, uncollected
from .operators import operator_of, rule_for
from .operators.written_out import Writer
from .record import record
from .tensors import leaves


def trace(model: nn.Module, example: Example, *, exact_norms: bool = False) -> Graph:
    """Follow the channels of ``model`` from an example, a batch of 2 or more.

    It is the one input (2, C, H, W), whatever its axes are; a tuple of arguments; or a dict of
    keywords (:mod:`.inputs`). Of a data loader's batch the labels behind it are passed over.
    ``exact_norms`` lets channels leave that a layer norm or a mean over channels counts, at the price
    of slower norms and of a result that is a graph (:mod:`.operators.written_out`); else they stay.
    The model's mode and weights are left as they are. Raises :class:`EdgepruneError` when its
    forward cannot be recorded (:mod:`.record`).

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> graph = trace(net, torch.randn(2, 3, 16, 16))
    >>> {name: group.width for name, group in graph.groups.items()}
    {'0': 8}
    """
    model = unwrap(model)
    example = only_inputs(model, example)
    first = next(iter(flat(example)), None)
    if first is None:
        raise EdgepruneError(
            f"example of type {type(example).__name__}", "holds no tensor",
            "give a tensor, a tuple of arguments, or a dict of keywords",
        )  # fmt: skip
    if first.ndim < 1 or first.shape[0] < 2:
        raise EdgepruneError(
            f"example of shape {tuple(first.shape)}",
            "a batch of 1 hides which axis is the batch",
            "trace with a batch of 2",
        )
    with (
        told(f"{type(model).__name__} cannot be traced", "please report this network"),
        uncollected(),
    ):
        return _trace(model, example, exact_norms)


def _trace(model: nn.Module, example: Example, exact_norms: bool) -> Graph:
    module = recorded(model, example)
    recipe = fold(module)
    if exact_norms:
        write_out(module)
    follow = Follow(leaves(module))
    follow.walk(module.graph, rule_for)
    return Graph(
        model=model,
        module=module,
        inputs=inputs_of(model, example),
        batch=size(example),
        groups=find_groups(follow, _tensors(follow.values)),
        refusals=list(dict.fromkeys(follow.refusals)),
        kind="graph" if isinstance(model, fx.GraphModule) else "module",
        exact_norms=exact_norms,
        recipe=recipe,
        frozen=module.meta.get("frozen", {}),
        values=follow.values,
        sites=follow.sites,
        contractions=follow.contractions,
        roots=follow.classes.parent,
    )


def recorded(model: nn.Module, example: Example, opened: bool = True) -> fx.GraphModule:
    """The eval-mode network as a functional graph of ATen operators (:func:`.record.record`)."""
    try:
        with evaluating(model), quiet():
            return record(model, example, opened)
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:
        raise EdgepruneError(
            f"{type(model).__name__} cannot be traced",
            first_line(e) + _place(e),
            getattr(e, "remedy", "")
            or _misfit(model, example)
            or "make its forward follow from its inputs' shapes alone (no data-dependent Python)",
        ) from e


def _misfit(model: nn.Module, example: Example) -> str:
    """What to do about an example that the forward's arguments do not fit; "" where they do."""
    args, kwargs = arguments(example)
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError:
        return "give an example of all its inputs: a tuple of arguments or a dict of keywords"
    except ValueError:  # no Python function
        pass
    return ""


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, _PARALLEL):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


NOT_ITS = tuple(  # packages whose frames are no forward's
    os.path.dirname(file) + os.sep for file in (str(torch.__file__), os.path.dirname(__file__))
)
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


def _place(error: BaseException) -> str:
    """`` (file:line)`` of the forward that raised it, "" where it was none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((*NOT_ITS, "<"))]
    file = own[-1].filename.rpartition("site-packages" + os.sep)[2] if own else ""
    return f" ({file}:{own[-1].lineno})" if own else ""
