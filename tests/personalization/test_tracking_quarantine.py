"""Kept aside within bounds, counted without, replayed once: by today's consent, at the time it happened."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db.models import Sum
from django.utils import timezone

from personalization import api
from personalization.models import Event, EventClaim, QuarantinedEvent, RejectionCount, Shopper, claim_key
from personalization.tracking import merging, quarantine, schema
from personalization.tracking.ingest import ingest
from personalization.tracking.quarantine import payload_of
from personalization.tracking.replay import ReplayResult, replay, replay_one
from personalization.tracking.schema import EventType
from personalization.types import CONSENT_PURPOSES, IngestResult
from tests.personalization.builders import DAY, event, make_shopper
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
ALL = frozenset(CONSENT_PURPOSES)


def send(shopper: Shopper, *raw: Any, source: str = "web:1", **kwargs: Any) -> IngestResult:
    return ingest(raw, source=source, shopper=shopper, purposes=ALL, **kwargs)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, the host has declared ``teleported``."""
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    schema.register(EventType("teleported", public=True))


def aside(shopper: Shopper, **fields: Any) -> QuarantinedEvent:
    """Return an event that was kept aside because nobody has declared its type."""
    send(shopper, event("teleported", **fields))
    return QuarantinedEvent.objects.latest("pk")


# --- Bounds -----------------------------------------------------------------------------------------------------------


def test_one_sender_cannot_fill_the_disk_nor_can_all(shopper: Shopper, configure: Configure) -> None:
    configure(QUARANTINE_PER_SOURCE=3, QUARANTINE_PER_DAY=5)
    for source, kept in [("web:1", 3), ("web:2", 5), ("web:3", 5)]:
        result = send(shopper, *[event("teleported") for _ in range(4)], source=source)
        assert result == IngestResult(quarantined=4)
        assert QuarantinedEvent.objects.count() == kept
    counted = RejectionCount.objects.get()
    assert (counted.code, counted.type, counted.count, counted.kept) == ("unknown_type", "", 12, 5)
    with time_machine.travel(timezone.now() + DAY, tick=False):
        send(shopper, event("teleported"))
    assert QuarantinedEvent.objects.count() == 6


def test_what_a_stranger_invents_makes_no_rows_of_figures(shopper: Shopper) -> None:
    send(shopper, *[event(f"invented_{number}") for number in range(50)], event("page_viewed", id=""), 7)
    assert set(RejectionCount.objects.values_list("code", "type", "count")) == {
        ("unknown_type", "", 50),
        ("missing_id", "page_viewed", 1),
        ("not_an_object", "", 1),
    }


def test_one_that_is_sent_again_is_kept_once(shopper: Shopper) -> None:
    bad = event("teleported")
    assert send(shopper, bad, bad) == send(shopper, bad, bad) == IngestResult(quarantined=2)
    assert QuarantinedEvent.objects.count() == 1
    assert send(shopper, bad, source="web:2").quarantined == 1
    assert QuarantinedEvent.objects.count() == 2


def test_a_large_one_is_kept_in_part_and_says_so(shopper: Shopper, declared: None) -> None:
    send(shopper, event("page_viewed", properties={"path": "x" * 50_000}), event("page_viewed", properties={"path": 1}))
    large, small = QuarantinedEvent.objects.order_by("pk")
    assert (large.trimmed, small.trimmed) == (True, False)
    assert len(str(payload_of(large))) < quarantine.MAX_BYTES
    assert replay([large.pk]) == ReplayResult(invalid=1)
    assert replay_one(large.pk, {**payload_of(large), "properties": {"path": "/"}}) == ReplayResult(stored=1)


def test_figures_by_reason_and_day(shopper: Shopper) -> None:
    send(shopper, event("teleported"), event(id=""), event(id=""))
    quarantine.count("bad_body")
    with time_machine.travel(timezone.now() - 2 * DAY, tick=False):
        send(shopper, event(id=""))
    days, found = quarantine.by_day(7)
    assert len(days) == 7
    assert found["missing_id"] == {days[0]: (2, 2), days[2]: (1, 1)}
    assert found["bad_body"] == {days[0]: (1, 0)}


def test_it_is_forgotten_in_time(shopper: Shopper, configure: Configure) -> None:
    configure(QUARANTINE_DAYS=10)
    rows = [
        QuarantinedEvent(source="w", payload={}, reason="?", shopper=shopper, received_at=timezone.now() - age * DAY)
        for age in [9, 11] * 600
    ]
    QuarantinedEvent.objects.bulk_create(rows)
    today = timezone.now().date()
    for age in (399, 402):
        RejectionCount.objects.create(day=today - age * DAY, code="other", count=1)
    assert quarantine.forget_old() == 601
    assert QuarantinedEvent.objects.count() == 600
    assert RejectionCount.objects.count() == 1


# --- Replay -----------------------------------------------------------------------------------------------------------


def test_a_replay_stores_it_once_at_the_time_it_happened(shopper: Shopper, declared: None) -> None:
    with time_machine.travel(timezone.now() - 20 * DAY, tick=False):
        received = timezone.now()
        schema._TYPES.pop("teleported")
        row = aside(shopper, occurred_at=(received - DAY).isoformat(), channel="app")
    schema.register(EventType("teleported", public=True, version=4))
    assert replay([row.pk, row.pk]) == ReplayResult(stored=1)
    stored = Event.objects.get()
    assert (stored.occurred_at, stored.received_at) == (received - DAY, received)
    assert (stored.source, stored.event_id, stored.schema_version, stored.channel) == ("web:1", row.event_id, 4, "app")
    assert not QuarantinedEvent.objects.exists()
    assert replay([row.pk]) == ReplayResult()


def test_a_wrong_clock_is_mended_as_on_arrival(shopper: Shopper) -> None:
    now = timezone.now()
    behind = now - timedelta(hours=5)
    send(shopper, event("teleported", occurred_at=(behind - DAY).isoformat()), sent_at=behind)
    row = QuarantinedEvent.objects.get()
    with time_machine.travel(now + 3 * DAY, tick=False):
        assert replay_one(row.pk, {**payload_of(row), "type": "page_viewed"}) == ReplayResult(stored=1)
    stored = Event.objects.get()
    assert abs(stored.occurred_at - (now - DAY)) < timedelta(seconds=10)
    assert stored.clock_corrected


def test_one_that_came_again_meanwhile_is_known(shopper: Shopper) -> None:
    row = aside(shopper)
    send(shopper, event(id=row.event_id))
    assert replay_one(row.pk, {**payload_of(row), "type": "page_viewed"}) == ReplayResult(known=1)
    assert Event.objects.count() == 1


def test_still_invalid_it_stays_with_what_is_wrong_now(shopper: Shopper) -> None:
    row = aside(shopper)
    assert replay([row.pk]) == ReplayResult(invalid=1)
    mended = {**payload_of(row), "type": "offer_viewed", "offer_id": 4711}
    assert replay_one(row.pk, mended) == ReplayResult(invalid=1)
    row.refresh_from_db()
    assert (row.code, row.reason, payload_of(row)) == ("unknown_offer", "There is no such offer.", mended)


def test_without_an_id_it_gets_one(shopper: Shopper) -> None:
    send(shopper, {"type": "page_viewed"})
    assert replay([QuarantinedEvent.objects.get().pk]) == ReplayResult(stored=1)
    assert Event.objects.get().event_id.startswith("quarantined-")


def test_without_consent_by_now_it_goes(shopper: Shopper, declared: None) -> None:
    schema._TYPES.pop("teleported")
    row = aside(shopper)
    schema.register(EventType("teleported", public=True))
    Shopper.objects.update(consent_personalisation=False)
    assert replay([row.pk]) == ReplayResult(withheld=1)
    assert not Event.objects.exists()
    assert not QuarantinedEvent.objects.exists()


def test_erased_it_stays_away(shopper: Shopper) -> None:
    row = aside(shopper)
    EventClaim.objects.create(key=claim_key(row.source, row.event_id))  # what an erased event leaves
    assert replay_one(row.pk, {**payload_of(row), "type": "page_viewed"}) == ReplayResult(known=1)
    assert not Event.objects.exists()
    again = aside(shopper)
    api.erase(shopper)
    assert replay([again.pk]) == ReplayResult()
    assert not Event.objects.exists()


def test_a_merged_visitors_event_is_the_accounts(shopper: Shopper) -> None:
    row = aside(shopper)
    account = make_shopper()
    merging.merge(shopper, account)
    assert replay_one(row.pk, {**payload_of(row), "type": "page_viewed"}) == ReplayResult(stored=1)
    assert Event.objects.get().shopper == account


def test_a_browsers_event_gains_no_rights_by_a_replay(shopper: Shopper) -> None:
    row = aside(shopper)
    mended = {"id": uuid.uuid4().hex, "type": "order_placed", "value_minor": 100}
    assert replay_one(row.pk, mended) == ReplayResult(invalid=1)
    assert not Event.objects.exists()


def test_every_rejection_is_counted(shopper: Shopper) -> None:
    bad = [event("teleported"), event(id=""), 7, None, event("offer_viewed", offer_id=-1), event(properties={"x": 1})]
    rejected = sum(send(shopper, *bad).quarantined for _ in range(3))
    assert RejectionCount.objects.aggregate(total=Sum("count"))["total"] == rejected == 18
