"""From raw input to committed event rows: check, correct clocks, set bad ones aside, store the rest once.

An acknowledged event is a committed row. One bad event never harms its batch-mates.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from personalization import conf
from personalization.exceptions import InvalidEvent
from personalization.models import Offer, QuarantinedEvent, Shopper
from personalization.tracking import bots, consent, devices, identity, schema
from personalization.tracking.storage import insert_events
from personalization.types import EventData, IngestResult, Purpose

logger = logging.getLogger(__name__)
CLOCK_TOLERANCE = timedelta(seconds=60)
FUTURE_TOLERANCE = timedelta(minutes=5)
OLDEST = timedelta(days=366)
KEYS = {"id", "type", "item_id", "category", "offer_id", "value_minor", "properties", "occurred_at"}


def store_events(rows: Sequence[EventData]) -> int:
    """Store trusted events in bulk (each at most once) and return how many are new."""
    now = timezone.now()
    return sum(insert_events(batch, received_at=now) for batch in identity.batches(rows))


def ingest(
    raw_events: Sequence[Any],
    *,
    source: str,
    shopper: Shopper,
    purposes: frozenset[Purpose],
    sent_at: datetime | None = None,
    is_bot: bool = False,
    device: str = "",
) -> IngestResult:
    """Store a batch that arrived over the network for one shopper; ``device`` is the class of what it came from.

    Events whose purpose the shopper has not agreed to are dropped, valid or not: what is set aside is behaviour too.
    Invalid ones are quarantined with their reason.
    """
    now = timezone.now()
    rows: list[EventData] = []
    corrected: set[int] = set()
    rejected: list[QuarantinedEvent] = []
    dropped = 0
    for raw in raw_events:
        if _purpose(raw) not in purposes:
            dropped += 1
            continue
        try:
            event_type = _declared_type(raw)
            if event_type is None:
                dropped += 1
                continue
            row, mended = _parse(raw, event_type, source, shopper.pk, now, sent_at, device)
        except InvalidEvent as error:
            rejected.append(_quarantined(raw, source, error.message, shopper))
            continue
        if mended:
            corrected.add(len(rows))
        rows.append(row)
    rows, corrected, orphans = _drop_unknown_offers(rows, corrected, source, shopper)
    rejected += orphans
    with transaction.atomic():
        accepted = insert_events(rows, received_at=now, sent_at=sent_at, corrected=frozenset(corrected), is_bot=is_bot)
        QuarantinedEvent.objects.bulk_create(rejected)
    return IngestResult(accepted, len(rows) - accepted, len(rejected), dropped)


def _purpose(raw: Any) -> Purpose:
    """Return what the event may be kept for, even if only to set it aside: its type's purpose, if it names one."""
    name = raw.get("type") if isinstance(raw, Mapping) else None
    if not isinstance(name, str):
        return Purpose.PERSONALISATION
    event_type = schema.get(name) or schema.get(schema.storable(name).strip())
    return event_type.purpose if event_type is not None and event_type.public else Purpose.PERSONALISATION


def _declared_type(raw: Any) -> schema.EventType | None:
    if not isinstance(raw, Mapping):
        raise InvalidEvent("An event must be an object.")
    name = schema.clean_text(raw.get("type", ""), "type", 40)
    event_type = schema.get(name)
    if event_type is None:
        if conf.get().unknown_events == "drop":
            return None
        raise InvalidEvent(f"There is no event type {name!r}.")
    if not event_type.public:
        raise InvalidEvent(f"{name} is recorded by the server only.")
    unknown = set(raw) - KEYS
    if unknown:
        raise InvalidEvent(f"An event has no field {sorted(map(str, unknown))[0][:60]!r}.")
    return event_type


def _parse(
    raw: Mapping[str, Any],
    event_type: schema.EventType,
    source: str,
    shopper_id: int,
    now: datetime,
    sent_at: datetime | None,
    device: str,
) -> tuple[EventData, bool]:
    event_id = schema.clean_text(raw.get("id", ""), "id", 100)
    if not event_id:
        raise InvalidEvent("id is missing: without it a repeated event would count twice.")
    occurred_at, mended = now, False
    if raw.get("occurred_at") is not None:
        occurred_at, mended = _corrected(_moment(raw["occurred_at"]), now, sent_at)
    item_id = schema.clean_text(raw.get("item_id", "") or "", "item_id", 100)
    if event_type.needs_item and not item_id:
        raise InvalidEvent(f"{event_type.name} needs item_id.")
    offer_id = raw.get("offer_id")
    if offer_id is not None:
        offer_id = schema.clean_integer(offer_id, "offer_id")
    elif event_type.needs_offer:
        raise InvalidEvent(f"{event_type.name} needs offer_id.")
    value = raw.get("value_minor")
    row = EventData(
        source=source,
        event_id=event_id,
        type=event_type.name,
        shopper_id=shopper_id,
        occurred_at=occurred_at,
        item_id=item_id,
        category=schema.clean_text(raw.get("category", "") or "", "category", 100),
        offer_id=offer_id,
        value_minor=None if value is None else schema.clean_integer(value, "value_minor"),
        properties=devices.noted(event_type, schema.clean_properties(event_type, raw.get("properties")), device),
    )
    return row, mended


def _moment(value: Any) -> datetime:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidEvent("occurred_at must be an ISO 8601 moment.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _corrected(occurred_at: datetime, now: datetime, sent_at: datetime | None) -> tuple[datetime, bool]:
    """Shift by the sender's clock error (received minus sent) where that is plain; refuse the impossible."""
    mended = False
    try:
        if sent_at is not None and abs(now - sent_at) > CLOCK_TOLERANCE:
            occurred_at += now - sent_at
            mended = True
        if occurred_at > now + FUTURE_TOLERANCE:
            raise InvalidEvent("occurred_at lies in the future.")
        if occurred_at < now - OLDEST:
            raise InvalidEvent("occurred_at lies more than a year back.")
    except OverflowError:
        raise InvalidEvent("occurred_at is out of range.") from None
    return min(occurred_at, now), mended


def _drop_unknown_offers(
    rows: list[EventData], corrected: set[int], source: str, shopper: Shopper
) -> tuple[list[EventData], set[int], list[QuarantinedEvent]]:
    wanted = {row.offer_id for row in rows if row.offer_id is not None}
    if not wanted:
        return rows, corrected, []
    known = set(Offer.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if wanted <= known:
        return rows, corrected, []
    kept: list[EventData] = []
    kept_corrected: set[int] = set()
    orphans: list[QuarantinedEvent] = []
    for index, row in enumerate(rows):
        if row.offer_id is None or row.offer_id in known:
            if index in corrected:
                kept_corrected.add(len(kept))
            kept.append(row)
        else:
            payload = {"id": row.event_id, "type": row.type, "offer_id": row.offer_id}
            orphans.append(_quarantined(payload, source, "There is no such offer.", shopper))
    return kept, kept_corrected, orphans


def _quarantined(raw: Any, source: str, reason: str, shopper: Shopper) -> QuarantinedEvent:
    event_id = raw.get("id", "") if isinstance(raw, Mapping) else ""
    return QuarantinedEvent(
        source=source,
        event_id=schema.storable(event_id)[:100] if isinstance(event_id, str) else "",
        payload=_storable(raw if isinstance(raw, Mapping) else {"value": raw}),
        reason=reason[:300],
        shopper=shopper,
    )


def _storable(value: Any, depth: int = 0) -> Any:
    """Return the payload as JSON that every database stores: clean text, bounded depth and size."""
    if depth > 4:
        return "…"
    if isinstance(value, Mapping):
        return {schema.storable(str(k))[:60]: _storable(v, depth + 1) for k, v in list(value.items())[:30]}
    if isinstance(value, list):
        return [_storable(item, depth + 1) for item in value[:30]]
    if isinstance(value, str):
        return schema.storable(value)[: schema.MAX_TEXT]
    if isinstance(value, int | float) and not -1e15 < value < 1e15:  # also catches NaN and infinity
        return str(value)
    return value


def track(
    event_type: str,
    *,
    request: HttpRequest | None = None,
    shopper: Shopper | None = None,
    item_id: str = "",
    category: str = "",
    offer_id: int | None = None,
    value_minor: int | None = None,
    properties: Mapping[str, Any] | None = None,
    event_id: str = "",
    source: str = "server",
    occurred_at: datetime | None = None,
) -> bool:
    """Record one event from server code, after commit. Never raises; False: not recorded.

    Without consent for the type's purpose nothing is stored. Inside a transaction, True means that the event is
    recorded when it commits.
    """
    try:
        declared = schema.get(event_type)
        if declared is None:
            logger.error("track: there is no event type %r", event_type)
            return False
        shopper = shopper or (identity.shopper_for(request) if request is not None else None)
        if shopper is None or not _may_keep(declared.purpose, shopper, request):
            return False
        if occurred_at is not None and not isinstance(occurred_at, datetime):
            raise InvalidEvent("occurred_at must be a datetime.")
        row = EventData(
            source=schema.clean_text(source, "source", 80),
            event_id=schema.clean_text(event_id, "event_id", 100) or uuid.uuid4().hex,
            type=event_type,
            shopper_id=shopper.pk,
            occurred_at=occurred_at or timezone.now(),
            item_id=schema.clean_text(str(item_id), "item_id", 100),
            category=schema.clean_text(category[:100], "category", 100),
            offer_id=None if offer_id is None else schema.clean_integer(offer_id, "offer_id"),
            value_minor=None if value_minor is None else schema.clean_integer(value_minor, "value_minor"),
            properties=devices.noted(
                declared, schema.clean_properties(declared, properties), devices.of_request(request)
            ),
        )
        is_bot = request is not None and bots.is_bot(request.headers.get("User-Agent", ""))
        transaction.on_commit(lambda: _store_one(row, is_bot), robust=True)
    except InvalidEvent as error:
        logger.warning("track: %s refused: %s", event_type, error.message)
        return False
    except Exception:
        logger.exception("track: %s could not be recorded", event_type)
        return False
    return True


def _may_keep(purpose: Purpose, shopper: Shopper, request: HttpRequest | None) -> bool:
    if purpose == Purpose.CONTRACT:
        return True
    if request is not None:
        return purpose in consent.purposes_of(request)
    return shopper.allows(purpose)


def _store_one(row: EventData, is_bot: bool) -> None:
    try:
        insert_events([row], received_at=timezone.now(), is_bot=is_bot)
    except DatabaseError:
        logger.exception("track: %s could not be stored", row.type)
