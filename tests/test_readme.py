"""The Python of the README runs as written, and its commands exist."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

from edgeprune.cli.app import PANEL

README = (Path(__file__).parents[1] / "README.md").read_text()


CODES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def said_by(code: str) -> list[str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {})
    return said.getvalue().strip().splitlines()


def test_the_whole_job_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten lines of the tool's own words: repaired, written, checked, measured."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)  # its network has random weights
    code = CODES[1]
    job = code.split("\n\n")[-1].strip().splitlines()
    assert len(job) <= 10
    figures, verdict = said_by(code)
    measures = ast.literal_eval(figures)
    assert 0.8 < measures["agreement"] <= 1
    assert 0.5 < measures["miou"] <= 1
    assert verdict
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "dense.onnx", "mask.safetensors", "pruned.bench.json", "pruned.onnx",
    ]  # fmt: skip


def test_the_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    *groups, reached, same = said_by(CODES[0])
    assert len(groups) > 5
    assert re.fullmatch(r"keeps (29|30)\.\d % of the parameters \(30\.0 % asked\)", reached)
    assert same == "True"


def test_every_command_is_in_the_table() -> None:
    table = README.split("## Commands")[1].split("Each has")[0]
    for name in PANEL:
        assert f"`{name}`" in table or f"`edgeprune {name}`" in table, name
