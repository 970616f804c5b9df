"""What the paper claims, each as a function of the table: yes, no or not decided, with its interval. Pure.

Hubens et al. 2020, sections 3 and 4. Each claim is a number that the claim says lies above a bound, one
number a seed; its interval of 95 % over the seeds (Student's t) decides: wholly above the bound "yes",
wholly below "no", else, and with fewer than two seeds, "not decided". A and B of one seed share images and
split, so that their difference is taken within the seed. Only rows that count are looked at: a baseline
that still rises, or rests at chance, does not.

Late layers are the second half of the layers that can be pruned, in the order in which they are computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy import stats

from ..records import StudyRow
from .paper import rows_printed

A, B = "A", "B"  # the words of the starts that are compared: pre-trained, random
YES, NO, OPEN = "yes", "no", "not decided"
Rows = Sequence[StudyRow]


@dataclass(frozen=True)
class Verdict:
    """A claim's answer for one network on one set."""

    claim: str  # a key of CLAIMS
    where: str  # mobilenetv1 on cifar10
    answer: str  # YES, NO, OPEN
    figure: float | None  # mean over seeds
    low: float | None  # interval of 95 %; None with fewer than two seeds
    high: float | None
    seeds: int
    bound: float = 0.0  # that it must lie above

    @property
    def said(self) -> str:
        return CLAIMS[self.claim].said


@dataclass(frozen=True)
class Claim:
    """One claim: ``values`` of the rows of one network, set and way, one a seed."""

    said: str
    figure: str  # what the number is
    values: Callable[[Rows], list[float]]
    bound: float = 0.0
    only: tuple[str, str] | None = None  # network and set that it is about
    source: str = "Hubens et al. 2020"
    ways: bool = True  # about the ways that prune; False: about a control
    wants: tuple[str, ...] = ("params", "flops")  # fields of a row without which it is not told


def decided(
    values: Sequence[float], bound: float = 0.0
) -> tuple[str, float | None, float | None, float | None]:
    """``(answer, mean, low, high)`` of what must lie above ``bound``.

    >>> decided([3.0]), decided([])
    (('not decided', 3.0, None, None), ('not decided', None, None, None))
    >>> [decided(v)[0] for v in ([3.0, 3.2, 3.1], [-3.0, -3.2, -3.1], [-1.0, 2.0, 0.5])]
    ['yes', 'no', 'not decided']
    """
    if len(values) < 2:
        return OPEN, (values[0] if values else None), None, None
    middle = mean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    low, high = middle - half, middle + half
    return (YES if low > bound else NO if high < bound else OPEN), middle, low, high


def lost(row: StudyRow, what: str) -> float:
    """Percent of the dense network's ``params`` or ``flops`` that are gone."""
    return 100 * (1 - getattr(row, what) / getattr(row, f"dense_{what}"))


def halves(row: StudyRow) -> tuple[float, float]:
    """Percent of the filters that are gone from the early and from the late layers."""
    layers = list(row.dense_widths)
    early, late = layers[: len(layers) // 2], layers[len(layers) // 2 :]

    def gone(names: Iterable[str]) -> float:
        some = list(names)
        whole = sum(row.dense_widths[n] for n in some)
        return 100 * (1 - sum(row.widths[n] for n in some) / whole) if whole else 0.0

    return gone(early), gone(late)


def later(row: StudyRow) -> float:
    """Points by which late layers lose a larger share of their filters than early ones."""
    early, late = halves(row)
    return late - early


def paired(rows: Rows, figure: Callable[[StudyRow], float]) -> list[float]:
    """``figure`` of A less that of B, within each seed that has both."""
    found = {(r.start, r.seed): figure(r) for r in rows}
    return [
        found[A, seed] - found[B, seed]
        for start, seed in found
        if start == A and (B, seed) in found
    ]


def of(rows: Rows, start: str, figure: Callable[[StudyRow], float]) -> list[float]:
    return [figure(r) for r in rows if r.start == start]


CLAIMS: dict[str, Claim] = {
    "further": Claim(
        "A loses more parameters than B", "points of the parameters, A - B",
        lambda rows: paired(rows, lambda r: lost(r, "params")),
    ),
    "late": Claim(
        "A loses its filters mostly in late layers", "points of the filters, late - early layers of A",
        lambda rows: of(rows, A, later), wants=("widths",),
    ),
    "even": Claim(
        "B is cut more evenly over depth than A", "points, (late - early) of A less that of B",
        lambda rows: paired(rows, later), wants=("widths",),
    ),
    "flops": Claim(
        "B ends with fewer FLOPs than A", "points of the FLOPs, B - A",
        lambda rows: [-d for d in paired(rows, lambda r: lost(r, "flops"))],
    ),
    "eighty": Claim(
        "up to 80 % of A's parameters leave (79.0 % at most are printed)", "percent of the parameters, A",
        lambda rows: of(rows, A, lambda r: lost(r, "params")), bound=79.0, only=("vgg16", "svhn"),
    ),
    "exception": Claim(
        "of MobileNetV1 on CIFAR-10 B loses more parameters than A (against the text)",
        "points of the parameters, B - A",
        lambda rows: [-d for d in paired(rows, lambda r: lost(r, "params"))],
        only=("mobilenetv1", "cifar10"),
    ),
    "accuracy": Claim(
        "pruning costs less than one point of accuracy (here: of the test images, that chose nothing)",
        "points of test accuracy, pruned - dense",
        lambda rows: [100 * ((r.test or 0) - (r.dense_test or 0)) for r in rows], bound=-1.0,
        wants=("test",),
    ),
    "control": Claim(
        "pruned and retrained is better than the same architecture from random weights",
        "points of test accuracy, pruned - control",
        lambda rows: [], source="Liu et al. 2019", ways=False,  # see `against`
    ),
}  # fmt: skip


def verdicts(rows: Rows, way: str, controls: Mapping[str, str] = {}) -> list[Verdict]:
    """Each claim about ``way``, for each network and set; ``controls``: a control's word -> whose it is."""
    found = []
    places = list(dict.fromkeys((r.model, r.data) for r in rows))
    for model, data in places:
        here = [r for r in rows if (r.model, r.data) == (model, data) and r.counts]
        pruned = [r for r in here if r.way == way]
        for name, claim in CLAIMS.items():
            if claim.ways and claim.only in (None, (model, data)):
                found.append(
                    _verdict(name, f"{model} on {data}", claim.values(pruned), claim.bound)
                )
        for control, of_way in controls.items():
            if of_way == way:
                others = [r for r in here if r.way == control]
                found.append(
                    _verdict("control", f"{model} on {data}, {control}", against(pruned, others))
                )
    return found


def printed(claim: str, model: str, data: str) -> float | None:
    """The claim's figure in the paper's own tables; None where these do not say."""
    row = CLAIMS[claim]
    some = [r for r in rows_printed() if (r.model, r.data) == (model, data)]
    if not all(getattr(r, what) for r in some for what in row.wants):
        return None
    values = row.values(some)
    return mean(values) if values else None


def against(pruned: Rows, control: Rows) -> list[float]:
    """Points of test accuracy of each pruned network less those of the control from its start and seed."""
    there = {(r.start, r.seed): r.test for r in control}
    return [
        100 * (r.test - other) for r in pruned
        if r.test is not None and (other := there.get((r.start, r.seed))) is not None
    ]  # fmt: skip


def _verdict(claim: str, where: str, values: list[float], bound: float = 0.0) -> Verdict:
    answer, figure, low, high = decided(values, bound)
    return Verdict(claim, where, answer, figure, low, high, len(values), bound)
