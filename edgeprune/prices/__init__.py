"""What a plan is priced in: counts of the network, each an exact polynomial of the widths."""

from __future__ import annotations

from .counts import Price

__all__ = ["Price"]
