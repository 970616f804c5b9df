"""Recurrent layers: contractions over the input's channels and over the hidden units of the step before.

Letters: T steps, N batch, I inputs, H hidden units, D directions, L layers, G gates. A hidden unit is
one row of each gate's weights and biases, one column of the weights that read the state, one of both
states. PyTorch's modules have one H for all layers and directions, so unit j leaves with
every other j.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from torch import fx

from ..follow import Follow, plain
from ..labels import Labelled, Vector
from .row import Operator, Work


def recurrent(
    f: Follow, node: fx.Node, x: Labelled, state: Any, weights: Sequence[Labelled], *words: Any
) -> Any:
    """lstm, gru, rnn: x (T, N, I) or batch first; for each layer and direction weights (G * H, I),
    (G * H, H), and biases. Gives (T, N, D * H) and the last states (L * D, N, H).

    ``words``: has_biases, layers, dropout, train, bidirectional, batch_first.
    """
    biased, layers, _, _, both, _ = words
    directions, written = 2 if both else 1, _nodes(node.args[2])
    each = len(weights) // (layers * directions)
    x = _along_last(f, node, f.data(x), "channels lie along the steps")
    read = f.labels(x, -1)
    f.contract(node, node.all_input_nodes[0], x.ndim - 1, read)
    hidden = None if each != (4 if biased else 2) else _hidden(f, node, weights, each)
    for cell in range(layers * directions):
        own = slice(cell * each, (cell + 1) * each)
        if hidden is None:  # what is projected (proj_size) is read in another width than it is made
            _hold(f, weights[own], read if cell < directions else None)
            continue
        inputs = read if cell < directions else np.tile(hidden, directions)
        _cell(f, node, weights[own], written[own], inputs, hidden)
    for held in state if isinstance(state, list | tuple) else [state]:
        _state(f, node, held, hidden)
    first, *last = plain(node)
    if hidden is None:
        return [first, *last]
    out = _labelled(f, first, np.tile(hidden, directions))
    return [out, *(_labelled(f, s, hidden) for s in last)]


def one_step(f: Follow, node: fx.Node, x: Labelled, state: Any, *weights: Labelled | None) -> Any:
    """lstm_cell, gru_cell, rnn_cell: x (N, I), states (N, H), weights as one layer has them."""
    states = state if isinstance(state, list | tuple) else [state]
    x = _along_last(f, node, f.data(x), "channels lie along the batch")
    read = f.labels(x, -1)
    f.contract(node, node.all_input_nodes[0], x.ndim - 1, read)
    own = [w for w in weights if w is not None]
    hidden = _hidden(f, node, own, len(own))
    if hidden is None:
        _hold(f, own, read)
    else:
        _cell(f, node, own, _nodes(node.args[2:]), read, hidden)
    for held in states:
        _state(f, node, held, hidden)
    out = plain(node)
    if hidden is None:
        return out
    if isinstance(out, Labelled):
        return _labelled(f, out, hidden)
    return [_labelled(f, y, hidden) for y in out]


def _labelled(f: Follow, out: Labelled, hidden: Vector) -> Labelled:
    return f.classes.normal_form(Labelled(out.shape, out.ndim - 1, hidden).array())


def _nodes(written: Any) -> list[fx.Node]:
    return [n for n in written if isinstance(n, fx.Node)]


def _along_last(f: Follow, node: fx.Node, x: Labelled, reason: str) -> Labelled:
    return f.pin(node, x, reason) if x.axis not in (None, x.ndim - 1) else x


def _hidden(f: Follow, node: fx.Node, weights: Sequence[Labelled], each: int) -> Vector | None:
    """The labels of the hidden units, one for all cells; None where a weight is computed."""
    if any(w.name not in f.constants for w in weights):
        return None
    units: Vector | None = None
    for first in range(0, len(weights), each):
        made = f.produce(node, weights[first], 0).reshape(-1, weights[first + 1].shape[1])
        units = made[0] if units is None else units
        f.classes.union(made, units)
    return units


def _cell(
    f: Follow,
    node: fx.Node,
    weights: Sequence[Labelled],
    written: Sequence[fx.Node],
    inputs: Vector,
    hidden: Vector,
) -> None:
    """One layer in one direction. What it reads of the state is dropped in the weights that read it."""
    reads_input, reads_state = weights[:2]
    gates = np.tile(hidden, reads_input.shape[0] // len(hidden))
    f.tie(reads_input, 1, inputs)
    f.tie(reads_state, 1, hidden)
    for weight in weights:
        f.tie(weight, 0, gates)
    for operand, labels in zip(written[:2], (inputs, hidden), strict=True):
        f.contract(node, operand, 1, labels)


def _hold(f: Follow, weights: Sequence[Labelled], inputs: Vector | None) -> None:
    """Nothing of them leaves but the columns that read the input, if they do."""
    for i, weight in enumerate(weights):
        reads = i == 0 and inputs is not None
        if weight.name is None:
            f.classes.pin(f.labels(weight, 0))
            continue
        f.hold(weight, free=1 if reads else None)
        if reads and inputs is not None:
            f.tie(weight, 1, inputs)


def _state(f: Follow, node: fx.Node, state: Labelled, hidden: Vector | None) -> None:
    """A state's hidden units are the layer's, those of zeros made in the forward too."""
    state = state if state.made else f.data(state)
    if hidden is None or (state.axis is not None and not state.on(-1)):
        state = f.pin(node, f.data(state), "is a recurrent layer's state")
    if hidden is None:
        return
    if state.axis is None and not state.made:
        f.pin(node, Labelled(hidden.shape, 0, hidden), "starts from a state that cannot be cut")
    f.tie(state, -1, hidden)


def recurrent_macs(work: Work) -> int:
    """Every weight once a step."""
    batch_first = bool(work.node.args[-1])
    x = work.operands[0]
    steps = x[1 if batch_first else 0] if len(x) == 3 else x[0]
    return steps * step_macs(work)


def step_macs(work: Work) -> int:
    return sum(prod(shape) for shape in work.operands[1:] if len(shape) == 2)


ROWS = (
    Operator(
        "lstm gru rnn_tanh rnn_relu", recurrent, kind="recurrent", macs=recurrent_macs, channels=-1
    ),
    Operator(
        "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
        one_step,
        kind="recurrent",
        macs=step_macs,
        channels=-1,
    ),
)
