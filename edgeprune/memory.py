"""What the process does with memory that it frees."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)
NEVER = (1 << 31) - 1
USUAL = 32 << 20  # where glibc's own thresholds end up once large blocks were freed


@contextmanager
def kept() -> Iterator[None]:
    """Within it, freed memory stays with the process, to be used again; afterwards it is given back.

    Maps that come and go are large, so glibc asks the kernel for each anew and touches every page
    of it for the first time: on a small virtual machine that is two thirds of a 1 x 1 convolution's
    time. Without glibc nothing happens.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(MMAP_THRESHOLD, USUAL)
        libc.mallopt(TRIM_THRESHOLD, 2 * USUAL)
        libc.malloc_trim(0)


def give_back() -> None:
    """Give the kernel back what is free now: something of another size is to come."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
