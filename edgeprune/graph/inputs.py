"""Examples: what a network is called with, and what it gives, as nests of tensors.

An example is a tensor, ``net(x)``; a tuple or list of arguments, ``net(x, y)``; or a dict of keywords,
``net(a=x, b=y)``. Lists, tuples and dicts inside are handed on as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..records.signature import Inputs, Port

Example = Any  # a nest of tensors


def arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the forward is called with."""
    if isinstance(example, dict):
        return (), example
    return (tuple(example), {}) if isinstance(example, list | tuple) else ((example,), {})


def call(model: nn.Module, example: Example) -> Any:
    """What ``model`` gives for it; a graph takes the tensors one after another.

    It gets a copy: a forward may write to its input, and whoever calls it asks another network the same.
    """
    example = mapped(example, Tensor.clone)
    if isinstance(model, fx.GraphModule):
        return model(*flat(example))
    args, kwargs = arguments(example)
    return model(*args, **kwargs)


def flat(nest: Any) -> list[Tensor]:
    """The tensors in it, in order; whatever else is passed over."""
    return [t for _, t in named(nest)]


def named(nest: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in it, each with its place: ``out``, ``1.0``; "" where the nest is the tensor."""
    if isinstance(nest, Tensor):
        yield place, nest
    elif isinstance(nest, list | tuple | dict):
        parts = nest.items() if isinstance(nest, dict) else enumerate(nest)
        for key, part in parts:
            yield from named(part, f"{place}.{key}" if place else str(key))


def mapped(nest: Any, f: Callable[[Tensor], Any]) -> Any:
    """The same nest with ``f`` of each tensor."""
    if isinstance(nest, Tensor):
        return f(nest)
    if isinstance(nest, dict):
        return {key: mapped(part, f) for key, part in nest.items()}
    if isinstance(nest, list | tuple):
        parts = [mapped(part, f) for part in nest]
        return nest._make(parts) if hasattr(nest, "_make") else type(nest)(parts)
    return nest


def only_inputs(model: nn.Module, batch: Any) -> Example:
    """What ``model`` is called with of a data loader's batch: the labels behind it are left out."""
    if not isinstance(batch, list | tuple):
        return batch
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # no Python function
        return batch
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return batch
    few = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    taken = tuple(batch[: len(few)])
    return taken[0] if len(few) == 1 else taken


def size(example: Example) -> int:
    """How many examples it is a batch of: the first axis of its first tensor."""
    return len(next(iter(flat(example))))


def inputs_of(model: nn.Module, example: Example) -> Inputs:
    """What such examples are; what is not as long as the first tensor does not follow the batch."""
    batch, count = size(example), iter(range(len(flat(example))))
    numbers = mapped(example, lambda t: next(count))
    ports = tuple(
        _port(name or "x", t, batch) for name, t in named(_by_argument(model, example))
    )  # fmt: skip
    return Inputs(ports, _plain(numbers))


def _port(name: str, t: Tensor, batch: int) -> Port:
    dtype = str(t.dtype).removeprefix("torch.")
    follows = t.ndim > 0 and t.shape[0] == batch
    return Port(name, tuple(t.shape[1:] if follows else t.shape), dtype, 0 if follows else None)


def _by_argument(model: nn.Module, example: Example) -> Any:
    """The example with the names of the forward's arguments in place of their numbers."""
    if not isinstance(example, list | tuple):
        return example
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # no Python function
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {names[i] if i < len(names) else f"x{i}": part for i, part in enumerate(example)}


def _plain(numbers: Any) -> Any:
    """As JSON holds it."""
    if isinstance(numbers, dict):
        return {str(k): _plain(v) for k, v in numbers.items()}
    return [_plain(v) for v in numbers] if isinstance(numbers, list | tuple) else numbers


def nest_of(inputs: Inputs, tensors: list[Any]) -> Example:
    """The tensors, one for each port, as the forward takes them."""

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: fill(v) for k, v in part.items()}
        return [fill(v) for v in part] if isinstance(part, list | tuple) else tensors[part]

    return fill(inputs.call)


def example_of(inputs: Inputs, batch: int, like: Tensor, seed: int = 0) -> Example:
    """``batch`` examples of noise, on the device of ``like``; floats of its type, integers 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for port in inputs.ports:
        shape = port.sized(batch)
        if port.floats:
            tensors.append(torch.randn(shape, generator=generator).to(like.device, like.dtype))
        else:
            noise = torch.randint(0, 2, shape, generator=generator)
            tensors.append(noise.to(like.device, getattr(torch, port.dtype)))
    return nest_of(inputs, tensors)


def empty(
    inputs: Inputs, example: Example, batch: int, more: Mapping[int, int] | None = None
) -> Example:
    """The same example at another batch, without numbers; ``more``: what is added to each axis."""
    tensors = []
    for port, t in zip(inputs.ports, flat(example), strict=True):
        shape = list(port.sized(batch))
        for axis, added in (more or {}).items():
            shape[axis:axis + 1] = [n + added for n in shape[axis:axis + 1] if has_places(t)]  # fmt: skip
        tensors.append(t.new_empty(shape))
    return nest_of(inputs, tensors)


def open_axes(example: Example) -> list[int]:
    """The axes of the inputs that may be open besides the batch: places, or steps."""
    longest = max((t.ndim for t in flat(example) if has_places(t)), default=0)
    return list(range(1 if longest == 3 else 2, longest))


def has_places(t: Tensor) -> bool:
    """Whether it has axes that may be open besides the batch and the channels."""
    return t.is_floating_point() and t.ndim > 2
