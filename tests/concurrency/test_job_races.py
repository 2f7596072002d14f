"""A job has one worker, a zombie publishes nothing, a population has one champion; unguarded, none of it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds

RACES = (
    "jobs.AskedAtOnce",
    "jobs.OneJobManyWorkers",
    "jobs.BackFromTheDead",
    "jobs.CancelledWhileFinishing",
    "jobs.FrozenWhileTakenOver",
    "jobs.RetriedWhileAsked",
    "jobs.TakenOverWhileBeating",
    "learning.PromotedAtOnce",
    "learning.PublishedAtOnce",
    "learning.RolledBackAtOnce",
    "learning.TrainingQueuedAtOnce",
    "learning.WithdrawnWhileScored",
    "reign.FirstReadPublishedLast",
    "reign.RolledBackWhileTidied",
    "reign.TrainedWhileRolledBack",
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", RACES)
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(race, backend, rounds(20, 1000)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_promotions_at_once(backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play("learning.TwentyPromotedAtOnce", backend, rounds(10, 500)))


def test_pages_do_not_wait_for_a_worker(play: Callable[..., dict[str, Any]]) -> None:
    """On PostgreSQL: on SQLite one writes at a time."""
    assert_guard_matters(play("learning.DecidedWhileScored", "postgres", rounds(5, 50)))


def test_a_training_and_a_scoring_never_wait_in_a_ring(play: Callable[..., dict[str, Any]]) -> None:
    """On PostgreSQL: SQLite locks no rows. Unguarded, a ring costs the whole training."""
    assert_guard_matters(play("reign.BegunWhileTrained", "postgres", rounds(10, 300)))
