"""Commands that only look: what they print, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.cli import app, errors


def said(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert errors.run(app.app, words.split()) == 0
    return capsys.readouterr().out


def test_cost_as_json(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counted = json.loads(said("cost --model vgg16 --classes 10 --size 32 --json", capsys))
    assert (counted["params"], counted["flops"]) == (14_982_474, 627_481_620)
    assert counted["macs"] == sum(row["macs"] for row in counted["layers"]) == 313_463_808
    assert counted["bytes"] == 4 * counted["params"]


def test_cost_of_widths(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    widths = "64,64,128,128,256,256,256,192,192,192,128,128,128"
    counted = json.loads(said(f"cost --model vgg16 --widths {widths} --json", capsys))
    assert (counted["params"], counted["flops"]) == (3_429_642, 421_199_892)


def test_cost_as_a_table(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = said("cost --model mobilenetv1-0.25", capsys)
    assert "conv1 (features.0.conv)" in table
    assert "total" in table


def test_models(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["model"]: row for row in json.loads(said("models --json", capsys))}
    assert rows["vgg16"]["inits"] == ["scratch", "imagenet"]
    found = json.loads(said("models resnet18 --json", capsys))
    assert "torchvision/resnet18" in [row["model"] for row in found]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeprune import __version__

    assert said("--version", capsys).strip() == __version__
