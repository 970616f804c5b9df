"""The progress of a training on stderr: lines in a log, a bar and lines in a terminal."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest

from edgeprune.cli import output, progress
from edgeprune.records import Epoch, Step
from edgeprune.train.watch import Progress

RECORD = Epoch(
    epoch=2,
    epochs=30,
    lr=1e-3,
    train_loss=1.234,
    validation_loss=1.1,
    validation_accuracy=0.8765,
    seconds=61.0,
)


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STEP = Step(
    step=3,
    layer="features.28",
    widths={"features.28": 448},
    params=14_687_050,
    flops=600_000_000,
    before=0.5,
    accuracy=0.8712,
    baseline=0.9,
    removed=list(range(64)),
    kept=False,
)


def tell(stream: io.StringIO) -> str:
    with progress.watch(stream) as watch:
        watch.on_start(30, 1, 5000.0)
        watch.on_batch(Progress(2, 30, 7, 350, 2.3, 4000.0))
        watch.on_batch(Progress(2, 30, 8, 350, 2.2, math.nan))
        watch.on_epoch(RECORD)
        watch.on_progress("sensitivity", 3, 13)
        watch.on_step(STEP, STEP.layer)
        watch.on_start(5, 0, math.nan)
        watch.note("The network is at chance [red].")
    return stream.getvalue()


def test_a_log_gets_plain_lines_and_few_of_them() -> None:
    assert tell(io.StringIO()).splitlines() == [
        "training: 30 epochs at most, 1 h 23 min left at most",
        "epoch 2/30: loss 1.234, validation 87.6 %, lr 1.0e-03, 1 min 01 s",
        "step 3: features.28 512 -> 448 filters, 14.69 M parameters, 600.00 M FLOPs, "
        "validation 50.0 % cut, 87.1 % retrained (dense 90.0 %): taken back",
        "training: 5 epochs at most",
        "The network is at chance [red].",
    ]


def test_a_log_hears_of_batches_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    lines = tell(io.StringIO()).splitlines()
    assert "epoch 2/30, 7/350: loss 2.300, 1 h 06 min left at most" in lines
    assert "sensitivity, 3/13" in lines


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = tell(FakeTerminal())
    assert "\x1b[" in text
    assert "validation 87.6 %" in text


@pytest.mark.parametrize("stream", [io.StringIO(), FakeTerminal()], ids=["log", "terminal"])
def test_names_from_outside_do_not_write_on_the_terminal(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A member of an archive may be called anything, and is named in the notes."""
    evil = "left out 1: twice (a/\x1b]0;owned\x07\x1b[2J\nnext.png)"
    with progress.watch(stream) as watch:
        watch.note(evil)
    output.note(evil)
    for seen in (stream.getvalue(), capsys.readouterr().err):
        assert "\x1b]0" not in seen
        assert "\x1b[2J" not in seen
        assert "(a/]0;owned[2J next.png)" in seen


def test_a_result_goes_to_stdout_although_a_bar_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``edgeprune prune --json > file`` at a terminal: rich would take stdout for its own."""
    monkeypatch.setenv("TERM", "xterm")
    stream = FakeTerminal()
    with progress.watch(stream) as watch:
        watch.on_progress("sensitivity", 3, 13)
        output.show_json({"run": "early"})  # even then, though the bar stands in its way
        watch.end()
        ended = stream.getvalue()
        output.show_json({"run": "one"})
    out = capsys.readouterr().out
    assert '"run": "early"' in out
    assert '"run": "one"' in out
    assert stream.getvalue() == ended  # the bar was gone before


def test_a_forecast_has_no_fractions_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    stream = io.StringIO()
    with progress.watch(stream) as watch:
        watch.on_batch(Progress(2, 2, 39, 39, 0.592, 0.03636))
    assert "1.0 s left at most" in stream.getvalue()


def test_a_phase_is_forecast_by_its_own_pace() -> None:
    """Seconds a step times the steps to go; a new phase starts anew, whatever its steps are called."""
    phase = progress.Phase()
    assert math.isnan(phase.left(0, 10, 100.0))
    assert math.isnan(phase.left(1, 10, 100.5))  # too early to tell
    assert phase.left(4, 10, 108.0) == pytest.approx(2.0 * 6)
    assert phase.left(10, 10, 120.0) == 0
    assert math.isnan(phase.left(1, 10, 121.0))  # counted from the start again
    assert phase.left(2, 10, 124.0) == pytest.approx(3.0 * 8)
    assert math.isnan(phase.left(2, 20, 125.0))  # another number of steps


def test_steps_without_a_forecast_of_their_own_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    clock = iter(range(0, 100, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    with progress.watch(stream) as watch:
        for done in (1, 2):
            watch.on_progress(f"features.{done}", done, 9)
    first, second = stream.getvalue().splitlines()
    assert first == "features.1, 1/9"
    assert second.startswith("features.2, 2/9: about ")


def test_a_layer_bears_one_name_in_progress_table_and_page(tmp_path: Path) -> None:
    from edgeprune import report
    from edgeprune.report import page, results
    from tests.report import synthetic

    found = report.read(synthetic.whole(tmp_path / "a"))
    step = found.steps[0]
    stream = io.StringIO()
    with progress.watch(stream) as watch:
        watch.on_step(step, step.layer)
    assert f"{step.layer} 512 -> 448" in stream.getvalue()
    assert results.history_table(found).rows[0]["layer"] == step.layer
    assert step.layer in {bar.label for bar in page.bars(found)}
    assert step.layer in {word.text for word in page.sensitivity_chart(found).words}
    assert step.layer in page.accuracy_chart(found).dots[0].text
