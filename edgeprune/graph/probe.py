"""What is this network? Asked once, right after it was built, before anything is decoded or traced.

Forwards of noise say what comes out: three examples, and two of them alone, which must give the same;
what goes in is given, else it is the image that the first layer wants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from ..errors import EdgepruneError, one_line
from ..records.signature import FLOATS, MOST_PORTS, OTHERS, Inputs, Port, Signature
from .inputs import Example, call, example_of, flat, named, nest_of
from .modes import evaluating, quiet
from .tensors import floating
from .trace import recorded

BATCHES = (2, 3)
CHANGED = 1e-2  # share of whole numbers that rounding may change
SHAPE = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+(?:x\d+)*)(?::(\w+))?")
HOW = (
    "--shape 1x49x10 says one example's shape, without the batch (again for each input); "
    "--shape FILE.py:FUNCTION makes a batch"
)


def probe(model: nn.Module, inputs: Inputs, source: str = "") -> Signature:
    """The network as it is seen from outside; an error says what it does with such inputs, and their
    ``source`` (``--images x.npy``) where there is one."""
    gave: list[Any] = []
    held = set(model.state_dict())
    three = example_of(inputs, BATCHES[1], floating(model))
    two = _first(inputs, three, BATCHES[0])
    try:
        first = _given(model, two, gave=gave)
        second = _given(model, three, draw=1)
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:
        raise _unknown(model, inputs, e, source=source) from e
    if not first:
        kind = "None" if gave[0] is None else f"a {type(gave[0]).__name__}"
        raise EdgepruneError(
            f"{type(model).__name__} gives no tensor",
            f"its forward returns {kind}; tensors, lists, tuples and dicts of them are compared",
            "wrap it in a module that returns its outputs so",
        )
    if [place for place, _ in first] != [place for place, _ in second]:
        raise EdgepruneError(
            f"{type(model).__name__} gives other outputs at another batch",
            "what it gives depends on its data or on the batch",
            "of a whole detector give the backbone and the head, without the suppression of boxes",
        )
    late = [name for name in model.state_dict() if name not in held]
    if late:
        raise EdgepruneError(
            f"{type(model).__name__} makes layers in its forward",
            f"{', '.join(late[:3])}: no checkpoint that is loaded before it holds them",
            "make them in its __init__",
        )
    if len(first) > MOST_PORTS:
        raise EdgepruneError(
            f"{type(model).__name__} gives {len(first)} outputs",
            f"{MOST_PORTS} are the most",
            "stack those that belong together",
        )
    pairs = zip(first, second, strict=True)
    ports = tuple(_port(place, a, b) for (place, a), (_, b) in pairs)
    if not _alike(first, _rows(second, ports)):
        same_again = _alike(first, _given(model, two, draw=1))
        if same_again:  # an if on its data may be what differs: then its line is told
            recorded(model, two)
        raise _moody(model, same_again)
    return Signature(inputs, ports)


def _moody(model: nn.Module, same_again: bool) -> EdgepruneError:
    """Two examples gave something else with a third beside them; ``same_again``: not when asked twice."""
    if same_again:
        return EdgepruneError(
            f"{type(model).__name__} gives an example other outputs in another batch",
            "what it gives for one depends on those beside it (statistics of the batch?), so that nothing "
            "can be compared",
            "let each be judged by itself: BatchNorm with track_running_stats",
        )
    return EdgepruneError(
        f"{type(model).__name__} gives other outputs for the same input",
        "its forward draws random numbers or keeps a state, so that nothing can be compared",
        "let it do so only while self.training holds",
    )


def image(model: nn.Module, size: int) -> Inputs:
    """The one image of ``size`` x ``size`` pixels that the network takes: RGB, or as many channels as its
    first layer reads; or what the network itself says that it takes (a file's). An error names what else
    it wants.
    """
    takes = getattr(model, "takes", None)
    if takes is not None:
        said: Inputs = takes(size)
        return said
    wanted = Inputs((Port("x", (3, size, size)),))
    first: list[nn.Module] = []

    def see(module: nn.Module, _: Any) -> None:
        if not first and any(True for _ in module.parameters(recurse=False)):
            first.append(module)

    seeing = hooks.register_module_forward_pre_hook(see)
    try:
        _given(model, example_of(wanted, BATCHES[0], floating(model)))
    except EdgepruneError:
        raise
    except (Exception, SystemExit) as e:
        return _other(model, wanted, first, e)
    finally:
        seeing.remove()
    return wanted


def _other(
    model: nn.Module, wanted: Inputs, first: list[nn.Module], error: BaseException
) -> Inputs:
    """The image of other channels that the first layer reads; else an error that says what is wanted."""
    size = wanted.ports[0].shape[-1]
    if first and isinstance(first[0], nn.Conv2d) and first[0].in_channels != 3:
        channels = first[0].in_channels
        other = Inputs((Port("x", (channels, size, size)),))
        try:
            _given(model, example_of(other, BATCHES[0], floating(model)))
        except (Exception, SystemExit) as e:
            raise _unknown(model, other, e) from e
        return other
    raise _unknown(model, wanted, error, _reads(first)) from error


def _reads(first: list[nn.Module]) -> str:
    """``its first layer is a Conv1d of 12 channels``."""
    if not first:
        return ""
    layer = first[0]
    channels = getattr(layer, "in_channels", getattr(layer, "in_features", None))
    of = f" of {channels} channels" if channels is not None else ""
    return f"its first layer is a {type(layer).__name__}{of}"


def _unknown(
    model: nn.Module, inputs: Inputs, error: BaseException, reads: str = "", source: str = ""
) -> EdgepruneError:
    why = reads or one_line(str(error))[:200] or type(error).__name__
    what = f"{type(model).__name__} does not run on {inputs.said}"
    if not source:
        return EdgepruneError(what, why, HOW)
    return EdgepruneError(f"{source}: {what}", why, "give an array for each input of its forward")


def inputs_said(words: list[str]) -> Inputs:
    """``["1x49x10"]`` as one tensor, several as arguments, ``["x=3x32x32", "k=4:int64"]`` as keywords.

    A word may hold several, parted by commas. Shapes are of one example.
    """
    parts = [part.strip() for word in words for part in word.split(",")]
    ports: list[Port] = []
    given: list[str | None] = []
    for part in parts:
        found = SHAPE.fullmatch(part)
        dtype = (found[3] or "float32") if found else ""
        if not found or dtype not in (*FLOATS, *OTHERS):
            raise EdgepruneError(
                f"--shape {part}", "not a shape such as 1x49x10, x=3x224x224 or ids=20:int64"
            )
        given.append(found[1])
        shape = tuple(int(n[:20]) for n in found[2].split("x"))
        ports.append(Port(found[1] or f"x{len(ports) or ''}", shape, dtype))
    if any(given) and not all(given):
        raise EdgepruneError("--shape", "names some inputs and not others", "name all or none")
    twice = next((name for name in given if name and given.count(name) > 1), None)
    if twice:
        raise EdgepruneError(f"--shape {twice}", "names an input twice", "name each once")
    if all(given):
        return Inputs(tuple(ports), {str(name): i for i, name in enumerate(given)})
    return Inputs(tuple(ports), 0 if len(ports) == 1 else list(range(len(ports))))


@torch.no_grad()
def _given(
    model: nn.Module, example: Example, draw: int = 0, gave: list[Any] | None = None
) -> list[tuple[str, Tensor]]:
    """The outputs, each with its place; another ``draw`` has other random numbers. ``gave`` gets what the
    forward returned, whatever it was."""
    with evaluating(model), quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(draw)
        out = call(model, example)
        found = named(out)
        if gave is not None:
            gave.append(out)
        return [(place, t.to_dense()) for place, t in found]


def _first(inputs: Inputs, example: Example, batch: int) -> Example:
    """The first examples of a batch."""
    parts = zip(inputs.ports, flat(example), strict=True)
    return nest_of(
        inputs, [t if p.batch is None else t.narrow(p.batch, 0, batch) for p, t in parts]
    )


def _rows(outputs: list[tuple[str, Tensor]], ports: Sequence[Port]) -> list[tuple[str, Tensor]]:
    """Of the outputs for the larger batch those of the smaller one's examples."""
    return [
        (place, t if port.batch is None else t.narrow(port.batch, 0, BATCHES[0]))
        for (place, t), port in zip(outputs, ports, strict=True)
    ]


def _alike(first: list[tuple[str, Tensor]], again: list[tuple[str, Tensor]]) -> bool:
    """Whether two forwards of the same input give the same, up to the order in which threads sum.

    What does not follow the batch may be of another shape; a choice between equals (an argmax) may differ.
    """
    for (_, a), (_, b) in zip(first, again, strict=True):
        if a.shape != b.shape:
            continue
        if not (a.is_floating_point() or a.is_complex()):
            if bool((a != b).any()) and float((a != b).double().mean()) > CHANGED:
                return False
            continue
        x, y = (torch.view_as_real(t) if t.is_complex() else t.double() for t in (a, b))
        scale = float(x.nan_to_num(0, 0, 0).abs().max()) if x.numel() else 0.0
        if not torch.allclose(x, y, rtol=0, atol=1e-3 * scale, equal_nan=True):
            return False
    return True


def _port(place: str, a: Tensor, b: Tensor) -> Port:
    """An output, from what it was at two batches."""
    dtype = str(a.dtype).removeprefix("torch.")
    sizes = zip(a.shape, b.shape, strict=True) if a.ndim == b.ndim else []
    follow = [axis for axis, pair in enumerate(sizes) if pair == BATCHES]
    if not follow:
        return Port(place, tuple(a.shape), dtype, None)
    axis = follow[0]
    found = Port(place, (*a.shape[:axis], *a.shape[axis + 1 :]), dtype, axis)
    return replace(found, form=_form(b) if axis == 0 and found.floats else "")


def _form(x: Tensor) -> str:
    """What values [N, C, ...] plainly are: probabilities over C, unit vectors, shares of 1 each."""
    if x.ndim < 2 or x.shape[1] < 2 or not x.numel():
        return ""
    x = x.double()
    positive = bool((x >= 0).all() and (x <= 1).all())
    if positive and torch.allclose(x.sum(1), torch.ones(()).double(), atol=1e-3):
        return "probabilities"
    if x.ndim == 2 and torch.allclose(x.norm(dim=1), torch.ones(()).double(), atol=1e-3):
        return "unit"
    return "shares" if positive and bool((x > 0).all()) else ""
