"""What TAB offers: asked of the program as a shell asks it, and no slower than --help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune import bench, models, prune
from edgeprune.bench.devices import profiles
from edgeprune.cli import complete

ASK = "from edgeprune.cli import main; import sys; sys.argv = ['edgeprune']; main()"


@pytest.fixture
def place(empty_home: Path) -> Path:
    for name in ("vgg16-old", "mine"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "recipe.json").write_text("{}")
    os.utime("runs/vgg16-old/recipe.json", (1, 1))
    (empty_home / "data").mkdir()
    (empty_home / "data/photos.zip").touch()
    (empty_home / "devices").mkdir()
    (empty_home / "devices/board.toml").touch()
    Path("net.py").touch()
    Path("model.onnx").touch()
    return Path.cwd()


def offered(line: str) -> list[str]:
    """As bash asks a Typer program: the words so far, and which one is being typed."""
    env = os.environ | {
        "_EDGEPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("edgeprune report ", ["mine", "vgg16-old"]),
        ("edgeprune plot mine v", ["vgg16-old"]),
        ("edgeprune prune --score ta", ["taylor", "taylor_gate"]),
        ("edgeprune prune --model vgg", ["vgg16"]),
        ("edgeprune prune --model ne", ["net.py"]),
        ("edgeprune train --data p", ["photos"]),
        ("edgeprune train --init im", ["imagenet"]),
        ("edgeprune bench m", ["mine", "model.onnx"]),
        ("edgeprune bench --device b", ["browser", "browser:headless", "browser:lan", "board"]),
    ],
)
def test_a_shell_is_offered(place: Path, line: str, wanted: list[str]) -> None:
    assert offered(line) == wanted


def test_the_names_are_those_of_the_tables(place: Path) -> None:
    from edgeprune.data.known import KNOWN

    assert tuple(prune.SCORES) == complete.SCORES
    assert set(complete.DATA) == set(KNOWN)
    for name in complete.MODELS:
        models.check_name(name)
    forms = {f.partition("user@")[0] for k in bench.devices.DEVICES.values() for f in k.what}
    assert {d.partition("[")[0] for d in forms} == set(complete.DEVICES)
    assert set(profiles.paths()) <= set(complete.devices(""))
    assert "torchvision/resnet18" in complete.models("torchvision/resnet1")


def test_static_names_import_nothing_heavy() -> None:
    code = (
        "from edgeprune.cli import complete as c; import sys;"
        "c.runs(''), c.models(''), c.scores(''), c.devices(''), c.data(''), c.inits('');"
        "print([m for m in ('torch', 'numpy', 'onnxruntime', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
