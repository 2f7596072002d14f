"""Balances, slots, gates and whole baskets hold, whatever runs at once; without its guard, none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", ["CardForMany", "PublicCodeInManyTabs", "GateOverWhatIsOut"])
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"engine.{race}", backend, rounds(20, 1000)))


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "sqlite"])
@pytest.mark.parametrize("race", ["BasketsOfSeveral", "BasketsEnding", "MadeOnTheWay"])
def test_baskets_never_deadlock(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    """SQLite lets one writer in at a time: there is no ring to wait in."""
    assert_guard_matters(play(f"engine.{race}", backend, rounds(40, 2000)))
