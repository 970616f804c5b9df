"""A board over ssh: an sshd of our own on loopback, with keys of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices import connect
from edgeprune.bench.devices.ssh import Ssh
from edgeprune.errors import EdgepruneError
from tests.bench.places import Board
from tests.tiny_onnx import conv_net, save

REQUEST = bench.Request(rounds=2, passes=1, seconds=0.02, samples=1)


@pytest.fixture(autouse=True)
def _client(board_client: None) -> None:
    """Each of these tests speaks to the board of tests/bench/conftest.py."""


def test_it_measures_and_leaves_nothing(board: Board, tmp_path: Path) -> None:
    models = [save(tmp_path / "a b'$HOME.onnx"), save(tmp_path / "-rf.onnx", conv_net(width=4))]
    result = bench.measure(models, out=tmp_path / "r.json", device=board.name, request=REQUEST)
    assert result.document["device"] == board.name
    assert [n["name"] for n in result.networks] == ["a b'$HOME", "-rf"]
    assert board.left_behind() == []
    here = bench.measure(models, out=tmp_path / "h.json", request=REQUEST)
    for a, b in zip(*(answers(r.document) for r in (result, here)), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


def answers(document: dict[str, Any]) -> list[list[float]]:
    return [m["sessions"][0]["answer"] for m in document["measured"]["models"]]


def test_external_data_travel(board: Board, tmp_path: Path) -> None:
    from tests.bench.test_subject import external

    model = external(tmp_path / "a.onnx", "we ights'.bin")
    bench.measure([model], out=tmp_path / "r.json", device=board.name, request=REQUEST)
    assert board.left_behind() == []


@pytest.mark.parametrize(
    "name",
    [
        "ssh://",
        "ssh:board",
        "ssh://-oProxyCommand=touch x",
        "ssh://a b",
        "ssh://'x'",
        "ssh://-x@host",
        "ssh://user:secret@host",
        "ssh://host/path",
        "ssh://host:99999",
        "ssh://$(touch x)",
    ],
)
def test_what_is_no_host_never_reaches_a_shell(name: str) -> None:
    with pytest.raises(EdgepruneError, match="ssh://user@host:port"):
        connect(name)


def test_an_alias_keeps_its_capitals() -> None:
    place = Ssh("ssh://pi@Board-1:2222")
    assert (place.target, place.port) == ("pi@Board-1", 2222)
