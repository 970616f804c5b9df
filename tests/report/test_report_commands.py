"""``edgeprune runs``, ``report`` and ``plot`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic

from edgeprune.cli import app, errors


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """A folder with three runs; the function types a command and returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    synthetic.whole(Path("runs/a"))
    synthetic.run(Path("runs/b"), "spec", "dense", "sensitivity", "pruned")
    synthetic.run(Path("runs/c"))

    def run(*words):
        code = errors.run(app.app, list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_runs_lists_all_and_shows_one(typed):
    code, out, _ = typed("runs", "--json")
    rows = {r["run"]: r for r in json.loads(out)["rows"]}
    assert code == 0
    assert {name: r["state"] for name, r in rows.items()} == {
        "a": "measured",
        "b": "pruned",
        "c": "begun",
    }
    assert rows["a"]["params"] == 3_429_642
    assert rows["a"]["steps"] == 33
    _, out, _ = typed("runs")
    assert "−77 %" in out
    _, out, _ = typed("runs", "a")
    assert "0.83× (0.81–0.85)" in out
    assert "512 → 448" in out
    _, out, _ = typed("runs", "a", "--json")
    assert len(json.loads(out)["steps"]) == 34


def test_a_broken_recipe_hides_no_other_run(typed):
    Path("runs/c/recipe.json").write_text("{")
    code, out, _ = typed("runs")
    assert code == 0
    assert "not readable as JSON" in out
    assert "89.92 %" in out


def test_no_runs_says_how_to_make_one(typed, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, out, notes = typed("runs")
    assert code == 0
    assert out == ""
    assert "edgeprune prune" in notes


def test_report_writes_the_page_and_says_where(typed):
    code, out, err = typed("report", "b")
    assert code == 0
    assert "not exported yet: edgeprune export b" in out
    assert "not measured yet: then edgeprune bench b" in out
    assert str(Path("runs/b/report.html")) in err
    assert Path("runs/b/report.html").is_file()
    _, out, _ = typed("report", "a", "--json")
    assert json.loads(out)["comparison"][0]["quantity"] == "Parameters"


def test_plot_draws_what_there_is_and_says_what_not(typed, tmp_path):
    code, out, _ = typed("plot", "a", "b", "--figure", "history", "--out", "figures", "--json")
    assert code == 0
    files = [Path(f["path"]) for f in json.loads(out)["files"]]
    assert [f.name for f in files] == ["history-a-b.png", "history-a-b.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert b">a<" in files[1].read_bytes()
    assert b"A: a" not in files[1].read_bytes()
    synthetic.whole(tmp_path / "elsewhere/a")
    assert typed("plot", "a", "elsewhere/a", "--figure", "history", "--out", "two")[0] == 0
    assert b">elsewhere/a<" in next((tmp_path / "two").glob("*.svg")).read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plot", "a", "--figure", "norm"), "did you mean norms?"),
        (("plot", "a", "--normalise", "log"), "known: none, max, size"),
        (("plot", "c", "--figure", "history"), "edgeprune prune --model vgg16 --init imagenet"),
        (("plot", "a", "runs/a"), "the same run twice"),
        (("plot", "c", "--figure", "norms"), "edgeprune prune --model vgg16 --init imagenet"),
        (("report", "nowhere"), "no run 'nowhere'"),
    ],
)
def test_what_cannot_be_done_is_one_line(typed, words, said):
    code, out, err = typed(*words)
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
