"""From a float file and examples to the network in 8 bits: steps of repair, then a rule of ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EdgepruneError, closest, first_line
from ..graph.inputs import Example, size
from ..models.onnx.file import opset_of
from ..prune.compensate import Repaired
from ..records import Kept
from .file import Proto, prepared, quantised
from .network import Network, network
from .observe import observe
from .ranges import RANGES, Range, Rule
from .repair import STEPS
from .sensitive import sensitive

USUAL = "equalise+lstsq+minmax"
WORST = 3  # layers that are named where 8 bits do not hold a network


@dataclass(frozen=True, eq=False)
class Made:
    """A quantised network, not yet written, and how it came about."""

    proto: Proto
    method: str
    examples: int  # that calibrated
    ranges: Mapping[str, Range]
    in_float: Sequence[Kept] = ()
    repaired: Sequence[Repaired] = ()
    note: str = ""  # why a step could not be taken

    @property
    def worst(self) -> list[Kept]:
        """The layers that are furthest from what they gave in float, with the share of its variance."""
        last = sorted(self.repaired, key=lambda r: -r.after)[:WORST]
        return [Kept(r.layer, r.after) for r in last]

    @property
    def opset(self) -> int:
        return opset_of(self.proto)


def checked(method: str) -> str:
    """Itself, where all its words are known."""
    *steps, last = method.split("+")
    for words, known in ((steps, list(STEPS)), ([last], list(RANGES))):
        for word in words:
            if word not in known:
                raise EdgepruneError(f"int8 method {method!r}", closest(word, known))
    return method


def of_file(path: Path, examples: Sequence[Example], method: str = USUAL) -> Made:
    """The network of the float file ``path`` in 8 bits; the file is left as it is.

    ``method``: steps of `repair.STEPS` in their order and a rule of `ranges.RANGES`: ``lstsq+mse``.
    """
    *steps, last = checked(method).split("+")
    if not examples:
        raise EdgepruneError("int8", "no examples to take the ranges from", "give some images")
    proto, repaired, note = prepared(path), [], ""
    if steps:
        try:
            found = network(proto, examples)
        except EdgepruneError as e:  # an operator that is not followed, a single example
            note = f"its layers are not repaired: {e}"
        else:
            repaired = _repaired(found, steps, RANGES[last])
            proto = found.written()
    ranges = {name: RANGES[last](seen) for name, seen in observe(proto, examples).items()}
    in_float = sensitive(proto, ranges, examples)
    made = quantised(proto, ranges, [kept.layer for kept in in_float])
    count = sum(size(x) for x in examples)
    return Made(made, method, count, ranges, in_float, repaired, note)


def _repaired(found: Network, steps: Sequence[str], rule: Rule) -> list[Repaired]:
    try:
        return [each for step in steps for each in STEPS[step](found, rule)]
    except RuntimeError as e:  # what torch raises at examples of another shape
        raise EdgepruneError(
            "int8: the network fails on the examples",
            first_line(e),
            "give images or arrays of the kind that the network takes",
        ) from e
