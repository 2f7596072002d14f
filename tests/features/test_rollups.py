"""Features from daily counts equal features from the log, whatever happens to the log and whenever it is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from personalization.features import rollups
from personalization.learning import chores
from personalization.models import Event, RolledShopper, RollupState, Shopper, ShopperDay, ShopperDayCategory, StaleDays
from personalization.privacy import erasure, handout
from tests.features import counting
from tests.features.counting import DAY, ORIGIN, Life, Step
from tests.support import build

NOON = timedelta(hours=12)


@contextmanager
def undone() -> Iterator[None]:
    """Take back all that the block writes."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def arrival(who: int, day: float, kind: str = "order_placed", **fields: Any) -> Step:
    given = {"category": "tea", "item": "", "value": 1000, "bot": False, "device": "phone"} | fields
    return ("arrive", who, ORIGIN + day * DAY, kind, *given.values())


def views(count: int, who: int = 0, day: float = 5) -> list[Step]:
    return [arrival(who, day + number / 1000, "product_viewed") for number in range(count)]


@pytest.mark.django_db
@given(taken=st.lists(counting.steps, min_size=4, max_size=24), at=counting.moments)
def test_what_is_counted_equals_the_log_whatever_happens(taken: list[Step], at: Any) -> None:
    with undone():
        life = Life()
        life.live(taken)
        counting.check(at)
        rollups.catch_up()
        counting.check(at)


EVERYTHING = ("count", 50)
REWRITTEN: dict[str, list[Step]] = {
    "judged again": [*views(3), arrival(0, 9), EVERYTHING, ("judge", 0, (0, 50))],
    "removed": [*views(3), arrival(0, 9), EVERYTHING, ("remove", 0, (0, 6))],
    "merged": [*views(3), arrival(1, 9), EVERYTHING, ("merge", 0, 1)],
    "merged and taken back": [*views(3), arrival(1, 9), ("merge", 0, 1), EVERYTHING, ("part",)],
}


@pytest.mark.django_db
@pytest.mark.parametrize("told", REWRITTEN)
def test_a_change_of_stored_events_is_seen_at_once_and_counted_later(told: str) -> None:
    Life().live(REWRITTEN[told])
    assert StaleDays.objects.exists()
    counting.check(ORIGIN + 60 * DAY)
    rollups.catch_up()
    assert not StaleDays.objects.exists()
    counting.check(ORIGIN + 60 * DAY)


@pytest.mark.django_db
@pytest.mark.parametrize("told", REWRITTEN)
def test_without_marks_the_comparison_fails(told: str) -> None:
    """The negative control: what is not marked is not seen, and the comparison says so."""
    with mock.patch.object(rollups, "mark_stale"):
        Life().live(REWRITTEN[told])
    with pytest.raises(AssertionError):
        counting.check(ORIGIN + 60 * DAY)


@pytest.mark.django_db
def test_without_the_tail_the_comparison_fails() -> None:
    """The negative control of what is not counted yet: a reader who takes it for counted misses it."""
    Life().live([*views(3), EVERYTHING, arrival(0, 9)])
    with mock.patch.object(rollups, "held", _pretending), pytest.raises(AssertionError):
        counting.check(ORIGIN + 60 * DAY)
    counting.check(ORIGIN + 60 * DAY)


@contextmanager
def _pretending() -> Iterator[int]:
    yield Event.objects.order_by("-pk").values_list("pk", flat=True)[0]


@pytest.mark.django_db
def test_a_day_is_one_row_and_a_late_event_is_added_to_it() -> None:
    life = Life()
    life.live([*views(4), arrival(0, 5.5), arrival(0, 7), EVERYTHING])
    mine = ShopperDay.objects.filter(shopper=life.people[0])
    assert [(row.events, row.orders, row.product_views) for row in mine.order_by("day")] == [(5, 1, 4), (1, 1, 0)]
    life.live([arrival(0, 5.25, value=9000), EVERYTHING])
    row = mine.get(day=(ORIGIN + 5 * DAY).date())
    assert (row.events, row.orders, row.spent_minor, row.largest_minor) == (6, 2, 10_000, 9000)
    categories = ShopperDayCategory.objects.filter(shopper=life.people[0], day=row.day)
    assert [(each.category, each.looks, each.orders) for each in categories] == [("tea", 4, 2)]


@pytest.mark.django_db
def test_a_pass_reads_what_is_new_and_nothing_else(django_assert_max_num_queries: Any) -> None:
    life = Life()
    life.live([*views(30), ("count", 50)])
    with django_assert_max_num_queries(16):
        assert rollups.catch_up() == 0
    life.live([arrival(1, 3)])
    assert rollups.catch_up() > 0
    assert RollupState.objects.get().through == Event.objects.latest("pk").pk
    assert chores.run_all()["rollups"] == 0


@pytest.mark.django_db
def test_a_killed_pass_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    Life().live(views(7))
    monkeypatch.setattr(rollups, "BATCH", 2)
    seen: list[float] = []

    def power_cut(what: object, done: float) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollups.catch_up(power_cut)
    assert 0 < sum(ShopperDay.objects.values_list("events", flat=True)) < 7
    counting.check(ORIGIN + 60 * DAY)
    rollups.catch_up()
    assert sum(ShopperDay.objects.values_list("events", flat=True)) == 7


@pytest.mark.django_db
def test_nobody_is_counted_who_does_not_agree() -> None:
    life = Life()
    life.live([("answer", 0, False), *views(3), *views(2, who=1), EVERYTHING])
    assert set(ShopperDay.objects.values_list("shopper", flat=True)) == {life.people[1].pk}
    life.live([("answer", 1, False), ("tidy",)])
    for model in (ShopperDay, ShopperDayCategory, RolledShopper):
        assert not model._default_manager.exists()
    life.live([("answer", 0, True), ("tidy",)])
    assert sum(ShopperDay.objects.values_list("events", flat=True)) == 3, "who agrees later is counted from the start"


@pytest.mark.django_db
def test_erasure_takes_counts_and_marks() -> None:
    life = Life()
    life.live([*views(3), EVERYTHING, ("judge", 0, (0, 50)), *views(2, who=1), EVERYTHING])
    kept = handout.export(life.people[0])
    assert len(kept["days"]) <= 1
    rollups.mark_stale([life.people[0].pk], *rollups.EVER)
    erasure.erase(life.people[0])
    for model in (ShopperDay, ShopperDayCategory, RolledShopper, StaleDays):
        assert set(model._default_manager.values_list("shopper", flat=True)) <= {life.people[1].pk}
    rollups.mark_stale([0], *rollups.EVER)  # somebody who is gone needs no mark
    assert not StaleDays.objects.exists()


@pytest.mark.django_db
def test_everybodys_days_can_be_marked() -> None:
    life = Life()
    life.live([*views(3), *views(2, who=1), EVERYTHING])
    Event.objects.all().delete()
    rollups.mark_stale(None, *rollups.EVER)
    assert StaleDays.objects.count() == Shopper.objects.count()
    rollups.catch_up()
    assert not ShopperDay.objects.exists()


def an_event(shopper: Shopper) -> Event:
    return Event.objects.create(
        source="t", event_id=str(timezone.now().timestamp()), type="product_viewed", shopper=shopper,
        occurred_at=ORIGIN + NOON,
    )  # fmt: skip


@contextmanager
def slow_writer(shopper: Shopper) -> Iterator[threading.Event]:
    """Store an event on a connection of its own, and commit it when the caller says so or the block ends."""
    stored, commit, done = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                an_event(shopper)
                stored.set()
                commit.wait(30)
        finally:
            connection.close()
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    assert stored.wait(30)
    try:
        yield commit
    finally:
        commit.set()
        thread.join()


def counted_events() -> int:
    return sum(ShopperDay.objects.values_list("events", flat=True))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_after_a_later_one_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key is the lower one: passing it while its transaction is open would lose it."""
    monkeypatch.setattr(rollups, "WAIT_SECONDS", 0.3)
    mara = build.shopper()
    with slow_writer(mara):
        an_event(mara)
        assert rollups.catch_up() == 0, "nothing is passed while somebody may still write below"
        assert counted_events() == 0
    rollups.catch_up()
    assert counted_events() == Event.objects.count() == 2


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_without_waiting_for_writers_an_event_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: counted up to the highest key that can be seen, the late one never comes in."""
    monkeypatch.setattr(rollups, "settled", rollups._highest)
    mara = build.shopper()
    with slow_writer(mara):
        an_event(mara)
        rollups.catch_up()
    rollups.catch_up()
    assert (counted_events(), Event.objects.count()) == (1, 2)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_pass_waits_for_a_short_writer_and_then_counts_it() -> None:
    mara = build.shopper()
    with slow_writer(mara) as commit:
        an_event(mara)
        threading.Timer(0.2, commit.set).start()
        rollups.catch_up()
        assert counted_events() == 2


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_reader_keeps_the_counting_away_and_two_passes_do_not_meet() -> None:
    """What is held does not move; a second pass leaves the work to the first instead of waiting."""
    mara = build.shopper()
    an_event(mara)
    RollupState.objects.create(pk=1)
    found: list[int] = []

    def elsewhere() -> None:
        try:
            found.append(rollups.catch_up())
        finally:
            connection.close()

    with rollups.held():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert (found, counted_events()) == ([0], 0)
    elsewhere_after = rollups.catch_up()
    assert (elsewhere_after > 0, counted_events()) == (True, 1)
