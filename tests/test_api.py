"""Five words from Python: what they give, and that a saved network comes back anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgeprune
from edgeprune import cut, export, load, plan, repair, save, trace
from edgeprune.errors import EdgepruneError

ROOT = Path(__file__).parents[1]
BUILD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b, self.c = nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 4)

    def forward(self, x):
        x = self.n(self.a(x)).relu()
        return self.c((x + self.b(x)).relu().mean((2, 3)))

def build():
    return Net()
"""


def build() -> nn.Module:
    namespace: dict = {}
    exec(BUILD, namespace)
    return namespace["build"]()


def other() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def test_saved_in_one_process_loaded_in_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = trace(build().eval(), torch.randn(2, 3, 16, 16))
    smaller = cut(graph, plan(graph, keep_flops=0.5))
    again = trace(smaller, torch.randn(2, 3, 16, 16))
    smaller = cut(again, {name: list(range(g.width - 1)) for name, g in again.groups.items()})
    x = torch.randn(3, 3, 16, 16)
    loss = smaller.train()(x).square().mean()  # it is an ordinary module: trained, then saved
    loss.backward()
    torch.optim.SGD(smaller.parameters(), 0.1).step()
    smaller.eval()
    save(smaller, tmp_path / "small.safetensors")
    torch.save({"x": x, "y": smaller(x).detach()}, tmp_path / "xy.pt")
    (tmp_path / "build.py").write_text(BUILD)
    program = (
        "import torch; from build import build; from edgeprune import load\n"
        "torch.set_num_threads(1)\n"
        "kept = torch.load('xy.pt', weights_only=True)\n"
        "assert torch.equal(load('small.safetensors', build)(kept['x']), kept['y'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert type(load(tmp_path / "small.safetensors", build())).__name__ == "Net"


def test_a_network_whose_norms_were_written_out_comes_back(tmp_path: Path) -> None:
    from tests.graph.test_norms import Normed

    torch.manual_seed(0)
    graph = trace(Normed().eval(), torch.randn(2, 3, 12, 12), exact_norms=True)
    smaller = cut(graph, {name: list(range(g.width // 2)) for name, g in graph.groups.items()})
    save(smaller, tmp_path / "normed.safetensors")
    again = load(tmp_path / "normed.safetensors", Normed)
    x = torch.randn(3, 3, 12, 12)
    assert torch.equal(again(x), smaller.eval()(x))


def test_repair_keeps_more_than_the_bare_cut_and_labels_beside_images_are_passed_over() -> None:
    torch.manual_seed(0)
    dense = build().eval()
    loader = [(torch.randn(16, 3, 16, 16), torch.zeros(16)) for _ in range(8)]
    graph = trace(dense, loader[0][0])
    planned = plan(graph, keep_flops=0.5, score="reconstruction", images=loader)
    x = torch.randn(64, 3, 16, 16)

    def off(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(x) - dense(x)).square().sum())

    repaired = repair(graph, planned, loader)
    assert off(repaired) < 0.5 * off(cut(graph, planned))
    assert type(repaired).__name__ == "Net"
    assert repaired.edgeprune_cuts == cut(graph, planned).edgeprune_cuts


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(24, 16, 2, 2), nn.Conv2d(32, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down(x).relu()
        b = self.up(self.deep(nn.functional.max_pool2d(a, 2)).relu())
        return self.out(torch.cat([a, b], 1))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.table = nn.Conv2d(3, 24, 3, stride=2), nn.Linear(10, 32)
        self.head = nn.Linear(56, 5)

    def forward(self, image: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        seen = self.image(image).relu().mean((2, 3))
        return self.head(torch.cat([seen, self.table(table).relu()], 1))


def classifier() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 4))


def labelled(*more: torch.Tensor) -> list[list[torch.Tensor]]:
    """As a data loader gives them: a list of the inputs, and the labels behind them."""
    rows = TensorDataset(torch.randn(64, 3, 16, 16), *more, torch.randint(0, 4, (64,)))
    return list(DataLoader(rows, batch_size=16))


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], list[Any]], str]] = {
    "classifier": (classifier, labelled, "classification"),
    "U-Net": (UNet, lambda: [torch.randn(16, 3, 16, 16) for _ in range(4)], "segmentation"),
    "two inputs": (Two, lambda: labelled(torch.randn(64, 10)), "classification"),
    "two by name": (
        Two,
        lambda: [
            {"table": torch.randn(16, 10), "image": torch.randn(16, 3, 16, 16)} for _ in range(4)
        ],
        "classification",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_job_in_ten_lines(kind: str, tmp_path: Path) -> None:
    """As README prints it, with a loader that gives labels too; bench is tested in its own room."""
    torch.manual_seed(0)
    build, batches, task = KINDS[kind]
    model, loader = build().eval(), batches()
    graph = trace(model, loader[0])
    planned = plan(
        graph, keep_flops=0.6, score="reconstruction", multiple=4, own_class=True, images=loader
    )
    smaller = repair(graph, planned, loader)
    assert type(smaller) is type(model)
    save(smaller, tmp_path / "smaller.safetensors")
    again = load(tmp_path / "smaller.safetensors", build)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in smaller.state_dict().items())
    told = export(smaller, tmp_path / "pruned.onnx", loader, dense=model, task=task)
    (out,) = told.parity.outputs
    assert out.task == task
    assert out.measures["agreement"] > 0.5
    assert (tmp_path / "pruned.onnx").is_file()


def test_scores_that_look_at_images() -> None:
    graph = trace(build().eval(), torch.randn(2, 3, 16, 16))
    images = [torch.randn(16, 3, 16, 16) for _ in range(4)]
    made = plan(
        graph, keep_params=0.6, score="reconstruction", method="reconstruction", images=images
    )
    assert made.reached()["params"] == pytest.approx(0.6, abs=0.1)
    with pytest.raises(EdgepruneError, match="looks at images"):
        plan(graph, keep_params=0.6, score="apoz")
    with pytest.raises(EdgepruneError, match="known: l1"):
        plan(graph, keep_params=0.6, score="L1")


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    graph = trace(build().eval(), torch.randn(2, 3, 16, 16))
    made = plan(graph, keep_flops=0.5)
    path = save(cut(graph, made), tmp_path / "small.safetensors")
    with pytest.raises(EdgepruneError, match="another network"):
        load(path, other)
    with pytest.raises(EdgepruneError, match="another network"):
        cut(trace(other().eval(), torch.randn(2, 3, 16, 16)), made)
    with pytest.raises(EdgepruneError, match="no such file"):
        load(tmp_path / "none.safetensors", build)
    with pytest.raises(EdgepruneError, match="was not made by"):
        save(build(), tmp_path / "whole.safetensors")
    with pytest.raises(EdgepruneError, match=r"must end in \.safetensors"):
        save(cut(graph, made), tmp_path / "small.pt")
    from edgeprune import files

    files.write_tensors(tmp_path / "foreign.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(EdgepruneError, match="holds no cut network"):
        load(tmp_path / "foreign.safetensors", build)
    odd = {
        "edgeprune.cuts": '{"format": 1, "cuts": [{"example": [2, -3], "keep": {}, "network": ""}]}'
    }
    files.write_tensors(tmp_path / "odd.safetensors", {"a": torch.zeros(1)}, odd)
    with pytest.raises(EdgepruneError, match="not readable"):
        load(tmp_path / "odd.safetensors", build)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "foreign.safetensors", "odd.safetensors", "small.safetensors",
    ]  # fmt: skip


def test_every_word_has_an_example_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all words that the package names: one that is added wants an example too."""
    import doctest

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name in edgeprune.__all__:
        word = getattr(edgeprune, name)
        if name == "__version__":
            continue
        word = getattr(word, "_word", word)  # a room that is called
        module = sys.modules[word.__module__]
        (found,) = finder.find(word, name, module=module, globs=dict(vars(module)))
        assert found.examples, name
        assert runner.run(found).failed == 0, name


def test_the_package_has_no_other_words() -> None:
    with pytest.raises(AttributeError):
        _ = edgeprune.slice
