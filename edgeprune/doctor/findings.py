"""Why a network is as fast as it is: each finding seen, likely cause, what to do next. Pure.

A finding is one function and one line in :data:`FINDINGS`. Structure decides whether there is something
to say (what the runtime chose to run), measurement says what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import units
from ..runtime.layout import MOVES, Ask, Layer, Network, Width, asked, grid, laid_out, up
from ..runtime.predictor import Prediction
from ..runtime.roofline import Bound, Peaks, bandwidth
from ..units import milliseconds as ms

WORTH = 0.02  # of the network's time: below this only what the structure shows is told


@dataclass(frozen=True)
class Finding:
    kind: str
    seen: str
    cause: str
    next: str
    seconds: float  # what it costs a run
    layers: tuple[str, ...] = ()
    width: int | None = None  # the one that brings the seconds back


@dataclass(frozen=True)
class Said:
    """What this machine's profile predicts of the network, and how far its predictions are off."""

    prediction: Prediction
    strange: tuple[str, ...]  # of each layer, what the probe never met of its like, else ""
    median: float  # share, on networks that the fit had not seen
    worst: float


@dataclass(frozen=True)
class Case:
    """All that is known of a network on a machine."""

    network: Network
    peaks: Peaks
    bounds: Mapping[str, Bound]
    what_if: Mapping[Ask, float] = field(default_factory=dict)
    caches: Sequence[Mapping[str, Any]] = ()
    said: Said | None = None

    def layers(self, names: Iterable[str]) -> list[Layer]:
        return [layer for layer in self.network.layers if layer.name in set(names)]


def findings(case: Case, dense: Case | None = None) -> list[Finding]:
    """All findings, the most expensive first; with ``dense`` also what became of its promise.

    Of a network in 8 bits ``dense`` is the float one that it was made from.
    """
    found = [f for check in FINDINGS for f in check(case)]
    found.sort(key=lambda f: -f.seconds)
    if dense is None:
        return found
    own = case.network.int8 and not dense.network.int8
    return [in_8_bits(case, dense) if own else promise(case, dense), *found]


def questions(network: Network) -> list[tuple[Layer, int, int]]:
    """The layers and widths whose times the findings want to know: as they are, and at the grid."""
    layers = {layer.name: layer for layer in network.layers}
    asks: dict[Ask, tuple[Layer, int, int]] = {}
    for width in network.widths:
        multiple = grid(network, width, layers)
        if multiple == 1 or width.channels % multiple == 0:
            continue
        for channels in _candidates(width.channels, multiple):
            for layer in _movable(width, layers):
                a, b = _at(layer, width, channels)
                asks[asked(layer, a, b)] = (layer, a, b)
    return list(asks.values())


def _candidates(channels: int, multiple: int) -> list[int]:
    """As it is, the next multiple, the one below where there is one."""
    below = channels // multiple * multiple
    return [channels, up(channels, multiple), *([below] if below else [])]


def _movable(width: Width, layers: Mapping[str, Layer]) -> list[Layer]:
    """Layers whose time can be asked at another width: convolutions with free groups."""
    found = [layers[name] for name in dict.fromkeys(width.layers) if name in layers]
    return [x for x in found if x.kind in ("conv", "depthwise") and len(x.in_shape) == 3]


def _at(layer: Layer, width: Width, channels: int) -> tuple[int, int]:
    inside = layer.name in width.consumers or layer.name in width.depthwise
    outside = layer.name in width.producers or layer.name in width.depthwise
    return channels if inside else layer.width_in, channels if outside else layer.width_out


def gain(case: Case, width: Width, channels: int) -> float | None:
    """Seconds a run that the network wins at ``channels``; None where it was not measured.

    The layers' own seconds, scaled by how their times relate when measured side by side; reorders
    round a layer go when it returns to the blocked layout.
    """
    layers = {layer.name: layer for layer in case.network.layers}
    total = 0.0
    for layer in _movable(width, layers):
        now = case.what_if.get(asked(layer, layer.width_in, layer.width_out))
        then = case.what_if.get(asked(layer, *_at(layer, width, channels)))
        if now is None or then is None:
            return None
        total += layer.seconds * (1 - then / now)
        if _fallen(case.network, layer, width, channels):
            after = [o for o in case.network.others if o.after == layer.name]
            total += layer.moving + sum(o.seconds for o in after if o.operator == "ReorderInput")
    return total


def _fallen(network: Network, layer: Layer, width: Width, channels: int) -> bool:
    """Whether the layer is off the blocked layout and would be on it at ``channels``."""
    a, b = _at(layer, width, channels)
    return (
        layer.layout == "plain"
        and layer.name not in network.variable
        and not laid_out(layer.kind, layer.width_in, layer.width_out, layer.groups, network.block)
        and laid_out(layer.kind, a, b, layer.groups, network.block)
    )


# The findings. Each takes a case and yields what it sees.


def depthwise_off(case: Case) -> Iterator[Finding]:
    """A depthwise layer of a width that the blocked layout does not take."""
    for width, fallen, least, most in _off(case):
        slow = [layer for layer in fallen if layer.kind == "depthwise"]
        if slow:
            yield _returned(case, width, fallen, least, most, (
                f"the depthwise {_names(slow)} of {width.channels} channels runs as {slow[0].operator}, one "
                f"channel at a time: {ms(_sum(slow))} at {_speed(slow)}"
                + _also(x for x in fallen if x not in slow)
            ), "depthwise off layout")  # fmt: skip


def consumer_off(case: Case) -> Iterator[Finding]:
    """A layer whose input's width keeps it off the blocked layout."""
    for width, fallen, least, most in _off(case):
        if all(layer.kind != "depthwise" for layer in fallen):
            yield _returned(case, width, fallen, least, most, (
                f"{_names(fallen)} reads {width.channels} channels and runs as {fallen[0].operator}: "
                f"{ms(_sum(fallen))} at {_speed(fallen)}"
            ), "off layout")  # fmt: skip


def _off(case: Case) -> Iterator[tuple[Width, list[Layer], int, int]]:
    """(width, its fallen layers, least width that brings them back, most that costs the same)."""
    network = case.network
    layers = {layer.name: layer for layer in network.layers}
    for width in network.widths:
        least, most = up(width.channels, 4), up(width.channels, network.block)
        fallen = [x for x in _movable(width, layers) if _fallen(network, x, width, least)]
        if fallen:
            yield width, fallen, least, most


def _returned(
    case: Case, width: Width, fallen: list[Layer], least: int, most: int, seen: str, kind: str
) -> Finding:
    won = gain(case, width, most) or 0.0
    moves = sum(layer.moves for layer in fallen)
    cause = (
        f"{width.channels} is no multiple of 4: the runtime lays such layers out in plain NCHW, not in "
        f"its blocks of {case.network.block}"
        + (f", with {moves} reorder{'s' * (moves > 1)} between" if moves else "")
    )
    free = f"; up to {most} cost the same time" if most > least else ""
    where = ", ".join(width.producers) or "the input"
    return Finding(
        kind, seen, cause,
        f"{least} filters instead of {width.channels} in {where} {_worth(won)}{free}",
        max(won, 0.0), tuple(layer.name for layer in fallen), least,
    )  # fmt: skip


def padding(case: Case) -> Iterator[Finding]:
    """Widths between two multiples of the block cost the time of the next one."""
    network = case.network
    layers = {layer.name: layer for layer in network.layers}
    for width in network.widths:
        mine = [x for x in _movable(width, layers) if x.layout == "blocked"]
        off = any(
            _fallen(network, x, width, up(width.channels, 4)) for x in _movable(width, layers)
        )
        if width.channels % network.block == 0 or not mine or off:
            continue
        most, below = (
            up(width.channels, network.block),
            width.channels // network.block * network.block,
        )
        won = max((gain(case, width, below) or 0.0) if below else 0.0, 0.0)
        if won < WORTH * network.seconds and most - width.channels < 2:
            continue
        yield Finding(
            "padding",
            f"{width.channels} channels are computed as {most} in {_names(mine)}",
            f"the runtime computes in blocks of {network.block} and fills the rest with zeros",
            f"{most - width.channels} more filters in {', '.join(width.producers)} are free in time"
            + (f"; {below} instead win about {ms(won)}" if won > 0 else ""),
            won, tuple(x.name for x in mine), below if won > 0 else most,
        )  # fmt: skip


def int8_grid(case: Case) -> Iterator[Finding]:
    """Quantised layers between the steps of their kernels."""
    network = case.network
    layers = {layer.name: layer for layer in network.layers}
    for width in network.widths:
        mine = [x for x in _movable(width, layers) if x.layout == "int8"]
        multiple = grid(network, width, layers)
        if not mine or width.channels % multiple == 0:
            continue
        to = up(width.channels, multiple)
        won = gain(case, width, to) or 0.0
        slow = (
            "its depthwise kernel steps at multiples of 16"
            if width.depthwise
            else "its kernels step at multiples of 4"
        )
        yield Finding(
            "int8 width",
            f"{width.channels} channels in int8 in {_names(mine)}: {ms(_sum(mine))}",
            f"{width.channels} is no multiple of {multiple}; int8 has no blocks to pad to, and {slow}",
            f"{to} filters in {', '.join(width.producers)} {_worth(won)}",
            max(won, 0.0), tuple(x.name for x in mine), to,
        )  # fmt: skip


def variable_weights(case: Case) -> Iterator[Finding]:
    """Weights that are inputs of the graph cannot be laid out anew."""
    mine = [
        x for x in case.layers(case.network.variable) if x.layout == "plain" and x.kind != "linear"
    ]
    if mine:
        arithmetic = sum(case.bounds[x.name].attainable for x in mine)
        yield Finding(
            "variable weights",
            f"{len(mine)} convolutions run as {mine[0].operator}, whatever their width",
            "their weights are listed among the graph's inputs, so the runtime takes them for variable",
            "export again with the weights as initializers only",
            max(_sum(mine) - arithmetic, 0.0), tuple(x.name for x in mine),
        )  # fmt: skip


def grouped_off(case: Case) -> Iterator[Finding]:
    """Grouped convolutions whose groups are no whole blocks, and depthwise ones with a multiplier."""
    block = case.network.block
    for x in case.network.layers:
        multiplied = x.kind == "depthwise" and x.width_in != x.width_out
        if x.layout != "plain" or block == 1 or not (multiplied or x.kind == "grouped"):
            continue
        each = f"{x.width_in // x.groups} to {x.width_out // x.groups} channels in each of {x.groups} groups"
        yield Finding(
            "grouped off layout",
            f"{x.name} runs as {x.operator}: {ms(x.seconds)} at {_speed([x])}",
            f"{each}; the blocked layout needs multiples of {block} on both sides",
            f"groups of {up(x.width_in // x.groups, block)} to {up(x.width_out // x.groups, block)} channels",
            max(x.seconds - case.bounds[x.name].attainable, 0.0), (x.name,),
        )  # fmt: skip


def weight_bound(case: Case) -> Iterator[Finding]:
    """Late layers on small maps, whose time is that of reading their weights."""
    mine = [x for x in case.network.layers if case.bounds[x.name].by == "weights"]
    cost = sum(x.seconds - min(case.bounds[x.name].arithmetic, x.seconds) for x in mine)
    if cost < WORTH * case.network.seconds or not mine:
        return
    size = sum(x.weight_bytes for x in mine)
    yield Finding(
        "bound by weights",
        f"{_names(mine)}: {ms(_sum(mine))} for {units.size(size)} of weights "
        f"({size / _sum(mine) / 1e9:.0f} GB/s), {_speed(mine)}",
        "on maps this small each weight is used a few times only: the time is that of reading the weights",
        "remove filters here first: time falls with the parameters, faster than FLOPs promise",
        cost, tuple(x.name for x in mine),
    )  # fmt: skip


def outside_caches(case: Case) -> Iterator[Finding]:
    """All weights are read in each run; those that no near cache holds come from further away."""
    network, curve = case.network, case.peaks.weights
    near = [c for c in case.caches if c["level"] == 2]
    inside = near[0]["bytes"] if near else 2**20
    size = network.weight_bytes
    if size <= inside:
        return
    here, there = bandwidth(curve, size), bandwidth(curve, inside / 2)
    cost = sum(
        max(min(x.seconds, x.weight_bytes / here) - x.weight_bytes / there, 0.0)
        for x in network.layers if case.bounds[x.name].by == "weights"
    )  # fmt: skip
    if cost < WORTH * network.seconds:
        return
    far = [c for c in case.caches if c["level"] >= 3 and c["bytes"] >= size]
    place = f"the L{far[0]['level']} cache" if far else "main memory"
    yield Finding(
        "outside the caches",
        f"{units.size(size)} of weights, {units.size(inside)} of L2 cache: they are read from {place} in "
        f"every run, at {here / 1e9:.0f} GB/s instead of {there / 1e9:.0f}",
        "a run reads every weight once, so none is left in the near cache when the next run wants it",
        f"fewer parameters (below {units.size(inside)} they stay near), or int8: a quarter of the bytes",
        cost, tuple(x.name for x in network.layers if case.bounds[x.name].by == "weights"),
    )  # fmt: skip


ALONE = (
    "Relu",
    "Clip",
    "BatchNormalization",
    "LeakyRelu",
    "HardSwish",
    "HardSigmoid",
    "Sigmoid",
    "Mul",
    "Add",
)


def unfused(case: Case) -> Iterator[Finding]:
    """Activations, norms and sums that run as operators of their own."""
    for operator in ALONE:
        mine = [o for o in case.network.others if o.operator.endswith(operator)]
        cost = sum(o.seconds for o in mine)
        if cost < WORTH * case.network.seconds:
            continue
        norm = operator == "BatchNormalization"
        yield Finding(
            "not fused",
            f"{len(mine)} x {operator} as an operator of its own: {ms(cost)} to read and write maps again",
            "batch norm does not follow a convolution directly" if norm
            else "the runtime has no kernel that does it inside the layer before",
            "put the norm after the convolution, where it folds away" if norm
            else "Relu or Relu6 run inside the convolution; a cheaper activation is free",
            cost, tuple(o.after for o in mine),
        )  # fmt: skip


def pools_off(case: Case) -> Iterator[Finding]:
    """Pooling on a width that is no multiple of the block."""
    network = case.network
    layers = {x.name: x for x in network.layers}
    for other in network.others:
        if (
            other.operator not in ("MaxPool", "AveragePool", "GlobalAveragePool")
            or network.block == 1
        ):
            continue
        before = layers.get(other.after)
        if before is None or before.layout != "blocked" or before.width_out % network.block == 0:
            continue
        moves = sum(
            o.seconds for o in network.others if o.after == other.after and o.operator in MOVES
        )
        if other.seconds + moves >= WORTH * network.seconds:
            most = up(before.width_out, network.block)
            yield Finding(
                "pool off layout",
                f"{other.operator} after {before.name} ({before.width_out} channels) runs in plain NCHW, "
                f"with reorders: {ms(other.seconds + moves)}",
                f"pooling stays blocked at multiples of {network.block} only",
                f"{most} filters in {before.name}",
                other.seconds + moves, (before.name,), most,
            )  # fmt: skip


def maps_bound(case: Case) -> Iterator[Finding]:
    """Blocked depthwise layers: few FLOPs, but their maps must be read and written."""
    mine = [x for x in case.network.layers if x.kind == "depthwise" and x.layout == "blocked"]
    share = _sum(mine) / case.network.seconds if case.network.seconds else 0.0
    work = sum(x.macs for x in mine) / max(case.network.macs, 1)
    if not mine or share < max(2 * work, 0.05):
        return
    yield Finding(
        "bound by maps",
        f"{len(mine)} depthwise layers take {units.percent(share, 0)} of the time with "
        f"{units.percent(work, 0)} of the FLOPs ({_speed(mine)})",
        f"{2 * sum(x.macs for x in mine) / max(sum(x.map_bytes for x in mine), 1):.1f} FLOPs a byte: "
        "reading and writing maps takes longer than computing",
        "count them at full price: only fewer channels or smaller maps make them faster",
        sum(max(x.seconds - case.bounds[x.name].arithmetic, 0.0) for x in mine), tuple(x.name for x in mine),
    )  # fmt: skip


def overhead(case: Case) -> Iterator[Finding]:
    """Layers so small that starting an operator takes as long as running it."""
    limit = 3 * case.peaks.call
    mine = [
        x
        for x in case.network.layers
        if x.seconds < limit and case.bounds[x.name].attainable < limit / 3
    ]
    cost = len(mine) * case.peaks.call
    if len(mine) > 1 and cost > 0.1 * case.network.seconds:
        yield Finding(
            "overhead",
            f"{len(mine)} layers take less than {ms(limit)} each",
            f"starting an operator takes {ms(case.peaks.call)} whatever its width",
            "fewer layers, or a larger batch; fewer filters will not make these faster",
            cost, tuple(x.name for x in mine),
        )  # fmt: skip


MISSES = 3  # medians of the misses: two standard deviations where they are normal
SHOWN = 3  # of the parts that are off


def not_as_predicted(case: Case) -> Iterator[Finding]:
    """The time is further from the predicted one than predictions usually are: where, and why."""
    said, took = case.said, case.network.seconds
    if said is None or took <= 0:
        return
    foretold = said.prediction.seconds
    off = took - foretold
    if abs(off) <= min(MISSES * said.median, said.worst) * foretold:
        return
    parts = [p for p in _parts(case, said) if p.off * off > 0]
    parts.sort(key=lambda p: -abs(p.off))
    parts = [p for p in parts if abs(p.off) > WORTH * took][:SHOWN]
    yield Finding(
        "not as predicted",
        f"{ms(took)}, predicted {ms(foretold)}: off by {units.percent(abs(off) / foretold, 0)}, where this "
        f"profile misses by {units.percent(said.median)} (median), {units.percent(said.worst)} at worst",
        "; ".join(p.told() for p in parts) or "no part alone: the same share of all of it",
        "a target in ms is measured on the device and corrected by what came (prune --target-ms); a new "
        "profile: edgeprune doctor --probe",
        max(off, 0.0), tuple(p.layer for p in parts if p.layer),
    )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """A layer, or all operators of one name beside the layers."""

    name: str
    predicted: float
    measured: float
    why: str
    layer: str = ""

    @property
    def off(self) -> float:
        return self.measured - self.predicted

    def told(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.name} took {ms(self.measured)}, predicted {ms(self.predicted)}{why}"


def _parts(case: Case, said: Said) -> list[_Part]:
    """Beside the layers only their sum is predicted: each operator is given its share of that."""
    network = case.network
    each = zip(network.layers, said.prediction.layers, said.strange, strict=True)
    found = [_Part(x.name, p, x.seconds + x.moving, why, x.name) for x, p, why in each]
    beside: dict[str, list[float]] = {}
    for other in network.others:
        beside.setdefault(other.operator, []).append(other.seconds)
    sums = {name: sum(seconds) for name, seconds in beside.items()}
    moving = sum(x.moving for x in network.layers)  # told with the layers that read them
    for name in MOVES:
        if name in sums:
            taken = min(moving, sums[name])
            sums[name], moving = sums[name] - taken, moving - taken
    rest = max(said.prediction.seconds - sum(said.prediction.layers), 0.0)
    whole = sum(sums.values())
    return found + [
        _Part(
            f"{len(beside[name])} x {name}", rest * seconds / whole, seconds,
            "not probed by itself",
        )
        for name, seconds in sums.items() if seconds > 0
    ]  # fmt: skip


FINDINGS: tuple[Callable[[Case], Iterable[Finding]], ...] = (
    depthwise_off, consumer_off, padding, int8_grid, variable_weights, grouped_off, weight_bound,
    outside_caches, unfused, pools_off, maps_bound, overhead, not_as_predicted,
)  # fmt: skip


def promise(case: Case, dense: Case) -> Finding:
    """What the FLOPs promised, what came, and which layers made the difference."""
    a, b = dense.network, case.network
    promised, came = a.macs / b.macs, a.seconds / b.seconds
    how = f"{came:.2f}x faster" if came >= 1 else f"{1 / came:.2f}x slower"
    seen = f"{how} than {a.name} where its FLOPs promise {promised:.2f}x"
    heavy = [x for x in a.layers if dense.bounds[x.name].by == "weights"]
    names = {x.name for x in heavy}
    left = [x for x in b.layers if x.name in names]
    if came > 1.05 * promised and heavy and left:
        return Finding(
            "more than promised", seen,
            f"{_names(heavy)} are bound by reading weights, {ms(_sum(heavy))} of {ms(a.seconds)} in the "
            f"dense network: their parameters fell {_ratio(heavy, left, 'weight_bytes')}, their time "
            f"{_ratio(heavy, left, 'seconds')}, their FLOPs only {_ratio(heavy, left, 'macs')}",
            "go on there: parameters, not FLOPs, are the price of these layers", 0.0, tuple(names),
        )  # fmt: skip
    short = max(b.seconds - a.seconds / promised, 0.0)
    if came > 0.95 * promised:
        cause, next = (
            "the layers that were cut run as efficiently as before",
            "nothing to mend here",
        )
    else:
        per_layer = {x.name: x for x in a.layers}
        worst = sorted(
            (x for x in b.layers if x.name in per_layer),
            key=lambda x: (
                per_layer[x.name].seconds * x.macs / max(per_layer[x.name].macs, 1) - x.seconds
            ),
        )[:3]
        cause = f"furthest behind their share: {_names(worst)}; see the findings below"
        next = "mend the most expensive finding first"
    return Finding("promise", seen, cause, next, short)


def in_8_bits(case: Case, parent: Case) -> Finding:
    """What 8 bits are worth beside the float network, and which parts of it take no part."""
    a, b = parent.network, case.network
    came = a.seconds / b.seconds
    how = f"{came:.2f}x faster" if came >= 1 else f"{1 / came:.2f}x slower"
    floats = [x for x in b.layers if x.layout != "int8"]
    beside = sorted(b.others, key=lambda o: -o.seconds)[:3]
    cause = (
        f"{len(b.layers) - len(floats)} of {len(b.layers)} layers run in int8"
        + (f"; {_names(floats)} in float: {ms(_sum(floats))}" if floats else "")
        + "".join(
            f"; {o.operator} {ms(o.seconds)}" for o in beside if o.seconds > WORTH * b.seconds
        )
    )
    return Finding(
        "int8 slower" if came < 1 else "int8", f"{how} than {a.name}, which it was made from", cause,
        "deploy the float file on this machine: 8 bits do not pay here"
        if came < 1
        else "mend what still runs in float, then the findings below",
        max(b.seconds - a.seconds, 0.0), tuple(x.name for x in floats),
    )  # fmt: skip


def _ratio(before: Sequence[Layer], after: Sequence[Layer], what: str) -> str:
    a, b = (sum(getattr(x, what) for x in layers) for layers in (before, after))
    return f"{a / b:.1f}x" if b else "to nothing"


def _sum(layers: Iterable[Layer]) -> float:
    return sum(x.seconds for x in layers)


def _speed(layers: Sequence[Layer]) -> str:
    seconds = _sum(layers)
    return (
        f"{2 * sum(x.macs for x in layers) / seconds / 1e9:.0f} GFLOP/s"
        if seconds
        else "unmeasured"
    )


def _names(layers: Sequence[Layer]) -> str:
    return units.some([x.name for x in layers])


def _worth(won: float) -> str:
    """What more filters are worth: nobody is promised a loss as a gain."""
    return f"bring back about {ms(won)}" if won > 0 else "cost no more time here"


def _also(layers: Iterable[Layer]) -> str:
    more = list(layers)
    return f"; {_names(more)} falls off with it" if more else ""
