"""What a user's type checker sees: words that can be called, not modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import torch
from torch import nn
from edgeprune import bench, cut, export, heal, load, plan, repair, save, trace

model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
loader = [torch.randn(16, 3, 16, 16)]
graph = trace(model, loader[0])
planned = plan(graph, keep_flops=0.6)
reveal_type(planned.reached())
reveal_type(cut(graph, planned))
reveal_type(repair(graph, planned, loader))
reveal_type(heal(model, loader, dense=model))
reveal_type(load(save(model, "x.safetensors"), model))
reveal_type(export(model, "x.onnx", loader).parity)
reveal_type(bench("x.onnx", seconds=1.0))
heal(model, loader, epoch=3)
"""
REVEALED = [
    "dict[str, float]", "Module", "Module", "list[float]", "Module", "Parity", "Result",
]  # fmt: skip


@pytest.mark.slow
def test_a_users_script_is_checked(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", script],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    told = done.stdout.splitlines()
    revealed = [line.split('"')[1].split(".")[-1] for line in told if "Revealed" in line]
    assert revealed == REVEALED, done.stdout + done.stderr
    errors = [line for line in told if " error: " in line]
    assert len(errors) == 1
    assert 'Unexpected keyword argument "epoch"' in errors[0]
