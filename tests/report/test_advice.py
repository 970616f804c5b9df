"""What a run's page and table advise works when it is typed, one after the other, to the end."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune import report, runs
from edgeprune.cli import app, errors
from edgeprune.report import page, results
from tests.ways import tiny

UNLABELLED = (
    "prune --post-training --keep-flops 0.6 --round-to 1 --model {here}/net.py:tiny "
    "--weights {here}/w.safetensors --size 16 --images {here}/photos --name r"
)
QUICK = "--rounds 1 --passes 1 --seconds 0.1"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder; `type_it` there finds the words in sys.argv as a shell puts them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    tiny.prepare(tmp_path)
    return tmp_path


def type_it(words: str) -> int:
    sys.argv = ["edgeprune", *shlex.split(words)]
    return errors.run(app.app, sys.argv[1:])


def photos(folder: Path) -> None:
    folder.mkdir()
    for i, pixels in enumerate(np.load("tiny.npz")["train_images"]):
        Image.fromarray(pixels).save(folder / f"{i}.png")


def advised() -> list[str]:
    """The commands that the table's notes name, in their order; the page names the same."""
    found = report.read(runs.find("r"))
    notes = results.missing(found)
    commands = re.findall(r"edgeprune (.*)", "\n".join(notes))
    html = page.html(found)
    assert all(shlex.split(c)[0] in html for c in commands)
    return commands


@pytest.mark.parametrize("way", ["paper", "without labels"])
def test_what_is_advised_works_when_typed(
    typed: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    words = (tiny.WORDS if way == "paper" else UNLABELLED).format(here=typed)
    if way != "paper":
        photos(typed / "photos")
        tiny.weights(typed / "w.safetensors")
    assert type_it(words) == 0
    run = runs.find("r")
    assert type_it(f"plot r --out {typed}/figures") == 0
    if way == "paper":  # as a run that was killed in its pruning
        lines = [li for li in run.history_path.read_text().splitlines() if '"pruned"' not in li]
        run.history_path.write_text("\n".join(lines) + "\n")
        run.weights_path("pruned").unlink()
        shutil.rmtree(run.state_folder, ignore_errors=True)
        assert advised()[0].startswith("prune --model")
    done = []
    for _ in range(4):
        for command in advised():
            extra = QUICK if command.startswith("bench") else ""
            assert type_it(f"{command} {extra}") == 0, command
            done.append(command.split()[0])
    assert done == ["prune"] * (way == "paper") + ["export", "bench"]
