"""Cross-layer equalisation: channels that use little of their map's range are stretched, and what reads
them shrunk, so that the network gives the same (Nagel, van Baalen, Blankevoort, Welling 2019, section 4.1).

Between the layers that make a map and those that read it there may be sums of maps, ReLUs and clips; all
maps that they tie together are stretched alike. A clip lets a channel be stretched only as far as its
values stay below the end: one that met the end is left alone.

With a step a filter the making layer's rounding does not change, the reading layer's does: what a channel
gains as a map it loses as a column of weights. At the balance, for the relative size r of its map and w of
its column, it is stretched by sqrt(w / r); a depthwise filter has its own step and loses nothing: 1 / r.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ..graph import Graph
from ..graph.inputs import Example
from ..graph.operators import operator_of
from ..graph.tensors import fetch
from ..prune.compensate import Repaired
from ..prune.readers import Reader, as_weight, find_readers, weight_matrix
from ..prune.walk import run
from .network import Network, clipped
from .ranges import Rule

MARGIN = 0.9  # of a clip's end: other images have larger values than those that were seen
FURTHEST = 64.0  # a channel is stretched at most: one that is nearly dead may wake up


@dataclass(frozen=True)
class Tied:
    """Maps that are stretched together, the layers that make them and those that read them."""

    maps: tuple[fx.Node, ...]
    makers: tuple[Reader, ...]
    readers: tuple[Reader, ...]


@torch.no_grad()
def equalise(network: Network, rule: Rule) -> list[Repaired]:
    """Stretch what can be stretched, in both graphs; nothing is repaired by it."""
    found = list(tied(network.whole))
    largest = _largest(
        network.whole, [m for each in found for m in each.maps], network.images.batches
    )
    for each in found:
        s = stretch(network.whole, each, largest)
        for graph in (network.whole, network.copy):
            _apply(graph, each, s)
    return []


def tied(graph: Graph) -> Iterator[Tied]:
    """All maps that can be stretched, each with what it is tied to."""
    nodes = list(graph.module.graph.nodes)
    layers = {use.node: reader for reader in find_readers(graph) for use in reader.uses}
    parent: dict[fx.Node, fx.Node] = {}

    def root(n: fx.Node) -> fx.Node:
        while parent.setdefault(n, n) is not n:
            n = parent[n]
        return n

    for node in nodes:
        if joins(node):
            for a in node.all_input_nodes:
                parent[root(a)] = root(node)
    sets: dict[fx.Node, list[fx.Node]] = {}
    for node in nodes:
        if node.name in layers or joins(node):
            sets.setdefault(root(node), []).append(node)
    for maps in sets.values():
        users = [u for m in maps for u in m.users if not joins(u)]
        inside = set(maps)
        makers = [layers[m.name] for m in maps if m.name in layers]
        strangers = [a for m in maps if joins(m) for a in m.all_input_nodes if a not in inside]
        readers = [layers.get(u.name) for u in users]
        first = all(u.args and u.args[0] in inside for u in users)
        if strangers or not first or None in readers or not makers or not readers:
            continue
        own = tuple(dict.fromkeys(r for r in readers if r is not None))
        if all(_plain(r) for r in (*makers, *own)):
            yield Tied(tuple(maps), tuple(makers), own)


def joins(node: fx.Node) -> bool:
    """A sum of two maps of one shape, or a clip: what lets equal stretches through."""
    if node.op != "call_function":
        return False
    ends = clipped(node)
    if ends is not None:
        return ends[0] in (0.0, -math.inf) and ends[1] > 0
    inputs = node.all_input_nodes
    shapes = {tuple(a.meta["val"].shape) for a in inputs if a.op != "get_attr"}
    return operator_of(node).sums and len(inputs) == 2 and len(shapes) == 1 and not node.kwargs


def _plain(reader: Reader) -> bool:
    window = reader.window
    return not reader.again and reader.norm is None and (window is None or not window.transposed)


def stretch(graph: Graph, tied: Tied, largest: dict[str, Tensor]) -> Tensor:
    """By how much each channel, [C]; never below 1."""
    room = torch.stack([_room(m, largest[m.name]) for m in tied.maps]).amin(0)
    s = torch.stack([_balanced(graph, r, room) for r in tied.readers]).amin(0)
    return s.clamp(1.0, FURTHEST)


def _room(m: fx.Node, seen: Tensor) -> Tensor:
    """How far each channel of a map may be stretched."""
    room = seen.max() / seen.clamp_min(1e-12)
    ends = clipped(m)
    if ends is not None and math.isfinite(ends[1]):
        met = seen >= MARGIN * ends[1]
        room = torch.where(
            met, torch.ones_like(seen), room.minimum(MARGIN * ends[1] / seen.clamp_min(1e-12))
        )
    return room


def _balanced(graph: Graph, reader: Reader, room: Tensor) -> Tensor:
    """How far it should be for what this layer reads."""
    if reader.depthwise:
        return room
    W = _columns(reader, fetch(graph.module, reader.weight)).abs()  # [G, O/G, T, I]
    share = (W / W.amax((2, 3), keepdim=True).clamp_min(1e-30)).amax((1, 2)).flatten()
    return (room * share).sqrt().minimum(room)


def _columns(reader: Reader, weight: Tensor) -> Tensor:
    taps = reader.window.taps if reader.window is not None else 1
    W = weight_matrix(reader, weight.detach())
    return W.reshape(*W.shape[:2], taps, -1)


def _apply(graph: Graph, tied: Tied, s: Tensor) -> None:
    for maker in tied.makers:
        weight = fetch(graph.module, maker.weight)
        weight.mul_(s.reshape(-1, *[1] * (weight.ndim - 1)))
        if maker.bias is not None:
            fetch(graph.module, maker.bias).mul_(s)
    for reader in tied.readers:
        weight = fetch(graph.module, reader.weight)
        W = _columns(reader, weight)
        W = W / s.reshape(W.shape[0], 1, 1, -1)
        weight.copy_(as_weight(reader, W.flatten(2), weight.shape))


def _largest(
    graph: Graph, maps: Sequence[fx.Node], batches: Sequence[Example]
) -> dict[str, Tensor]:
    """The largest magnitude of each channel of these maps, [C]."""
    nodes = list(graph.module.graph.nodes)
    found: dict[str, Tensor] = {}
    for x in batches:
        values: dict[fx.Node, object] = {}
        run(graph.module, nodes, values, x)
        for m in maps:
            value = values[m]
            assert isinstance(value, Tensor)
            axis = 1 if value.ndim > 2 else value.ndim - 1
            peak = value.abs().movedim(axis, -1).flatten(0, -2).amax(0)
            found[m.name] = peak.maximum(found.get(m.name, peak))
    return found
