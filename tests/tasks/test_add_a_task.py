"""A task is added with a function or two and a row: training, pruning, export and bench ask it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeprune import checkpoint, prices, runs, ways
from edgeprune.cli import app, errors
from edgeprune.data import evaluation_batches
from edgeprune.records import Result
from edgeprune.tasks import CLASSIFICATION, TASKS, Scores
from edgeprune.ways import exporting
from edgeprune.ways.post_training import forecast
from tests.ways import tiny


def among_two(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.topk(2, dim=1).indices == labels[:, None]).any(1)


def same_two(logits: Tensor, others: Tensor) -> Tensor:
    mine, other = (t.topk(2, dim=1).indices.sort(1).values for t in (logits, others))
    return (mine == other).all(1)


TOP2 = replace(
    CLASSIFICATION, name="two guesses", score="top2", title="top-2", right=among_two, same=same_two,
    chance=None, counted=False,
)  # fmt: skip


def call(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert code == 0, seen.err
    return seen.out, seen.err


def test_from_training_to_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TASKS, TOP2.name, TOP2)
    tiny.prepare(tmp_path)
    wanted = ways.Wanted(
        name="r", model="net.py:tiny", data="tiny.npz", size=16, epochs=1, batch_size=16, lr=1e-4,
        precision="fp32", task=TOP2.name,
    )  # fmt: skip
    run = ways.train(wanted, ways.Watch())
    assert run.recipe().task == ways.asked_of(run).training.task == TOP2.name
    settings = ways.Settings(target=prices.Target("flops", 0.6))
    again = ways.Wanted(run="r")
    done = ways.prune(again, ways.Unlabelled(settings), None, ways.Watch())
    dense, pruned = run.history(Result)
    test = exporting.dataset_of(runs.Run(Path("runs/r"))).test
    for result in (dense, pruned):  # judged by hand
        loaded = checkpoint.load(done.run, result.network)
        (x, y), *more = evaluation_batches(test, loaded.convention, 64)
        assert not more
        with torch.no_grad():
            logits = loaded.model(x)
        top2 = float(among_two(logits, y).double().mean())
        assert result.test_accuracy == pytest.approx(top2)
        scores = Scores(TOP2)
        scores.add(logits, y)
        assert scores.result() == {"top2": pytest.approx(top2)}
    assert 0 <= pruned.agreement <= 1
    out, _ = call("export r --json", capsys)
    parity = json.loads(out)["networks"]["pruned"]["parity"]
    assert parity["torch_correct"] / parity["images"] == pytest.approx(pruned.test_accuracy)
    assert "top-2" in call("export r", capsys)[0]
    out, err = call("bench r --rounds 4 --passes 2 --seconds 0.1 --json", capsys)
    assert "top-2 is left out" in err
    assert [n["top1"] for n in json.loads(out)["networks"]] == [None, None]


def test_one_output_is_compared_by_error_never_by_its_place() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    negative = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    negative[1].weight.data, negative[1].bias.data = -net[1].weight.data, -net[1].bias.data
    seen = forecast(net, negative, [torch.randn(50, 3, 2, 2)])
    assert seen.agreement is None
    assert seen.variance_kept < -2
    assert "answer" not in seen.sentence()
    assert "relative error of 200.0 %" in seen.sentence()
    itself = forecast(net, net, [torch.randn(50, 3, 2, 2)])
    assert itself.variance_kept == pytest.approx(1)


def test_more_outputs_are_compared_by_the_largest() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    (agreement,) = CLASSIFICATION.measures
    for others, share in ((a.flip(1), 0), (3 * a, 1)):
        assert agreement.value(agreement.parts(a, others)) == share
    assert agreement.value(agreement.parts(a[:, :1], a[:, :1])) is None
