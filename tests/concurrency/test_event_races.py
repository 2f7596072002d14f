"""An event that arrives many times at once is stored once; without the unique key, it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", ["OneOrderManySignals", "SentThriceShuffled"])
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"events.{race}", backend, rounds(20, 1000)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_again_changes_no_count_and_no_feature(backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play("events.EverythingThriceAgain", backend, rounds(1, 5), "--processes"))
