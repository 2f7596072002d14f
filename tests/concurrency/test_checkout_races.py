"""The demo shop sells no piece twice and no order twice; without its guards, it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", ["LastPiece", "SentTwice"])
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"checkout.{race}", backend, rounds(8, 300)))
