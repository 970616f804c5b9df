"""Wrong words, files and places: one line on stderr, exit code 2, nothing left half-written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from edgeprune import runs
from edgeprune.cli import app, errors
from edgeprune.models import weights
from tests import tiny_onnx

ROOT = Path(__file__).parents[2]


def refused(words: str | list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command in this process; its one line."""
    code = errors.run(app.app, words if isinstance(words, list) else words.split())
    seen = capsys.readouterr()
    lines = [line for line in seen.err.splitlines() if line.startswith("error:")]
    assert code == 2, seen
    assert len(lines) == 1, seen.err
    assert "Traceback" not in seen.err
    assert seen.out == ""
    return lines[0]


def test_words(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean vgg16?" in refused("prune --model vgg61 --data digits", capsys)
    assert "--step 5" in refused("prune --model vgg16 --data digits --step 5", capsys)
    assert "--round-to x" in refused("prune --model vgg16 --data digits --round-to x", capsys)
    assert "no such option" in refused("prune --modell vgg16", capsys).lower()
    assert "Did you mean 'prune'" in refused("prun", capsys)
    assert "--head" in refused("train --model vgg16 --data digits --head other", capsys)
    assert "not a run name" in refused("train --data digits --model vgg16 --name ../x", capsys)
    assert "recipe" in refused("train --data digits --model vgg16 --recipe best", capsys)
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


@pytest.mark.parametrize(
    "command", ["export", "bench", "report", "plot", "prune x", "cost --run x"]
)
def test_no_run(command: str, empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run" in refused(command, capsys)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torchvision/resnet81", "did you mean torchvision/resnet18?"),
        ("gone.py:net", "no such file: gone.py"),
        (
            "torchvision/ssdlite320_mobilenet_v3_large",
            "get_model('ssdlite320_mobilenet_v3_large', weights_backbone=None).backbone",
        ),
        ("torchvision/quantized_resnet18", "torchvision/resnet18"),
        ("torchvision/r3d_18", "is of torchvision.models.video"),
    ],
)
def test_a_network_is_looked_up_before_any_image(
    name: str, told: str, empty_home: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A mistyped name is no reason to fetch a data set."""
    monkeypatch.setattr("edgeprune.data.load", lambda *a, **k: pytest.fail("data were loaded"))
    assert told in refused(f"prune --model {name} --data digits", capsys)


def test_a_run_that_was_begun_says_its_own_command(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("runs/begun")
    folder.mkdir(parents=True)
    words = ["prune", "--model", "vgg16", "--name", "begun"]
    (folder / "recipe.json").write_text(json.dumps({"argv": words}))
    for command in ("export", "bench", "doctor"):
        told = refused(command, capsys)
        assert told == "error: run begun has no dense network — edgeprune " + " ".join(words)


def test_names_of_nothing(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "make one: edgeprune prune" in refused("export nope", capsys)
    assert "no network with 'zzz'" in refused("models zzz", capsys)


def test_data(empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = "train --model mobilenetv1-0.25 --data"
    assert "nowhere" in refused(f"{train} nowhere", capsys)
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(f"{train} {tmp_path / 'empty'}", capsys)
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    assert "torn.npz" in refused(f"{train} {tmp_path / 'torn.npz'}", capsys)
    np.savez(tmp_path / "keys.npz", images=np.zeros((3, 28, 28), np.uint8))
    assert "keys.npz" in refused(f"{train} {tmp_path / 'keys.npz'}", capsys)


def test_weights_out_of_reach(
    empty_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = weights.replace(weights.REMOTES["vgg16"], url="http://127.0.0.1:9/vgg16-397923af.pth")
    monkeypatch.setitem(weights.REMOTES, "vgg16", gone)
    line = refused("prune --model vgg16 --init imagenet --data digits", capsys)
    assert f"put the file there yourself: {empty_home}/weights/vgg16-397923af.pth" in line
    assert not any(empty_home.rglob("*.pth"))


def test_weights_that_do_not_fit(
    empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x04no pickle")
    words = f"train --model vgg16 --data digits --init {tmp_path / 'w.pth'}"
    assert "w.pth" in refused(words, capsys)


def test_a_run_that_is_not_whole(empty_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("runs/r")
    run.mkdir(parents=True)
    (run / "recipe.json").write_text("{")
    assert "recipe.json" in refused("prune r", capsys)
    (run / "recipe.json").write_text("{}")
    assert "not a recipe of this version" in refused("prune r", capsys)
    assert "dense" in refused("export r", capsys)


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="needs root to mount a tmpfs"
)
def test_full_disk(tmp_path: Path) -> None:
    """A disk of 1 MiB: the network does not fit; one line, and nothing that looks whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        words = "train --model mobilenetv1-0.5 --data digits --epochs 1 --limit 64 --precision fp32"
        done = subprocess.run(
            [sys.executable, "-m", "edgeprune", *words.split()], cwd=disk, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        left = [p.name for p in disk.rglob("*") if p.is_file()]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "No space left on device" in done.stderr
    assert "dense.safetensors" not in left
    assert not [name for name in left if ".part" in name]


def test_a_closed_stdout(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of `>&-`
    assert errors.run(app.app, ["runs"]) == 0
    assert errors.run(app.app, ["runs", "--json"]) == 0


def test_a_terminal_that_knows_ascii_only(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path("runs") / "grün"
    run.mkdir(parents=True)
    (run / "recipe.json").write_text("{}")
    for words in (["runs"], ["runs", "--json"]):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        assert errors.run(app.app, words) == 0
        sys.stdout.flush()
    assert json.loads(raw.getvalue())["rows"][0]["run"] == "grün"  # in JSON nothing may be lost


def test_a_folder_that_may_not_be_written_to(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs").write_text("a file where the folder should be")
    line = refused("train --model mobilenetv1-0.25 --data digits --limit 20 --name x", capsys)
    assert "runs" in line


def test_bench_refuses_before_it_measures(
    empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_onnx.save(tmp_path / "a.onnx")
    assert "it is a folder" in refused(["bench", str(model), "--out", str(tmp_path)], capsys)
    assert "3 axes" in refused(["bench", str(model), "--shape", "images=1x3"], capsys)


def test_a_name_may_begin_with_an_underscore() -> None:
    assert runs.named("_odd-net").name == "_odd-net"


@pytest.mark.parametrize("command", ["cost", "inspect"])
def test_a_size_that_is_too_small_is_blamed_itself(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.run(app.app, [command, "--model", "vgg16", "--size", "16"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "vgg16 at --size 16" in said
    assert "try --size 32" in said


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("nn.Conv2d(3, 8, 3, device='meta')", "weight lies on no device (meta)"),
        ("nn.LazyConv2d(8, 3)", "weight is not made yet (a lazy layer)"),
        ("nn.Conv2d(3, 8, 3, dtype=torch.cfloat)", "weight is complex"),
        ("sparse()", "weight is sparse"),
        ("{}", "make gave a dict, not an nn.Module"),
        ("torch.jit.script(nn.Conv2d(3, 8, 3))", "give the Python module that it was made of"),
        ("nn.Conv2d(3)", "mend net.py"),
    ],
)
def test_a_network_whose_weights_are_no_dense_numbers_is_refused(
    made: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "net.py"
    own.write_text(
        "import torch\nfrom torch import nn\n"
        "def sparse():\n"
        "    net = nn.Linear(3, 8)\n"
        "    net.weight = nn.Parameter(net.weight.detach().to_sparse())\n"
        "    return net\n"
        f"def make():\n    return {made}\n"
    )
    told = refused(["inspect", "--model", f"{own}:make", "--size", "32"], capsys)
    assert said in told
    assert " — " in told


def test_a_size_is_not_blamed_where_no_size_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "net.py"
    own.write_text(
        "import torch\n"
        "class Asks(torch.nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) if x.sum() > 0 else x\n"
        "def make():\n"
        "    return Asks(3, 3, 1)\n"
    )
    assert "try --size" not in refused(
        ["inspect", "--model", f"{own}:make", "--size", "32"], capsys
    )


def test_no_command_prints_the_help_and_no_empty_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.run(app.app, []) == 2
    printed = capsys.readouterr()
    assert "Usage: edgeprune" in printed.out + printed.err
    assert "error:" not in printed.err


def test_ctrl_c_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = typer.Typer()

    @small.command()
    def stop() -> None:
        raise KeyboardInterrupt

    assert errors.run(small, []) == 130
    assert capsys.readouterr().err.strip().startswith("stopped: type the same command again")
