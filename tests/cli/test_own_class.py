"""``edgeprune prune --own-class`` in every way: what the Python wants whole stays, and the table says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune import checkpoint, files, records, runs
from edgeprune.cli import app, errors

NETWORK = """
import torch
from torch import nn

class Mixer(nn.Module):
    "Its Python wants as many values as it has channels coming in."

    def __init__(self, width):
        super().__init__()
        self.values, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        return x + self.out(self.values(x).flatten(2).reshape(n, c, h, w))

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.mixer = nn.Conv2d(3, 8, 3, padding=1), Mixer(8)
        self.start = nn.Conv2d(8, 16, 3, stride=2)
        self.side, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(16, classes)

    def forward(self, x):
        x = self.mixer(self.stem(x).relu())
        a, b = self.start(x).relu().chunk(2, 1)
        return self.head(torch.cat([a, self.side(b).relu()], 1).mean((2, 3)))

def net(classes=3):
    return Net(classes)
"""
GIVEN = "--model net.py:net --weights w.safetensors --images x.npy"
TRAINED = (
    "--model net.py:net --data tiny.npz --size 16 --epochs 1 --batch-size 32 --precision fp32"
    " --retrain-epochs 1"
)
WAYS = {
    "post-training": f"{GIVEN} --post-training --keep-params 0.8",
    "one-shot": f"{TRAINED} --keep-params 0.8",
    "rounds": f"{TRAINED} --keep-params 0.7 --rounds 2 --score l1",
    "during": f"{TRAINED} --keep-params 0.8 --during-training --rounds 2 --score l1",
    "paper": f"{TRAINED} --step 0.25 --max-steps 3 --max-drop 100",
}


@pytest.fixture
def place(empty_home: Path) -> Path:
    here = Path.cwd()
    (here / "net.py").write_text(NETWORK)
    made: dict = {}
    exec(NETWORK, made)
    torch.manual_seed(0)
    files.write_tensors("w.safetensors", made["net"]().state_dict())
    rng = np.random.default_rng(0)
    parts = {}
    for part, n in (("train", 96), ("val", 48), ("test", 48)):
        parts[f"{part}_images"] = rng.integers(0, 255, (n, 16, 16, 3)).astype(np.uint8)
        parts[f"{part}_labels"] = (np.arange(n) % 3)[:, None]
    np.savez(here / "tiny.npz", **parts)
    np.save(here / "x.npy", rng.standard_normal((80, 3, 16, 16)).astype(np.float32))
    return here


def call(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    return code, " ".join(seen.out.split()), seen.err


@pytest.mark.parametrize("way", WAYS)
def test_the_class_stays_and_the_table_says_so(
    way: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(f"prune {WAYS[way]} --own-class --round-to 1 --name own", capsys)
    assert code == 0, err
    assert "in Python the pruned network is the Net that it was" in out
    run = runs.find("own")
    dense, pruned = run.history(records.Result)
    assert (pruned.class_name, pruned.class_lost) == ("Net", "")
    assert (dense.class_name, dense.class_lost) == (None, None)
    small = checkpoint.load(run, "pruned").model
    assert type(small).__name__ == "Net"
    assert small.mixer.values.weight.shape == (8, 8, 1, 1)  # type: ignore[union-attr]
    assert pruned.params < 0.95 * dense.params
    asked = files.read_json(run.recipe_path)["pruning"]
    assert asked["own_class"] if way == "paper" else asked["settings"]["own_class"]


@pytest.mark.parametrize("way", ["post-training", "paper"])
def test_without_the_word_the_table_says_why_it_is_a_graph(
    way: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(f"prune {WAYS[way]} --round-to 1 --name lost", capsys)
    assert code == 0, err
    said = "in Python the pruned network is a graph, no Net any more: its forward raises in "
    assert said in out
    pruned = runs.find("lost").history(records.Result)[-1]
    assert pruned.class_name == "Net"
    assert str(pruned.class_lost).startswith("its forward raises in ")


def test_a_plan_says_what_the_python_wants(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"prune {WAYS['post-training']} --round-to 1 --dry-run"
    code, _, err = call(f"{words} --own-class --plan-out plan.json --json", capsys)
    assert code == 0, err
    plan = json.loads((place / "plan.json").read_text())
    assert plan["reasons"]["mixer.values"] == "kept whole: the Python of mixer wants it"
    assert len(plan["keep"]["start"]) == len(plan["keep"]["start#2"])
    code, _, err = call(f"{words} --unequal --plan-out free.json --json", capsys)
    assert code == 0, err
    free = json.loads((place / "free.json").read_text())
    assert len(free["keep"]["start"]) != len(free["keep"]["start#2"])
    code, _, err = call(f"prune {GIVEN} --post-training --plan plan.json --own-class", capsys)
    assert code == 2
    assert "error: --plan: says already what stays — make the plan with --own-class" in err
    code, out, err = call(f"prune {GIVEN} --post-training --plan plan.json --name applied", capsys)
    assert code == 0, err
    assert "in Python the pruned network is the Net that it was" in out
