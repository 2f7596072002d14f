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
    "ClaimedInManyTabs",
    "TwoEach",
    "LastIssued",
    "RebuiltWhileSpending",
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", RACES)
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"coupons.{race}", backend, rounds(20, 1000)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_at_the_last_coupon(backend: str, play: Callable[..., dict[str, Any]]) -> None:
    """200 connections at once in ``make soak``; on SQLite eight processes, each with a connection."""
    if backend == "sqlite":
        assert_guard_matters(play("coupons.LastCouponOfEight", backend, rounds(10, 1000), "--processes"))
    else:
        assert_guard_matters(play("coupons.LastCouponOfAll", backend, rounds(5, 1000)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_key_sent_many_times(backend: str, play: Callable[..., dict[str, Any]]) -> None:
    """A hundred times at once in ``make soak``: one effect, and the same answer to all."""
    assert_guard_matters(play("coupons.SameKey", backend, rounds(20, 50)))


def test_a_crowd_at_one_code_over_http(play: Callable[..., dict[str, Any]]) -> None:
    """50 clients × 100 rounds in ``make soak``, through sockets, the middleware and the API."""
    assert_guard_matters(play("overhttp.OneCodeForACrowd", "postgres", rounds(4, 100)))
