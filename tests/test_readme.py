"""The Python of the README runs as written, and its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from edgeprune.cli.app import app

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {})
    *groups, reached, same = said.getvalue().strip().splitlines()
    assert len(groups) > 5
    assert re.fullmatch(r"keeps (29|30)\.\d % of the parameters \(30\.0 % asked\)", reached)
    assert same == "True"


def test_every_command_is_in_the_table() -> None:
    table = README.split("## Commands")[1].split("Each has")[0]
    for command in app.registered_commands:
        assert f"`{command.name}`" in table or f"`edgeprune {command.name}`" in table, command.name
