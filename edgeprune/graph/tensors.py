"""The tensors of a network by their qualified names: read, put in place, shared.

Parameters are floats of any type; a name is ``layer.leaf`` as in a state dict.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn


def unsaved(model: nn.Module) -> set[str]:
    """Names of the buffers that no file holds: each build makes them anew."""
    return {name for name, _ in model.named_buffers()} - set(model.state_dict())


def floating(model: nn.Module) -> Tensor:
    """The first floating parameter or buffer: its device and type are those of the network's input."""
    tensors = [*model.parameters(), *model.buffers()]
    return next((t for t in tensors if t.is_floating_point()), torch.zeros(()))


def leaves(module: fx.GraphModule) -> dict[str, Tensor]:
    """Those that the graph reads, by name."""
    named = named_tensors(module)
    names = (str(node.target) for node in module.graph.nodes if node.op == "get_attr")
    return {name: named[name] if name in named else fetch(module, name) for name in names}


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
    parameters: dict[str, Tensor] = {}
    buffers: dict[str, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for named, own in ((parameters, module._parameters), (buffers, module._buffers)):
            named.update({prefix + name: t for name, t in own.items() if t is not None})
    return {**parameters, **buffers}


def share_tensors(model: nn.Module, module: fx.GraphModule) -> None:
    """Let ``module`` read the model's present tensors (``model.to`` makes new buffers)."""
    named = named_tensors(model)
    for name, value in leaves(module).items():
        if name in named and named[name] is not value:
            put(module, name, named[name])


def replace_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put smaller tensors in their places, in place."""
    for name, value in tensors.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if leaf in module._parameters:
            module._parameters[leaf] = value  # type: ignore[assignment]
        else:
            module._buffers[leaf] = value


def put_module(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    root.get_submodule(parent)._modules[leaf] = module
