"""What people stumbled over: each is one line that names the thing and the remedy, before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.cli import app, errors

NOISY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        print("shape", x.shape)
        return self.b(self.a(x).relu()).mean((2, 3))

class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")

def net():
    return Net()

def broken():
    raise Mute
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    (tmp_path / "noisy.py").write_text(NOISY)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compare a.json b.json", "result a.json: no such file — edgeprune bench writes them"),
        (
            "prune r --plan p.json",
            "--plan p.json: no such file — edgeprune prune … --dry-run --plan-out",
        ),
        ("cost", "edgeprune cost: wants one network — give --model NAME or a run"),
        ("inspect", "edgeprune inspect: wants one network"),
        (
            "cost vgg16",
            "that is a network, whose name follows --model; a run is made of it — edgeprune",
        ),
        ("report ./a.onnx", "no run './a.onnx': that is a network, whose name follows --model"),
        ("train vgg16 --data digits", "stands before its value, as in --model vgg16 — see"),
        ("doctor nope.onnx", "nope.onnx: no such file"),
        ("inspect --model noisy.py:broken", "Mute: (its __str__ raises ValueError)"),
    ],
)
def test_one_line_with_the_remedy(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.run(app.app, words.split()) == 2
    shown = capsys.readouterr()
    assert not shown.out
    (line,) = shown.err.strip().splitlines()  # no "profiling" before a refusal
    assert said in line


def test_a_timm_name_is_looked_up_before_any_data_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("timm")
    assert errors.run(app.app, "train --model timm/resnet1 --data nowhere".split()) == 2
    assert "did you mean timm/resnet" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "cost"])
def test_what_a_forward_prints_does_not_stand_beside_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.run(app.app, [command, "--model", "noisy.py:net", "--size", "32", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["params"] == 3 * 8 * 9 + 8 + 8 * 4 * 9 + 4
    assert "torch.Size" not in shown.out
