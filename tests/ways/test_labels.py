"""Labels that are no classes: trained on, judged by, pruned, exported and benched, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune import checkpoint, data, runs
from edgeprune.cli import app, errors
from edgeprune.records import Result
from tests.data.test_paired import pictures

NETWORKS = """
from torch import nn

def masks():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )

def number():
    return nn.Sequential(
        nn.Conv1d(2, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(8, 1),
    )

def classes(classes):
    return nn.Sequential(*list(number())[:-1], nn.Linear(8, classes))
"""


def call(words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    code = errors.run(app.app, [*words.split(), "--json"])
    seen = capsys.readouterr()
    assert code == 0, seen.err
    return json.loads(seen.out)


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    code = errors.run(app.app, words.split())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert (code, len(lines)) == (2, 1)
    return lines[0]


@pytest.fixture
def place(empty_home: Path) -> Path:
    here = Path.cwd()
    (here / "net.py").write_text(NETWORKS)
    pictures(here / "set", 110, (16, 16))
    x = np.random.default_rng(0).normal(size=(140, 2, 16)).astype(np.float32)
    level = 3 * x[:, 0].mean(1)
    np.savez("number.npz", x=x, y=level)
    np.savez("classes.npz", x=x, y=(level > 0).astype(np.int64))
    return here


QUICK = "--epochs 30 --batch-size 16 --lr 0.01 --precision fp32"


@pytest.mark.parametrize(
    ("net", "words", "task", "word"),
    [
        ("masks", "--data set --size 16 --task segmentation", "segmentation", "mIoU"),
        ("number", "--data number.npz", "number", "R²"),
        ("classes", "--data classes.npz", "classification", "accuracy"),
    ],
)
def test_from_training_to_the_bench(
    net: str, words: str, task: str, word: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(f"train --model net.py:{net} {words} {QUICK} --name r", capsys)
    call("prune r --keep-flops 0.7 --round-to 1 --retrain-epochs 1 --score taylor", capsys)
    run = runs.Run(Path("runs/r"))
    dense, pruned = run.history(Result)
    assert run.recipe().task == task
    assert dense.test_accuracy is not None
    assert dense.test_accuracy > 0.6
    assert pruned.flops / dense.flops == pytest.approx(0.7, abs=0.08)
    loaded = checkpoint.load(run, "pruned")
    if net == "number":  # judged by hand
        test = data.load("number.npz", size=32).test
        with torch.no_grad():
            out = loaded.model(torch.from_numpy(test.x))[:, 0].double().numpy()  # type: ignore[attr-defined]
        lost = ((out - test.labels) ** 2).sum() / ((test.labels - test.labels.mean()) ** 2).sum()
        assert pruned.test_accuracy == pytest.approx(max(0, 1 - lost), abs=1e-5)
        mae = np.abs(out - test.labels).mean()
        assert pruned.test_measures["mean_absolute_error"] == pytest.approx(mae, rel=1e-5)
    exported = call("export r", capsys)
    assert exported["labelled"] is True
    parity = exported["networks"]["pruned"]["parity"]
    if task == "classification":
        assert parity["torch_correct"] / parity["images"] == pytest.approx(pruned.test_accuracy)
    bench = call("bench r --device cpu --rounds 4 --passes 2 --seconds 0.1", capsys)
    (output,) = bench["networks"][1]["outputs"]
    assert output["task"] == task
    assert errors.run(app.app, ["report", "r"]) == 0
    capsys.readouterr()
    assert f"Test {word}" in Path("runs/r/report.html").read_text()
    weights = "runs/r/dense.safetensors"
    again = f"prune --post-training --model net.py:{net} --weights {weights} {words}"
    call(f"{again} --keep-flops 0.7 --round-to 1 --name p", capsys)
    first, second = runs.Run(Path("runs/p")).history(Result)
    assert first.test_accuracy == pytest.approx(dense.test_accuracy, abs=1e-6)
    assert second.test_accuracy is not None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--model net.py:number --data set --size 16", "Conv1d of 2 channels"),
        ("--model net.py:number --data number.npz --shape 2x8", "holds 2x16"),
        ("--model net.py:masks --data set --size 16 --task boxes", "and not as boxes"),
        ("--model net.py:masks --data set --size 16 --task number", "labels int64|labels uint8"),
        ("--model net.py:number --data classes.npz --task classification", "class scores"),
        (
            "--model net.py:masks --data set --size 16 --shape 3x16x24 --task segmentation",
            "are square",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    words: str, why: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    said = refused(f"train {words} --epochs 1 --name r", capsys)
    assert re.search(why, said), said
    assert not Path("runs/r").exists()
