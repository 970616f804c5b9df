"""Words become a way by its row alone; a way that is added is a value, a page and a row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeprune import prices, prune, runs
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from edgeprune.ways import (
    WAYS,
    Gradual,
    Paper,
    Settings,
    Target,
    Unlabelled,
    Work,
    position,
    way_of,
)
from edgeprune.ways.way import Row, own, settings_of

from . import tiny

ALWAYS = {"round_to": 4, "seed": 0}
HALF, HALF_PARAMS = prices.Target("flops", 0.5), prices.Target("params", 0.5)


@pytest.mark.parametrize(
    ("typed", "name", "expected"),
    [
        ({}, None, Paper(round_to=4)),
        ({"step": 0.5, "score": "l2", "distil": True}, None,
         Paper(0.5, round_to=4, score="l2", distil=True)),
        ({"target": HALF, "rounds": 2}, None,
         Target(Settings(target=HALF, multiple=4), rounds=2)),
        ({"target": HALF, "during_training": True, "rounds": 3}, None,
         Gradual(Settings(target=HALF, multiple=4, score="l1", compensate="none"), rounds=3)),
        ({"target": HALF_PARAMS}, "gradual",
         Gradual(Settings(target=HALF_PARAMS, multiple=4, score="l1", compensate="none"))),
        ({"target": HALF, "post_training": True, "distil_steps": 7}, None,
         Unlabelled(Settings(target=HALF, multiple=4, distil_steps=7))),
        ({"max_drop": 5, "post_training": True}, None,
         Unlabelled(Settings(multiple=4), max_drop=5)),
        ({"score": "pfa", "method": "own", "post_training": True}, None,
         Unlabelled(Settings(score="pfa", method="own", multiple=4))),
        ({"target": HALF, "post_training": True}, "unlabelled",
         Unlabelled(Settings(target=HALF, multiple=4))),
    ],
)  # fmt: skip
def test_words_become_a_way(typed: dict, name: str | None, expected: object) -> None:
    assert way_of({**ALWAYS, **typed}, None, name) == expected


@pytest.mark.parametrize(
    ("typed", "name", "said"),
    [
        ({"target": HALF}, "paper", "--keep-flops: does not apply to the paper's way"),
        ({"target": HALF, "max_drop": 1}, None, "--max-drop: does not apply to a target"),
        ({"post_training": True, "target": HALF}, "gradual",
         "--way gradual and --post-training: exclude each other"),
        ({"during_training": True, "target": HALF, "heal": "paper"}, None,
         "--heal: does not apply during training"),
        ({"target": HALF, "distil_steps": 3}, None, "--distill-steps: belongs to --post-training"),
        ({"rounds": 3}, None, "--rounds: does not apply"),
        ({}, "target", "no target"),
        ({"target": HALF}, "targt", "did you mean target?"),
        ({"score": "pfa", "method": "own"}, "target", "--method own: is one look at the images"),
        ({"score": "pfa", "method": "own", "post_training": True, "target": HALF}, None,
         "--method own: keeps what the score says"),
        ({"score": "pfa", "method": "own", "post_training": True, "max_drop": 3}, None,
         "--method own and --max-drop: each says how far"),
        ({"score": "l1", "method": "own", "post_training": True}, None,
         "--method own --score l1: has no widths of its own — --score pfa"),
        ({"score": "l1", "method": "threshold", "target": HALF}, None,
         "--method threshold --score l1: does not say what a width loses"),
    ],
)  # fmt: skip
def test_a_word_of_another_way_is_refused(typed: dict, name: str | None, said: str) -> None:
    with pytest.raises(EdgepruneError) as e:
        way_of({**ALWAYS, **typed}, None, name)
    assert said in str(e.value)


def test_every_word_of_the_command_belongs_to_a_way() -> None:
    """What can be typed and no way knows would always be refused."""
    from edgeprune.cli import words
    from edgeprune.cli.typed import flat

    panels = (words.How(), words.Choice(), words.Repair(), words.Paper())
    typed = {word for panel in panels for word in flat(panel)} - words.NO_WAY
    flags = {row.flag for row in WAYS.values()}
    known = set().union(*(row.words for row in WAYS.values()))
    assert typed - flags == known - {"seed", "plan", "place"}  # "place": --device and --threads


@dataclass(frozen=True)
class Once:
    """Everything to its least width, at once: a way of this test."""

    settings: Settings = field(default_factory=Settings)
    floor: float = 0.5


def once(work: Work[Once]) -> str:
    keep = {
        name: list(range(max(1, round(group.width * work.way.floor))))
        for name, group in work.dense.graph.groups.items()
    }
    smaller = prune.narrow(work.dense.graph, keep)
    now = position.write(work.run, position.Position(1, keep, "once and for all"), smaller)
    position.finish(work, now)
    assert now.ended
    return now.ended


ROW = Row(
    name="once",
    title="--way once",
    value=Once,
    of_words=lambda typed: Once(settings_of(typed), **own(Once, typed)),
    words=frozenset({"floor", "round_to", "seed"}),
    lacks=("means nothing at once", "leave it out"),
    page=once,
    target=False,
)


def test_a_way_is_added_with_a_page_and_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(WAYS, "once", ROW)
    typed, _, _ = tiny.prepare(tmp_path).partition(" --retrain-epochs")
    words = f"{typed} --precision fp32 --way once --name r".split()
    assert errors.run(app.app, [*words, "--step", "0.5"]) == 2
    assert "--step: belongs to the paper's way" in capsys.readouterr().err
    assert errors.run(app.app, [*words, "--floor", "0.25", "--json"]) == 0
    seen = capsys.readouterr()
    assert "stopped: once and for all" in seen.err
    dense, pruned = json.loads(seen.out)["results"]
    assert pruned["widths"] == {n: max(1, round(w / 4)) for n, w in dense["widths"].items()}
    made = runs.Run(Path("runs/r"))
    assert made.recipe().pruning.way == "once"
    assert errors.run(app.app, [*words, "--floor", "0.25"]) == 0
    assert "pruned already" in capsys.readouterr().err
    assert errors.run(app.app, ["prune", "r", "--way", "once", "--floor", "0.5"]) == 2
    assert "floor 0.25 -> 0.5" in capsys.readouterr().err
    assert errors.run(app.app, ["export", "r"]) == 0
