"""The model card: metadata that a reader of YAML takes, and the run's own figures."""

from __future__ import annotations

import json
from pathlib import Path

from edgeprune import report
from edgeprune.report import card
from tests.report import synthetic


def test_the_card_of_a_whole_run(tmp_path: Path) -> None:
    found = report.read(synthetic.whole(tmp_path / "a"))
    assert found.pruned is not None
    text = card.write(found).read_text()
    head, _, rest = text.removeprefix("---\n").partition("\n---\n")
    said = {k: json.loads(v) for k, _, v in (line.partition(": ") for line in head.splitlines())}
    assert {"edgeprune", "pruned"} <= set(said["tags"])
    assert said["datasets"] == [found.recipe.data]
    assert "license" not in said  # nobody knows it: the card says who must
    assert "## Licence" in rest
    assert f"# {found.run.name}" in rest
    share = 100 * found.pruned.flops / found.dense.flops  # type: ignore[union-attr]
    assert f"with {share:.1f} % of the FLOPs left" in rest
    for row in report.comparison(found.run, found).cells():
        for cell in row:
            assert str(cell) in rest
    assert str(tmp_path) not in text  # no path of this machine


def test_the_card_of_a_run_that_was_only_begun(tmp_path: Path) -> None:
    text = card.text(report.read(synthetic.run(tmp_path / "a", "spec", "dense")))
    assert "not pruned yet" in text
