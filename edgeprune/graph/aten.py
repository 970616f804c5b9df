"""From a module to a functional graph of ATen operators, as torch.export sees it in eval mode."""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch
from torch import Tensor, fx, nn

from ..errors import EdgepruneError
from .functional import functional
from .operators import operator_of


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
        row = operator_of(node)
        if (node.op == "call_module" or row.guard) and not node.users:
            module.graph.erase_node(node)
        elif row.tidy is not None:
            row.tidy(node)
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


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
