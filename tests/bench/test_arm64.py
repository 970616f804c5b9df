"""The emulated Arm machine; that it computes the same is in test_same_everywhere.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.bench.devices import arm64, connect
from edgeprune.errors import EdgepruneError


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    monkeypatch.setattr(arm64, "_emulator", lambda: None)
    with pytest.raises(EdgepruneError, match="apt-get install qemu-user-static"):
        connect("arm64")
    monkeypatch.setattr(arm64, "_emulator", lambda: "/usr/bin/qemu-aarch64-static")
    with pytest.raises(EdgepruneError, match=r"sh \S*deploy/arm64\.sh "):
        connect("arm64")
