"""Whether weights that were found fit a network: under which of the file's names, and what differs.

Training loops save a network under other names than its own: torch.compile, DataParallel, Lightning
and averaging put a prefix before them, others put the dictionary into another, beside an optimizer.
A **reading** is one way to take the file: a dictionary in it, and the prefix of its names. Where exactly
one reading gives the network all of its tensors it is taken, and said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .. import units
from ..errors import EdgepruneError
from ..records import ModelSpec
from .weights import Source, State, shape, some, sound
from .zoo import fresh, has_paper_head

# parts of a name that wrappers put before a module, be it the whole network or one inside it
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
ANOTHER = "give the weights of this very network, or another --model"
KNOWN = WRAPPERS | {"model", "net", "network", "backbone", "encoder", "params", "state_dict", "ema"}
AVERAGED = re.compile(r"(^|[._])(ema|averaged|swa)([._]|$)", re.IGNORECASE)


@dataclass
class Fit:
    """What `fill` did: names of the tensors that start fresh, of which the head's are expected."""

    fresh: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    said: str = ""  # which reading of the file was taken, where it was not simply its names


@dataclass(frozen=True, eq=False)
class Reading:
    """The tensors of one dictionary of a file (``place``), their names without ``prefix``."""

    place: str
    prefix: str
    tensors: State
    matching: int  # tensors of the network that are there, with the right shape
    left: tuple[str, ...] = ()  # names that do not bear the prefix

    @property
    def where(self) -> str:
        return ".".join(part for part in (self.place, self.prefix.rstrip(".")) if part)

    def fits(self, own: Mapping[str, Tensor]) -> bool:
        """Whether all tensors of ``own`` are there, with their shapes."""
        return all(k in self.tensors and self.tensors[k].shape == v.shape for k, v in own.items())


@dataclass(frozen=True)
class Difference:
    """What keeps a checkpoint from being a network's, by name."""

    wrong: list[str]  # other shapes
    unknown: list[str]  # not in the network
    missing: list[str]  # not in the checkpoint

    def why(self, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
        said = []
        if self.wrong:
            said.append(
                units.some(
                    [
                        f"{k} is {shape(given[k])}, the network wants {shape(own[k])}"
                        for k in self.wrong
                    ]
                )
            )
        if self.unknown:
            said.append(f"the network has no {some(self.unknown, given)}")
        if self.missing:
            said.append(f"missing: {some(self.missing, own)}")
        return "; ".join(said)


def fill(network: nn.Module, spec: ModelSpec, source: Source, *, partial: bool = False) -> Fit:
    """Put ``source``'s tensors into ``network`` (in place); the head starts fresh where the classes
    differ.

    The head is all of ``classifier`` for the paper's form (its dense 512 is not the checkpoint's),
    else the last layer. Anything else that is missing is refused unless ``partial``; other shapes
    and unknown names always.
    """
    own, (given, said) = names_of(network), read_for(network, spec, source)
    head = _head(network, spec, own)
    fits = all(k in given and given[k].shape == own[k].shape for k in head)
    differs = _difference(network, spec, given)
    if differs.wrong or differs.unknown or (differs.missing and not partial):
        raise _refusal(source, spec, differs, own, given, partly=True)
    _whole_numbers(source, spec, own, given)
    left = {*differs.missing, *(() if fits else head)}
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in left:
                tensor.copy_(given[name])
    head = [] if fits else head
    return Fit(fresh=differs.missing + head, head=head, said=said)


def whole(
    spec: ModelSpec, source: Source, heads: Sequence[str]
) -> tuple[ModelSpec, nn.Module, str]:
    """``source`` as a whole network, classifier and all: its spec, the network in eval mode, and
    which reading of the file it is (a sentence, or nothing).

    The classes are as many as the checkpoint's last layer has; the head is the first of ``heads``
    that it fits. Raises :class:`EdgepruneError` for a checkpoint that holds anything less.
    """
    refusals = []
    for head in heads:
        fitting = spec.but(head=head)
        few = fresh(fitting.but(classes=7), 0)
        given, said = read_for(few, fitting, source)
        fitting = fitting.but(classes=_classes(few, fitting, given))
        network = fresh(fitting, 0)
        own = names_of(network)
        differs = _difference(network, fitting, given, head_too=True)
        if not (differs.wrong or differs.unknown or differs.missing):
            _whole_numbers(source, fitting, own, given)
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(given[name])
            return fitting, network, said
        count = len(differs.wrong) + len(differs.unknown) + len(differs.missing)
        refusals.append((count, _refusal(source, fitting, differs, own, given, partly=False)))
    raise min(refusals, key=lambda r: r[0])[1]


def names_of(network: nn.Module) -> State:
    """The tensors that a checkpoint of ``network`` must hold (batch norm's counters need not be)."""
    state = network.state_dict()
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def read_for(network: nn.Module, spec: ModelSpec, source: Source) -> tuple[State, str]:
    """``source``'s tensors by ``network``'s names, and which reading that is ("" for its own names).

    Raises :class:`EdgepruneError` when none is there, or when several fit and none is the averaged
    one (EMA), which is what people evaluate.
    """
    own = names_of(network)
    if not own:
        raise EdgepruneError(
            spec.model, "has no parameters: there is nothing to load, or to prune",
            "give a network with layers",
        )  # fmt: skip
    head = _head(network, spec, own)
    body = {k: v for k, v in own.items() if k not in head}
    if not body:  # one layer, whose shape follows the classes: its names are all there is
        return sound(source.where, source.tensors), ""
    places = source.places or {"": source.tensors}
    found = readings(body, places)
    if not found:
        told = "; ".join(_held(*place) for place in places.items())
        raise EdgepruneError(
            f"{source.where} does not fit {spec.model}",
            f"no tensor of it matches; it holds {told}, the network {some(list(own), own)}",
            ANOTHER,
        )
    fitting = [r for r in found if r.fits(body)]
    if not fitting:  # of a part, or of another network, the names as people wrap them
        known = [r for r in found if KNOWN.issuperset(r.prefix.split(".")[:-1])]
        found = known or found
    fits = bool(fitting)
    rank = {r: sum(k in r.tensors for k in own) if fits else r.matching for r in fitting or found}
    equal = [r for r, n in rank.items() if n == max(rank.values())]
    taken = equal[0]
    if len(equal) > 1 and fits:
        averaged = [r for r in equal if AVERAGED.search(r.where)]
        if len(averaged) == 1:
            taken = averaged[0]
        elif not all(_same(own, taken.tensors, r.tensors) for r in equal[1:]):
            raise EdgepruneError(
                f"{source.where} holds {spec.model} {len(equal)} times",
                f"under {', '.join(repr(r.where) for r in equal)}",
                "save the one that is meant as a file of its own",
            )
    others = [r.where or "its own names" for r in equal if r is not taken] if fits else []
    tensors = sound(source.where, taken.tensors)
    return tensors, _said(source, taken, others)


def readings(own: Mapping[str, Tensor], places: Mapping[str, State]) -> list[Reading]:
    """All readings of ``places`` under which a tensor of ``own`` is found, names and shapes."""
    found = [r for place, tensors in places.items() for r in _prefixed(place, tensors, own)]
    if any(r.fits(own) for r in found):
        return found
    inner = WRAPPERS - {part for name in own for part in name.split(".")}
    for place, tensors in places.items():  # parts of the network may have been wrapped
        short = {".".join(_without(k, inner)): v for k, v in tensors.items()}
        if len(short) == len(tensors) and short.keys() != tensors.keys():
            found += _prefixed(place, short, own)
    return found


def _prefixed(place: str, tensors: State, own: Mapping[str, Tensor]) -> list[Reading]:
    """The readings of one dictionary, one a prefix, most matching tensors first."""
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        parts = name.split(".")
        for i in range(len(parts)):
            mine = own.get(".".join(parts[i:]))
            if mine is not None and mine.shape == tensor.shape:
                counts["".join(f"{part}." for part in parts[:i])] += 1
    likely = [
        (prefix, n)
        for i, (prefix, n) in enumerate(counts.most_common())
        if i < 4 or KNOWN.issuperset(prefix.split(".")[:-1])
    ]
    return [
        Reading(
            place,
            prefix,
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)},
            matching,
            tuple(k for k in tensors if not k.startswith(prefix)),
        )
        for prefix, matching in likely
    ]


def _without(name: str, dropped: set[str]) -> list[str]:
    return [part for part in name.split(".") if part not in dropped]


def _same(own: Mapping[str, Tensor], a: State, b: State) -> bool:
    return all(k not in a or (k in b and torch.equal(a[k], b[k])) for k in own)


def _said(source: Source, taken: Reading, others: list[str]) -> str:
    """The sentence that tells the reading; none for names that stand at the top as they are."""
    if not taken.where and not others:
        return ""
    said = f"{source.where}: takes {taken.where!r}" if taken.where else f"{source.where}: takes it"
    if others:
        why = "averaged weights (EMA); " if AVERAGED.search(taken.where) else "the same as "
        fit = f"{', '.join(map(repr, others))}"
        said += f", {why}{fit}" + (" would fit too" if why.endswith("; ") else "")
    left = [k for k in taken.left if not k.endswith("num_batches_tracked")]
    if left and not others:
        said += f", leaves {some(left)}"
    return said


def _held(place: str, tensors: State) -> str:
    return (f"{place}: " if place else "") + some(list(tensors), tensors)


def _head(network: nn.Module, spec: ModelSpec, own: Mapping[str, Tensor]) -> list[str]:
    prefix = head_of(network, spec)
    return [k for k in own if k == prefix or k.startswith(prefix + ".")]


def _difference(
    network: nn.Module, spec: ModelSpec, given: State, *, head_too: bool = False
) -> Difference:
    own = names_of(network)
    head = [] if head_too else _head(network, spec, own)
    body = [k for k in own if k not in head]
    stem = head_of(network, spec).split(".")[0]
    return Difference(
        wrong=[k for k in body if k in given and given[k].shape != own[k].shape],
        unknown=[k for k in given if k not in own and (head_too or k.split(".")[0] != stem)],
        missing=[k for k in body if k not in given],
    )


def _refusal(
    source: Source,
    spec: ModelSpec,
    differs: Difference,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    partly: bool,
) -> EdgepruneError:
    """What differs; a part of the network is told from another network."""
    why = differs.why(own, given)
    if differs.wrong or differs.unknown:
        return EdgepruneError(f"{source.where} does not fit {spec.model}", why, ANOTHER)
    if partly:
        what = f"{source.where} holds only part of {spec.model}"
        if 2 * len(differs.missing) > len(own):  # more of another network than a part of this one
            what += ", or another network"
        return EdgepruneError(what, why, "add --partial to start these fresh")
    return EdgepruneError(
        f"{source.where} is no whole {spec.model}",
        why,
        "a trained network with its classifier is needed; edgeprune train makes one",
    )


def _whole_numbers(
    source: Source, spec: ModelSpec, own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> None:
    """Refuse integers where the network wants floating-point numbers: rounded noise without scales."""
    whole_numbers = [
        k
        for k, v in own.items()
        if k in given and v.is_floating_point() and not given[k].is_floating_point()
    ]
    if whole_numbers:
        first = whole_numbers[0]
        raise EdgepruneError(
            f"{source.where} does not fit {spec.model}",
            f"{some(whole_numbers)}: {str(given[first].dtype).removeprefix('torch.')}, "
            "the network wants floating-point numbers",
            "save it dequantised" if given[first].dtype != torch.bool else "",
        )


def _classes(few: nn.Module, spec: ModelSpec, given: State) -> int:
    """The width of the checkpoint's last layer: the tensors that depend on the number of classes.

    ``few`` is the network with 7 of them.
    """
    more = fresh(spec.but(classes=11), 0).state_dict()
    for name, tensor in few.state_dict().items():
        found = given.get(name)
        if tensor.shape != more[name].shape and found is not None and found.ndim:
            return max(2, len(found))
    return spec.classes


def head_of(network: nn.Module, spec: ModelSpec) -> str:
    """Qualified name of the part that maps features to classes."""
    if has_paper_head(spec):
        return "classifier"
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for name in reversed(layers):
        module = network.get_submodule(name)
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == spec.classes:
            return name
    return layers[-1] if layers else "classifier"
