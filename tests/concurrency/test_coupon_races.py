"""No limit on coupons is overrun by one unit, whatever runs at once; without its guard, each is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds

RACES = (
    "LastCoupon",
    "LastOfTheBudget",
    "OneCodeForAll",
    "SingleUse",
    "SameKey",
    "ClaimedInManyTabs",
    "TwoEach",
    "LastIssued",
    "RebuiltWhileSpending",
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", RACES)
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"coupons.{race}", backend, rounds(20, 1000)))
