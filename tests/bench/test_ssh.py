"""A board over ssh: an sshd of our own on loopback, with keys of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune import bench
from edgeprune.bench.devices import connect
from edgeprune.bench.devices.ssh import Ssh
from edgeprune.cli import app, errors
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
    assert [n.name for n in result.networks] == ["a b'$HOME", "-rf"]
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


@pytest.fixture(scope="module")
def without_packages(board: Board) -> Path:
    """A folder with a python3 that has neither numpy nor onnxruntime."""
    bare = board.folder / "without"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    return bare / "bin"


def with_packages(folder: Path) -> Path:
    """A venv whose packages are those that run this test; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "these.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    return folder / "bin/python"


def said(board: Board, words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = errors.run(app.app, ["bench", *words, "--rounds", "1", "--seconds", "0.1"])
    return code, capsys.readouterr().err


def test_closed_packages_are_answered_with_a_venv_that_is_then_found(
    board: Board, tmp_path: Path, without_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save(tmp_path / "m.onnx"))
    words = [model, "--device", board.name, "--out", str(tmp_path / "r.json")]
    home = tmp_path / "home"
    with board.having(PATH=f"{without_packages}:/usr/bin:/bin", HOME=str(home)):
        code, line = said(board, words, capsys)
        assert code == 2
        assert f"{board.name}: python3 there cannot import numpy, onnxruntime" in line
        recipe = "python3 -m venv ~/.edgeprune && ~/.edgeprune/bin/python -m pip install numpy"
        assert f"type there: {recipe} onnxruntime" in " ".join(line.split())
        assert model not in line  # it is not the model's fault
        assert board.left_behind() == []
        with_packages(home / ".edgeprune")  # what the recipe makes; pip is not run here
        assert said(board, words, capsys)[0] == 0


def test_the_python_there_can_be_chosen(
    board: Board, tmp_path: Path, without_packages: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By a word or by a profile; ``~`` is the folder of the user there."""
    chosen = with_packages(tmp_path / "a b'")
    words = [str(save(tmp_path / "m.onnx")), "--out", str(tmp_path / "r.json"), "--device"]
    (tmp_path / "devices").mkdir()
    profile = f'label = "x"\ntransport = "{board.name}"\npython = "~/a b\'/bin/python"\n'
    (tmp_path / "devices/mine.toml").write_text(profile)
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    with board.having(PATH=f"{without_packages}:/usr/bin:/bin", HOME=str(tmp_path)):
        assert said(board, [*words, board.name], capsys)[0] == 2
        for more in (["mine"], [board.name, "--python", str(chosen)]):
            assert said(board, [*words, *more], capsys)[0] == 0
        code, line = said(board, [*words, "mine", "--python", "/no/python"], capsys)
        assert code == 2
        assert f"{board.name} has no /no/python" in line
        odd = str(without_packages / "python")
        code, line = said(board, [*words, "mine", "--python", odd], capsys)
        assert f"type there: {odd} -m pip install" in " ".join(line.split())
    code, line = said(board, [*words, "cpu", "--python", "python3"], capsys)
    assert code == 2
    assert "cpu is not reached over ssh" in line


def test_an_error_there_names_the_device(board: Board, tmp_path: Path) -> None:
    from tests.bench.test_refusals import MODELS

    model = MODELS["unknown operator"][0](tmp_path / "bad.onnx")
    with pytest.raises(EdgepruneError) as told:
        bench.measure([model], out=tmp_path / "r.json", device=board.name, request=REQUEST)
    assert told.value.what == f"{board.name}: {model}"


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
