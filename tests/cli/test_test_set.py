"""``--test``: images that judge, all of them, and never split or trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeprune import data, records, runs
from edgeprune.cli import app, errors
from tests.ways import tiny

TRAIN = "train --model {h}/net.py:tiny --data {h}/tiny.npz --size 16 --epochs 1 --batch-size 16 --name t"
PRUNE = (
    "prune --post-training --keep-flops 0.6 --round-to 1 --model {h}/net.py:tiny --weights w.safetensors "
    "--size 16 --images photos --name p"
)
QUICK = "--rounds 1 --passes 1 --seconds 0.1 --json"


def folder(place: Path, classes: str, each: int, seed: int) -> None:
    """``each`` images a class, the class told by its colour as in tiny.npz; class folders."""
    rng = np.random.default_rng(seed)
    for i, name in enumerate(classes.split()):
        (place / name).mkdir(parents=True)
        for k in range(each):
            pixels = rng.integers(0, 120, (16, 16, 3)).astype(np.uint8)
            pixels[..., i % 3] += 100
            Image.fromarray(pixels).save(place / name / f"{k}.png")


@pytest.fixture
def here(empty_home: Path) -> Path:
    place = Path.cwd()
    tiny.prepare(place)
    folder(place / "held", "0 1 2", 7, 1)
    folder(place / "named", "cat dog owl", 5, 2)
    folder(place / "photos", "x y z", 22, 3)
    tiny.weights(place / "w.safetensors")
    return place


@pytest.fixture
def typed(here: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(words: str) -> tuple[int, str, str]:
        code = errors.run(app.app, words.format(h=here).split())
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return call


def results(name: str) -> dict[str, records.Result]:
    return {r.network: r for r in runs.find(name).history(records.Result)}


def test_a_training_is_judged_by_all_of_it(typed: Any) -> None:
    code, _, said = typed(f"{TRAIN} --test held")
    assert code == 0, said
    assert "its own 48 test images are not used" in said
    assert results("t")["dense"].test_images == 21
    assert results("t")["dense"].validation_images == 48  # the set's own, as without --test
    assert runs.find("t").recipe().test == "held"
    assert "no run" not in typed("prune t --keep-flops 0.9 --round-to 1 --retrain-epochs 1")[2]
    assert results("t")["pruned"].test_images == 21
    assert typed("export t")[0] == 0
    code, out, _ = typed(f"bench t {QUICK}")
    assert json.loads(out)["networks"][0]["images"] == 21


def test_without_other_labels_it_judges_alone(typed: Any) -> None:
    code, _, said = typed(f"{PRUNE} --test named")
    assert code == 0, said
    assert "its classes in alphabetical order" in said
    found = results("p")
    assert (found["dense"].test_images, found["dense"].validation_accuracy) == (15, None)
    assert found["pruned"].test_images == 15
    code, out, _ = typed("export p --json")
    assert json.loads(out)["labelled"] is True
    code, out, said = typed(f"bench p {QUICK}")
    assert code == 0, said
    assert json.loads(out)["networks"][1]["top1"] == pytest.approx(found["pruned"].test_accuracy)
    code, out, said = typed(f"bench p --test held {QUICK}")
    assert json.loads(out)["networks"][1]["images"] == 21


def test_it_is_the_very_images_and_their_classes(here: Path) -> None:
    """Of a set with parts the test part; labels as the network counts, whatever the set's order."""
    folder(here / "parts/train", "owl", 4, 4)
    folder(here / "parts/test", "owl cat", 2, 5)
    folder(here / "parts/train", "cat", 4, 6)
    split = data.held_out("parts", ("owl", "dog", "cat"), size=16)
    assert split.labels.tolist() == [2, 2, 0, 0]
    stored = np.asarray(Image.open(here / "parts/test/cat/0.png"))
    assert (split.images([0])[0] == stored).all()
    full = data.load("named", size=16, test="parts", seed=0)
    assert full.classes == ("cat", "dog", "owl")
    assert full.test.labels.tolist() == [0, 0, 2, 2]
    assert len(full.train) + len(full.validation) == 15  # nothing is split off for a test
    assert full.source["split"]["test"] == "all of parts"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{TRAIN} --test named", "cat, dog, owl"),
        (f"{TRAIN} --test nowhere", "nowhere"),
        (f"{PRUNE} --test two", "2 classes, and the network has 3"),
        (f"{PRUNE.replace('--images photos', '--data named')} --test named", "that is trained on"),
        ("bench --test held m.onnx", "--test held: the files do not say their classes"),
    ],
)
def test_what_cannot_judge_is_refused_before_any_work(
    typed: Any, here: Path, words: str, said: str
) -> None:
    from tests.tiny_onnx import save

    save(here / "m.onnx")
    folder(here / "two", "a b", 3, 7)
    code, out, err = typed(words)
    assert (code, out) == (2, "")
    assert said in err
    assert not (here / "runs").exists() or not list((here / "runs").glob("*/pruned*"))
