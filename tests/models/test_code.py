"""Which of a user's files is code that may run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.models import code


@pytest.mark.parametrize("name", ["net.pyc", "net.so", "net.txt", "net"])
def test_only_a_py_file_is_code(name: str, tmp_path: Path, empty_home: Path) -> None:
    """Python's importer has loaders for .pyc and .so too, whose bytes were run as source."""
    ran = tmp_path / "ran"
    path = tmp_path / name
    path.write_text(f"open({str(ran)!r}, 'w')\ndef net(): pass\n")
    with pytest.raises(EdgepruneError, match="is not a Python file"):
        code.function(f"{path}:net", "--model")
    assert not ran.exists()
    assert not (empty_home / "trusted").exists()  # nothing was allowed for later, either
