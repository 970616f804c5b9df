"""timm's, torchvision's and the user's own networks through the whole chain, as typed (make zoo)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune import records, runs
from edgeprune.cli import app, errors

NETWORK = """
from torch import nn

def tiny(classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes),
    )
"""


def call(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert code == 0, seen.err
    return seen.out


@pytest.mark.zoo
@pytest.mark.parametrize(
    "model", ["timm/test_resnet", "torchvision/mobilenet_v3_small", "net.py:tiny"]
)
def test_train_prune_export_bench(
    model: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.py").write_text(NETWORK)
    quick = "--data digits --size 32 --epochs 3 --limit 400 --precision fp32"  # enough to tell digits apart
    call(f"train --model {model} {quick} --name a", capsys)
    weights = Path("runs/a/dense.safetensors")
    call("prune a --keep-flops 0.7 --round-to 1 --retrain-epochs 1 --score l1 --json", capsys)
    call("export", capsys)
    measured = json.loads(call("bench --rounds 4 --passes 2 --seconds 0.1 --json", capsys))
    assert [n["name"] for n in measured["networks"]] == ["dense", "pruned"]
    dense, pruned = runs.Run(Path("runs/a")).history(records.Result)
    assert pruned.flops / dense.flops == pytest.approx(0.7, abs=0.05)
    # and once more from the weights alone, without labels
    words = f"--model {model} --weights {weights} --size 32 --data digits --post-training"
    call(f"prune {words} --keep-params 0.6 --round-to 1 --name b", capsys)
    again, less = runs.Run(Path("runs/b")).history(records.Result)
    assert again.test_accuracy == dense.test_accuracy
    assert less.agreement is not None
    assert less.test_accuracy is not None
