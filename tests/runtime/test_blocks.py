from __future__ import annotations

import pytest

from edgeprune.runtime import channel_block


@pytest.mark.parametrize(
    ("flags", "block"),
    [({"avx2", "avx512f"}, 16), ({"avx2"}, 8), ({"sse4_2"}, 1), ({"asimd", "fp"}, 1)],
)
def test_block_of_a_cpu(flags: set[str], block: int) -> None:
    assert channel_block(flags) == block
