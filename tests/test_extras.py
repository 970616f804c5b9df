"""What the core does not bring is asked for by the extra that does; the core alone does its job."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgeprune import extras
from edgeprune.errors import EdgepruneError

ROOT = Path(__file__).parents[1]
PACKAGES = {"sklearn": "scikit-learn"}  # module -> package, where they differ


def metadata() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def name(requirement: str) -> str:
    return requirement.partition(">")[0].strip()


def test_the_table_is_that_of_the_metadata() -> None:
    said = metadata()["optional-dependencies"]
    for extra, modules in extras.EXTRAS.items():
        assert {PACKAGES.get(m, m) for m in modules} == {name(r) for r in said[extra]}, extra
        assert extra in said["all"][0]
    core = {name(r) for r in metadata()["dependencies"]}
    assert not core & {PACKAGES.get(m, m) for ms in extras.EXTRAS.values() for m in ms}


def test_what_is_missing_is_said_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "lan", ("no_such_module",))
    assert not extras.there("lan")
    said = r"browser:lan: needs no_such_module — pip install 'edgeprune\[lan\]'"
    with pytest.raises(EdgepruneError, match=said), extras.needed("lan", "browser:lan"):
        import no_such_module  # noqa: F401
    with pytest.raises(EdgepruneError, match=said):
        extras.check("lan", "browser:lan")


def test_a_fault_inside_a_library_is_not_taken_for_its_absence() -> None:
    with pytest.raises(ModuleNotFoundError), extras.needed("plots", "plot"):
        import no_such_module  # noqa: F401


def without(*modules: str) -> str:
    """The start of a program in which these modules cannot be imported or found."""
    return (
        "import sys, importlib.abc\n"
        "class Wall(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        "import importlib.util as u; found = u.find_spec\n"
        f"u.find_spec = lambda n, p=None: None if n.partition('.')[0] in {modules!r} else found(n, p)\n"
        "from edgeprune.cli import main\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    sys.argv[1:] = line.split()\n"
        "    try: main()\n"
        "    except SystemExit as e:\n"
        "        print('exit', e.code, file=sys.stderr)\n"
    )


ALL = tuple({m for modules in extras.EXTRAS.values() for m in modules})
NET = """
from torch import nn

def net(classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, classes),
    )
"""


def test_the_core_prunes_exports_and_measures_without_any_extra(tmp_path: Path) -> None:
    """And what wants one names it before anything is read or written."""
    import numpy as np
    import torch
    from PIL import Image

    from edgeprune import files

    (tmp_path / "net.py").write_text(NET)
    space: dict[str, Any] = {}
    exec(NET, space)
    torch.manual_seed(0)
    files.write_tensors(tmp_path / "net.safetensors", space["net"]().state_dict())
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "b").mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8))
        picture.save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
    lines = [
        "prune --post-training --model net.py:net --weights net.safetensors --images photos "
        "--size 16 --keep-flops 0.6 --name small",
        "export small",
        "bench small --seconds 0.1 --rounds 2 --passes 1 --json",
        "train --data photos --model net.py:net",
        "prune --data photos --model net.py:net",
        "plot small",
        "models",
        "inspect --model torchvision/resnet18",
        "prune --post-training --model timm/resnet18 --images photos --keep-flops 0.5",
        "doctor --probe",
    ]
    done = subprocess.run(
        [sys.executable, "-c", without(*ALL)], input="\n".join(lines), cwd=tmp_path, text=True,
        capture_output=True,
        env={"PYTHONPATH": str(ROOT), "EDGEPRUNE_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    codes = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("exit")]
    assert codes == ["0", "0", "0", "2", "2", "2", "0", "2", "2", "2"], done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    for line, (what, module, extra) in zip(
        said,
        [
            ("training", "accelerate", "train"),
            ("training", "accelerate", "train"),
            ("plot", "matplotlib", "plots"),
            ("--model 'torchvision/resnet18'", "torchvision", "torchvision"),
            ("--model 'timm/resnet18'", "timm", "timm"),
            ("--probe", "sklearn", "probe"),
        ],
        strict=True,
    ):
        assert line == f"error: {what}: needs {module} — pip install 'edgeprune[{extra}]'"
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["small"]


def test_the_wheel_and_the_sdist_hold_what_they_should(tmp_path: Path) -> None:
    """Built as an installer builds them; the wheel from the sdist, in a fresh place."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("install", ROOT / "benchmarks/install.py")
    assert spec is not None
    assert spec.loader is not None
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    wheel, _ = install.built(tmp_path)
    with zipfile.ZipFile(wheel) as z:
        names = set(z.namelist())
        told = z.read(next(n for n in names if n.endswith("METADATA"))).decode()
    for needed in (
        "edgeprune/py.typed", "edgeprune/report/page.html", "edgeprune/_deploy/runner.py",
        "edgeprune/_deploy/browser/page.js", "edgeprune/_deploy/devices/raspberry-pi-5.toml",
    ):  # fmt: skip
        assert needed in names
    assert not [n for n in names if n.startswith(("tests", "benchmarks", "docs"))]
    assert "Requires-Python: >=3.11" in told
    python = install.environment(tmp_path / "venv", install.closure(install.wanted(wheel)), wheel)
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    assert not [m for m in ALL if (site / m).exists()]
    done = subprocess.run(
        [python.parent / "edgeprune", "cost", "--model", "mobilenetv1-0.25", "--json"], text=True,
        capture_output=True, cwd=tmp_path, env={"EDGEPRUNE_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "edgeprune-output"


def test_windows_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.cli import errors
    from edgeprune.cli.app import app

    monkeypatch.setattr(errors.os, "name", "nt")
    code = errors.run(app, ["runs"])
    monkeypatch.undo()
    assert (code, "use WSL" in capsys.readouterr().err) == (2, True)
