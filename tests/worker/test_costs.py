"""What a fit costs: its own memory, not that of what ran before it."""

from __future__ import annotations

import numpy as np
import pytest

from worker import costs
from worker.costs import Meter

MEGABYTE = 1_000_000


def test_a_meter_starts_the_memorys_mark_anew() -> None:
    if not costs.reset_peak():
        pytest.skip("This system does not let the high-water mark be reset.")
    before = Meter().read()
    large = np.ones(200 * MEGABYTE, dtype=np.uint8)
    meter = Meter()
    held = meter.read()
    del large
    after = Meter().read()
    assert before.peak_mb is not None
    assert held.peak_mb is not None
    assert after.peak_mb is not None
    assert held.peak_mb - before.peak_mb > 150
    assert held.peak_mb - after.peak_mb > 150
    assert held.seconds >= 0


def test_where_the_system_does_not_tell_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "reset_peak", lambda: False)
    assert Meter().read().peak_mb is None
