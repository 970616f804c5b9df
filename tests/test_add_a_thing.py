"""A criterion, a price, a device, a finding: each is added by one function and one row, and used.

The other three stand beside their tables: an operator in tests/graph/test_operators.py, a way in
tests/ways/test_table.py, a task in tests/tasks/test_add_a_task.py.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
import typer
from torch import nn

from edgeprune import bench, cut, plan, prices, records, runs, trace
from edgeprune.bench import devices
from edgeprune.bench.devices.fake import Fake
from edgeprune.cli import app, errors, words
from edgeprune.cli import prune as command
from edgeprune.cli.typed import typed
from edgeprune.doctor.findings import Case, Finding, findings
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph
from edgeprune.models import code
from edgeprune.prices import PRICES, Price, Target
from edgeprune.prune import SCORES, Criterion
from edgeprune.report import ledger, page, results
from edgeprune.ways import asked_of
from tests.doctor import networks
from tests.doctor.test_findings import vgg
from tests.tiny_onnx import conv_net, save
from tests.ways import tiny


@pytest.fixture
def graph() -> Graph:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(12 * 12 * 12, 5),
    )  # fmt: skip
    return trace(net.eval(), torch.randn(2, 3, 16, 16))


def test_a_criterion(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(graph: Graph, group: object, evidence: object) -> list[int]:
        """Channels of odd number matter."""
        return [i % 2 for i in range(graph.group(group).width)]  # type: ignore[arg-type]

    row = Criterion("odd", odd)
    monkeypatch.setitem(SCORES, row.name, row)
    made = plan(graph, keep_flops=0.4, score="odd")
    for name, kept in made.keep.items():
        assert [i for i in kept if i % 2] or graph.groups[name].width == len(kept)
        assert sum(i % 2 for i in kept) == min(len(kept), graph.groups[name].width // 2)
    assert cut(graph, made)(torch.randn(1, 3, 16, 16)).shape == (1, 5)
    assert plan(graph, keep_flops=0.4, score=odd).keep == made.keep  # a function needs no row


def test_a_criterion_out_of_a_file_that_was_typed(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("edgeprune.prune.scores.SCORES", dict(SCORES))
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent("""
        def last(graph, group):
            return range(group.width)

        def broken(graph, group):
            return 1 / 0
    """)
    )
    name = f"{path}:last"
    with pytest.raises(EdgepruneError, match="not named now"):
        plan(graph, keep_flops=0.5, score=name)
    words.own_score(name)
    made = plan(graph, keep_flops=0.5, score=name)
    for group, kept in made.keep.items():
        width = graph.groups[group].width
        assert kept == list(range(width - len(kept), width))
    words.own_score(f"{path}:broken")
    with pytest.raises(EdgepruneError, match="ZeroDivisionError"):
        plan(graph, keep_flops=0.5, score=f"{path}:broken")
    with pytest.raises(EdgepruneError, match="did you mean last"):
        words.own_score(f"{path}:lost")


def test_a_run_keeps_the_criterion_that_pruned_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("edgeprune.prune.scores.SCORES", dict(SCORES))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("def order(width):\n    return range(width)\n")
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from beside import order\ndef last(graph, group):\n    return order(graph.group(group).width)\n"
    )
    head = tiny.prepare(tmp_path).partition(" --retrain-epochs")[0]
    words_typed = (
        f"{head} --keep-flops 0.5 --retrain-epochs 0 --round-to 1 --name r --score mine.py:last"
    )
    assert errors.run(app.app, words_typed.split()) == 0, capsys.readouterr().err
    run = runs.named("r")
    kept = {p.name: p.read_bytes() for p in run.score_folder.iterdir()}
    assert kept == {name: (tmp_path / name).read_bytes() for name in ("mine.py", "beside.py")}
    assert run.recipe().score_sha256 == code.digest(kept)
    assert (
        errors.run(app.app, words_typed.split()) == 0
    )  # the same words and the same file: the same run
    (tmp_path / "beside.py").write_text("def order(width):\n    return range(width, 0, -1)\n")
    capsys.readouterr()
    assert errors.run(app.app, words_typed.split()) == 2
    assert "made with other settings: score_sha256" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in run.score_folder.iterdir()} == kept


def test_a_price(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    class Channels:
        def __init__(self, graph: Graph) -> None:
            self.widths = {name: group.width for name, group in graph.groups.items()}
            self.dense = float(sum(self.widths.values()))

        def at(self, widths: dict[str, int]) -> float:
            return float(sum((self.widths | dict(widths)).values()))

    row = Price("channels", "channels", str, Channels)
    monkeypatch.setitem(PRICES, row.name, row)
    made = plan(graph, target=Target("channels", share=0.5))
    assert sum(made.widths.values()) == 10 == made.promised["channels"]
    assert made.sentence() == "keeps 50.0 % of the channels (50.0 % asked)"
    assert plan(graph, target=Target("channels", value=10)).keep == made.keep
    with pytest.raises(EdgepruneError, match="--keep-channels"):
        plan(graph, target=Target("channels", share=1e-3))
    assert prices.price_of("channels") is row


def test_a_price_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is all there is of it, and yet: an option, a goal, a recipe, a sentence on the page."""
    row = Price("kernels", "3x3 kernels", lambda value: f"{value:.0f} kernels", Kernels)
    monkeypatch.setitem(PRICES, row.name, row)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["edgeprune", "prune"])
    head = tiny.prepare(tmp_path).partition(" --retrain-epochs")[0]
    again = typer.Typer()
    again.command()(
        typed(command.prune.__wrapped__)
    )  # as the app does it at its start, with the new row
    words_typed = f"{head} --keep-kernels 0.5 --retrain-epochs 0 --round-to 1 --name r".split()[1:]
    assert errors.run(again, words_typed) == 0
    run = runs.named("r")
    assert asked_of(run).pruning.settings.target == Target("kernels", 0.5)
    dense, pruned = run.history(records.Result)
    assert pruned.stopped == "target reached: keeps 50.0 % of the 3x3 kernels (50.0 % asked)"
    found = {r.network: sum(r.widths.values()) for r in (dense, pruned)}
    assert found == {"dense": 20, "pruned": 10}
    assert errors.run(again, words_typed) == 0  # the same words find the same run
    assert "50.0 % of the 3x3 kernels stay" in page.html(results.read(run))
    assert errors.run(again, [*words_typed, "--keep-flops", "0.5"]) == 2


class Kernels:
    """A network's channels, as if each were a kernel."""

    def __init__(self, graph: Graph) -> None:
        self.widths = {name: group.width for name, group in graph.groups.items()}
        self.dense = float(sum(self.widths.values()))

    def at(self, widths: dict[str, int]) -> float:
        return float(sum((self.widths | dict(widths)).values()))


def test_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str) -> Fake:
        return Fake(tmp_path / "there", lambda model, number, turn, k: (1e-3, 0))

    row = devices.Kind(make, {"toaster": "a toaster"}, lambda name: None)
    monkeypatch.setitem(devices.DEVICES, "toaster", row)
    model = save(tmp_path / "model.onnx", conv_net())
    result = bench.measure([model], out=tmp_path / "r.json", device="toaster", label="toaster")
    assert result.networks[0].latency.median_s == pytest.approx(1e-3)
    assert devices.forms("toaster") == ("toaster",)


def test_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def square(case: Case) -> Iterator[Finding]:
        """Layers that read as many channels as they make."""
        for x in case.network.layers:
            if x.width_in == x.width_out:
                yield Finding("square", f"{x.name} is square", "so it was built", "nothing", 1.0)

    room = import_module("edgeprune.doctor.findings")  # `doctor.findings` is the function
    monkeypatch.setattr(room, "FINDINGS", (*room.FINDINGS, square))
    found = findings(vgg(networks.VGG16, "dense"))
    assert next(f.seen for f in found if f.kind == "square") == "conv2 is square"
    assert found[0].kind == "square"  # the most expensive first
    assert "conv2 is square" in ledger.told(found).text()
