"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The suite runs several processes beside each other; each takes one core."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def real_home() -> Path:
    """The folder with real weights and images, where there is one."""
    named = os.environ.get("EDGEPRUNE_HOME")
    if not named or not (Path(named) / "weights").is_dir():
        pytest.skip("EDGEPRUNE_HOME names no folder with weights and data")
    return Path(named)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it, and an empty working folder."""
    home = tmp_path / "home"
    home.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("EDGEPRUNE_HOME", str(home))
    monkeypatch.chdir(work)
    return home
