"""How the accuracy falls when one group alone loses its lowest units, nothing retrained.

Figure 1b of Hubens et al. 2020; Li et al. 2017, section 3.2. Measured once, on the dense network and
on validation images; from it the paper's way takes its layers, and ``--method sensitivity`` its shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from .. import prune, records, train
from ..checkpoint import Loaded
from ..graph import can_vanish
from ..prune.images import Images
from ..train import Judged
from . import rounds
from .way import Work

SHARES = (0.125, 0.25, 0.5, 0.75)  # of a group's units; and all, where the group may vanish


@dataclass(frozen=True)
class Curve:
    """Accuracy of the dense network with a share of one layer's lowest filters removed, not retrained."""

    layer: str
    shares: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, share: float) -> float:
        """Linear between the measured points, and from the last one down to nothing at share 1."""
        points = [*zip(self.shares, self.accuracy, strict=True), (1.0, 0.0)]
        for (s0, a0), (s1, a1) in pairwise(points):
            if share <= s1:
                return a0 + (a1 - a0) * (share - s0) / (s1 - s0)
        return points[-1][1]

    def losses(self, width: int, dense: int) -> list[float]:
        """Accuracy lost at each width 0, 1, ..., ``width`` of a group of ``dense`` now ``width`` wide.

        Never falling as it gets narrower: what a sample says in favour of removing more is noise.
        """
        worst, found = 0.0, []
        for removed in range(width + 1):
            worst = max(worst, self.accuracy[0] - self.at(1 - (width - removed) / dense))
            found.append(worst)
        return found[::-1]


def measure(
    work: Work[Any],
    layers: Sequence[str],
    images: Images | None,
    precision: str,
    keep: bool = True,
) -> list[Curve]:
    """A curve for each group of ``layers`` on ``way.sensitivity_images`` validation images.

    Those that the run has are not measured again; each is written into it at once (if ``keep``).
    """
    dense, settings = work.dense, work.way.settings
    some = work.labelled.validation.take(work.way.sensitivity_images)
    known = {r.layer: r for r in work.run.history(records.Sensitivity)} if keep else {}
    missing = [layer for layer in layers if layer not in known]

    def judged(model: Any) -> Judged:
        return train.evaluate(model, some, dense.convention, precision=precision, task=work.task)

    if missing:
        work.watch.note(f"sensitivity of {len(layers)} layers on {len(some)} validation images")
        evidence = rounds.look(dense.graph, images, settings)
        start = judged(dense.model)
    for done, layer in enumerate(missing, len(layers) - len(missing) + 1):
        scores = rounds.score(dense.graph, layer, evidence, settings)
        all_of_it = settings.floor == 0 and can_vanish(dense.graph, [layer])
        shares = (*SHARES, 1.0) if all_of_it else SHARES
        known[layer] = _curve(layer, scores, dense, start, judged, shares)
        if keep:
            work.run.append(known[layer])
        work.watch.on_progress("sensitivity", done, len(layers))
    return [Curve(n, tuple(known[n].shares), tuple(known[n].accuracy)) for n in layers]


def losses(
    curves: Sequence[Curve], widths: Mapping[str, int], dense: Mapping[str, int]
) -> dict[str, list[float]]:
    """For each group what :func:`edgeprune.prune.plan` wants to know: the loss at every width."""
    return {c.layer: c.losses(widths[c.layer], dense[c.layer]) for c in curves}


def _curve(
    layer: str, scores: Tensor, dense: Loaded, start: Judged, judged: Callable[[Any], Judged],
    shares: Sequence[float] = SHARES,
) -> records.Sensitivity:  # fmt: skip
    accuracy = [start.score]
    for share in shares:
        left = max(1 if share < 1 else 0, round(len(scores) * (1 - share)))
        smaller = prune.narrow(dense.graph, {layer: prune.largest(scores, left)}).model
        accuracy.append(judged(smaller).score)
    return records.Sensitivity(
        layer=layer, shares=[0.0, *shares], accuracy=accuracy, baseline=start.score, images=start.n
    )
