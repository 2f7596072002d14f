"""One decision on a redemption that waits, goodwill within its limit, one draft a key: and without the guards, none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", ["ApprovedOrRejected", "MonthlyLimit", "SameForm", "SameDraft"])
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"staff.{race}", backend, rounds(20, 1000)))
