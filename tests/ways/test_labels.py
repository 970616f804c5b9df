"""Labels that are no classes: trained on, judged by, pruned, exported and benched, as it is typed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune import checkpoint, data, runs
from edgeprune.cli import app, errors
from edgeprune.records import Result
from edgeprune.tasks import TASKS, Scores
from tests.data.test_paired import pictures

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NETWORKS = """
from torch import nn

class Out(nn.Sequential):
    def forward(self, x):
        return {"out": super().forward(x)}

def masks():
    return Out(
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


def detector(place: Path) -> None:
    """A detector with random weights, and images whose labels are its surest three boxes."""
    pytest.importorskip("pycocotools")
    (place / "cases_networks.py").write_text((BENCHMARKS / "cases_networks.py").read_text())
    spec = importlib.util.spec_from_file_location("cases_networks", place / "cases_networks.py")
    assert spec is not None
    assert spec.loader is not None
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    torch.manual_seed(0)
    net = networks.YOLOv8().eval()
    torch.save(net.state_dict(), "yolo.pth")
    x = networks.blobs(100, 3, 64, 64)
    with torch.no_grad():
        found = net(x)[0]
    scores, classes = found[:, 4:].max(1)
    at = scores.topk(3).indices
    boxes = found[:, :4].gather(2, at[:, None].expand(-1, 4, -1))
    y = torch.cat([classes.gather(1, at)[..., None].float(), boxes.transpose(1, 2)], 2)
    np.savez("boxes.npz", x=x, y=y)


def test_boxes_are_judged_by_labels_after_training(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector(place)
    words = "--post-training --model cases_networks.py:YOLOv8 --weights yolo.pth --data boxes.npz"
    call(f"prune {words} --keep-flops 0.5 --round-to 1 --name p", capsys)
    run = runs.Run(Path("runs/p"))
    results = run.history(Result)
    test, known = data.load("boxes.npz", size=32).test, []
    for result in results:  # judged by hand
        loaded, scores = checkpoint.load(run, result.network), Scores(TASKS["boxes"])
        aside = np.zeros((*test.labels.shape[:2], 1), np.float32)
        with torch.no_grad():
            found = loaded.model(torch.from_numpy(test.x))[0]  # type: ignore[attr-defined]
        scores.add(found, torch.from_numpy(np.concatenate([test.labels, aside], 2)))
        known.append(scores.result())
        assert {"map": result.test_accuracy} | result.test_measures == pytest.approx(known[-1])
    assert known[0]["map50"] > 0.5
    assert known[0] != known[1]
    call("export p", capsys)
    bench = call("bench p --device cpu --rounds 4 --passes 2 --seconds 0.1", capsys)
    assert (
        errors.run(app.app, "bench p --device cpu --rounds 4 --passes 2 --seconds 0.1".split()) == 0
    )
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "Test mAP50" in line)
    assert "–" not in row  # both networks in one row
    judged = [network["outputs"][0] for network in bench["networks"]]
    assert [o["scores"] for o in judged] == [pytest.approx(own, abs=0.02) for own in known]
    assert judged[1]["measures"]["matched"] > 0
    assert errors.run(app.app, ["report", "p"]) == 0
    told = capsys.readouterr().out
    assert "Test mAP50" in told
    assert "accuracy" not in told.lower()
    said = refused("train --model cases_networks.py:YOLOv8 --data boxes.npz --name q", capsys)
    assert "boxes=" in said or "=boxes" in said


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
