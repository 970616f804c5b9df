"""Recurrent layers: a contraction over the input's channels; the hidden state stays whole."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import fx

from ..follow import Follow, plain
from ..labels import Labelled
from .row import Operator, Work


def recurrent(
    f: Follow, node: fx.Node, x: Labelled, state: Any, weights: Sequence[Labelled], *words: Any
) -> Any:
    """lstm, gru, rnn: x (T, N, I) or batch first; weights (gates * H, I), (gates * H, H), biases ...

    ``words``: has_biases, layers, dropout, train, bidirectional, batch_first.
    """
    _, layers, _, _, both, _ = words
    x = f.data(x)
    if x.axis not in (None, x.ndim - 1):
        x = f.pin(node, x, "channels lie along the steps")
    labels = f.labels(x, -1)
    each = len(weights) // (layers * (2 if both else 1))  # of one layer in one direction
    first = [weights[i * each] for i in range(2 if both else 1)]
    for weight in weights:
        reads = any(weight is w for w in first)
        f.hold(weight, free=1 if reads else None)
        if reads:
            f.tie(weight, 1, labels)
    for held in state if isinstance(state, list | tuple) else [state]:
        f.pin(node, f.data(held), "is a recurrent layer's state")
    f.contract(node, node.all_input_nodes[0], x.ndim - 1, labels)
    return plain(node)


def recurrent_macs(work: Work) -> int:
    """Every weight once a step."""
    batch_first = bool(work.node.args[-1])
    x = work.operands[0]
    steps = x[1 if batch_first else 0] if len(x) == 3 else x[0]
    return steps * sum(prod(shape) for shape in work.operands[1:] if len(shape) == 2)


ROWS = (
    Operator(
        "lstm gru rnn_tanh rnn_relu", recurrent, kind="recurrent", macs=recurrent_macs, channels=-1
    ),
)
