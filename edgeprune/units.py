"""How people read quantities. Values inside the program are plain SI: seconds, bytes, counts."""

from __future__ import annotations


def count(n: float) -> str:
    """``14_982_474 -> '14.98 M'`` (the paper prints parameters and FLOPs so, 2 decimals)."""
    for bound, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(n) >= bound:
            return f"{n / bound:,.2f}{letter}"
    return f"{n:,.0f}"


def size(n: float) -> str:
    """Bytes in binary units: the paper's "MB" are 2**20 bytes, so they are written MiB here."""
    for bound, letter in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(n) >= bound:
            return f"{n / bound:.2f} {letter}"
    return f"{n:.0f} B"


def duration(s: float) -> str:
    """Seconds as a person says them: ``0.0052 -> '5.20 ms'``, ``5000 -> '1 h 23 min'``."""
    if s < 1e-3:
        return f"{s * 1e6:.0f} µs"
    if s < 1:
        return f"{s * 1e3:.2f} ms"
    if s < 60:
        return f"{s:.1f} s"
    if s < 3600:
        return f"{int(s // 60)} min {int(s % 60):02d} s"
    if s < 48 * 3600:
        return f"{int(s // 3600)} h {int(s % 3600 // 60):02d} min"
    return f"{s / 86400:.1f} days"


def milliseconds(s: float) -> str:
    """``0.01234 -> '12.3 ms'``: times of networks and layers, always in the same unit."""
    return f"{1e3 * s:.3g} ms"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage: ``0.9073 -> '90.7 %'``."""
    return f"{100 * share:.{digits}f} %"
