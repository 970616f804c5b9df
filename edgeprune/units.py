"""How people read quantities. Values inside the program are plain SI: seconds, bytes, counts, shares."""

from __future__ import annotations

import math
from collections.abc import Sequence


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names: ``a, b, c and 9 more``."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


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


Z = 1.959964  # of a normal distribution: an interval of 95 %


def wilson(share: float, n: int) -> tuple[float, float]:
    """Interval of 95 % of a share of ``n`` independent ones (Wilson 1927)."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(before: tuple[float, int], after: tuple[float, int]) -> tuple[float, float]:
    """Interval of 95 % of ``after - before``, each a share and of how many (Newcombe 1998, method 10)."""
    (p, (p_low, p_high)), (q, (q_low, q_high)) = ((x, wilson(x, n)) for x, n in (before, after))
    return (
        q - p - math.hypot(q - q_low, p_high - p),
        q - p + math.hypot(q_high - q, p - p_low),
    )


def share_of(share: float, n: int) -> str:
    """A share of ``n`` with its interval: ``(0.875, 16) -> '87.50 % (64–97)'``; of a thousand and more,
    where it lies even around the share, ``'90.73 % ±0.59'``."""
    low, high = wilson(share, n)
    if n < 1000:
        return f"{percent(share, 2)} ({100 * low:.0f}–{100 * high:.0f})"
    return f"{percent(share, 2)} ±{100 * max(high - share, share - low):.2f}"
