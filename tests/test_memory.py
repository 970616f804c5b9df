"""What a process does with freed memory: kept for a while, given back afterwards."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch

from edgeprune import memory

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@linux
def test_memory_that_is_freed_is_used_again_and_given_back() -> None:
    size = 64 << 20
    with memory.kept():
        torch.ones(4 * size, dtype=torch.uint8)
        before = faults()
        for _ in range(10):
            torch.ones(size, dtype=torch.uint8)
        again = faults() - before
        inside = resident()
    assert again < 5 * size / resource.getpagesize()  # asked for anew, it would be ten times
    assert resident() < inside - size / 2


@linux
def test_it_is_given_back_after_an_error() -> None:
    inside = 0

    @memory.kept()
    def failing() -> None:
        nonlocal inside
        torch.ones(64 << 20, dtype=torch.uint8)
        inside = resident()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert resident() < inside - (32 << 20)


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.kept():
        memory.give_back()
