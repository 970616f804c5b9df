"""Each score against its formula, written out in loops on a tiny network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import plan
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, Group, cost, trace
from edgeprune.prune import evidence as ev
from edgeprune.prune import plan as planning
from edgeprune.prune import scores, subspaces
from edgeprune.prune.elimination import Problem, eliminate
from edgeprune.prune.images import Images

WIDTH = 5


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, WIDTH, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)
        self.b = nn.Conv2d(WIDTH, 4, 1)
        self.head = nn.Linear(4, 3)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.a(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.b(self.features(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Tiny:
    torch.manual_seed(0)
    net = Tiny().double().eval()
    with torch.no_grad():
        net.bn.weight.uniform_(-1, 1)
        net.bn.bias.normal_(0, 0.2)
        net.bn.running_mean.normal_(0, 0.2)
        net.bn.running_var.uniform_(0.5, 2)
    return net


@pytest.fixture(scope="module")
def batches() -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    return [torch.randn(6, 3, 4, 4, generator=g, dtype=torch.float64) for _ in range(4)]


@pytest.fixture(scope="module")
def graph(net: Tiny, batches: list[Tensor]) -> Graph:
    return trace(net, batches[0][:2])


@pytest.fixture(scope="module")
def labels() -> list[Tensor]:
    return list(torch.randint(0, 3, (4, 6), generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def seen(graph: Graph, batches: list[Tensor], labels: list[Tensor]) -> ev.Evidence:
    return ev.gather(graph, Images(batches), labels)


def close(got: Tensor, expected: object) -> None:
    torch.testing.assert_close(
        got, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )


def test_norms(graph: Graph, net: Tiny) -> None:
    W = net.a.weight.detach().numpy()
    close(scores.l1(graph, "a"), [sum(abs(v) for v in w.ravel()) for w in W])
    close(scores.l2(graph, "a"), [math.sqrt(sum(v * v for v in w.ravel())) for w in W])
    close(scores.fpgm(graph, "a"), [sum(math.sqrt(((w - u) ** 2).sum()) for u in W) for w in W])
    close(scores.bn_scale(graph, "a"), net.bn.weight.detach().abs())
    with pytest.raises(EdgepruneError, match="no batch norm"):
        scores.bn_scale(graph, "b")


def test_random_is_a_fixed_draw(graph: Graph) -> None:
    assert torch.equal(scores.random(graph, "a"), scores.random(graph, "a"))
    assert not torch.equal(scores.random(graph, "a")[:4], scores.random(graph, "b"))


def test_maps(graph: Graph, net: Tiny, batches: list[Tensor], seen: ev.Evidence) -> None:
    maps = net.features(torch.cat(batches)).detach()  # [N, C, H, W]
    zeros = [(maps[:, c] == 0).double().mean().item() for c in range(WIDTH)]
    assert 0 < max(zeros) < 1
    close(scores.apoz(graph, "a", seen), [1 - z for z in zeros])
    close(
        scores.mean_response(graph, "a", seen),
        [abs(maps[:, c].mean().item()) for c in range(WIDTH)],
    )


def test_linear_redundancy(
    graph: Graph, net: Tiny, batches: list[Tensor], seen: ev.Evidence
) -> None:
    X = net.features(torch.cat(batches)).detach().movedim(1, -1).reshape(-1, WIDTH)
    ridge = math.sqrt(1e-3 * X.square().mean().item() * len(X))
    expected = []
    for c in range(WIDTH):  # ridge regression on the others, the ridge as rows of its own
        rows = torch.cat([X, ridge * torch.eye(WIDTH, dtype=X.dtype)])
        others = [k for k in range(WIDTH) if k != c]
        a = torch.linalg.lstsq(rows[:, others], rows[:, c : c + 1]).solution
        left = (rows[:, c : c + 1] - rows[:, others] @ a).square().sum()
        expected.append((left / rows[:, c].square().sum()).item())
    close(scores.linear_redundancy(graph, "a", seen), expected)


def test_pfa(graph: Graph, net: Tiny, batches: list[Tensor], seen: ev.Evidence) -> None:
    peaks = net.features(torch.cat(batches)).detach().amax((2, 3)).numpy()
    R = np.abs(np.corrcoef(peaks.T))
    left, order = list(range(WIDTH)), []
    while left:
        sums = [sum(R[i, j] for j in left) for i in left]
        order.append(left.pop(int(np.argmax(sums))))
    close(scores.pfa(graph, "a", seen), [order.index(c) for c in range(WIDTH)])
    e = np.sort(np.linalg.eigvalsh(np.cov(peaks.T)))[::-1]
    p = e / e.sum()
    for tau in (0.5, 0.9, 0.99):
        k = next(k for k in range(1, WIDTH + 1) if p[:k].sum() >= tau)
        assert scores.pfa_energy(graph, "a", seen, tau) == k
    kl = sum(v * math.log(v * WIDTH) for v in p if v > 0)
    assert scores.pfa_kl(graph, "a", seen) == math.ceil(WIDTH * (1 - kl / math.log(WIDTH)))


def test_taylor(
    graph: Graph, net: Tiny, batches: list[Tensor], labels: list[Tensor], seen: ev.Evidence
) -> None:
    theta, gate, n = np.zeros(WIDTH), np.zeros(WIDTH), 0
    for x, y in zip(batches, labels, strict=True):
        z = net.features(x).detach().requires_grad_()
        logits = net.head(F.relu(net.b(z)).mean((2, 3)))
        each = F.cross_entropy(logits, y, reduction="sum")
        (g,) = torch.autograd.grad(each, z)
        theta += (z * g).mean((2, 3)).abs().sum(0).detach().numpy()
        gate += (z * g).sum((0, 2, 3)).div(len(x)).square().detach().numpy()
        n += len(x)
    theta /= n
    mflops = (cost(graph).flops - cost(graph, {"a": WIDTH - 1}).flops) / 1e6
    close(scores.taylor(graph, "a", seen, 0.0), theta / np.sqrt((theta**2).sum()))
    close(scores.taylor(graph, "a", seen), theta / np.sqrt((theta**2).sum()) - 1e-3 * mflops)
    close(scores.taylor_gate(graph, "a", seen), gate)


def test_car(
    graph: Graph, net: Tiny, batches: list[Tensor], labels: list[Tensor], seen: ev.Evidence
) -> None:
    x, y = torch.cat(batches), torch.cat(labels)
    whole = (net(x).argmax(1) == y).double().mean()
    expected = []
    for c in range(WIDTH):
        z = net.features(x).clone()
        z[:, c] = 0
        logits = net.head(F.relu(net.b(z)).mean((2, 3)))
        expected.append((whole - (logits.argmax(1) == y).double().mean()).item())
    close(scores.car(graph, "a", seen), expected)


def accuracy_without(net: Tiny, x: Tensor, y: Tensor, gone: list[int]) -> float:
    z = net.features(x).clone()
    z[:, gone] = 0
    return float((net.head(F.relu(net.b(z)).mean((2, 3))).argmax(1) == y).double().mean())


@pytest.mark.parametrize("labelled", [True, False])
def test_car_greedy_is_taken_again_after_each(
    graph: Graph, net: Tiny, batches: list[Tensor], labels: list[Tensor], labelled: bool
) -> None:
    x = torch.cat(batches)
    y = torch.cat(labels) if labelled else net(x).argmax(1)
    seen = ev.gather(graph, Images(batches, labels=labels if labelled else None), parts=())
    gone: list[int] = []
    while len(gone) < WIDTH:
        left = [c for c in range(WIDTH) if c not in gone]
        gone.append(max(left, key=lambda c: accuracy_without(net, x, y, [*gone, c])))
    close(scores.car_greedy(graph, "a", seen), [gone.index(c) for c in range(WIDTH)])


def test_car_greedy_asks_again_only_who_might_be_least(
    graph: Graph, seen: ev.Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each unit has a price of its own, whoever else is there: all once, then the next alone."""
    prices, asked = torch.tensor([0.3, 0.1, 0.5, 0.2, 0.4]), []

    def right(graph: Graph, group: Group, evidence: ev.Evidence):  # type: ignore[no-untyped-def]
        def of(stays: Tensor) -> Tensor:
            asked.append(len(stays))
            return 1 - (~stays * prices).sum(1).double()

        return of

    monkeypatch.setattr(scores, "_right", right)
    monkeypatch.setattr(scores, "ASKED", 1)
    close(scores.car_greedy(graph, "a", seen), [2, 0, 4, 1, 3])
    assert sum(asked) == 1 + WIDTH + WIDTH - 1


def test_obd(graph: Graph, net: Tiny, batches: list[Tensor], labels: list[Tensor]) -> None:
    """h_jj / 2 of a gate before each map, the curvature as the mean square of each example's slope."""
    seen = ev.gather(graph, Images(batches, labels=labels), parts=("gradients",))
    x, y = torch.cat(batches), torch.cat(labels)
    total = torch.zeros(WIDTH, dtype=torch.float64)
    for n in range(len(x)):
        gate = torch.ones(WIDTH, dtype=torch.float64, requires_grad=True)
        z = net.features(x[n : n + 1]).detach() * gate[:, None, None]
        logits = net.head(F.relu(net.b(z)).mean((2, 3)))
        (g,) = torch.autograd.grad(F.cross_entropy(logits, y[n : n + 1]), gate)
        total += g.square()
    close(scores.obd(graph, "a", seen), total / len(x) / 2)


def test_a_gate_behind_relu_is_one_behind_the_norm(
    graph: Graph, net: Tiny, batches: list[Tensor], labels: list[Tensor], seen: ev.Evidence
) -> None:
    """Molchanov 2019 put it behind the norm."""
    total = torch.zeros(WIDTH, dtype=torch.float64)
    for x, y in zip(batches, labels, strict=True):
        gate = torch.ones(WIDTH, dtype=torch.float64, requires_grad=True)
        z = F.relu(net.bn(net.a(x)) * gate[:, None, None])
        loss = F.cross_entropy(net.head(F.relu(net.b(z)).mean((2, 3))), y)
        total += torch.autograd.grad(loss, gate)[0].square()
    close(scores.taylor_gate(graph, "a", seen), total)


def test_obs_is_the_elimination_and_the_least_squares() -> None:
    """Hassibi & Stork on one weight a channel: L_q and dw of a quadratic error with Hessian S."""
    g = torch.Generator().manual_seed(4)
    X = torch.randn(300, 6, generator=g).double() @ torch.randn(6, 6, generator=g).double()
    w = torch.randn(6, generator=g).double()
    S = X.T @ X / len(X)
    Hinv = torch.linalg.inv(S + 1e-3 * S.diagonal().mean() * torch.eye(6))
    saliency = w.square() / (2 * Hinv.diagonal())
    q = int(saliency.argmin())
    dw = -(w[q] / Hinv[q, q]) * Hinv[:, q]
    first = eliminate([Problem(S, torch.outer(w, w), np.arange(6))], 6)
    assert first.order[0] == q
    assert first.error[5] == pytest.approx(float(2 * saliency[q] / (w @ S @ w)), rel=1e-9)
    left = [c for c in range(6) if c != q]
    refit = torch.linalg.lstsq(X[:, left], X @ w).solution
    close((w + dw)[left] / refit, torch.ones(5) + ((w + dw)[left] / refit - 1).clamp(-0.02, 0.02))
    assert abs(float((w + dw)[q])) < 1e-12


def test_sparse_coefficients_minimise_their_sum() -> None:
    """|C|_1 + lam/2 |X - XC|^2: no small step in any direction gives less."""
    g = torch.Generator().manual_seed(5)
    basis = torch.randn(2, 40, 2, generator=g, dtype=torch.float64)
    X = torch.cat(
        [basis[s] @ torch.randn(2, 4, generator=g, dtype=torch.float64) for s in (0, 1)], 1
    )
    X = X / X.norm(dim=0)
    C = subspaces.coefficients(X.T @ X)
    assert (C.diagonal() == 0).all()
    G = (X.T @ X).fill_diagonal_(0).abs()
    lam = subspaces.LAMBDA / float(G.max(0).values.min())

    def value(c: Tensor, j: int) -> float:
        return float(c.abs().sum() + lam / 2 * (X[:, j] - X @ c).square().sum())

    for j in range(8):
        for i in (i for i in range(8) if i != j):
            for step in (1e-2, -1e-2):
                other = C[:, j].clone()
                other[i] += step
                assert value(other, j) > value(C[:, j], j) - 1e-4
    of = subspaces.clusters(C, 2)  # two subspaces of four maps each
    assert {frozenset(np.flatnonzero(of == c)) for c in (0, 1)} == {
        frozenset(range(4)), frozenset(range(4, 8)),
    }  # fmt: skip


def test_subspaces_keep_the_strongest_of_each_cluster(graph: Graph, seen: ev.Evidence) -> None:
    """Five maps: two pairs of copies, and a silent one. Two stay longest, one of each pair."""
    a, b = torch.randn(2, 500, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    X = torch.stack([a, 3 * b, 2 * a, b, 0 * a], 1)
    maps = ev.Maps(n=1, rows=len(X), second=X.T @ X)
    found = scores.subspaces(graph, "a", replace(seen, maps={"a": maps}))
    assert set(found.argsort(descending=True)[:2].tolist()) == {1, 2}
    assert found[4] == 0 < found[[0, 1, 2, 3]].min()


def test_what_pfa_says_of_widths_plans(
    graph: Graph, batches: list[Tensor], seen: ev.Evidence
) -> None:
    for name in ("a", "b"):
        lost = scores.pfa_lost(graph, name, seen)
        assert len(lost) == graph.groups[name].width + 1
        assert (lost[0], lost[-1]) == (1.0, 0.0)
        for tau in (0.5, 0.9, 0.99):
            k = scores.pfa_energy(graph, name, seen, tau)
            assert lost[k] <= 1 - tau < lost[k - 1]
    own = plan(graph, score="pfa", method="own", images=batches)
    assert own.widths == {n: scores.pfa_kl(graph, n, seen) for n in ("a", "b")}
    lost = {n: scores.pfa_lost(graph, n, seen) for n in ("a", "b")}
    grids = {n: list(range(len(c) - 1, 0, -1)) for n, c in lost.items()}
    steps = list(planning._ordered("threshold", grids, {}, lambda: iter(()), lost))
    after = [lost[step.group][step.after] for step in steps]
    assert after == sorted(after)
    assert len(steps) == sum(len(g) - 1 for g in grids.values())
    made = plan(graph, score="pfa", method="threshold", images=batches, keep_params=0.6)
    assert made.reached()["params"] == pytest.approx(0.6, abs=0.1)


def refitted_error(X: Tensor, Y: Tensor, keep: list[int]) -> float:
    a = torch.linalg.lstsq(X[:, keep], Y).solution
    return float((Y - X[:, keep] @ a).square().sum() / Y.square().sum())


@pytest.mark.parametrize(
    "unit", [np.arange(8), np.arange(8) // 2, np.array([0, 1, 2, 3, 0, 1, -1, -1])]
)
@pytest.mark.parametrize("pending", [1, 2, 48])  # changes that are applied together
def test_elimination_is_exact(
    unit: np.ndarray,  # type: ignore[type-arg]
    pending: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of every width is that of a refit from scratch, and each choice is the cheapest."""
    monkeypatch.setattr("edgeprune.prune.elimination.RIDGE", 0.0)
    monkeypatch.setattr("edgeprune.prune.elimination.PENDING", pending)
    g = torch.Generator().manual_seed(3)
    X = torch.randn(200, 8, generator=g).double() @ torch.randn(8, 8, generator=g).double()
    W = torch.randn(6, 8, generator=g).double()
    Y, width = X @ W.T, int(unit.max()) + 1
    result = eliminate([Problem(X.T @ X / len(X), W.T @ W, unit)], width)
    gone: list[int] = []
    for out in result.order[:-1]:

        def error(more: int) -> float:
            return refitted_error(X, Y, [i for i in range(8) if unit[i] not in [*gone, more]])

        best = min((u for u in range(width) if u not in gone), key=error)
        assert out == best
        assert result.error[width - len(gone) - 1] == pytest.approx(error(best), rel=1e-6)
        gone.append(int(out))
    assert result.error[width] == 0


def test_covariance_of_few_rows_is_shrunk() -> None:
    """From fewer rows than channels everything could be rebuilt; from many nothing changes."""
    draw = torch.Generator().manual_seed(0)
    mixing = torch.randn(40, 40, generator=draw, dtype=torch.float64)

    def covariance(rows: int) -> Tensor:
        X = torch.randn(rows, 40, generator=draw, dtype=torch.float64) @ mixing
        X = X - X.mean(0)
        return X.T @ X / rows

    few, many = covariance(20), covariance(40_000)
    unit, G = np.arange(40), torch.eye(40, dtype=torch.float64)
    at_half = [
        eliminate([Problem(S, G, unit)], 40).error[20]
        for S in (few, ev.shrunk(few, 20), many, ev.shrunk(many, 40_000))
    ]
    assert at_half[0] < 0.01  # 20 rows span 20 dimensions
    assert at_half[1] > 0.3 * at_half[2]
    assert at_half[3] == pytest.approx(at_half[2], rel=0.05)
    torch.testing.assert_close(ev.shrunk(few, 20).diagonal(), few.diagonal())


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e-30, 1e30, 1e200])
def test_elimination_does_not_depend_on_the_size_of_the_numbers(size: float) -> None:
    """Layers of a network that has nearly died: their maps are next to nothing, their order is not."""
    X, W = torch.randn(200, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    S, G, unit = X.T @ X / len(X), W.T @ W, np.arange(8)
    plain, small = eliminate([Problem(S, G, unit)], 8), eliminate([Problem(S * size, G, unit)], 8)
    assert np.isfinite(small.error).all()
    if size > 1e-300:
        assert (plain.order == small.order).all()
        assert plain.error == pytest.approx(small.error)
    silent = eliminate([Problem(0 * S, G, unit), Problem(S, 0 * G, unit)], 8)
    assert np.isfinite(silent.error).all()


def test_variances_that_rounding_made_negative() -> None:
    """A layer that answers next to the same to all images: of less than nothing no channel is missed, and
    where rounding errors are the smaller part the costs are finite and what matters most stays longest."""
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(12, 24, generator=draw, dtype=torch.float64)
    G, unit = W.T @ W, np.arange(24)
    noise = torch.randn(24, 24, generator=draw, dtype=torch.float64)
    noise = noise + noise.T
    noise -= noise.diagonal().mean() * torch.eye(24)
    with np.errstate(all="raise"):
        dead = eliminate([Problem(noise + 0.01 * torch.eye(24), G, unit)], 24)
        assert dead.error.tolist() == [1.0, *[0.0] * 24]
        strong = torch.full((24,), 1.0, dtype=torch.float64)
        strong[:3] = 40.0
        some = eliminate([Problem(torch.diag(strong) + 0.3 * noise, G, unit)], 24)
        assert np.isfinite(some.error).all()
        assert some.error[20] < 1
        assert set(some.order[-3:]) == {0, 1, 2}


def test_reconstruction_sees_duplicates(net: Tiny, batches: list[Tensor]) -> None:
    """A map that another one equals is free to leave, whatever its filter's norm."""
    torch.manual_seed(0)
    twin = Tiny().double().eval()
    with torch.no_grad():
        twin.a.weight[3] = twin.a.weight[1]
        twin.a.weight[:] *= 2
    graph = trace(twin, batches[0][:2])
    many = [x + shift for x in batches for shift in torch.linspace(-1, 1, 40)]  # see `shrunk`
    seen = ev.gather(graph, Images(many), parts=("readers",))
    e = scores.elimination_of(graph, "a", seen)
    assert e.order[0] in (1, 3)
    assert e.error[WIDTH - 1] < 5e-3 < e.error[WIDTH - 2]
    close(scores.reconstruction(graph, "a", seen).sort().values, e.error[:-1][::-1].copy())


def test_coupled_groups_add_up() -> None:
    """A residual sum: both layers' filters count, and all of the stream's readers."""
    from tests.nets import build, images

    net = build("Residual")
    graph = trace(net, images(2))
    group = next(g for g in graph.groups.values() if len(g.producers) > 1)
    constants = graph.constants()
    filters = [constants[s.tensor].detach().double() for s in group.producing_sites()]
    total = sum(W.abs().flatten(1).sum(1) for W in filters)
    close(scores.l1(graph, group), total)
    seen = ev.gather(graph, Images([images(8), images(8, 2)]))
    assert len(seen.problems[group.name]) >= 2
    for name, score in scores.SCORES.items():
        if name != "bn_scale":
            s = score(graph, group, seen)
            assert s.shape == (group.width,)
            assert s.isfinite().all(), name


def test_data_scores_need_images(graph: Graph) -> None:
    for name in (n for n, row in scores.SCORES.items() if row.needs):
        with pytest.raises(EdgepruneError, match="images"):
            scores.SCORES[name](graph, "a", None)


# -- a user's own, and what any score must be ------------------------------------------------------


def test_a_function_of_ones_own(graph: Graph, seen: ev.Evidence) -> None:
    def last(graph: Graph, group: object) -> list[int]:
        return list(range(WIDTH))

    def zeros(graph: Graph, group: Group, evidence: ev.Evidence) -> Tensor:
        return evidence.maps[group.name].zeros

    zeros.needs = "maps"  # type: ignore[attr-defined]
    close(scores.own("last", last)(graph, "a"), range(WIDTH))
    row = scores.own("zeros", zeros)
    assert row.parts == ("maps",)
    close(row(graph, "a", seen), seen.maps["a"].zeros)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no", "not numbers"),
        (None, "not numbers"),
        ([1.0], "one number for each"),
        (torch.ones(WIDTH, 2), "one number for each"),
        (torch.full((WIDTH,), torch.nan), "NaN or infinite"),
        (torch.full((WIDTH,), torch.inf), "NaN or infinite"),
        (ZeroDivisionError("a pixel of none"), "ZeroDivisionError: a pixel of none"),
    ],
)
def test_what_is_no_score_is_refused_in_a_line(graph: Graph, value: object, said: str) -> None:
    def mine(graph: Graph, group: Group) -> object:
        if isinstance(value, Exception):
            raise value
        return value

    with pytest.raises(EdgepruneError, match=said) as e:
        scores.own("mine", mine)(graph, "a")
    assert "mine of a" in e.value.what


def test_a_name_that_is_none(graph: Graph) -> None:
    with pytest.raises(EdgepruneError, match="did you mean apoz"):
        scores.criterion("apox")
    with pytest.raises(EdgepruneError, match="not named now"):  # out of a run's recipe: never run
        scores.criterion("mine.py:score")

    def mine(graph: Graph, group: Group) -> list[int]:
        return [0] * WIDTH

    mine.needs = "map"  # type: ignore[attr-defined]
    with pytest.raises(EdgepruneError, match="did you mean maps"):
        scores.own("mine", mine)


def test_weights_that_are_no_numbers_are_refused_for_every_score(batches: list[Tensor]) -> None:
    torch.manual_seed(0)
    sick = Tiny().double().eval()
    sick_graph = trace(sick, batches[0][:2])
    with torch.no_grad():
        sick.b.weight[0, 0] = torch.nan  # the score of "a" alone would not see it
    for name in ("l1", "bn_scale", "random"):
        with pytest.raises(EdgepruneError, match=r"weights b.weight"):
            scores.scored(sick_graph, scores.SCORES[name], groups=["a"])


@pytest.mark.parametrize("size", [1.0, 1e-150, 1e-300, 0.0])
def test_dead_maps_leave_first_by_redundancy(graph: Graph, seen: ev.Evidence, size: float) -> None:
    """A channel of zeros was the hardest to rebuild of all, and stayed longest."""
    maps = ev.Maps(n=1, rows=seen.maps["a"].rows, second=seen.maps["a"].second * size**2)
    maps.second = maps.second.clone()
    maps.second[2], maps.second[:, 2] = 0, 0
    found = scores.linear_redundancy(graph, "a", replace(seen, maps={"a": maps}))
    assert found.isfinite().all()
    assert found[2] == 0
    if size > 1e-100:
        assert found.argmin() == 2
        assert (found > 0).sum() == WIDTH - 1


def test_labels_of_the_images_reach_the_gradients(
    graph: Graph, batches: list[Tensor], labels: list[Tensor], seen: ev.Evidence
) -> None:
    own = ev.gather(graph, Images(batches, labels=labels), parts=("gradients",))
    blind = ev.gather(graph, Images(batches), parts=("gradients",))
    close(scores.taylor(graph, "a", own), scores.taylor(graph, "a", seen))
    assert not torch.allclose(scores.taylor(graph, "a", own), scores.taylor(graph, "a", blind))
    close(scores.car(graph, "a", own), scores.car(graph, "a", seen))


def test_equal_scores_are_named() -> None:
    found = {"a": torch.ones(4), "b": torch.arange(4.0), "c": torch.zeros(2)}
    assert scores.even(found) == ["a", "c"]
    assert "2 of 3 groups (a, c)" in scores.said(["a", "c"], 3)
    assert scores.said([], 3) == ""
