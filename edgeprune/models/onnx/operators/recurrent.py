"""LSTM and GRU: ONNX's gates in PyTorch's order, all weights of a node in one layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .row import Constants, Laid, Node, Row, Rows

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}  # ONNX: iofc and zrh; PyTorch: ifgo and rzn
LEAVES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
FIRST = 8  # position behind a node's own inputs


def _laid(node: Node, given: Constants) -> Laid | None:
    weights, recurrent, bias = given.get(1), given.get(2), given.get(3)
    if weights is None or recurrent is None:
        raise node.fail("has weights that are computed")
    _check(node, given)
    gates = GATES[node.operator]

    def turned(t: Tensor) -> Tensor:
        parts = t.chunk(len(gates))
        return torch.cat([parts[g] for g in gates])

    found: dict[int, tuple[str, Tensor]] = {}
    for i, (w, r) in enumerate(zip(weights, recurrent, strict=True)):
        b = torch.zeros(2 * len(w), dtype=w.dtype) if bias is None else bias[i]
        for leaf, part in zip(LEAVES, (w, r, *b.chunk(2)), strict=True):
            name = leaf + ("_reverse" if i else "")
            found[FIRST + len(found)] = (name, turned(part))
    return _run, found


def _check(node: Node, given: Constants) -> None:
    direction = node.get("direction", "forward")
    if direction not in DIRECTIONS:
        raise node.fail(f"runs {direction[:40]!r}")
    directions = DIRECTIONS[direction]
    activations = list(node.get("activations") or USUAL[node.operator] * directions)
    if activations != USUAL[node.operator] * directions:
        raise node.fail("has other activations than sigmoid and tanh")
    gates, hidden = len(GATES[node.operator]), node.get("hidden_size", given[2].shape[-1])
    weights, recurrent = given[1], given[2]
    wanted = (directions, gates * hidden, hidden)
    same = weights.ndim == 3 and tuple(weights.shape[:2]) == wanted[:2]
    bias = given.get(3)
    same = same and (bias is None or tuple(bias.shape) == (directions, 2 * gates * hidden))
    if tuple(recurrent.shape) != wanted or not same:
        raise node.fail(
            f"says hidden_size {hidden}, direction {direction!r}, and its "
            f"weights are {tuple(weights.shape)} and {tuple(recurrent.shape)}"
        )
    if node.get("clip") or node.get("layout", 0) or node.get("input_forget", 0) or 7 in given:
        raise node.fail("clips, has peepholes or another layout")
    if node.operator == "GRU" and not node.get("linear_before_reset", 0):
        raise node.fail("resets before its linear part (linear_before_reset = 0)")


def _run(node: Node, x: Tensor, *rest: Any) -> Any:
    """[time, batch, inputs] to [time, directions, batch, hidden], and the last states."""
    rest = (*rest, *[None] * (FIRST - 1 - len(rest)))
    _, _, _, lengths, hidden, cell = rest[:6]
    weights = [w for w in rest[FIRST - 1 :] if w is not None]
    if lengths is not None:
        raise node.fail("has lengths of sequences")
    direction = node.get("direction", "forward")
    both = direction == "bidirectional"
    size = weights[1].shape[1]
    zeros = x.new_zeros((1 + both, x.shape[1], size))
    states = [zeros if s is None else s for s in (hidden, cell)]
    back = direction == "reverse"
    x = x.flip(0) if back else x
    if node.operator == "LSTM":
        out, *last = torch.lstm(x, states, weights, True, 1, 0.0, False, both, False)
    else:
        out, *last = torch.gru(x, states[0], weights, True, 1, 0.0, False, both, False)
    out = out.flip(0) if back else out
    time, batch = out.shape[:2]
    return (out.reshape(time, batch, 1 + both, size).transpose(1, 2), *last)


def _refuse(node: Node, *inputs: Any) -> Any:
    raise node.fail("has weights that are computed")


ROWS: Rows = {name: (Row(_refuse, since=7, lay=_laid),) for name in GATES}
