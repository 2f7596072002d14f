"""One raw event against the schema: what comes out is an EventData, or InvalidEvent with a reason and its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from personalization import conf
from personalization.exceptions import InvalidEvent
from personalization.models import Channel
from personalization.tracking import devices, schema
from personalization.tracking.checking import Checker, clean_integer, clean_moment, clean_text, in_utc, storable
from personalization.tracking.declarations import is_name
from personalization.types import EventData, Purpose

CLOCK_TOLERANCE = timedelta(seconds=60)
FUTURE_TOLERANCE = timedelta(minutes=5)
OLDEST = timedelta(days=366)
KEYS = frozenset(
    {"id", "type", "item_id", "category", "offer_id", "value_minor", "properties", "occurred_at", "channel"}
)
CHANNELS = frozenset(Channel.values)
ANY_PURPOSE = frozenset(Purpose)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the events of a batch have in common.

    ``trusted``: from the shop's own files; types that only the server records are welcome, and so is the past.
    """

    source: str
    received_at: datetime
    purposes: frozenset[Purpose]
    sent_at: datetime | None = None
    channel: str = ""
    device: str = ""
    is_bot: bool = False
    trusted: bool = False


def clean_channel(value: Any) -> str:
    """Return a channel, or an empty string where none is given."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or value not in CHANNELS:
        raise InvalidEvent(f"channel must be one of {', '.join(sorted(CHANNELS))}.", reason="not_a_choice")
    return value


def declared(raw: Any) -> Checker | None:
    """Return what checks this event, or None where it names no type that anybody declared."""
    name = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(name, str):
        return None
    return schema.checker(name) or schema.checker(storable(name).strip())


def purpose_of(checker: Checker | None, envelope: Envelope) -> Purpose:
    """Return what the event may be kept for, even if only to set it aside."""
    if checker is None or not (checker.event_type.public or envelope.trusted):
        return Purpose.PERSONALISATION
    return checker.event_type.purpose


def parse(
    raw: Any, checker: Checker | None, envelope: Envelope, shopper_id: int, *, default_id: str = ""
) -> tuple[EventData, bool] | None:
    """Return the event and whether its clock was mended; None for one that ``UNKNOWN_EVENTS`` drops.

    ``default_id`` stands for an id that the sender did not give. Raises InvalidEvent.
    """
    if not isinstance(raw, dict):
        raise InvalidEvent("An event must be an object.", reason="not_an_object")
    if checker is None:
        checker = _unknown_type(raw)
        if checker is None:
            return None
    event_type = checker.event_type
    if not event_type.public and not envelope.trusted:
        raise InvalidEvent(f"{event_type.name} is recorded by the server only.", reason="server_only")
    if not raw.keys() <= KEYS:
        told = sorted(map(str, set(raw) - KEYS))[0][:60]
        raise InvalidEvent(f"An event has no field {told!r}.", reason="unknown_field")
    get = raw.get
    event_id = clean_text(get("id", "") if not default_id else get("id") or "", "id", 100) or default_id
    if not event_id:
        raise InvalidEvent("id is missing: without it a repeated event would count twice.", reason="missing_id")
    occurred_at, mended = envelope.received_at, False
    if (moment := get("occurred_at")) is not None:
        occurred_at, mended = corrected(clean_moment(moment, "occurred_at"), envelope)
    item_id = clean_text(get("item_id") or "", "item_id", 100)
    category = clean_text(get("category") or "", "category", 100)
    offer_id = get("offer_id")
    if offer_id is not None:
        offer_id = clean_integer(offer_id, "offer_id")
    value = get("value_minor")
    if value is not None:
        value = clean_integer(value, "value_minor")
    _check_needs(event_type, item_id, category, offer_id, value)
    channel = envelope.channel
    if (own := get("channel")) is not None:
        channel = clean_channel(own) or channel
    row = EventData(
        envelope.source,
        event_id,
        event_type.name,
        shopper_id,
        occurred_at,
        item_id,
        category,
        offer_id,
        value,
        devices.noted(checker, checker(get("properties"), envelope.purposes), envelope.device),
        channel,
        schema.UNDECLARED if checker.undeclared else event_type.version,
    )
    return row, mended


def _unknown_type(raw: Mapping[str, Any]) -> Checker | None:
    """Do with a type that nobody declared what ``UNKNOWN_EVENTS`` says."""
    name = clean_text(raw.get("type", ""), "type", 40)
    policy = conf.get().unknown_events
    if policy == "drop":
        return None
    if policy == "keep" and is_name(name):
        return schema.undeclared(name)
    raise InvalidEvent(f"There is no event type {name!r}.", reason="unknown_type")


def _check_needs(
    event_type: schema.EventType, item_id: str, category: str, offer_id: int | None, value: int | None
) -> None:
    if not event_type.needs and not event_type.needs_any:
        return
    given = {"item_id": item_id != "", "category": category != "", "offer_id": offer_id is not None}
    given["value_minor"] = value is not None
    for name in event_type.needs:
        if not given[name]:
            raise InvalidEvent(f"{event_type.name} needs {name}.", reason="missing_field")
    if event_type.needs_any and not any(given[name] for name in event_type.needs_any):
        told = ", ".join(event_type.needs_any)
        raise InvalidEvent(f"{event_type.name} needs one of {told}.", reason="missing_field")


def corrected(occurred_at: datetime, envelope: Envelope) -> tuple[datetime, bool]:
    """Shift by the sender's clock error (received minus sent) where that is plain; refuse the impossible."""
    now, sent_at, mended = envelope.received_at, envelope.sent_at, False
    try:
        if sent_at is not None and abs(now - sent_at) > CLOCK_TOLERANCE:
            occurred_at += now - sent_at
            mended = True
        occurred_at = no_later(occurred_at, now)
        if occurred_at < now - OLDEST and not envelope.trusted:
            raise InvalidEvent("occurred_at lies more than a year back.", reason="too_old")
    except OverflowError:
        raise InvalidEvent("occurred_at is out of range.", reason="bad_time") from None
    return occurred_at, mended


def no_later(occurred_at: datetime, now: datetime) -> datetime:
    """Return the moment, or now for one that clocks explain; refuse what has not happened yet.

    It would be the latest of all until then: a wish that no later wish could take back. A moment that is before the
    year 1 in UTC ("nothing" in some exports, east of Greenwich) could be stored, but never read again: refused as well.
    """
    if occurred_at > now + FUTURE_TOLERANCE:
        raise InvalidEvent("occurred_at lies in the future.", reason="future")
    return in_utc(min(occurred_at, now), "occurred_at")
