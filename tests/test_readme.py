"""The Python of the README runs as written, and its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from edgeprune.cli.app import app

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_example() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {})
    *groups, total = said.getvalue().strip().splitlines()
    before, after = map(int, total.split(" -> "))
    assert len(groups) > 5
    assert after < 0.35 * before


def test_every_command_is_in_the_table() -> None:
    table = README.split("## Commands")[1].split("Each has")[0]
    for command in app.registered_commands:
        assert f"`{command.name}`" in table or f"`edgeprune {command.name}`" in table, command.name
