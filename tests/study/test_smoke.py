"""``edgeprune study --paper --smoke``: all that the study does, at its smallest, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="pip install 'edgeprune[study]'")

from edgeprune.cli import app, errors, study


def test_the_small_form_of_the_papers_study(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "--paper", "--smoke"]
    assert errors.run(app.app, [*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    states = {row["job"]: row["state"] for row in told["runs"]}
    assert len(states) == 8
    assert set(states.values()) <= {"done", "at chance"}
    assert {v["answer"] for v in told["claims"]} == {"not decided"}  # of one seed
    folder = Path("studies/paper-smoke")
    page, html = (folder / "README.md").read_text(), (folder / "study.html").read_text()
    for text in ("A loses more parameters than B", "mobilenetv1-0.25-digits-B-s0-scratch-b", "200"):
        assert text in page
        assert text in html
    assert "http" not in html.split("<body>")[1]  # one file that asks nobody
    assert {p.suffix for p in folder.glob("*-paper-*")} == {".png", ".svg"}
    assert len((folder / "runs.csv").read_text().splitlines()) == 9
    assert errors.run(app.app, words) == 0  # nothing is left to do
    assert "0 of 8 jobs are not done" not in capsys.readouterr().out
    assert errors.run(app.app, [*words, "--dry-run", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["jobs"]
    assert [job["done"] for job in listed] == ["yes"] * 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no study is named"),
        (["x.toml", "--paper"], "both name a study"),
        (["none.toml"], "none.toml: no such file"),
        (["x.toml", "--smoke"], "--smoke: belongs to --paper"),
    ],
)
def test_what_cannot_be_meant(
    words: list[str], said: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.run(app.app, ["study", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_another_worker_is_the_same_command_without_its_number() -> None:
    assert study.alone(["study", "s.toml", "--workers", "3", "--storage", "sqlite:///x"]) == [
        "study", "s.toml", "--storage", "sqlite:///x",
    ]  # fmt: skip
    assert study.alone(["study", "--paper", "--workers=2"]) == ["study", "--paper"]
