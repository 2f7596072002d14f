"""Somebody is erased or merged while their baskets end: nobody waits in a ring; without the order of locks, they do.

What a page decides for somebody who leaves is not written after they have left. And two logins, a merge taken back and
late events at once: one person's events are in one place. And an erasure succeeds whatever the other windows do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds


@pytest.mark.parametrize("race", ["DecidedWhileErased", "DecidedWhileLeaving", "Erased", "Merged", "TwoLogins"])
def test_race(race: str, play: Callable[..., dict[str, Any]]) -> None:
    """On PostgreSQL: SQLite locks no rows."""
    assert_guard_matters(play(f"people.{race}", "postgres", rounds(10, 300)))


@pytest.mark.parametrize("race", ["ActiveWhileErased", "ErasedWhileActive", "OrderedWhileErased"])
def test_nothing_fails_on_who_is_erased(race: str, play: Callable[..., dict[str, Any]]) -> None:
    """Likewise on PostgreSQL: on SQLite an erasure is alone."""
    assert_guard_matters(play(f"leaving.{race}", "postgres", rounds(10, 300)))
