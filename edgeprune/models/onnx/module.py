"""A file's network as an ``nn.Module``: its nodes, run one after the other.

Shapes are numbers of Python's throughout, so that whatever records a forward (:mod:`..graph.record`,
``torch.export``) records this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import EdgepruneError, one_line
from ...records.signature import Inputs, Port
from . import file
from . import interface as ports
from .known import Known
from .operators import LIMIT, NotSupported, dtype_of
from .plan import REPORT, Step, last_uses, plan, trained

# what an operator raises on inputs that it cannot take, PyTorch's own among them
FAILURES = (NotSupported, ValueError, IndexError, TypeError, ArithmeticError, RuntimeError)


class OnnxNetwork(nn.Module):
    """The network of an .onnx file, half types as float32. Inputs in the file's order; one output, or a
    tuple in the file's order. ``interface`` holds names, axes, opset and metadata."""

    def __init__(self, proto: file.Proto, what: str) -> None:
        super().__init__()
        self.what = what
        self.interface = ports.of(proto, what)
        made = plan(proto, self.interface, what)
        for name, tensor in made.weights.items():
            self._hold(name, tensor)
        self.steps, self.numbers, self.words = made.steps, made.numbers, made.words
        self.free = last_uses(made.steps, iter(p.name for p in self.interface.outputs))

    def takes(self, size: int) -> Inputs:
        """What the file says that the network takes; an open axis of space has ``size``."""
        found = [_port(port, size) for port in self.interface.inputs]
        return Inputs(tuple(found), 0 if len(found) == 1 else list(range(len(found))))

    def _hold(self, name: str, tensor: Tensor) -> None:
        """A parameter or buffer at a dotted name, in modules made on the way."""
        *path, leaf = name.split(".")
        layer: nn.Module = self
        for part in path:
            if part not in layer._modules:
                layer.add_module(part, nn.Module())
            layer = layer.get_submodule(part)
        if isinstance(tensor, nn.Parameter):
            layer.register_parameter(leaf, tensor)
        else:
            layer.register_buffer(leaf, tensor)

    def forward(self, x: Tensor, *more: Tensor) -> Any:
        given = (x, *more)
        names = [port.name for port in self.interface.inputs]
        if len(given) != len(names):
            raise TypeError(
                f"{len(names)} inputs are wanted ({', '.join(names)}), not {len(given)}"
            )
        values: dict[str, Any] = dict(zip(names, given, strict=True))
        for step, free in zip(self.steps, self.free, strict=True):
            self._take(step, values)
            for name in free:
                values.pop(name, None)
        outputs = tuple(self._output(port.name, values, x) for port in self.interface.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _value(self, name: str | None, values: dict[str, Any]) -> Any:
        if name is None or name in values:
            return None if name is None else values[name]
        if name in self.numbers:
            return self.numbers[name]
        if name not in self.words:
            raise EdgepruneError(self.what, f"{name[:60]!r} is an output that is not read", REPORT)
        layer, _, leaf = self.words[name].rpartition(".")
        return getattr(self.get_submodule(layer), leaf)

    def _take(self, step: Step, values: dict[str, Any]) -> None:
        inputs = [self._value(name, values) for name in step.inputs]
        tensors = any(isinstance(v, Tensor) for v in inputs)
        f = step.run if step.known is None or tensors else step.known
        try:
            out = f(trained(step, self.training), *inputs)
        except FAILURES as e:
            where, said = f"{step.node.operator} {step.node.name!r}", one_line(str(e))[:200]
            why = said if said.startswith(where) else f"{where}: {said}"
            raise EdgepruneError(self.what, why, REPORT) from e
        outs = out if isinstance(out, tuple) else (out,)
        _roomy(self.what, step, outs, inputs)
        for name, value in zip(step.outputs, outs, strict=False):
            if name:
                values[name] = value

    def _output(self, name: str, values: dict[str, Any], like: Tensor) -> Tensor:
        value = self._value(name, values)
        return value.tensor(like.device) if isinstance(value, Known) else value


def _roomy(what: str, step: Step, outs: tuple[Any, ...], inputs: list[Any]) -> None:
    """Refuse what grows from node to node, before memory is gone: LIMIT elements an example."""
    rows = max((v.shape[0] for v in inputs if isinstance(v, Tensor) and v.ndim), default=1)
    for out in outs:
        n = out.numel() if isinstance(out, Tensor) else 0
        if type(n) is int and type(rows) is int and n > LIMIT * max(rows, 1):
            raise EdgepruneError(
                what,
                f"{step.node.operator} {step.node.name!r}: makes a tensor of {tuple(out.shape)}",
                "give it smaller inputs",
            )


def _port(port: ports.Port, size: int) -> Port:
    axes = port.axes if port.axes is not None else (None, 3, None, None)
    shape = tuple(
        n if isinstance(n, int) else 3 if i == 1 and len(axes) == 4 else size
        for i, n in enumerate(axes)
    )[1:]  # fmt: skip
    return Port(port.name, shape, str(dtype_of(port.element)).removeprefix("torch."))


def of(proto: file.Proto, what: str) -> OnnxNetwork:
    """The network, in eval mode. Raises :class:`EdgepruneError` for what is not read, by name."""
    return OnnxNetwork(proto, what).eval()


def read(path: Path | str) -> OnnxNetwork:
    """The network of a file."""
    path = Path(path)
    return of(file.read(path), str(path))
