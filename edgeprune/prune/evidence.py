"""What data say about a network's units: statistics of maps, of what readers read, and gradients.

One pass over unlabelled images (labels serve the gradients where there are any: without them the
network's own answer stands in). Scores are then plain functions of this value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..errors import EdgepruneError
from ..graph import Graph, Group
from ..graph.inputs import Example, flat, mapped, size
from ..graph.labels import Vector
from ..graph.operators import is_pointwise, operator_of
from ..graph.tensors import fetch
from .compensate import Told, added, gram, silent, wide
from .elimination import Elimination, Problem
from .images import Images
from .readers import Reader, find_readers, inputs_at, sample, scale_of, weight_matrix
from .walk import Walk, bfloat16_pays, run

LOOKED_AT = 2000  # images that the readers' second moments are taken from, at most (assumption)
PLACES = 24  # places of a map that are looked at in each image


@dataclass
class Maps:
    """Sums over images and places of a group's post-activation maps; [width] each."""

    n: int = 0  # maps of single images seen (images times layers)
    zeros: Tensor | Any = 0.0  # share of zeros, added up
    mean: Tensor | Any = 0.0  # mean response, added up
    rows: int = 0
    second: Tensor | Any = 0.0  # [width, width] sum of x x' over places
    peaks: list[Tensor] = field(default_factory=list)  # [N, width] largest response an image

    def covariance(self) -> Tensor:
        """[width, width] of the largest responses, over images."""
        if not self.n:
            raise EdgepruneError(
                "score",
                "the group's maps cannot be observed",
                "take a score that reads the weights: --score l1",
            )
        return torch.cov(torch.cat(self.peaks).double().T)


@dataclass
class Gradients:
    """First-order terms of the loss; [width] each, one a layer of the group."""

    taylor: list[Tensor]  # mean over examples of |mean over places of dC/dz * z|
    gate: list[Tensor]  # sum over batches of (dC/dgate)^2
    fisher: list[Tensor]  # mean over examples of (dC/dgate)^2


@dataclass(frozen=True, eq=False)
class Evidence:
    """Gathered by :func:`gather`; the parts that were asked for."""

    images: Images
    labels: Sequence[Tensor] | None
    maps: dict[str, Maps]
    gradients: dict[str, Gradients]
    problems: dict[str, list[Problem]]  # of each group's readers
    eliminated: dict[str, Elimination] = field(default_factory=dict)  # once asked for


PARTS = ("maps", "gradients", "readers")


def gather(
    graph: Graph,
    images: Images,
    labels: Sequence[Tensor] | None = None,
    parts: Sequence[str] = PARTS,
    told: Told = silent,
) -> Evidence:
    """Look at ``images`` (and their ``labels`` [N] a batch) through the dense network."""
    graph.constants()  # bring what is computed from parameters up to date
    labels = images.labels if labels is None else labels
    return Evidence(
        images=images,
        labels=labels,
        maps=_maps(graph, images) if "maps" in parts else {},
        gradients=_gradients(graph, images, labels) if "gradients" in parts else {},
        problems=_problems(graph, images, told) if "readers" in parts else {},
    )


# -- which feature maps are a group's ----------------------------------------------------------


def maps_of(graph: Graph, group: Group) -> list[tuple[fx.Node, Vector]]:
    """For each layer that makes the group: its maps after norm and activation, and their units."""
    weights = {site.tensor for site in group.producing_sites()}
    unit = np.full(len(graph.roots), -1, np.int64)
    unit[group.roots] = np.arange(group.width)
    found = []
    for node in graph.module.graph.nodes:
        makes = operator_of(node).reads and any(
            isinstance(a, fx.Node) and str(a.target) in weights for a in node.args[1:2]
        )
        end = _activated(graph, node) if makes else node
        value = graph.values[end]
        if makes and value.labels is not None:
            found.append((end, unit[graph.roots[value.labels]]))
    return found


def _activated(graph: Graph, node: fx.Node) -> fx.Node:
    """Follow a layer's output through its norm and its activation."""
    while len(node.users) == 1 or operator_of(node).per_channel:
        following = [u for u in node.users if not _is_part(u) or u.args[1] == 0]
        if len(following) != 1:
            break
        after = following[0]
        alone = [a for a in after.all_input_nodes if a.op != "get_attr"] == [node]
        norm = operator_of(after).per_channel or _is_part(after)
        if not (norm or (alone and is_pointwise(after.target))):
            break
        node = after
    return node


def _is_part(node: fx.Node) -> bool:
    """One of an operator's several outputs."""
    return node.target is operator.getitem


def _places(value: Tensor, axis: int, limit: int) -> Tensor:
    """[N, P, C] some places of a map with channels on ``axis``, evenly spread."""
    flat = value.movedim(axis, -1).reshape(value.shape[0], -1, value.shape[axis])
    step = max(1, flat.shape[1] // limit)
    return flat[:, ::step][:, :limit]


def _maps(graph: Graph, images: Images) -> dict[str, Maps]:
    wanted: dict[fx.Node, list[tuple[Maps, Vector]]] = {}
    found = {name: Maps() for name in graph.groups}
    for name, group in graph.groups.items():
        for node, units in maps_of(graph, group):
            wanted.setdefault(node, []).append((found[name], units))

    def look(node: fx.Node, value: Tensor) -> None:
        axis = graph.values[node].axis
        assert axis is not None
        flat = value.movedim(axis, -1).reshape(value.shape[0], -1, value.shape[axis]).double()
        some = _places(value, axis, PLACES).double()
        for maps, units in wanted[node]:
            own = torch.from_numpy((units >= 0).nonzero()[0])
            into = torch.from_numpy(units[units >= 0])
            width = int(into.max()) + 1
            count = torch.bincount(into, minlength=width).double()

            def by_unit(t: Tensor, into: Tensor = into, count: Tensor = count) -> Tensor:
                """Mean over the channels of each unit, last axis."""
                out = torch.zeros(*t.shape[:-1], len(count), dtype=t.dtype)
                return out.index_add(-1, into, t) / count

            maps.n += len(flat)
            maps.zeros = maps.zeros + by_unit((flat[..., own] == 0).double().mean(1)).sum(0)
            maps.mean = maps.mean + by_unit(flat[..., own].mean(1)).sum(0)
            rows = by_unit(some[..., own]).flatten(0, 1)
            maps.rows += len(rows)
            maps.second = maps.second + rows.T @ rows
            maps.peaks.append(by_unit(flat[..., own].amax(1)))

    observe(graph, images.batches, dict.fromkeys(wanted, look))
    return found


def observe(
    graph: Graph, batches: Sequence[Example], look: dict[fx.Node, Callable[[fx.Node, Tensor], None]]
) -> None:
    """Run the network and show the values of some operators' outputs, batch by batch."""
    stops = sorted(
        (i, node) for i, node in enumerate(graph.module.graph.nodes) if node in look
    )  # names differ, so nodes are never compared
    for x in batches:
        walk = Walk(graph.module, [x])
        for i, node in stops:
            walk.reach(i + 1)
            look[node](node, walk.values[0][node])


# -- gradients -----------------------------------------------------------------------------------


def _gradients(
    graph: Graph, images: Images, labels: Sequence[Tensor] | None
) -> dict[str, Gradients]:
    wanted = {name: maps_of(graph, group) for name, group in graph.groups.items()}
    found = {
        name: Gradients(
            *([torch.zeros(graph.groups[name].width).double() for _ in at] for _ in "abc")
        )
        for name, at in wanted.items()
    }
    nodes = list(graph.module.graph.nodes)
    kept = {node for at in wanted.values() for node, _ in at}
    if not kept:
        return found
    total = len(images)
    for i, x in enumerate(images.batches):
        values: dict[fx.Node, Any] = {}
        with torch.enable_grad():
            for node in nodes:
                run(graph.module, [node], values, mapped(x, _watched))
                if node in kept and values[node].requires_grad:
                    values[node].retain_grad()
            y = None if labels is None else labels[i]
            loss = _loss(values[nodes[-1]], y, images.loss)
            grads = torch.autograd.grad(loss, [values[n] for n in kept], allow_unused=True)
        gradient = dict(zip(kept, grads, strict=True))
        for name, at in wanted.items():
            for j, (node, units) in enumerate(at):
                if gradient[node] is None:
                    continue
                _add_terms(graph, found[name], j, node, units, values[node], gradient[node], total)
    return found


def _loss(outputs: Any, labels: Tensor | None, own: Callable[..., Tensor] | None) -> Tensor:
    """The one that was given, else the cross entropy; without labels the network's own class is right."""
    if own is not None:
        if labels is None:
            raise EdgepruneError("a loss of your own", "needs labels", "pass labels=[...]")
        return own(outputs, labels)
    logits = class_scores(outputs)
    return F.cross_entropy(logits, logits.argmax(1) if labels is None else labels)


def class_scores(outputs: Any) -> Tensor:
    """The logits [N, classes] that a classifier gives; what looks at a class is refused for others."""
    given = flat(outputs)
    if len(given) == 1 and given[0].ndim == 2 and given[0].shape[1] > 1:
        return given[0]
    shapes = ", ".join(str(list(t.shape)) for t in given)
    raise EdgepruneError(
        "this score looks at the class that a classifier chooses",
        f"this network gives {shapes or 'no tensor'}",
        "take one that needs no classes: --score reconstruction",
    )


def _watched(t: Tensor) -> Tensor:
    return t.detach().requires_grad_() if t.is_floating_point() else t


def _add_terms(
    graph: Graph,
    found: Gradients,
    j: int,
    node: fx.Node,
    units: Vector,
    z: Tensor,
    g: Tensor,
    total: int,
) -> None:
    axis = graph.values[node].axis
    assert axis is not None
    own, into = torch.from_numpy((units >= 0).nonzero()[0]), torch.from_numpy(units[units >= 0])
    terms = (z.detach() * g).movedim(axis, -1).reshape(len(z), -1, z.shape[axis])
    terms = terms.double()[..., own]  # [N, M places, C], of the mean loss: dC_n/dz = N * g
    width = len(found.taylor[j])
    each = torch.zeros(len(z), width, dtype=torch.float64).index_add(1, into, terms.mean(1))
    gate = torch.zeros(len(z), width, dtype=torch.float64).index_add(1, into, terms.sum(1))
    found.taylor[j] += (each * len(z)).abs().sum(0) / total
    found.gate[j] += gate.sum(0).square()
    found.fisher[j] += (gate * len(z)).square().sum(0) / total


# -- what readers read -----------------------------------------------------------------------------


@dataclass
class _Seen:
    """Sums over the rows of one reader's inputs, T taps beside each other."""

    images: int = 0
    n: int = 0
    x: Tensor | Any = 0.0  # [C]
    S: Tensor | Any = 0.0  # [C, C], over rows and taps
    taps: Tensor | Any = 0.0  # [T, T], over rows and channels

    def add(self, X: Tensor) -> None:
        """X [rows, T, C]."""
        X = wide(X)
        flat = X.flatten(0, 1)  # [rows*T, C]
        self.n += len(flat)
        self.x = added(self.x, flat.sum(0))
        self.S = added(self.S, gram(flat[:, None])[0])
        taps = X.transpose(0, 1).flatten(1)  # [T, rows*C]
        self.taps = added(self.taps, taps @ taps.T)


def _problems(graph: Graph, images: Images, told: Told) -> dict[str, list[Problem]]:
    readers = [
        r for r in find_readers(graph) if r.labels is not None and graph.roots[r.labels].any()
    ]
    seen = {r.node: _Seen() for r in readers}
    at = {node.name: i for i, node in enumerate(graph.module.graph.nodes)}
    uses = sorted(((u, r) for r in readers for u in r.uses), key=lambda pair: at[pair[0].node])
    generator = torch.Generator().manual_seed(0)
    batches = images.once  # further views are not further images: `shrunk` counts rows as different
    places = max(PLACES, -(-6000 // sum(size(x) for x in batches)))

    for done, x in enumerate(batches):
        told("looking", done, len(batches))
        if max((s.images for s in seen.values()), default=0) >= LOOKED_AT:
            break
        walk = Walk(graph.module, [x])
        first = flat(x)[0]
        rough = first.dtype == torch.float32 and first.device.type == "cpu" and bfloat16_pays()
        for use, reader in uses:
            node = walk.node(use.node)
            with torch.autocast("cpu", torch.bfloat16, enabled=rough):
                walk.reach(walk.index[use.node])
            value = walk.values[0][node.args[0]]  # type: ignore[index]
            value = value.to(first.dtype) if rough else value
            # by the value itself: a linear layer may read [T, N, C], whose first axis is not the batch
            shape = graph.values[node].shape if use.window else value.shape
            some = sample(use, len(value), shape, places, generator)
            seen[reader.node].images += size(x) if use is reader else 0
            seen[reader.node].add(_by_channel(graph, use, inputs_at(use, value, some)))
    found: dict[str, list[Problem]] = {name: [] for name in graph.groups}
    for reader in readers:
        S, G = _quadratic(graph, reader, seen[reader.node])
        roots = graph.roots[_channel_labels(graph, reader)]
        for name, group in graph.groups.items():
            unit = np.full(len(graph.roots), -1, np.int64)
            unit[group.roots] = np.arange(group.width)
            if (unit[roots] >= 0).any():
                found[name].append(Problem(S, G, unit[roots]))
    return found


def _repeats(graph: Graph, reader: Reader) -> int:
    """How many neighbours of a flattened map are one channel (1: not flattened)."""
    assert reader.labels is not None
    if reader.window:
        return 1
    roots = graph.roots[reader.labels]
    changes = np.flatnonzero(np.diff(roots)) + 1
    m = int(changes[0]) if len(changes) else 1
    even = len(roots) % m == 0 and (roots.reshape(-1, m) == roots[::m, None]).all()
    return m if even else 1


def _channel_labels(graph: Graph, reader: Reader) -> Vector:
    assert reader.labels is not None
    return reader.labels[:: _repeats(graph, reader)]


def _by_channel(graph: Graph, reader: Reader, X: Tensor) -> Tensor:
    """X [rows, G, T*I] -> [rows, T, C]."""
    if reader.window is None:
        return X.reshape(len(X), -1, _repeats(graph, reader)).transpose(1, 2)
    taps = X.reshape(*X.shape[:2], reader.window.taps, -1)  # [rows, G, T, I]
    return taps.transpose(1, 2).flatten(2)


def shrunk(S: Tensor, rows: int) -> Tensor:
    """S [C, C] of ``rows`` rows with its correlations shrunk by OAS (Chen et al. 2010, equation 23).

    From fewer rows than channels (a classifier sees one an image) every channel could be rebuilt
    from some others, and leaving most of them out would look free.
    """
    p = len(S)
    deviation = S.diagonal().clamp_min(0).sqrt()
    safe = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    R = S / torch.outer(safe, safe)
    square = float(R.square().sum())
    spread = (rows + 1 - 2 / p) * (square - p)
    rho = 1.0 if spread <= 0 else min(1.0, ((1 - 2 / p) * square + p**2) / spread)
    return (1 - rho) * S + rho * torch.diag(S.diagonal())


def _quadratic(graph: Graph, reader: Reader, seen: _Seen) -> tuple[Tensor, Tensor]:
    """S [C, C] of the inputs and G [C, C] of the weights: the output's variance is tr(S G).

    With T > 1 taps the inputs' second moments are taken as S (x) S_T, those between channels the
    same at every tap: an approximation, for choosing only.
    """

    def tensor(name: str) -> Tensor:
        return fetch(graph.module, name).detach().double()

    x = seen.x / seen.n
    S = shrunk(seen.S / seen.n - (torch.outer(x, x) if reader.has_offset else 0), seen.n)
    T = torch.as_tensor(seen.taps)
    T = T * len(T) / T.trace().clamp_min(1e-30)
    W = weight_matrix(reader, tensor(reader.weight))  # [G, O/G, T*I]
    scale = scale_of(reader, tensor)
    if scale is not None:
        W = W * scale.reshape(*W.shape[:2], 1)
    W = _by_channel(graph, reader, W.flatten(0, 1)[:, None]).reshape(*W.shape[:2], len(T), -1)
    W = W.transpose(2, 3)  # [G, O/G, I, T]
    WT = torch.einsum("goit,ts->gois", W, T)
    blocks = torch.einsum("gois,gojs->gij", WT, W)
    return S, torch.block_diag(*blocks)
