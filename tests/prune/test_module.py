"""What comes out of a cut: wrappers, averages, files, modes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune import checkpoint, files, models
from edgeprune.errors import EdgepruneError
from edgeprune.graph import cost, trace
from edgeprune.prune import cut, l1, largest, module, narrow
from edgeprune.prune.module import copied
from edgeprune.runs import Run
from tests.graphs import random_keep, relative, traced
from tests.nets import build, images


@pytest.mark.parametrize("name", ["Residual", "Attention", "Scaled", "Fused"])
def test_weights_load_into_a_fresh_cut(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A file's weights fit a network that is built anew and cut the same way."""
    keep = random_keep(traced(name), 0, 0.5)
    small = cut(traced(name).model, traced(name), keep)
    files.write_tensors(tmp_path / "small.safetensors", small.state_dict())
    new = build(name, seed=5)
    for key, buffer in new.named_buffers():
        if key not in new.state_dict():  # no file holds it: every build makes the same
            buffer.copy_(traced(name).model.get_buffer(key))
    fresh = cut(new, images(2), keep)
    fresh.load_state_dict(files.read_tensors(tmp_path / "small.safetensors")[0])
    x = images(3, seed=4)
    with torch.no_grad():
        assert torch.equal(fresh(x), small(x))


def test_weights_trained_after_the_trace_are_cut() -> None:
    """The graph reads the model's tensors as they are when the cut is made."""
    model = build("Scaled")
    graph = trace(model, images(2))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.mul_(1.3)
    model.var = model.var.clone() + 0.2  # a new buffer, as model.to(device) makes
    whole = {name: list(range(g.width)) for name, g in graph.groups.items()}
    x = images(3)
    with torch.no_grad():
        assert relative(cut(model, graph, whole)(x), model(x)) < 1e-12
        assert not torch.equal(build("Scaled")(x), model(x))


def test_wrapped_models_are_unwrapped() -> None:
    model = build("Plain")
    keep = {"features.0": [1, 3]}
    compiled = torch.compile(model, backend="eager")
    compiled(images(2))  # compiled for the whole network's sizes
    for wrapped in (nn.DataParallel(model), compiled):
        small = cut(wrapped, images(2), keep)  # type: ignore[arg-type]
        assert type(small) is type(model)
        assert small.features[0].out_channels == 2  # type: ignore[index, union-attr]
        with torch.no_grad():
            again = torch.compile(small, backend="eager")
            assert torch.equal(again(images(3)), small(images(3)))


def test_training_goes_on_under_ddp(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Cut in the middle of training: the optimizer goes on with the parameters of the new wrapper."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        bare, wrapped = build("Residual"), nn.parallel.DistributedDataParallel(build("Residual"))
        keep = random_keep(traced("Residual"), 2, 0.5)
        ends = []
        for model in (bare, wrapped):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
            _train(model, optimizer)
            small = cut(model, images(2), keep, optimizer=optimizer)
            assert isinstance(small, type(bare))
            if model is wrapped:
                small = nn.parallel.DistributedDataParallel(small)
            assert {id(p) for p in optimizer.param_groups[0]["params"]} == set(
                map(id, small.parameters())
            )
            _train(small, optimizer)
            ends.append(small.state_dict())
        assert all(torch.equal(t, ends[1][f"module.{name}"]) for name, t in ends[0].items())
    finally:
        torch.distributed.destroy_process_group()


def _train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for seed in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images(4, seed)), torch.arange(4)).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["Residual", "Tied"])
def test_the_average_follows(name: str) -> None:
    model = build(name)
    average = torch.optim.swa_utils.AveragedModel(model)
    graph = trace(model, images(2))
    with torch.no_grad():
        for p in average.module.parameters():
            p.mul_(0.9)
    other = copy.deepcopy(average.module)
    keep = random_keep(graph, 1, 0.5)
    cut(model, graph, keep, ema=average)
    x = images(3)
    with torch.no_grad():
        assert torch.equal(average(x), cut(other, images(2), keep)(x))


def test_the_mode_is_kept() -> None:
    model = build("Residual").train()
    model.stem[1].eval()  # type: ignore[index, operator]
    graph = trace(model, images(2))
    assert model.training
    assert not model.stem[1].training  # type: ignore[index, union-attr]
    assert model.a[1].training  # type: ignore[index, union-attr]
    small = narrow(graph, {"a.0": [0]}).model
    assert {n: m.training for n, m in small.named_modules()} == {
        n: m.training for n, m in model.named_modules()
    }


@pytest.mark.parametrize("name", ["Plain", "Grouped", "Attention", "Scaled", "Fused"])
def test_a_cut_network_can_be_traced_again(name: str) -> None:
    small = narrow(traced(name), random_keep(traced(name), 0, 0.8))
    again = trace(small.model, images(2))
    assert {g: again.groups[g].width for g in again.groups} == {
        g: small.groups[g].width for g in small.groups
    }
    assert cost(again).params == cost(small).params
    assert cost(again).flops == cost(small).flops


LOADER = """
import pickle, sys, torch
from pathlib import Path
def refuse(*_, **__): raise AssertionError("pickle")
pickle.load = torch.load = refuse
from edgeprune import checkpoint, runs
loaded = checkpoint.load(runs.Run(Path(sys.argv[1])), "pruned")
torch.set_num_threads(1)
with torch.no_grad():
    logits = loaded.model(checkpoint.example(loaded.convention))
print(logits.numpy().tobytes().hex())
"""


@pytest.mark.parametrize("name", ["mobilenetv1-0.25", "torchvision/shufflenet_v2_x0_5"])
def test_a_fresh_process_loads_the_same_network(name: str, tmp_path: Path) -> None:
    """spec.json and safetensors are all there is; no pickle; the logits are the same to the bit."""
    spec, convention = models.ModelSpec(name, classes=4), models.Convention(32)
    graph = trace(models.fresh(spec, 3), checkpoint.example(convention))
    keep = random_keep(graph, 0, 0.5)
    small = narrow(graph, keep).model.eval()
    run = Run(tmp_path)
    widths = {group: g.width for group, g in graph.groups.items()}
    checkpoint.write_spec(run, spec, convention, list("abcd"), widths, keep)
    checkpoint.write_weights(run, "pruned", small, spec, convention)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        logits = small(checkpoint.example(convention))
    torch.set_num_threads(threads)
    words = [sys.executable, "-c", LOADER, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == logits.numpy().tobytes().hex()


def test_a_container_that_two_layers_share_is_shared_in_the_copy_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    net[0].cache = net[2].cache = {}
    small = cut(net, torch.randn(2, 3, 12, 12), {"0": [0, 1, 2]})
    assert small.edgeprune_kind == "module"
    assert small[0].cache is small[2].cache
    small[0].cache["table"] = torch.zeros(1)
    assert not net[0].cache


class Auxiliary(nn.Module):
    """A second classifier that only training mode runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.aux = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu().mean((2, 3))
        return self.head(x) + self.aux(x) if self.training else self.head(x)


def test_parts_that_only_training_runs_are_not_broken() -> None:
    small = cut(Auxiliary().double(), images(2), {"stem": [0, 4]}).train()
    assert small.edgeprune_kind == "graph"
    assert "training mode" in str(small.edgeprune_reason)
    assert small(images(3)).shape == (3, 4)


class Kept(nn.Module):
    """What a copy must not share with its network, and what it must share with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 4, 1), nn.Dropout()
        self.table, self.empty, self.list = {"a": [1], self.drop: 2}, {}, [self.conv]
        self.same, self.names = self.table, {"x", "y"}
        self.attention = nn.MultiheadAttention(4, 2)


def test_a_copy_shares_what_a_deep_copy_shares() -> None:
    model = Kept().eval()
    weight = nn.Parameter(torch.zeros(2, 3, 1, 1))
    new = copied(model, {id(model.conv.weight): weight})
    assert new.conv.weight is weight
    assert new.list[0] is new.conv is not model.conv
    assert new.table == {"a": [1], new.drop: 2}
    assert new.same is new.table is not model.table
    assert new.table["a"] is not model.table["a"]
    assert new.empty == {}
    assert new.empty is not model.empty
    assert new.names == model.names
    assert new.names is not model.names
    assert new.drop._forward_hooks is not model.drop._forward_hooks
    assert new.attention.in_proj_weight is not model.attention.in_proj_weight
    assert not any(m.training for m in new.modules())
    expected = copy.deepcopy(model)
    for ours, theirs in zip(new.modules(), expected.modules(), strict=True):
        assert vars(ours).keys() == vars(theirs).keys()


class Copies(nn.Module):
    """A layer that copies itself, and forgets what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1

    def __deepcopy__(self, memo: dict[int, Any]) -> Copies:
        return Copies()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_what_copies_itself_is_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Copies()).train()
    model[1].eval()
    model[1].late = 3
    new = copied(model, {})
    assert new[1].late == 3
    assert (new[0].training, new[1].training) == (True, False)


class Numbered(nn.Module):
    """Sizes written as attributes, one of them no size at all: its forward is compared several times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.width, self.power = 8, 8

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean((2, 3))
        return self.head(x.reshape(-1, self.width)) * self.power + len(self.conv.weight) * 1.5


def test_the_cut_graph_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = module._probe
    monkeypatch.setattr(module, "_probe", lambda *a: asked.append(1) or real(*a))
    small = cut(Numbered().double().eval(), images(2), {"conv": [0, 1, 5]})
    assert small.edgeprune_kind == "graph"
    assert len(asked) == 1


class DroppedThenNormed(nn.Module):
    """A dropout right before a batch norm, and a hard-coded size, so that the result is a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.drop = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.norm(self.drop(self.stem(x))).split(4, 1)
        return self.head(a * b).mean((2, 3))


def test_a_dropout_and_a_batch_norm_become_modules_again() -> None:
    graph = trace(DroppedThenNormed().double().eval(), images(2))
    small = narrow(graph, random_keep(graph, 0, 0.5)).model
    assert small.edgeprune_kind == "graph"
    kinds = {type(module) for module in small.modules()}
    assert {nn.Dropout, nn.BatchNorm2d} <= kinds


def test_gradients_follow() -> None:
    model = build("Plain")
    model(images(2)).sum().backward()
    small = cut(model, images(2), {"features.0": [1, 4]})
    whole, part = model.get_parameter("features.3.weight"), small.get_parameter("features.3.weight")
    assert whole.grad is not None
    assert part.grad is not None
    assert torch.equal(part.grad, whole.grad[:, [1, 4]])


def test_a_group_that_cannot_vanish_keeps_a_unit() -> None:
    with pytest.raises(EdgepruneError, match=r"features\.0 cannot vanish: .* keep a unit"):
        narrow(traced("Plain"), {"features.0": []})


@pytest.mark.parametrize("units", [[3, 1], [0, 0], [-1], [6], [0.5], [[1]]])
def test_a_keep_that_makes_no_sense_is_refused(units: list[int]) -> None:
    with pytest.raises(EdgepruneError, match=r"kept units of features\.0"):
        narrow(traced("Plain"), {"features.0": units})


def test_a_mistyped_group_is_named() -> None:
    with pytest.raises(EdgepruneError, match=r"did you mean features\.0"):
        narrow(traced("Plain"), {"feature.0": [1]})


def test_weights_that_are_not_numbers_cannot_be_ranked() -> None:
    model = build("Plain")
    model.get_parameter("features.0.weight").data[1, 0, 0, 0] = torch.nan
    graph = trace(model, images(2))
    with pytest.raises(EdgepruneError, match="not finite: the weights hold NaN"):
        largest(l1(graph, "features.0"), 3)


def test_l1_is_the_filters_own_sum() -> None:
    graph = traced("Residual")
    stem, b = graph.model.get_parameter("stem.0.weight"), graph.model.get_parameter("b.0.weight")
    excite = graph.model.get_parameter("excite.weight")
    by_hand = sum(w.detach().abs().sum((1, 2, 3)) for w in (stem, b, excite))
    assert torch.allclose(l1(graph, "stem.0"), by_hand)  # three layers produce the sum's channels
    single = graph.model.get_parameter("a.0.weight").detach().abs().sum((1, 2, 3))
    assert torch.allclose(l1(graph, "a.0"), single)


def test_a_depthwise_layer_produces_nothing() -> None:
    graph = traced("Depthwise")
    assert graph.groups["stem"].producers == ("stem",)
    assert torch.allclose(
        l1(graph, "stem"), graph.model.get_parameter("stem.weight").detach().abs().sum((1, 2, 3))
    )


class Idle(nn.Module):
    """Calls a layer whose answer nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.idle = nn.ConvTranspose2d(6, 1, 3)
        self.last = nn.Conv2d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        self.idle(x)
        return self.last(x)


def test_a_transposed_layer_that_nobody_reads_is_asked_with_its_channels() -> None:
    """It is not in the graph, so its weight stays as it was: the class fails when it is called."""
    x = torch.randn(2, 3, 9, 9)
    graph = trace(Idle().eval(), x)
    small = narrow(graph, {name: [0, 2, 5] for name in graph.groups})
    assert small.model(torch.randn(5, 3, 9, 9)).shape == (5, 2, 5, 5)
