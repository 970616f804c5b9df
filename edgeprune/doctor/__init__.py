"""Why a network is as fast as it is on this machine, and which width brings the speed back."""

from __future__ import annotations

from .examine import examine, forecast, foretold
from .findings import FINDINGS, Case, Finding, findings

__all__ = ["FINDINGS", "Case", "Finding", "examine", "findings", "forecast", "foretold"]
