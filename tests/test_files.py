"""Whole files or none, and a history that survives being killed."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune import checkpoint, files, records, runs
from edgeprune.errors import EdgepruneError, closest


def half_written(path: Path) -> None:
    with files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"x": float("nan")})
    with pytest.raises(RuntimeError):
        half_written(path)
    assert files.read_json(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(EdgepruneError, match="cannot write"):
        files.write_text(tmp_path / "f" / "g", "x")


def test_torn_lines_are_dropped_and_the_next_one_starts_fresh(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    files.append_line(path, {"n": 1})
    with open(path, "a") as f:
        f.write('{"n": 2, "half')
    files.append_line(path, {"n": 3})
    assert files.read_lines(path) == [{"n": 1}, {"n": 3}]


def test_a_path_that_is_no_text_survives_json(tmp_path: Path) -> None:
    odd = os.fsdecode(b"photos/r\xe9d")
    files.write_json(tmp_path / "a.json", {"data": odd})
    assert files.read_json(tmp_path / "a.json") == {"data": odd}
    files.append_line(tmp_path / "a.jsonl", {"data": odd})
    assert files.read_lines(tmp_path / "a.jsonl") == [{"data": odd}]


def test_json_without_end_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(EdgepruneError, match=r"a\.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")
    assert files.read_lines(tmp_path / "a.json") == []
    with pytest.raises(EdgepruneError, match="Is a directory"):
        files.read_lines(tmp_path)


def test_tensors_round_trip_with_strides_and_metadata(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    files.write_tensors(tmp_path / "t.safetensors", {"x": x, "same": x}, {"why": "because"})
    tensors, metadata = files.read_tensors(tmp_path / "t.safetensors")
    assert torch.equal(tensors["x"], x)
    assert metadata == {"why": "because"}


def test_history_counts_a_repeated_record_once(tmp_path: Path) -> None:
    run = runs.Run(tmp_path / "r")
    for accuracy in (0.5, 0.6):
        run.append(records.Step(step=1, layer="a", params=1, flops=1, accuracy=accuracy))
        run.append(records.Epoch(
                epoch=1, epochs=2, lr=0.1, train_loss=1.0, validation_loss=1.0,
                validation_accuracy=accuracy, seconds=1.0,
            )
        )  # fmt: skip
    assert [r.accuracy for r in run.history(records.Step)] == [0.6]
    assert len(run.told()[0]) == 2


def test_a_history_keeps_what_it_does_not_know_and_says_what_it_cannot_read(tmp_path: Path) -> None:
    run = runs.Run(tmp_path / "r")
    files.append_line(run.history_path, {"kind": "later", "x": ["\u2028", "\u0085"]})
    run.append(records.Step(step=1, layer="a\u2028b\u0085c", params=1, flops=1))
    files.append_line(run.history_path, {"kind": "step", "step": 2, "params": -1, "flops": 1})
    files.append_line(run.history_path, {"kind": "result", "network": "dense", "params": 1})
    with open(run.history_path, "a") as f:
        f.write('{"kind": "step", "st')  # torn by a kill: nothing to say
    told, odd = run.told()
    assert told == [
        records.Other("later", {"kind": "later", "x": ["\u2028", "\u0085"]}),
        records.Step(step=1, layer="a\u2028b\u0085c", params=1, flops=1),
    ]
    (sentence,) = odd
    assert "2 records left out" in sentence
    assert "params" in sentence


def test_a_run_is_locked_while_a_command_works_on_it(tmp_path: Path) -> None:
    run = runs.Run(tmp_path / "r")
    with run.lock(), pytest.raises(EdgepruneError, match="another command"), run.lock():
        pass


def test_a_lock_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgepruneError, match="cannot write"), runs.Run(tmp_path / "file").lock():
        pass


def test_finding_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgepruneError, match="no run in"):
        runs.find()
    for name in ("first", "second"):
        files.write_json(runs.named(name).recipe_path, {"model": name})
    assert runs.find("first").recipe().model == "first"
    assert runs.find(str(tmp_path / "runs" / "first")).name == "first"
    with pytest.raises(EdgepruneError, match="did you mean second"):
        runs.find("secnd")
    for bad in ("../x", "a/b", "", "-x", "x" * 200):
        with pytest.raises(EdgepruneError, match="not a run name"):
            runs.named(bad)


def test_what_to_type_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs.named("plain").word == "plain"
    assert runs.Run(Path("/elsewhere/plain")).word == "/elsewhere/plain"
    odd = runs.Run(tmp_path / "my run's")
    assert shlex.split(f"edgeprune bench {odd.word}") == ["edgeprune", "bench", str(odd.path)]


def test_an_error_is_one_printable_line() -> None:
    error = EdgepruneError("a\nb", "c\x1b[31m\td", "e")
    assert str(error) == "a b: c[31m d — e"
    assert closest("vgg61", ["vgg16", "mobilenetv1"]) == "did you mean vgg16?"
    assert closest("?", [f"net{i}" for i in range(1300)]).endswith("net19 and 1,280 more")
    assert json.dumps(str(error))


def test_torn_weights_and_those_of_another_network_are_told_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    files.write_tensors(path, nn.Linear(3, 4).state_dict())
    with pytest.raises(
        EdgepruneError, match=r"w.safetensors of another network: .*take the weights"
    ):
        checkpoint.fill(nn.Linear(4, 4), files.read_tensors(path)[0], str(path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(EdgepruneError, match=r"w.safetensors: not a whole .*make it again"):
        files.read_tensors(path)
