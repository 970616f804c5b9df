"""The fuzz benchmark sees what it is for: other exceptions, hangs, deaths; and its inputs are repeatable."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from benchmarks import fuzz
from edgeprune.errors import EdgepruneError


def reader(path: Path) -> None:
    """Fails in a way that the input's first byte says."""
    kind = path.read_bytes()[:1]
    if kind == b"k":
        raise KeyError("x")
    if kind == b"e":
        raise EdgepruneError("a file", "is bad")
    if kind == b"d":
        os._exit(3)
    if kind == b"h":
        time.sleep(5)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(b"k", "KeyError"), (b"d", "died"), (b"h", "more than"), (b"e", None), (b"-", None)],
)
def test_failures_are_seen(
    kind: bytes, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, "mutated", lambda raw, is_json, rng: raw)
    form = fuzz.Format("x", ".x", lambda folder: [kind], reader)
    found = fuzz.batch(form, [kind], range(7, 9), tmp_path)
    assert [number for number, _ in found] == ([7, 8] if said else [])
    assert all(said in what for _, what in found) if said else not found


def test_an_input_can_be_made_again() -> None:
    raw = json.dumps({"a": [1, 2, {"b": None}], "c": "x"}).encode()
    for is_json in (True, False):
        made = [
            [fuzz.mutated(raw, is_json, random.Random(f"f {i}")) for i in range(50)] for _ in (0, 1)
        ]
        assert made[0] == made[1]
        assert len(set(made[0])) > 25
