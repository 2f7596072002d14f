"""Events go when their type's time is over, in steps that can be repeated, and do not come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from personalization import checks
from personalization.models import Event, EventClaim, Shopper
from personalization.ports.signals import events_rewritten
from personalization.tracking import partitions, retention, schema, storage
from personalization.tracking.ingest import store_events
from personalization.tracking.partitions import Month
from personalization.types import EventData
from tests.personalization.builders import make_event
from tests.personalization.test_tracking_partitions import elsewhere, soon

pytestmark = pytest.mark.django_db
NOW = timezone.now()
WINDOWS = {"page_viewed": 30, "product_viewed": 100}


@pytest.fixture
def keep(settings: Settings) -> Callable[..., None]:
    """Set how long types are kept."""

    def keep(days: dict[str, int], **changes: Any) -> None:
        settings.PERSONALIZATION = {**settings.PERSONALIZATION, "RETENTION_DAYS": days, **changes}

    return keep


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    """Hear what was announced as rewritten."""
    heard: list[dict[str, Any]] = []

    def hear(shopper_ids: Any, first_day: Any, last_day: Any, **kwargs: Any) -> None:
        heard.append({"shoppers": set(shopper_ids), "first": first_day, "last": last_day})

    events_rewritten.connect(hear)
    yield heard
    events_rewritten.disconnect(hear)


def row(days: float, kind: str = "page_viewed", shopper: Shopper | None = None) -> EventData:
    owner = shopper or Shopper.objects.create()
    return EventData("web:x", uuid4().hex, kind, owner.pk, NOW - timedelta(days=days))


def left() -> list[tuple[str, int]]:
    rows = Event.objects.order_by("occurred_at").values_list("type", "occurred_at")
    return [(kind, (NOW - at).days) for kind, at in rows]


def test_nothing_is_deleted_unless_somebody_says_so(told: list[Any]) -> None:
    store_events([row(3650), row(1)])
    assert retention.delete_old(NOW) == 0
    assert Event.objects.count() == 2
    assert told == []


def test_each_type_goes_by_its_own_window(keep: Callable[..., None], told: list[dict[str, Any]]) -> None:
    ages = (
        (29, "page_viewed"),
        (31, "page_viewed"),
        (99, "product_viewed"),
        (101, "product_viewed"),
        (999, "order_placed"),
    )
    stored = [row(days, kind) for days, kind in ages]
    store_events(stored)
    keep(WINDOWS)
    assert retention.delete_old(NOW) == 2
    assert left() == [("order_placed", 999), ("product_viewed", 99), ("page_viewed", 29)]
    assert retention.delete_old(NOW) == 0, "repeated, it finds nothing more"
    assert {shopper for each in told for shopper in each["shoppers"]} == {stored[1].shopper_id, stored[3].shopper_id}
    assert {each["first"] for each in told} == {stored[1].occurred_at.date(), stored[3].occurred_at.date()}


def test_settings_go_before_the_declaration_and_a_star_after_it(keep: Callable[..., None]) -> None:
    before = schema.get("page_viewed")
    assert before is not None
    store_events([row(60), row(60, "logged_in"), row(60, "order_placed")])
    schema.register(schema.EventType("page_viewed", public=True, retention_days=50))
    try:
        assert dict(retention.horizons(NOW)) == {"page_viewed": NOW - timedelta(days=50)}
        keep({"page_viewed": 70, "order_placed": 0, "*": 55})
        assert retention.delete_old(NOW) == 1
        assert {kind for kind, _days in left()} == {"page_viewed", "order_placed"}
        keep({"*": 55})
        assert retention.delete_old(NOW) == 2
    finally:
        schema.register(before)


def test_a_deleted_event_does_not_come_back(keep: Callable[..., None]) -> None:
    old, fresh = row(40), row(20)
    store_events([old, fresh])
    keep(WINDOWS, CLAIM_DAYS=400)
    assert retention.delete_old(NOW) == 1
    assert store_events([old, fresh]) == 0
    moved = EventData("web:x", old.event_id, old.type, old.shopper_id, NOW)
    assert store_events([moved]) == 0, "not with another time either: its claim is still there"
    assert storage.existing_ids("web:x", [old.event_id]) == {old.event_id}
    assert retention.delete_old(NOW + timedelta(days=399)) == 1  # the fresh one
    assert EventClaim.objects.count() == 2
    assert retention.delete_old(NOW + timedelta(days=401)) == 1
    assert storage.existing_ids("web:x", [old.event_id, fresh.event_id]) == {fresh.event_id}
    assert store_events([old]) == 0, "its claim has lapsed, and it is past its time all the same"


def test_an_event_past_its_time_is_not_stored_and_its_mates_are(keep: Callable[..., None]) -> None:
    keep(WINDOWS)
    batch = [row(40), row(10), row(40), row(5)]
    told = storage.insert_events(batch, received_at=NOW, corrected=frozenset({0, 3}))
    assert told == 2
    assert dict(Event.objects.values_list("event_id", "clock_corrected")) == {
        batch[1].event_id: False,
        batch[3].event_id: True,
    }


def test_a_run_that_is_stopped_goes_on(keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    shopper = Shopper.objects.create()
    store_events([row(40 + number, shopper=shopper) for number in range(12)])
    keep(WINDOWS)
    monkeypatch.setattr(retention, "CHUNK", 5)
    monkeypatch.setattr(retention, "MOST", 10)
    original, calls = retention._release, 0

    def dies(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        original(*args)

    with mock.patch.object(retention, "_release", dies), pytest.raises(KeyboardInterrupt):
        retention.delete_old(NOW)
    assert Event.objects.count() == 7, "the second batch was rolled back"
    assert EventClaim.objects.filter(lapses_at=None).count() == 7
    assert retention.delete_old(NOW) == 7
    assert not EventClaim.objects.filter(lapses_at=None).exists()


def test_a_run_has_an_end(keep: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    shopper = Shopper.objects.create()
    store_events([row(40 + number, shopper=shopper) for number in range(12)])
    keep(WINDOWS)
    monkeypatch.setattr(retention, "CHUNK", 3)
    monkeypatch.setattr(retention, "MOST", 6)
    assert [retention.delete_old(NOW) for _ in range(3)] == [6, 6, 0]


@pytest.mark.parametrize("bad", [-1, 1.5, "30", True, None, 40_000])
def test_e009_a_window_that_is_none(keep: Callable[..., None], bad: Any) -> None:
    keep({"page_viewed": bad})
    assert "personalization.E015" in [found.id for found in checks.check_settings(None)]
    keep({"page_viewed": 0, "*": 36500})
    assert checks.check_settings(None) == []
    with pytest.raises(ValueError, match="retention_days"):
        schema.EventType("x", retention_days=0)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
class TestWholeMonths:
    long_ago = datetime.fromisoformat("2021-06-15T00:00:00+00:00")

    @pytest.fixture(autouse=True)
    def _months(self) -> Iterator[None]:
        soon(lambda: partitions._make(Month.of(self.long_ago)) or Month.of(self.long_ago) in partitions.held())
        yield
        Event.objects.all()._raw_delete("default")
        soon(lambda: partitions.drop(Month.of(self.long_ago)))

    def test_a_month_goes_whole_when_all_in_it_are_past_their_time(
        self, keep: Callable[..., None], told: list[dict[str, Any]]
    ) -> None:
        shopper = Shopper.objects.create()
        viewed = make_event(shopper, "page_viewed", occurred_at=self.long_ago)
        ordered = make_event(shopper, "order_placed", occurred_at=self.long_ago)
        keep({"page_viewed": 30})
        assert retention.delete_old() == 1
        assert Month.of(self.long_ago) in partitions.held(), "an order is kept for ever"
        keep({"*": 30})
        again = EventData("test", viewed.event_id, "page_viewed", shopper.pk, timezone.now())
        with mock.patch.object(retention, "_types", list):  # nothing row by row
            soon(retention.delete_old)
        assert Month.of(self.long_ago) not in partitions.held()
        assert not Event.objects.exists()
        assert told[-1]["shoppers"] == {shopper.pk}
        assert (str(told[-1]["first"]), str(told[-1]["last"])) == ("2021-06-01", "2021-06-30")
        assert store_events([again]) == 0
        assert storage.existing_ids("test", [viewed.event_id, ordered.event_id]) == {viewed.event_id, ordered.event_id}
        assert not EventClaim.objects.filter(lapses_at=None).exists()

    def test_a_month_in_use_waits_for_the_next_run(self, keep: Callable[..., None]) -> None:
        make_event(Shopper.objects.create(), "page_viewed", occurred_at=self.long_ago)
        keep({"*": 30})
        with elsewhere("SELECT count(*) FROM personalization_event"), mock.patch.object(retention, "_types", list):
            assert retention.delete_old() == 0
        assert Event.objects.count() == 1
        with mock.patch.object(retention, "_types", list):
            soon(retention.delete_old)
        assert Month.of(self.long_ago) not in partitions.held()
