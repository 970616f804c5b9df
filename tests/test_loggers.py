"""Loggers hear what stands in a run's history, each record once, and cannot stop a training."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeprune import loggers, records
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from edgeprune.runs import Run


def epoch(number: int, step: int | None = None) -> records.Epoch:
    return records.Epoch(
        network="pruned" if step else "dense", phase="retrain" if step else "train", step=step,
        epoch=number, epochs=3, lr=0.1, train_loss=1.0 / number, validation_loss=0.7,
        validation_accuracy=0.5, seconds=2.0,
    )  # fmt: skip


class Own:
    def __init__(self, good: int = 99) -> None:
        self.good, self.heard, self.closed = good, [], False  # type: ignore[var-annotated]

    def log(self, run: Path, record: records.Record) -> None:
        if len(self.heard) == self.good:
            raise OSError("the disk is full")
        self.heard.append((run, record))

    def close(self) -> None:
        self.closed = True


def test_ones_own_hears_each_record_after_it_is_written(tmp_path: Path) -> None:
    run, own = Run(tmp_path), Own()
    with loggers.listening(own):
        run.append(epoch(1))
        run.append(epoch(2))
    run.append(epoch(3))
    assert [record.epoch for _, record in own.heard] == [1, 2]
    assert own.closed
    assert len(run.history_path.read_text().splitlines()) == 3


def test_one_that_fails_is_asked_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, own, other = Run(tmp_path), Own(good=1), Own()
    with loggers.listening(own, other):
        for number in (1, 2, 3):
            run.append(epoch(number))
    assert len(own.heard) == 1
    assert len(other.heard) == len(run.history_path.read_text().splitlines()) == 3
    assert [r.getMessage() for r in caplog.records] == ["Own hears no more: the disk is full"]


def test_what_is_told_and_where_it_stands() -> None:
    found = loggers.scalars(replace(epoch(2), validation_loss=math.inf))
    assert found == {
        "lr": 0.1, "train_loss": 0.5, "validation_accuracy": 0.5, "seconds": 2.0,
    }  # neither a place nor what is no number  # fmt: skip
    assert loggers.place(epoch(2)) == ("epoch/dense/train", 2)
    assert loggers.place(epoch(1, step=4)) == ("epoch/pruned/retrain/step 4", 1)


def test_tensorboard_reads_the_numbers_again(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'edgeprune[log]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = "train --model mobilenetv1-0.25 --data digits --limit 100 --epochs 2 --name t --log tensorboard"
    assert errors.run(app.app, words.split()) == 0, capsys.readouterr().err
    run = Run(Path("runs/t"))
    told = EventAccumulator(str(run.path / "tensorboard")).Reload()
    accuracy = [(e.step, e.value) for e in told.Scalars("epoch/dense/train/validation_accuracy")]
    known = list(run.history(records.Epoch))
    assert [step for step, _ in accuracy] == [1, 2]
    assert [v for _, v in accuracy] == pytest.approx([r.validation_accuracy for r in known])


def test_mlflow_has_one_run_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Started:
        def __init__(self, run_id: str | None, run_name: str) -> None:
            self.info = SimpleNamespace(run_id=run_id or f"id of {run_name}")

        def __enter__(self) -> Started:
            told.append(self.info.run_id)
            return self

        def __exit__(self, *_: object) -> None:
            pass

    fake = ModuleType("mlflow")
    fake.start_run = Started  # type: ignore[attr-defined]
    fake.log_metrics = lambda numbers, step: told.append((numbers, step))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    (own,) = loggers.named("mlflow")
    (tmp_path / "a").mkdir()
    with loggers.listening(own):
        Run(tmp_path / "a").append(epoch(1))
        Run(tmp_path / "a").append(epoch(2))
    assert [t for t in told if isinstance(t, str)] == ["id of a", "id of a"]
    assert [t[1] for t in told if isinstance(t, tuple)] == [1, 2]
    assert told[1][0]["epoch.dense.train.validation_accuracy"] == 0.5


def test_a_name_of_none_and_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgepruneError, match="tensorboard"):
        loggers.named("tensorbord")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(EdgepruneError, match="pip install mlflow"):
        loggers.named("mlflow")
