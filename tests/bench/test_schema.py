"""An answer of the runner passes; one that was tampered with is refused, and the place is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.measure import Collected, answered
from edgeprune.errors import EdgepruneError
from tests.tiny_onnx import save


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("schema")
    request = bench.Request(rounds=2, passes=1, seconds=0.02, samples=1)
    result = bench.measure([save(folder / "a.onnx")], out=folder / "r.json", request=request)
    return json.loads(json.dumps(result.document["measured"]))


def test_the_runners_own_document_passes(answer: dict[str, Any]) -> None:
    answered(answer, 1)
    with pytest.raises(EdgepruneError, match="1 of them, 2 were sent"):
        answered(answer, 2)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("runner", 2, "runner"),
        ("options", [], "options"),
        ("environment.cpu", None, "environment.cpu"),
        ("models.0.sessions", {}, r"models\.0\.sessions"),
        ("models.0.sessions", [], "no samples"),
        ("models.0.sessions.0.rounds.1.wall_s", [1, -1], r"rounds\.1\.wall_s"),
        ("models.0.sessions.0.rounds.1.wall_s", [float("nan")], r"rounds\.1\.wall_s"),
        ("models.0.sessions.0.rounds.1.wall_s", ["1"], r"rounds\.1\.wall_s"),
        ("models.0.sessions.0.rounds.1.wall_s", [], "unlike length"),
        ("models.0.sessions.0.memory.peak.rss", "much", "memory.peak.rss"),
        ("models.0.bytes", True, r"models\.0\.bytes"),
        ("models.0.accuracy", {"n": 1}, "accuracy"),
        ("stopped", 1, "stopped"),
    ],
)
def test_each_wrong_place_is_named(
    answer: dict[str, Any], path: str, value: Any, where: str
) -> None:
    document = copy.deepcopy(answer)
    *way, last = path.split(".")
    inner: Any = document
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[last] = value
    with pytest.raises(EdgepruneError, match=where):
        answered(document, 1)


@pytest.mark.parametrize("document", [None, [], 7, "x", {}, {"runner": 1}])
def test_other_things_are_refused(document: Any) -> None:
    with pytest.raises(EdgepruneError, match="another form"):
        answered(document, 1)


def test_a_device_that_babbles(tmp_path: Path) -> None:
    """Lines that are no events change nothing; a last line of rubbish is no result."""
    collected = Collected(1)
    for line in ("hello", "[1]", "7", '{"event": "round", "model": 9, "round": {}}', '{"event": []}',
                 '{"event": "round", "model": 0, "round": {}}', '{"event": "session"}'):  # fmt: skip
        assert collected.add(line) is None
    with pytest.raises(EdgepruneError):
        collected.answer([tmp_path], ["0/model.onnx"], "cpu")
