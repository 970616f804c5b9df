"""What a study's table reads from runs whose files tell less than they should."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune import files, runs, study
from edgeprune.records import Network, Pruning, Start, StudyRow, Words
from edgeprune.report import study as drawn
from edgeprune.study import do
from edgeprune.study.jobs import Job, jobs
from edgeprune.study.work import Standing
from tests.report import synthetic

ASKED = study.built_in()
ONE = replace(
    ASKED, models={"vgg16": Network(inits={"A": Start(init="imagenet")})}, data={"cifar10": Words()},
    seeds=[0], train=Words(epochs=[8]), ways={"paper": Pruning("paper", {})}, bench=True,
)  # fmt: skip
DENSE, PAPER = "vgg16-cifar10-A-s0", "vgg16-cifar10-A-s0-paper"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    monkeypatch.chdir(tmp_path)
    synthetic.whole(tmp_path / "runs" / DENSE)
    synthetic.whole(tmp_path / "runs" / PAPER)
    return jobs(ONE)


def told(found: list[Job]) -> dict[str, StudyRow]:
    standing = Standing(found, frozenset(j.name for j in found), {})
    rows = study.rows(standing)
    drawn.write(ONE, standing, Path("tables"))  # pages and figures are made of them
    return {row.job: row for row in rows}


def change(run: str, network: str, **words: Any) -> None:
    """Of the results of one network; without ``words`` they go."""
    path = runs.named(run).history_path
    lines = files.read_lines(path)
    path.unlink()
    for line in lines:
        if "params" in line and line.get("network") == network:
            if not words:
                continue
            line = line | words
        files.append_line(path, line)


def test_of_whole_runs_all_is_told(made: list[Job]) -> None:
    assert {row.state for row in told(made).values()} <= {"done", "still rising"}


@pytest.mark.parametrize(
    ("run", "network", "words", "said"),
    [
        (PAPER, "pruned", {}, "no accuracy of the pruned network"),
        (DENSE, "dense", {}, "no accuracy of the dense network"),
        (PAPER, "pruned", {"test_accuracy": None}, "no accuracy of the pruned network"),
        (DENSE, "dense", {"test_images": None}, "no accuracy of the dense network"),
        (PAPER, "pruned", {"widths": {"other": 3}}, "layers are not the dense one's"),
    ],
)
def test_a_run_that_tells_too_little_is_said_and_not_compared(
    made: list[Job], run: str, network: str, words: dict[str, Any], said: str
) -> None:
    change(run, network, **words)
    row = told(made)[run]
    assert row.state == "failed"
    assert said in str(row.why)
    assert "made anew" in str(row.why)


def test_a_measurement_of_another_device_is_not_the_studys(made: list[Job]) -> None:
    bench = next(job for job in made if job.kind == "bench")
    folder = runs.named(PAPER).bench_folder
    whole = next(iter(folder.glob("*.json")))
    shutil.move(whole, folder / "phone-4t-20990101-000000.json")
    assert not do.is_done(bench)
    shutil.move(folder / "phone-4t-20990101-000000.json", folder / "cpu-1t-20990101-000000.json")
    assert do.is_done(bench)
