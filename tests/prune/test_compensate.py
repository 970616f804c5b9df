"""Repair in closed form: exact where it can be, never worse where it cannot."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, trace
from edgeprune.prune import blocks, compensate, narrow
from edgeprune.prune.images import Images
from edgeprune.prune.readers import find_readers, inputs_at, outputs_at, sample, weight_matrix
from edgeprune.prune.walk import Walk
from tests import branches
from tests.branches import Concatenated, Identity, Inverted, Projection, Squeezed
from tests.nets import NETS, build, images


def pictures(batch: int, seed: int) -> Tensor:
    """Smooth random images of different contrast: unlike noise, they differ after pooling too."""
    coarse = images(batch, seed, 4) * torch.linspace(0.5, 3, batch).double()[:, None, None, None]
    return F.interpolate(coarse, size=16, mode="bilinear") + 0.2 * images(batch, seed + 1000, 16)


CALIBRATION = Images([pictures(16, seed) for seed in range(8)])
FRESH = pictures(128, 99)  # of 32, which are drawn moves a loss by a tenth


def logits(graph: Graph, x: Tensor = FRESH) -> Tensor:
    with torch.no_grad():
        return graph.model(x)


def lost(dense: Graph, pruned: Graph, x: Tensor = FRESH) -> float:
    """Share of the logits' variance that is lost, on images never seen unless given."""
    a, b = logits(dense, x), logits(pruned, x)
    return float((a - b).square().mean() / a.var(0).mean())


def divergence(dense: Graph, pruned: Graph, x: Tensor) -> float:
    """Mean KL(dense answers || pruned answers)."""
    p, q = (F.log_softmax(logits(g, x), 1) for g in (dense, pruned))
    return float((p.exp() * (p - q)).sum(1).mean())


def half(graph: Graph, share: float = 0.6) -> dict[str, list[int]]:
    return {n: list(range(max(1, round(g.width * share)))) for n, g in graph.groups.items()}


@pytest.fixture(scope="module", params=sorted(NETS))
def dense(request: pytest.FixtureRequest) -> Graph:
    return trace(build(request.param), images(2))


def test_rows_are_the_layer(dense: Graph) -> None:
    """X W' + b at sampled places is what the layer gives there."""
    x = images(3)
    readers = find_readers(dense)
    assert readers
    for reader in readers:
        walk = Walk(dense.module, [x])
        walk.reach(walk.index[reader.node])
        node = walk.node(reader.node)
        source = walk.values[0][node.args[0]]  # type: ignore[index]
        walk.reach(walk.index[reader.node] + 1)
        y = walk.values[0][node]
        at = sample(reader, len(y), y.shape, 5, torch.Generator().manual_seed(0))
        constants = dense.constants()
        W = weight_matrix(reader, constants[reader.weight].detach())
        got = torch.einsum("rgd,god->rgo", inputs_at(reader, source, at), W).flatten(1)
        if reader.bias:
            got = got + constants[reader.bias].detach()
        torch.testing.assert_close(got, outputs_at(reader, y, at), rtol=1e-9, atol=1e-9)


def test_repair_helps_on_fresh_images(dense: Graph) -> None:
    keep = half(dense)
    bare, folded, repaired = (narrow(dense, keep) for _ in range(3))
    if not find_readers(bare):
        pytest.skip("nothing to repair")
    compensate.mean(dense, folded, keep, CALIBRATION)
    report = compensate.lstsq(dense, repaired, keep, CALIBRATION)
    assert lost(dense, repaired) < lost(dense, bare)
    assert lost(dense, repaired) < lost(dense, folded)
    for layer in report:
        assert layer.after <= layer.before * 1.1
    again = narrow(dense, keep)
    compensate.lstsq(dense, again, keep, CALIBRATION)
    assert torch.equal(logits(again), logits(repaired))  # the same images, the same network


def test_nothing_cut_changes_nothing(dense: Graph) -> None:
    whole = narrow(dense, {})
    assert compensate.lstsq(dense, whole, {}, CALIBRATION) == []
    torch.testing.assert_close(logits(whole), logits(dense), rtol=1e-5, atol=1e-5)


class Twins(nn.Module):
    """Half of the maps are linear combinations of the others: they can leave without loss."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 1)
        self.b = nn.Conv2d(8, 6, 3, padding=1, stride=2)
        self.bn = nn.BatchNorm2d(6)
        self.c = nn.Conv2d(6, 6, 1, bias=False)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.b(self.a(x))))  # a is linear: rank 3 and a constant
        return self.head(F.relu(self.c(x)).mean((2, 3)))


def twins() -> Graph:
    torch.manual_seed(0)
    net = Twins().double().eval()
    with torch.no_grad():
        net.a.bias.zero_()  # zero padding then stays linear too
    return trace(net, images(2))


def test_lossless_where_the_maps_are_redundant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compensate, "RIDGES", (1e-9,))
    dense = twins()
    keep = {"a": [1, 3, 4, 6]}
    bare, repaired = narrow(dense, keep), narrow(dense, keep)
    compensate.lstsq(dense, repaired, keep, CALIBRATION)
    assert lost(dense, bare) > 1e-2
    assert lost(dense, repaired) < 1e-9


def test_least_squares_is_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving the repaired weights in any direction raises the layer's error."""
    monkeypatch.setattr(compensate, "RIDGES", (1e-12,))
    dense = twins()
    keep = {"b": [0, 2, 5]}
    pruned = narrow(dense, keep)
    compensate.lstsq(dense, pruned, keep, CALIBRATION)
    x = torch.cat(list(CALIBRATION.batches))

    def error() -> float:
        with torch.no_grad():
            whole, small = dense.model, pruned.model
            a = whole.c(F.relu(whole.bn(whole.b(whole.a(x)))))
            b = small.c(F.relu(small.bn(small.b(small.a(x)))))
            # c has neither bias nor norm: no offset, so this is the whole criterion
            return float((a - b).square().mean())

    best = error()
    weight = pruned.model.c.weight
    for seed in range(5):
        step = 1e-2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            weight.add_(step)
            assert error() > best
            weight.sub_(step)


def test_mean_folding_is_the_mean() -> None:
    """What left is constant: its mean says it all, and the offset takes it up exactly."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten()).double()
    with torch.no_grad():
        net[0].weight[2], net[0].bias[2] = 0.0, 1.7  # type: ignore[index]
    dense = trace(net, images(2))
    keep = {"0": [0, 1, 3, 4, 5]}
    pruned = narrow(dense, keep)
    assert lost(dense, pruned) > 1e-3
    compensate.mean(dense, pruned, keep, CALIBRATION)
    assert lost(dense, pruned) < 1e-20


def test_blocks_go_on_from_there() -> None:
    dense = trace(build("Depthwise"), images(2))
    keep = half(dense)
    seen = torch.cat(list(CALIBRATION.batches))
    pruned = narrow(dense, keep)
    compensate.lstsq(dense, pruned, keep, CALIBRATION)
    before = lost(dense, pruned, seen)
    report = blocks.blocks(dense, pruned, keep, CALIBRATION, steps=60)
    assert all(b.after <= b.before for b in report)
    assert lost(dense, pruned, seen) < before
    assert not any(p.grad is not None for p in pruned.model.parameters())


def test_distillation_brings_the_answers_nearer() -> None:
    net = build("Depthwise")
    with torch.no_grad():
        net.head.weight.mul_(30)  # answers that differ from image to image
    dense = trace(net, images(2))
    keep = half(dense)
    seen = torch.cat(list(CALIBRATION.batches))
    pruned = narrow(dense, keep)
    compensate.lstsq(dense, pruned, keep, CALIBRATION)
    before = divergence(dense, pruned, seen)
    blocks.distil(
        dense, pruned, keep, [*CALIBRATION.batches] * 10, 60, blocks.Distillation(lr=3e-4)
    )
    assert divergence(dense, pruned, seen) < 0.8 * before


def test_blocks_cover_the_network(dense: Graph) -> None:
    pruned = narrow(dense, {})
    found = blocks.find_blocks(pruned)
    assert found[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert found[-1].end == len(list(pruned.module.graph.nodes)) - 1
    own = {r.weight for r in find_readers(pruned)} - set(pruned.folded)
    assert {w for b in found for w in b.weights} >= own


class Standardised(nn.Module):
    """A layer behind two others whose weight is computed at each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.third = nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        weight = self.third.weight
        weight = (weight - weight.mean((1, 2, 3), True)) / weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.third.bias).mean((2, 3))


@pytest.mark.parametrize("way", [compensate.lstsq, compensate.mean])
def test_a_weight_that_is_computed_is_left_to_what_computes_it(way: Callable[..., object]) -> None:
    torch.manual_seed(0)
    dense = trace(Standardised().double().eval(), images(2))
    keep = {"first": [0, 2, 4]}
    pruned = narrow(dense, keep)
    assert pruned.folded
    way(dense, pruned, keep, CALIBRATION)
    with torch.no_grad():
        assert torch.allclose(pruned.module(FRESH), pruned.model(FRESH), rtol=1e-9)


def test_recalibration_takes_the_images_statistics() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double().eval()
    xs = [images(8, s) for s in range(3)]
    compensate.recalibrate(net, xs)
    y = torch.stack([net[0](x).detach().mean((0, 2, 3)) for x in xs]).mean(0)
    torch.testing.assert_close(net[1].running_mean, y)
    assert not net.training
    assert net[1].momentum == 0.1


def test_bad_images() -> None:
    with pytest.raises(EdgepruneError, match="no images"):
        Images([])
    with pytest.raises(EdgepruneError, match="NaN"):
        Images([torch.full((1, 3, 4, 4), float("nan"))])


def test_repair_of_a_repair_is_the_repair() -> None:
    """The running mean that took up an offset is not moved twice."""
    dense = trace(build("Depthwise"), images(2))
    keep = half(dense)
    once = narrow(dense, keep)
    compensate.lstsq(dense, once, keep, CALIBRATION)
    state = {n: t.clone() for n, t in once.model.state_dict().items()}
    compensate.mean(dense, once, keep, CALIBRATION)  # the means agree already
    for name, value in once.model.state_dict().items():
        torch.testing.assert_close(
            value, state[name], rtol=1e-6, atol=2e-2 if "mean" in name else 0
        )


def test_batches_left_behind_catch_up(dense: Graph) -> None:
    """A walk of some batches, then of all, ends where a walk of all does."""
    batches = [pictures(2, seed) for seed in range(3)]
    end = len(list(dense.module.graph.nodes))
    whole, late = Walk(dense.module, batches), Walk(dense.module, batches)
    whole.reach(end)
    late.reach(end - 2, first=1)
    assert late.values[0]
    assert not late.values[1]
    late.reach(end)
    for a, b in zip(whole.values, late.values, strict=True):
        torch.testing.assert_close(a[whole.nodes[-1]], b[late.nodes[-1]], rtol=0, atol=0)


def test_wide_maps_need_few_images(dense: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = half(dense)
    if not find_readers(dense):
        pytest.skip("nothing to repair")
    monkeypatch.setattr(compensate, "LIVE", 0)  # two batches in any case
    bare, repaired = narrow(dense, keep), narrow(dense, keep)
    compensate.lstsq(dense, repaired, keep, CALIBRATION)
    assert lost(dense, repaired) < lost(dense, bare)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_least_ridge_is_found_downhill(n: int) -> None:
    """Wherever the least of a falling, then rising row lies; nothing is tried twice."""
    for best in range(n):
        tried: list[int] = []

        def value(i: int, best: int = best, tried: list[int] = tried) -> float:
            tried.append(i)
            return abs(i - best) + 0.25

        assert compensate.least(value, n) == (best, 0.25)
        assert len(set(tried)) == len(tried)
        assert len(tried) <= abs(best - compensate.USUAL) + 3


def test_how_sums_are_made_changes_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows summed up one batch at a time, and a ridge chosen in single precision."""
    dense = trace(build("Plain"), images(2))
    keep = half(dense)
    usual, pieces, single = (narrow(dense, keep) for _ in range(3))
    reports = [compensate.lstsq(dense, usual, keep, CALIBRATION)]
    monkeypatch.setattr(compensate, "CHUNK", 1)
    reports.append(compensate.lstsq(dense, pieces, keep, CALIBRATION))
    torch.testing.assert_close(logits(pieces), logits(usual), rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(compensate, "NARROW", 0)
    reports.append(compensate.lstsq(dense, single, keep, CALIBRATION))
    torch.testing.assert_close(logits(single), logits(usual), rtol=1e-9, atol=1e-9)
    for rows in zip(*reports, strict=True):
        assert len({r.ridge for r in rows}) == 1
        assert rows[0].after == pytest.approx(rows[2].after, rel=1e-3)


def test_a_matrix_that_rounding_made_indefinite_is_solved_all_the_same() -> None:
    S = torch.tensor([[[1.0, 1 + 1e-6], [1 + 1e-6, 1.0]]]).double()
    R = torch.ones(1, 2, 1).double()
    problem = compensate.Regression(*[torch.zeros(1, 2)] * 2, S, R, *[torch.ones(1, 1)] * 2)  # type: ignore[arg-type]
    torch.testing.assert_close((S + 1e-12 * torch.eye(2)) @ problem.step(1e-12), R)


def test_bytes_that_live_are_those_still_read() -> None:
    """Depthwise at its pointwise layer: one map of 12 channels at 8 x 8, four bytes each."""
    dense = trace(build("Depthwise"), images(2))
    walk = Walk(dense.module, [images(2)])
    reader = next(r for r in find_readers(dense) if r.layer == "pw.0")
    assert compensate.live_bytes(dense, walk, walk.index[reader.node]) == 4 * 12 * 8 * 8


def test_the_ridge_is_the_one_that_predicts_other_rows() -> None:
    """30 inputs, 32 rows a fold, an answer that is noise: what fits it least predicts best."""
    random = torch.Generator().manual_seed(0)
    W0 = torch.zeros(1, 1, 30, dtype=torch.float64)
    folds = []
    for _ in range(2):
        fold = compensate.Moments()
        fold.add(*(torch.randn(32, 1, n, generator=random, dtype=torch.float64) for n in (30, 1)))
        folds.append(fold)
    halves = [fold.about(W0, offset=False) for fold in folds]
    folds[0].absorb(folds[1])
    weights = torch.ones(1, 1, dtype=torch.float64)
    _, found = compensate.least_squares(folds[0].about(W0, offset=False), halves, W0, weights)
    assert found.ridge == compensate.RIDGES[0]


@pytest.mark.parametrize("net", [Identity, Projection, Inverted, Squeezed, Concatenated])
@pytest.mark.parametrize("way", [compensate.mean, compensate.lstsq, blocks.blocks])
def test_what_stands_for_a_branch_is_its_mean(
    net: type[nn.Module], way: Callable[..., Any]
) -> None:
    dense = branches.traced(net)
    keep: dict[str, list[int]] = {name: [] for name in list(branches.NETS[net])[:1]}
    keep["stem.0"] = [0, 1, 3, 4, 6, 7]
    bare, repaired = narrow(dense, keep), narrow(dense, keep)
    way(dense, repaired, keep, CALIBRATION)
    assert lost(dense, repaired) < lost(dense, bare)


def test_the_mean_is_of_the_branch_and_of_the_error_beside_it() -> None:
    dense = branches.traced(Projection)
    keep: dict[str, list[int]] = {"b.0": [], "stem.0": [0, 1, 3, 4, 6, 7], "c.0": [0, 2, 3, 5]}
    small = narrow(dense, keep)
    compensate.lstsq(dense, small, keep, CALIBRATION)
    (name,) = small.vanished
    x = torch.cat([b.double() for b in CALIBRATION.batches])
    net: Any = dense.model
    stem = F.relu(net.stem(x))
    branch, shortcut = (net.c(F.relu(net.b(F.relu(net.a(stem))))), net.shortcut(stem))
    walk = Walk(small.module, [x])
    taken = next(n for n in walk.nodes if n.op == "get_attr" and n.target == name)
    (total,) = taken.users
    (mine,) = (a for a in total.args if a is not taken)
    walk.reach(walk.index[total.name])
    wanted = (branch + shortcut)[:, keep["c.0"]] - walk.values[0][mine]
    got = dict(small.model.named_parameters())[name]
    torch.testing.assert_close(got, wanted.mean((0, 2, 3), keepdim=True), rtol=1e-6, atol=1e-6)


def test_mixed_outputs_choose_the_ridge_of_all() -> None:
    """A wide layer's ridge is chosen on a few mixtures: the sum that they stand for, nearly."""
    generator = torch.Generator().manual_seed(3)
    outputs = 400
    R = torch.randn(1, 30, outputs, generator=generator).double()
    A = torch.randn(1, 30, 30, generator=generator).double()
    A = A @ A.transpose(1, 2)
    weights = torch.rand(1, outputs, generator=generator).double()
    mix = compensate.mixed(weights)
    assert mix is not None
    assert mix.shape == (1, outputs, compensate.MIXED)
    whole = ((R * (A @ R)).sum(1) * weights).sum()
    few = ((R @ mix) * (A @ (R @ mix))).sum()
    assert abs(float(few / whole) - 1) < 0.2
    assert compensate.mixed(weights[:, : 2 * compensate.MIXED]) is None  # few as they are


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    """The repair of a network in half precision is that of the same network in double, rounded."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 4, 3, padding=1)
    ).eval()
    seen = [images(8, seed).to(dtype) for seed in range(4)]
    given = net.to(dtype).state_dict()
    found = []
    for kind in (dtype, torch.float64):
        net.to(kind).load_state_dict(given)
        dense = trace(net, seen[0].to(kind))
        pruned = narrow(dense, half(dense))
        assert compensate.lstsq(dense, pruned, half(dense), Images([x.to(kind) for x in seen]))
        assert pruned.model[2].weight.dtype == kind  # type: ignore[index]
        found.append(pruned.model[2].weight.detach().double())  # type: ignore[index]
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 0.02
