"""Events in: whatever arrives, an event is stored once or kept aside with its reason, and its batch-mates live."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed
from math import inf, nan
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from personalization.models import Event, Offer, QuarantinedEvent, Shopper
from personalization.tracking import schema, storage
from personalization.tracking.ingest import ingest, store_events
from personalization.tracking.quarantine import payload_of
from personalization.types import CONSENT_PURPOSES, EventData, IngestResult, Purpose
from tests.personalization.builders import event, make_shopper
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
ALL = frozenset(CONSENT_PURPOSES)
MINUTE = timedelta(minutes=1)


def send(shopper: Shopper, *raw: Any, purposes: frozenset[Purpose] = ALL, **kwargs: Any) -> IngestResult:
    """Ingest a batch and hold it to its promises: the counts add up and every kept row can be read again."""
    result = ingest(raw, source="web:1", shopper=shopper, purposes=purposes, **kwargs)
    assert result.accepted + result.duplicates + result.quarantined + result.dropped == len(raw)
    for row in [*Event.objects.all(), *QuarantinedEvent.objects.all()]:
        json.dumps(row.__dict__, default=str).encode()
    return result


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"deeper": [value]}
    return value


BAD: list[tuple[Any, str]] = [
    (None, "must be an object"),
    ("page_viewed", "must be an object"),
    (7, "must be an object"),
    (nan, "must be an object"),
    (["page_viewed"], "must be an object"),
    ({}, "no event type ''"),
    (event(""), "no event type"),
    (event("teleported"), "no event type 'teleported'"),
    (event("x" * 41), "longer than 40"),
    (event(7), "type must be text"),  # type: ignore[arg-type]
    (event(["page_viewed"]), "type must be text"),  # type: ignore[arg-type]
    (event("order_placed", value_minor=100), "by the server only"),
    (event("coupon_redeemed", offer_id=1), "by the server only"),
    (event(id=""), "id is missing"),
    (event(id="\x00 \x01"), "id is missing"),
    ({"type": "page_viewed"}, "id is missing"),
    (event(id=None), "id must be text"),
    (event(id=12), "id must be text"),
    (event(id={"a": 1}), "id must be text"),
    (event(id="x" * 101), "id is longer than 100"),
    (event(shopper_id=1), "no field 'shopper_id'"),
    (event("product_viewed"), "needs item_id"),
    (event("product_viewed", item_id=""), "needs item_id"),
    (event("product_viewed", item_id=5), "item_id must be text"),
    (event("product_viewed", item_id="p" * 101), "item_id is longer"),
    (event(category=["tea"]), "category must be text"),
    (event("offer_viewed"), "needs offer_id"),
    (event("offer_viewed", offer_id="1"), "offer_id must be a whole number"),
    (event("offer_viewed", offer_id=True), "offer_id must be a whole number"),
    (event("offer_viewed", offer_id=1.0), "offer_id must be a whole number"),
    (event("offer_viewed", offer_id=2**63), "offer_id is out of range"),
    (event("offer_viewed", offer_id=999_999), "no such offer"),
    (event("offer_viewed", offer_id=-1), "no such offer"),
    (event(value_minor=nan), "value_minor must be a whole number"),
    (event(value_minor=inf), "value_minor must be a whole number"),
    (event(value_minor=10**13), "value_minor is out of range"),
    (event(value_minor=10**4000), "value_minor is out of range"),
    (event(properties=[1, 2]), "properties must be an object"),
    (event(properties="path"), "properties must be an object"),
    (event(properties={"price": 1}), "no property 'price'"),
    (event(properties={"path": 1}), "path must be text"),
    (event(properties={"path": "x" * 501}), "path is longer"),
    (event(properties={"dwell_ms": "12"}), "dwell_ms must be a whole number"),
    (event(properties={"dwell_ms": nan}), "dwell_ms must be a whole number"),
    (event(properties=nested(400)), "no property 'deeper'"),
    (event(occurred_at="yesterday"), "ISO 8601"),
    (event(occurred_at="2024-13-45T99:99:99Z"), "ISO 8601"),
    (event(occurred_at=1_700_000_000), "ISO 8601"),
    (event(occurred_at=nan), "ISO 8601"),
    (event(occurred_at={"$date": 1}), "ISO 8601"),
    (event(occurred_at="9999-12-31T23:59:59-14:00"), "in the future"),
    (event(occurred_at="0001-01-01T00:00:00+14:00"), "out of range"),
    (event(occurred_at="2001-01-01T00:00:00Z"), "a year back"),
]


@pytest.mark.parametrize(("raw", "reason"), BAD, ids=[reason[:40] + f" {n}" for n, (_, reason) in enumerate(BAD)])
def test_a_bad_event_is_kept_aside_and_its_batch_mates_are_stored(shopper: Shopper, raw: Any, reason: str) -> None:
    before, after = event(), event("product_viewed", item_id="p-1")
    assert send(shopper, before, raw, after) == IngestResult(accepted=2, quarantined=1)
    assert set(Event.objects.values_list("event_id", flat=True)) == {before["id"], after["id"]}
    aside = QuarantinedEvent.objects.get()
    assert reason in aside.reason
    assert (aside.shopper, aside.source) == (shopper, "web:1")


@pytest.mark.parametrize("moment", [timedelta(minutes=6), timedelta(days=1), timedelta(days=4000)])
def test_a_future_event_is_kept_aside(shopper: Shopper, moment: timedelta) -> None:
    result = send(shopper, event(occurred_at=(timezone.now() + moment).isoformat()))
    assert result == IngestResult(quarantined=1)
    assert "future" in QuarantinedEvent.objects.get().reason


def test_a_clock_slightly_ahead_counts_as_now(shopper: Shopper) -> None:
    assert send(shopper, event(occurred_at=(timezone.now() + 4 * MINUTE).isoformat())).accepted == 1
    assert Event.objects.get().occurred_at <= timezone.now()


def test_text_loses_what_a_database_cannot_hold(shopper: Shopper) -> None:
    """NUL is refused by PostgreSQL, half a surrogate pair by everybody's UTF-8."""
    raw = event(
        "product_viewed",
        id="e\x00-1\ud83d",
        item_id=" p\x00-1\udc00\x07 ",
        category="t\ud800ea",
    )
    page = event(properties={"path": "/a\x00b\ud800c", "title": "🛍 ok"})
    assert send(shopper, raw, page) == IngestResult(accepted=2)
    stored = Event.objects.get(type="product_viewed")
    assert (stored.event_id, stored.item_id, stored.category) == ("e-1", "p-1", "tea")
    assert Event.objects.get(type="page_viewed").properties == {"path": "/abc", "title": "🛍 ok"}


@pytest.mark.parametrize(
    "raw",
    [
        event("tele\ud800ported", id="e\ud800"),
        event(id="e\x00\ud800", properties={"pr\x00ice\ud800": "\ud800\x00"}),
        "\ud800\x00",
        event(id="x" * 100_000, properties={"path": "y" * 100_000}),
        event(properties={str(number): ["z" * 2000] * 200 for number in range(200)}),
    ],
    ids=["surrogate type", "surrogate property", "surrogate text", "huge text", "huge object"],
)
def test_what_is_kept_aside_is_clean_and_small(shopper: Shopper, raw: Any) -> None:
    assert send(shopper, raw, event()) == IngestResult(accepted=1, quarantined=1)
    aside = QuarantinedEvent.objects.get()
    text = json.dumps(payload_of(aside), ensure_ascii=False) + aside.event_id + aside.reason
    assert "\x00" not in text
    assert len(text.encode()) < 2_000_000
    assert len(aside.reason) <= 300


def test_a_repeated_event_is_stored_once(shopper: Shopper) -> None:
    one = event("product_viewed", item_id="p-1")
    assert send(shopper, one, one) == IngestResult(accepted=1, duplicates=1)
    changed = {**one, "item_id": "p-2"}
    assert send(shopper, changed) == IngestResult(duplicates=1)
    assert Event.objects.get().item_id == "p-1"


def test_the_same_id_from_another_sender_is_another_event(shopper: Shopper) -> None:
    one = event()
    send(shopper, one)
    assert ingest([one], source="web:2", shopper=shopper, purposes=ALL).accepted == 1


def test_a_thousand_good_and_bad_ones(shopper: Shopper, offer: Offer) -> None:
    raw = [
        event("offer_viewed", offer_id=offer.pk) if n % 2 else event("offer_viewed", offer_id=-n) for n in range(1000)
    ]
    assert send(shopper, *raw) == IngestResult(accepted=500, quarantined=500)


def test_an_empty_batch_is_no_trouble(shopper: Shopper) -> None:
    assert send(shopper) == IngestResult()


def test_fields_arrive_where_they_belong(shopper: Shopper, offer: Offer) -> None:
    moment = timezone.now() - timedelta(hours=3)
    properties = {"decision_id": "d-1", "position": 2}
    send(shopper, event("offer_clicked", offer_id=offer.pk, occurred_at=moment.isoformat(), properties=properties))
    stored = Event.objects.get()
    assert (stored.shopper, stored.offer, stored.occurred_at) == (shopper, offer, moment)
    assert (stored.properties, stored.is_bot, stored.clock_corrected) == (properties, False, False)
    assert abs(stored.received_at - timezone.now()) < MINUTE


# --- Clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [timedelta(hours=-5), timedelta(hours=5), timedelta(days=-20_000), timedelta(days=400)]
)
def test_a_wrong_clock_is_mended_by_the_time_of_sending(shopper: Shopper, error: timedelta) -> None:
    now = timezone.now()
    happened = now - 10 * MINUTE
    result = send(shopper, event(occurred_at=(happened + error).isoformat()), sent_at=now + error)
    assert result.accepted == 1
    stored = Event.objects.get()
    assert abs(stored.occurred_at - happened) < timedelta(seconds=5)
    assert stored.clock_corrected
    assert stored.sent_at is not None
    assert abs(stored.sent_at - (now + error)) < timedelta(seconds=1)


def test_a_clock_within_a_minute_is_believed(shopper: Shopper) -> None:
    happened = timezone.now() - 10 * MINUTE
    send(shopper, event(occurred_at=happened.isoformat()), sent_at=timezone.now() - 0.5 * MINUTE)
    assert Event.objects.get().occurred_at == happened
    assert not Event.objects.get().clock_corrected


@pytest.mark.parametrize("error", [timedelta(hours=-5), timedelta(hours=5)])
def test_our_own_clock_needs_no_mending(shopper: Shopper, error: timedelta) -> None:
    """Without a moment of its own an event happened when it arrived, however wrong its sender's clock is."""
    assert send(shopper, event(), sent_at=timezone.now() + error).accepted == 1
    stored = Event.objects.get()
    assert abs(stored.occurred_at - timezone.now()) < MINUTE
    assert not stored.clock_corrected


def test_only_the_mended_events_are_marked(shopper: Shopper, offer: Offer) -> None:
    sent_at = timezone.now() - timedelta(hours=2)
    with_time = event("offer_viewed", offer_id=offer.pk, occurred_at=(sent_at - MINUTE).isoformat())
    unknown = event("offer_viewed", offer_id=-1, occurred_at=sent_at.isoformat())
    result = send(shopper, unknown, event(), with_time, sent_at=sent_at)
    assert result == IngestResult(accepted=2, quarantined=1)
    assert Event.objects.get(clock_corrected=True).event_id == with_time["id"]


SECOND, YEAR = timedelta(seconds=1), timedelta(days=365)


@pytest.mark.parametrize("sign", [1, -1], ids=["ahead", "behind"])
@pytest.mark.parametrize(
    "skew", [SECOND, 59 * SECOND, 61 * SECOND, MINUTE * 10, timedelta(hours=1), timedelta(days=1), YEAR, 10 * YEAR]
)
def test_clocks_that_are_off_by_a_second_or_ten_years(shopper: Shopper, skew: timedelta, sign: int) -> None:
    """Below a minute the sender is believed; above, its moment is shifted by what it is off, and marked."""
    now = timezone.now()
    happened = now - timedelta(days=2)
    off = sign * skew
    with time_machine.travel(now, tick=False):
        assert send(shopper, event(occurred_at=(happened + off).isoformat()), sent_at=now + off).accepted == 1
    stored = Event.objects.get()
    assert stored.clock_corrected == (skew > MINUTE)
    assert abs(stored.occurred_at - happened) <= (SECOND if stored.clock_corrected else skew)
    assert stored.occurred_at <= stored.received_at


@pytest.mark.parametrize(
    ("zone", "now", "written", "stored"),
    [
        ("Europe/Berlin", "2024-10-27T12:00:00+00:00", "2024-10-27T02:30:00+02:00", "2024-10-27T00:30:00+00:00"),
        ("Europe/Berlin", "2024-10-27T12:00:00+00:00", "2024-10-27T02:30:00+01:00", "2024-10-27T01:30:00+00:00"),
        ("Europe/Berlin", "2024-10-27T12:00:00+00:00", "2024-10-27T02:30:00", "2024-10-27T00:30:00+00:00"),
        ("Europe/Berlin", "2024-03-31T12:00:00+00:00", "2024-03-31T02:30:00", "2024-03-31T01:30:00+00:00"),
        ("America/New_York", "2024-03-10T12:00:00+00:00", "2024-03-10T02:30:00", "2024-03-10T07:30:00+00:00"),
        ("UTC", "2024-03-01T00:00:00+00:00", "2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999+00:00"),
        ("Asia/Shanghai", "2024-03-01T00:00:00+00:00", "2024-02-29T23:00:00", "2024-02-29T15:00:00+00:00"),
        ("UTC", "2025-02-28T12:00:00+00:00", "2024-02-29T12:00:00Z", "2024-02-29T12:00:00+00:00"),
    ],
)
def test_summer_time_and_leap_days(
    shopper: Shopper, settings: Any, zone: str, now: str, written: str, stored: str
) -> None:
    settings.TIME_ZONE = zone
    with time_machine.travel(datetime.fromisoformat(now), tick=False):
        assert send(shopper, event(occurred_at=written)).accepted == 1
    assert Event.objects.get().occurred_at == datetime.fromisoformat(stored)


@pytest.mark.parametrize("written", ["2023-02-29T12:00:00Z", "2024-06-30T23:59:60Z", "2024-02-30", "24:00", "2024-W54"])
def test_days_that_never_were_are_kept_aside(shopper: Shopper, written: str) -> None:
    assert send(shopper, event(occurred_at=written)) == IngestResult(quarantined=1)
    assert QuarantinedEvent.objects.get().code == "bad_time"


@pytest.mark.parametrize("sent_at", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_an_absurd_clock_harms_nobody(shopper: Shopper, sent_at: datetime) -> None:
    moments = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", timezone.now().isoformat()]
    send(shopper, event(), *[event(occurred_at=moment) for moment in moments], sent_at=sent_at)
    assert all(abs(row.occurred_at - timezone.now()) < 367 * timedelta(days=1) for row in Event.objects.all())


# --- Consent ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purposes", [(), (Purpose.ANALYTICS,), (Purpose.MARKETING, Purpose.ANALYTICS)])
def test_without_the_purpose_nothing_is_kept_good_or_bad(shopper: Shopper, purposes: tuple[Purpose, ...]) -> None:
    """What is set aside is behaviour too."""
    raw = [event(), event("teleported"), event(properties={"price": 1}), None, event("offer_viewed", offer_id=-1)]
    assert send(shopper, *raw, purposes=frozenset(purposes)) == IngestResult(dropped=len(raw))
    assert not Event.objects.exists()
    assert not QuarantinedEvent.objects.exists()


def test_a_type_of_the_hosts_own_is_kept_for_its_own_purpose(shopper: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    kind = schema.Property("kind", schema.Kind.LIST)
    schema.register(schema.EventType("layout_seen", purpose=Purpose.ANALYTICS, public=True, properties=(kind,)))
    analytics = frozenset({Purpose.ANALYTICS})
    good, bad = event("layout_seen", properties={"kind": [1]}), event("layout_seen", properties={"kind": 1})
    assert send(shopper, good, bad, event(), purposes=analytics) == IngestResult(accepted=1, quarantined=1, dropped=1)
    assert "kind must be a list" in QuarantinedEvent.objects.get().reason


def test_unknown_types_can_be_dropped(shopper: Shopper, configure: Configure) -> None:
    configure(UNKNOWN_EVENTS="drop")
    assert send(shopper, event("teleported"), event()) == IngestResult(accepted=1, dropped=1)
    assert not QuarantinedEvent.objects.exists()


# --- Whatever comes ---------------------------------------------------------------------------------------------------

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("\ud800\x00"))
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
mutants = st.dictionaries(
    st.sampled_from(["id", "type", "item_id", "category", "offer_id", "value_minor", "properties", "occurred_at", "x"]),
    st.one_of(anything, st.sampled_from(["page_viewed", "offer_viewed", "2024-05-01T10:00:00Z"])),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.lists(st.one_of(anything, mutants), max_size=4), sent_at=st.none() | st.datetimes(timezones=st.just(UTC)))
def test_no_json_stops_the_intake(db: None, raw: list[Any], sent_at: datetime | None) -> None:
    shopper = make_shopper()
    mate = event()
    result = send(shopper, *raw, mate, sent_at=sent_at)
    assert result.accepted >= 1
    assert Event.objects.filter(event_id=mate["id"], shopper=shopper).exists()


def test_trusted_bulk_is_stored_once(shopper: Shopper) -> None:
    now = timezone.now()
    rows = [EventData("bulk", str(n), "product_viewed", shopper.pk, now, item_id=f"p-{n}") for n in range(1201)]
    assert store_events(rows) == 1201
    assert store_events([*rows, EventData("bulk", "new", "page_viewed", shopper.pk, now)]) == 1
    assert store_events([]) == 0
    assert Event.objects.count() == 1202


def test_what_the_quick_encoder_declines_is_stored_as_exactly() -> None:
    """An integer beyond 64 bits, and a moment whose offset has seconds: orjson refuses the one and rounds the other."""
    shopper, born = make_shopper(), datetime(2026, 3, 1, 12, tzinfo=fixed(timedelta(minutes=19, seconds=32)))
    rows = [
        EventData("pos", "old", "page_viewed", shopper.pk, born, properties={"path": "/", "serial": 2**70}),
        EventData("pos", "new", "page_viewed", shopper.pk, born.astimezone(UTC), properties={"path": "/ä", "no": None}),
    ]
    assert storage.insert_events(rows, received_at=timezone.now()) == 2
    stored = {event.event_id: event for event in Event.objects.all()}
    assert stored["old"].properties == {"path": "/", "serial": 2**70}
    assert stored["new"].properties == {"path": "/ä", "no": None}
    assert {event.occurred_at for event in stored.values()} == {born}


def test_what_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="Shopper"):
        storage.as_json([make_shopper(), 2**70])
