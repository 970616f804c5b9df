"""What the tests of several commands share."""

from __future__ import annotations

from functools import partial

import pytest


@pytest.fixture
def quick_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor with known peaks, and a tenth of a second a network: what it says is asked, not how sure."""
    from edgeprune import doctor
    from edgeprune.doctor import sweep
    from tests.doctor.test_findings import PEAKS

    monkeypatch.setattr(sweep, "peaks", lambda **how: PEAKS)
    monkeypatch.setattr(doctor, "examine", partial(doctor.examine, seconds=0.1))
