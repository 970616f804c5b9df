"""Branches that vanish, as a user meets them: in every way to prune, and in what follows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeprune import checkpoint, runs
from edgeprune.cli import app, errors
from edgeprune.graph import cost
from edgeprune.ways import position

NETWORK = """
import torch
from torch import nn

class Branched(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, classes)
        self.a, self.b = self.block(), self.block()

    def block(self):
        return nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8),
        )

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.a(x))
        x = torch.relu(x + self.b(x))
        return self.head(x.mean((2, 3)))

def branched(classes=3):
    return Branched(classes)
"""
DENSE = "--model net.py:branched --data digits --limit 200 --size 16 --epochs 1"
LITTLE = "--keep-flops 0.08 --keep stem --floor 0 --round-to 1"


def done(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert code == 0, seen.err
    return seen.out, seen.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of the network above."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRUNE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.chdir(folder)
        Path("net.py").write_text(NETWORK)
        assert errors.run(app.app, f"train {DENSE} --name dense".split()) == 0
    return folder


@pytest.fixture
def dense(trained: Path, empty_home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The run, in an empty folder of the test's own."""
    shutil.copytree(trained, Path.cwd(), dirs_exist_ok=True)
    done("trust dense", capsys)
    return "dense"


WAYS = {
    "one-shot": "--score l1 --retrain-epochs 1",
    "repaired": "--retrain-epochs 0",
    "sensitivity": "--method sensitivity --retrain-epochs 0",
    "rounds": "--rounds 2 --retrain-epochs 1 --method global --score l1",
    "during": "--during-training --rounds 2 --retrain-epochs 2",
    "unlabelled": "--post-training",
    "search": "--post-training --method search --trials 3",
    "search by rounds": "--method search --trials 2 --rounds 2 --retrain-epochs 0",
    "blocks": "--post-training --compensate blocks",
}


@pytest.mark.parametrize("way", WAYS)
def test_in_every_way(way: str, dense: str, capsys: pytest.CaptureFixture[str]) -> None:
    done(f"prune {dense} --name {way.replace(' ', '-')} {LITTLE} {WAYS[way]}", capsys)
    run = runs.find(way.replace(" ", "-"))
    loaded = checkpoint.load(run, "pruned")
    gone = [name for name, units in loaded.kept.items() if not units]
    assert set(gone) <= {"a.0", "b.0"}
    assert gone
    assert loaded.graph.widths == {name: len(units) for name, units in loaded.kept.items()}
    result = position.result(run, "pruned")
    assert result.flops == cost(loaded.graph).flops
    assert result.widths == loaded.graph.widths
    plan = json.loads(run.plan_path.read_text())
    assert plan["promised"]["flops"] == result.flops


def test_what_follows(dense: str, quick_doctor: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"prune {dense} --name small {LITTLE} --post-training"
    out, _ = done(f"{words} --dry-run --plan-out plan.json", capsys)
    assert "vanishes" in out
    done(f"prune {dense} --name small --plan plan.json --post-training", capsys)
    exported, _ = done("export small --json", capsys)
    assert json.loads(exported)
    done("cost small", capsys)
    done("bench small --device cpu --seconds 0.1 --rounds 2 --passes 1", capsys)
    done("report small", capsys)
    done("doctor small --fix", capsys)
    out, _ = done(f"inspect {dense}", capsys)
    assert "--floor 0 lets 2 branches vanish: a.0, b.0" in " ".join(out.split())
    done("cost --model net.py:branched --size 16 --widths 8,0,4", capsys)
