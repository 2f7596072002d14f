"""A reservation has one ending, and a redemption is refunded once; without the guards, neither holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds

RACES = (
    "SpentOrExpired",
    "TwoOrders",
    "RefundedTwice",
    "RefundedWhileRedeemed",
    "PartlyRefundedAtOnce",
    "GrantedWhileRefunded",
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", RACES)
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"money.{race}", backend, rounds(20, 1000)))
