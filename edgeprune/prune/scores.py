"""Scores: how much each unit of a group matters (higher = keep). One plain function a criterion.

Each is ``score(graph, group, evidence=None) -> float64 [width]`` and one row of :data:`SCORES`, which
says what it needs beside the weights: a part of :class:`~edgeprune.prune.evidence.Evidence`. A group
that several layers make gets the sum (weights, gradients) or mean (maps) over all of them. A user's own
function is a row as well (:func:`own`); what any of them returns is checked in one place.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import units
from ..errors import EdgepruneError, closest, raised
from ..graph import Graph, Group, cost
from ..graph.groups import Site
from ..graph.tensors import fetch
from . import subspaces as subspace
from .elimination import DEAD, RIDGE, Elimination, eliminate
from .evidence import PARTS, Evidence, Maps, class_scores
from .without import Without

Score = Callable[[Graph, Group | str, Evidence | None], Tensor]

# -- weights alone ---------------------------------------------------------------------------------


def l1(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Sum of |W| over each filter (Li et al. 2017), over all layers that produce the group.

    s_j = sum over c, u, v of |W[j, c, u, v]|. Returns float64 of shape (width,).
    """
    return _over_producers(graph, group, lambda W: W.abs().flatten(1).sum(1))


def l2(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Euclidean norm of each filter (Li et al. 2017, section 4): s_j = sqrt(sum W[j]^2)."""
    return _over_producers(graph, group, lambda W: W.flatten(1).norm(dim=1))


def fpgm(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Distance to the geometric median (He et al. 2019, FPGM): s_j = sum_k |W[j] - W[k]|_2.

    A filter near all the others can be stood in for by them.
    """
    return _over_producers(graph, group, lambda W: torch.cdist(W.flatten(1), W.flatten(1)).sum(1))


def bn_scale(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """|gamma| of the batch norms that the group's units lie on (Liu et al. 2017, slimming)."""
    group = graph.group(group)
    total = torch.zeros(group.width, dtype=torch.float64)
    found = False
    for site in group.sites:
        owner, _, leaf = site.tensor.rpartition(".")
        is_norm = leaf == "weight" and site.axis == 0 and f"{owner}.running_mean" in _names(graph)
        if is_norm:
            gamma = fetch(graph.module, site.tensor).detach().double().cpu()
            total += _by_unit(site, gamma.abs(), group.width)
            found = True
    if not found:
        raise EdgepruneError(
            f"score bn_scale for {group.name}", "no batch norm with a scale", "use --score l1"
        )
    return total


def random(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """The control: uniform numbers that depend on the group's name only."""
    group = graph.group(group)
    seed = int.from_bytes(hashlib.sha256(group.name.encode()).digest()[:7], "little")
    return torch.rand(group.width, generator=torch.Generator().manual_seed(seed)).double()


# -- maps ------------------------------------------------------------------------------------------


def apoz(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """1 - APoZ (Hu et al. 2016): the share of a map's places, over images, that is not zero."""
    maps = _maps(graph, group, evidence, "apoz")
    return 1 - maps.zeros / maps.n


def mean_response(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """|mean of the map| over images and places (a baseline of Molchanov et al. 2017)."""
    maps = _maps(graph, group, evidence, "mean_response")
    return (maps.mean / maps.n).abs()


def linear_redundancy(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """How badly the other maps reconstruct a map linearly (after Wang et al. 2018).

    s_j = min_a mean (x_j - sum_k a_k x_k)^2 / mean x_j^2 = 1 / (H[j,j] S[j,j]), S = X'X / n + ridge,
    H = S^-1. Their sparse subspace clustering asks the same of clusters of maps.
    """
    maps = _maps(graph, group, evidence, "linear_redundancy")
    S, alive = _alive(maps)
    score = torch.zeros(len(alive), dtype=S.dtype)  # a map of zeros says nothing: it leaves first
    if not len(S):
        return score
    S = S + RIDGE * S.diagonal().mean() * torch.eye(len(S), dtype=S.dtype)
    score[alive] = 1 / (torch.linalg.inv(S).diagonal() * S.diagonal()).clamp_min(1e-300)
    return score


def subspaces(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """One map of each cluster stays (Wang et al. 2018: maps lie in few subspaces).

    The maps are parted into k clusters by sparse subspace clustering (module ``subspaces``), and of each
    the one of most energy stays; ``--compensate lstsq`` is their refit of what reads the group. k = 1/8,
    2/8, ... of the maps, the least first; who stays at a smaller k stays at a larger one. Score = at how
    many of these k it stays; of equals the one of more energy.
    """
    S, alive = _alive(_maps(graph, group, evidence, "subspaces"))
    score = torch.zeros(len(alive), dtype=torch.float64)  # a map of zeros leaves first
    if not len(S):
        return score
    n, energy = len(S), S.diagonal()
    stays = torch.zeros(n, dtype=torch.bool)
    found = energy / (2 * energy.max())
    C = subspace.coefficients(S)
    for k in sorted({max(1, n * eighths // 8) for eighths in range(1, 8)} - {n}):
        of = torch.from_numpy(subspace.clusters(C, k))
        for own in (of == cluster for cluster in of.unique()):
            if not bool(stays[own].any()):
                stays |= own & (energy == energy[own].max())
        found += stays
    score[alive] = found + 1
    return score


def _alive(maps: Maps) -> tuple[Tensor, Tensor]:
    """Second moments of the maps that say something, near 1 however small they are; and which these are."""
    S = maps.second / maps.rows
    size = float(S.diagonal().max())
    alive = S.diagonal() > DEAD * size
    if not 0 < size < math.inf or not 1 / size < math.inf:  # none says anything
        return S[:0, :0], torch.zeros_like(alive)
    return S[alive][:, alive] / size, alive


def pfa(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """PFA's choice of units (Suau et al. 2018, "L1-max"): who correlates most leaves first.

    R = |Pearson correlation| of the largest responses of each map; the unit with the largest sum of
    R over those that are left leaves, and the sums are taken again. Score = the place in that order.
    How many to keep: :func:`pfa_energy`, :func:`pfa_kl`.
    """
    covariance = _maps(graph, group, evidence, "pfa").covariance()
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    dead = deviation <= 1e-12 * deviation.max()
    safe = torch.where(dead, torch.ones_like(deviation), deviation)
    R = (covariance / torch.outer(safe, safe)).abs()
    R[dead], R[:, dead] = 1.0, 1.0  # a constant map says nothing: as if a copy of all
    sums = R.sum(1)
    score = torch.zeros(len(R), dtype=torch.float64)
    left = torch.ones(len(R), dtype=torch.bool)
    for place in range(len(R)):
        out = int(torch.where(left, sums, torch.full_like(sums, -torch.inf)).argmax())
        score[out] = place
        left[out] = False
        sums = sums - R[out]
    return score


def pfa_energy(graph: Graph, group: Group | str, evidence: Evidence, tau: float = 0.95) -> int:
    """How many units PFA keeps: the smallest k with sum_{i<=k} e_i / sum e >= tau.

    e: eigenvalues of the covariance of the largest responses, falling.
    """
    lost = pfa_lost(graph, group, evidence)
    return next(k for k in range(1, len(lost)) if lost[k] <= 1 - tau + 1e-12)


def pfa_lost(graph: Graph, group: Group | str, evidence: Evidence) -> list[float]:
    """The energy that PFA counts as lost at each width k = 0..C: 1 - sum_{i<=k} e_i / sum e.

    With ``--method threshold`` all groups lose about as much: their recipe for a given size.
    """
    e = _spectrum(_maps(graph, group, evidence, "pfa_energy"))
    share = e.cumsum(0) / e.sum().clamp_min(1e-300)
    return [1.0, *(1 - share[:-1]).tolist(), 0.0]


def pfa_kl(graph: Graph, group: Group | str, evidence: Evidence) -> int:
    """How many units PFA keeps without a parameter: ceil(C (1 - KL(e / sum e || uniform) / ln C))."""
    e = _spectrum(_maps(graph, group, evidence, "pfa_kl"))
    C = len(e)
    p = e / e.sum().clamp_min(1e-300)
    kl = float(torch.special.xlogy(p, p * C).sum())
    return max(1, min(C, math.ceil(C * (1 - kl / math.log(C)) - 1e-9)))


def _spectrum(maps: Maps) -> Tensor:
    return torch.linalg.eigvalsh(maps.covariance()).flip(0).clamp_min(0)


# -- gradients -------------------------------------------------------------------------------------


def taylor(
    graph: Graph,
    group: Group | str,
    evidence: Evidence | None = None,
    flops_weight: float = 1e-3,
) -> Tensor:
    """First-order Taylor of the loss in a map (Molchanov et al. 2017, equations 8, 10 and 11).

    Theta_j = mean over examples of |mean over places of dC/dz_j z_j|; divided by its L2 norm over
    the layer's maps; less ``flops_weight`` times the MFLOPs of one map (the unit is our reading).
    """
    group = graph.group(group)
    layers = _need(evidence, "taylor").gradients[group.name].taylor
    theta = torch.stack([t / t.norm().clamp_min(1e-300) for t in layers]).sum(0)
    one_less = cost(graph, {group.name: group.width - 1}).flops
    return theta - flops_weight * (cost(graph).flops - one_less) / 1e6


def taylor_gate(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Gate form (Molchanov et al. 2019, equation 8): sum over batches of (dE/dgate)^2, gate = 1.

    The gate stands behind the activation. With ReLU that is the same as theirs behind the norm; where an
    activation saturates (ReLU6) a gate behind it counts those places too.
    """
    return torch.stack(_need(evidence, "taylor_gate").gradients[graph.group(group).name].gate).sum(
        0
    )


def obd(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Optimal brain damage (LeCun et al. 1990) of whole maps: h_jj g_j^2 / 2 of a gate g_j = 1 before each.

    h_jj, the loss's curvature, is the Fisher information: the mean over examples of (dC/dg_j)^2 (Theis et
    al. 2018). Optimal brain surgeon's saliency, of the readers' squared error, is `reconstruction`; its
    update of all that stays is the least squares of ``--compensate lstsq``.
    """
    layers = _need(evidence, "obd").gradients[graph.group(group).name].fisher
    return torch.stack(layers).sum(0) / 2


def car(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """Classification accuracy reduction (Abbasi-Asl, Yu 2017): accuracy lost without each unit.

    CAR(j) = accuracy - accuracy without unit j, on the evidence's images, by masks. Without labels
    the network's own answers are taken for the truth.
    """
    group = graph.group(group)
    right = _right(graph, group, _need(evidence, "car"))
    all_of_it = torch.ones(1, group.width, dtype=torch.bool)
    whole = float(right(all_of_it))
    without = right(all_of_it & ~torch.eye(group.width, dtype=torch.bool)).tolist()
    return torch.tensor([whole - a for a in without], dtype=torch.float64)


def car_greedy(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """CAR greedily (Abbasi-Asl, Yu 2017): the unit of least CAR leaves, and CAR is taken again without it.

    Score = the place in that order. Of a group of more than `ASKED` units, so many of least CAR are asked
    again, and more only while one that was not might be less: exact as long as no unit's CAR falls
    because another left.
    """
    group = graph.group(group)
    right = _right(graph, group, _need(evidence, "car_greedy"))
    stays = torch.ones(group.width, dtype=torch.bool)
    now = float(right(stays[None]))
    lost = torch.full(
        (group.width,), -torch.inf, dtype=torch.float64
    )  # CAR, when it was last taken
    score = torch.zeros(group.width, dtype=torch.float64)
    for place in range(group.width):
        fresh = ~stays
        while not bool(fresh.all()):
            left = lost.masked_fill(fresh, torch.inf)  # not asked again
            if lost.masked_fill(~(fresh & stays), torch.inf).min() <= left.min():
                break
            asked = left.argsort(stable=True)[: min(ASKED, int((~fresh).sum()))]
            choices = stays.repeat(len(asked), 1)
            choices[torch.arange(len(asked)), asked] = False
            lost[asked], fresh[asked] = now - right(choices), True
        out = int(lost.masked_fill(~stays, torch.inf).argmin())
        score[out], stays[out] = place, False
        now -= float(lost[out])
    return score


ASKED = 64  # units of a group whose CAR is taken again at a time (assumption)
TOGETHER = 4096  # images that go through what reads a group at a time (assumption)


def _right(graph: Graph, group: Group, evidence: Evidence) -> Callable[[Tensor], Tensor]:
    """Which share of the evidence's images gets the right class, [m], of which units stay, bool [m, width].

    Without labels the network's own answers are taken for the truth.
    """
    seen = [
        Without(graph, group, x, lambda outputs: class_scores(outputs).argmax(1))
        for x in evidence.images.batches
    ]
    everything = torch.ones(1, group.width, dtype=torch.bool)
    truth = evidence.labels or [one(everything)[0] for one in seen]

    def right(stays: Tensor) -> Tensor:
        found = torch.zeros(len(stays), dtype=torch.float64)
        for one, y in zip(seen, truth, strict=True):
            many = max(1, TOGETHER // len(y))
            parts = [(one(some) == y).sum(1) for some in stays.split(many)]
            found += torch.cat(parts)
        return found / len(evidence.images)

    return right


# -- what readers lose -----------------------------------------------------------------------------


def reconstruction(graph: Graph, group: Group | str, evidence: Evidence | None = None) -> Tensor:
    """What the group's readers lose, refitted by least squares (module ``elimination``).

    s_j = relative squared error of the readers' outputs once unit j leaves in its turn.
    """
    return elimination_of(graph, group, _need(evidence, "reconstruction")).score()


def elimination_of(graph: Graph, group: Group | str, evidence: Evidence) -> Elimination:
    """The order of leaving, and the readers' relative error at every width."""
    group = graph.group(group)
    known = evidence.eliminated  # for the scores, and again for what each width loses
    if group.name not in known:
        problems = evidence.problems[group.name]
        known[group.name] = eliminate(problems, group.width) if problems else _by_norm(graph, group)
    return known[group.name]


def _by_norm(graph: Graph, group: Group) -> Elimination:
    """Nothing that sums reads the group: the filters' norm decides."""
    order = l1(graph, group).argsort(stable=True).numpy()
    return Elimination(order, np.linspace(1, 0, group.width + 1))


# -- small things ----------------------------------------------------------------------------------


def _over_producers(graph: Graph, group: Group | str, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Add up ``score`` (filters first -> one value a filter) at each unit's filters."""
    group = graph.group(group)
    constants = graph.constants()
    total = torch.zeros(group.width, dtype=torch.float64)
    for site in group.producing_sites():
        W = constants[site.tensor].detach().double().cpu().movedim(site.axis, 0)
        total += _by_unit(site, score(W), group.width)
    return total


def _by_unit(site: Site, values: Tensor, width: int) -> Tensor:
    unit = torch.from_numpy(site.unit)
    own = unit >= 0
    return torch.zeros(width, dtype=values.dtype).index_add(0, unit[own], values[own])


def _names(graph: Graph) -> set[str]:
    return {name for name, _ in graph.sites}


def _need(evidence: Evidence | None, score: str) -> Evidence:
    if evidence is None:
        raise EdgepruneError(
            f"score {score}", "needs images to look at", "give --images FOLDER, or take --score l1"
        )
    return evidence


def _maps(graph: Graph, group: Group | str, evidence: Evidence | None, score: str) -> Maps:
    maps = _need(evidence, score).maps[graph.group(group).name]
    if not maps.n:
        raise EdgepruneError(f"score {score}", "the group's maps cannot be observed", "use l1")
    return maps


# -- the table -------------------------------------------------------------------------------------


YOURS = "the user's own"


@dataclass(frozen=True)
class Criterion:
    """One row: a function that scores a group's units, and what it looks at."""

    name: str
    function: Callable[
        ..., Any
    ]  # (graph, group, evidence) -> a number for each unit, higher = keep
    needs: str = ""  # maps, gradients, labels, readers: a part of the evidence; "": weights alone
    source: str = ""  # the paper, or YOURS
    lost: Callable[..., Sequence[float]] | None = None  # (graph, group, evidence) -> what the group
    # loses at each width 0..W, where the score says it
    width: Callable[..., int] | None = (
        None  # how many units stay, where the score says it by itself
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """What `evidence.gather` has to look for."""
        return (self.needs,) if self.needs in PARTS else ()

    def __call__(
        self, graph: Graph, group: Group | str, evidence: Evidence | None = None
    ) -> Tensor:
        """Float64 [width], finite; an :class:`EdgepruneError` in one line for anything else."""
        group = graph.group(group)
        what = f"score {self.name} of {group.name}"
        try:
            value = self.function(*(graph, group, evidence)[: _taken(self.function)])
        except EdgepruneError:
            raise
        except Exception as e:
            if self.source != YOURS:
                raise  # one of ours: a fault, not a refusal
            raise EdgepruneError(what, raised(e), "mend the function") from None
        return _numbers(value, group.width, what)


def _taken(function: Callable[..., Any]) -> int:
    """How many of (graph, group, evidence) it takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return 2
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return min(3, max(2, len(places)))


def _numbers(value: Any, width: int, what: str) -> Tensor:
    try:
        score = torch.as_tensor(value).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError):
        raise EdgepruneError(
            what, f"gave a {type(value).__name__}, not numbers", f"return one for each of {width} units"
        ) from None  # fmt: skip
    if score.shape != (width,):
        raise EdgepruneError(
            what, f"has the shape {tuple(score.shape)}", f"return one number for each of {width} units"
        )  # fmt: skip
    if not bool(score.isfinite().all()):
        raise EdgepruneError(what, "NaN or infinite", "return finite numbers")
    return score


SCORES: dict[str, Criterion] = {
    row.name: row
    for row in (
        Criterion("l1", l1, source="Li et al. 2017"),
        Criterion("l2", l2, source="Li et al. 2017"),
        Criterion("fpgm", fpgm, source="He et al. 2019"),
        Criterion("bn_scale", bn_scale, source="Liu et al. 2017"),
        Criterion("apoz", apoz, "maps", "Hu et al. 2016"),
        Criterion("mean_response", mean_response, "maps", "Molchanov et al. 2017"),
        Criterion("linear_redundancy", linear_redundancy, "maps", "after Wang et al. 2018"),
        Criterion("subspaces", subspaces, "maps", "Wang et al. 2018"),
        Criterion("pfa", pfa, "maps", "Suau et al. 2018", pfa_lost, pfa_kl),
        Criterion("taylor", taylor, "gradients", "Molchanov et al. 2017"),
        Criterion("taylor_gate", taylor_gate, "gradients", "Molchanov et al. 2019"),
        Criterion("obd", obd, "gradients", "LeCun et al. 1990"),
        Criterion("car", car, "labels", "Abbasi-Asl and Yu 2017"),
        Criterion("car_greedy", car_greedy, "labels", "Abbasi-Asl and Yu 2017"),
        Criterion(
            "reconstruction",
            reconstruction,
            "readers",
            "Hassibi and Stork 1993",
            lambda *of: elimination_of(*of).error.tolist(),
        ),
        Criterion("random", random),
    )
}


def own(name: str, function: Callable[..., Any]) -> Criterion:
    """A user's function as a row; its attribute ``needs`` says what it looks at (default: weights)."""
    needs = getattr(function, "needs", "")
    if needs not in ("", "labels", *PARTS):
        raise EdgepruneError(
            f"score {name}: needs {needs!r}", closest(str(needs), ["labels", *PARTS])
        )
    return Criterion(name, function, needs, YOURS)


def is_own(score: str) -> bool:
    """Whether a score's name is the user's own ``FILE.py:FUNCTION``."""
    return ".py:" in score


def criterion(score: str) -> Criterion:
    """The row of that name; an error with the nearest one where there is none."""
    if score in SCORES:
        return SCORES[score]
    if is_own(score):
        raise EdgepruneError(f"score {score}", "is code that was not named now", f"--score {score}")
    raise EdgepruneError(f"score {score!r}", closest(score, list(SCORES)))


def scored(
    graph: Graph, by: Criterion, evidence: Evidence | None = None, groups: Iterable[str] = ()
) -> dict[str, Tensor]:
    """The scores of all ``groups`` (default: every one), from weights that are numbers."""
    sound(graph.model)
    return {name: by(graph, name, evidence) for name in groups or graph.groups}


def sound(model: nn.Module, of: str = "") -> None:
    """Refuse weights that are not numbers: a property of the network (``of``: its name), whatever the
    score."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise EdgepruneError(
                f"{of}: weights {name}" if of else f"weights {name}",
                "NaN or infinite values",
                "its training went astray: take an earlier checkpoint",
            )


def even(scores: Mapping[str, Tensor]) -> list[str]:
    """Groups whose units all score the same: there the order of the channels decides."""
    return [n for n, s in scores.items() if len(s) > 1 and bool((s == s[0]).all())]


def said(even: Sequence[str], of: int) -> str:
    """One line on groups whose scores decide nothing; "" where there are none."""
    if not even:
        return ""
    where = f"{len(even)} of {of} groups ({units.some(even)})"
    return f"all units score the same in {where}: there the last leave first"
