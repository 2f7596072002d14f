"""From raw input to committed event rows: check, correct clocks, set bad ones aside, store the rest once.

An acknowledged event is a committed row. One bad event never harms its batch-mates.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from django.db import DatabaseError, IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from personalization.exceptions import InvalidEvent
from personalization.models import Channel, Offer, Shopper
from personalization.tracking import (
    bots,
    consent,
    devices,
    identity,
    parsing,
    partitions,
    quarantine,
    round_trip,
    schema,
)
from personalization.tracking.checking import clean_integer, clean_text, in_utc, is_json
from personalization.tracking.parsing import Envelope
from personalization.tracking.quarantine import Rejected
from personalization.tracking.storage import bulk_size, insert_events
from personalization.types import CONSENT_PURPOSES, EventData, IngestResult, Purpose

logger = logging.getLogger(__name__)


def store_events(rows: Sequence[EventData]) -> int:
    """Store trusted events in bulk (each at most once) and return how many are new.

    Raises InvalidEvent, and stores none, where one holds what would come back as something else, or not at all.
    """
    for row in rows:
        _require_readable(row)
    now, new = timezone.now(), 0
    for batch in identity.batches(rows, bulk_size()):
        new += insert_events(batch, received_at=now)
        if len(batch) >= partitions.OWN_MONTH:  # fewer make no month; the chore sees to the others
            partitions.keep_house()
    return new


def _require_readable(row: EventData) -> None:
    """Refuse what the databases would take, but not give back: their JSON makes nothing of what is no number."""
    if not is_json(dict(row.properties)):
        raise InvalidEvent(f"The properties of {row.event_id!r} hold what JSON cannot say.", reason="wrong_type")
    if isinstance(row.value_minor, float) and not isfinite(row.value_minor):
        raise InvalidEvent(f"value_minor of {row.event_id!r} is no number.", reason="wrong_type")
    in_utc(row.occurred_at, f"occurred_at of {row.event_id!r}")


def ingest(
    raw_events: Sequence[Any],
    *,
    source: str,
    shopper: Shopper,
    purposes: frozenset[Purpose],
    sent_at: datetime | None = None,
    is_bot: bool = False,
    device: str = "",
    channel: str = "",
) -> IngestResult:
    """Store a batch that arrived over the network for one shopper; ``device`` is the class of what it came from.

    Events whose purpose the shopper has not agreed to are dropped, valid or not: what is set aside is behaviour too.
    Invalid ones are quarantined with their reason.
    """
    envelope = Envelope(source, timezone.now(), purposes, sent_at, channel, device, is_bot)
    sorting = Sorting(envelope)
    for raw in raw_events:
        sorting.add(raw, shopper.pk)
    try:
        with transaction.atomic():
            return sorting.store()
    except IntegrityError:
        if not identity.is_gone(shopper):
            raise
        return IngestResult(0, 0, 0, len(raw_events))  # erased while these were on their way


class Sorting:
    """A batch on its way: good events, bad ones with their reasons, and how many are left out."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.rows: list[EventData] = []
        self.mended: list[bool] = []
        self.rejected: list[Rejected] = []
        self.dropped = 0
        self._origins: dict[str, Any] = {}

    def add(self, raw: Any, shopper_id: int, *, default_id: str = "", envelope: Envelope | None = None) -> None:
        """Check one raw event. ``default_id`` stands for an id that it lacks, and tells it apart from its like.

        ``envelope``, where it differs from the batch's: what this event's own shopper has agreed to.
        """
        envelope = envelope or self.envelope
        checker = parsing.declared(raw)
        if parsing.purpose_of(checker, envelope) not in envelope.purposes:
            self.dropped += 1
            return
        try:
            parsed = parsing.parse(raw, checker, envelope, shopper_id, default_id=default_id)
        except InvalidEvent as error:
            self.reject(raw, error.reason, error.message, shopper_id, default_id)
            return
        if parsed is None:
            self.dropped += 1
            return
        row, mended = parsed
        if row.offer_id is not None:
            self._origins[row.event_id] = raw  # its offer may turn out unknown
        self.rows.append(row)
        self.mended.append(mended)

    def reject(self, raw: Any, code: str, reason: str, shopper_id: int | None, origin: str = "") -> None:
        """Note an event that cannot be stored."""
        self.rejected.append(Rejected(raw, code, reason, shopper_id, origin))

    def store(self, *, per_source: int | None = None) -> IngestResult:
        """Store what is good and set aside what is not; call it in a transaction."""
        self._reject_unknown_offers()
        envelope = self.envelope
        accepted = insert_events(
            self.rows,
            received_at=envelope.received_at,
            sent_at=envelope.sent_at,
            corrected=frozenset(index for index, mended in enumerate(self.mended) if mended),
            is_bot=envelope.is_bot,
        )
        quarantine.set_aside(self.rejected, envelope, per_source=per_source)
        return IngestResult(accepted, len(self.rows) - accepted, len(self.rejected), self.dropped)

    def _reject_unknown_offers(self) -> None:
        wanted = {row.offer_id for row in self.rows if row.offer_id is not None}
        unknown = wanted - set(Offer.objects.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()
        if not unknown:
            return
        for row in self.rows:
            if row.offer_id in unknown:
                raw = self._origins[row.event_id]
                self.reject(raw, "unknown_offer", "There is no such offer.", row.shopper_id, row.event_id)
        kept = [place for place, row in enumerate(self.rows) if row.offer_id not in unknown]
        self.rows, self.mended = [self.rows[place] for place in kept], [self.mended[place] for place in kept]


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
    channel: str = "",
) -> bool:
    """Record one event from server code, after commit. Never raises; False: not recorded.

    ``channel`` is one of :class:`personalization.models.Channel`; with a request, the web unless said otherwise.

    Without consent for the type's purpose nothing is stored. Inside a transaction, True means that the event is
    recorded when it commits.
    """
    try:
        checker = schema.checker(event_type)
        if checker is None:
            logger.error("track: there is no event type %r", event_type)
            return False
        purpose = checker.event_type.purpose
        moment = timezone.now()
        if occurred_at is not None:
            moment = parsing.no_later(_aware(occurred_at), moment)

        def row_for(shopper_id: int, agreed: frozenset[Purpose]) -> EventData:
            return EventData(
                source=clean_text(source, "source", 80),
                event_id=clean_text(event_id, "event_id", 100) or uuid.uuid4().hex,
                type=event_type,
                shopper_id=shopper_id,
                occurred_at=moment,
                item_id=clean_text(str(item_id), "item_id", 100),
                category=clean_text(category[:100], "category", 100),
                offer_id=None if offer_id is None else clean_integer(offer_id, "offer_id"),
                value_minor=None if value_minor is None else clean_integer(value_minor, "value_minor"),
                properties=devices.noted(checker, checker(properties, agreed), devices.of_request(request)),
                channel=parsing.clean_channel(channel) or (Channel.WEB.value if request is not None else ""),
                schema_version=checker.event_type.version,
            )

        is_bot = request is not None and bots.is_bot(request.headers.get("User-Agent", ""))
        if shopper is None and request is not None:
            if purpose != Purpose.CONTRACT and consent.is_refused(request, purpose):
                return False
            asks = round_trip.asker(request) if checker.asks_only(purpose, properties) else None
            if asks is not None:
                found = round_trip.store(request, asks, row_for(0, frozenset({purpose})), purpose, is_bot=is_bot)
                if found is not None:
                    return purpose in _agreed(found, request, purpose)  # as the statement judged it
            shopper = identity.shopper_for(request)
        agreed = _agreed(shopper, request, purpose)
        if shopper is None or purpose not in agreed:
            return False
        row = row_for(shopper.pk, agreed)
        transaction.on_commit(lambda: _store_one(row, is_bot), robust=True)
    except InvalidEvent as error:
        logger.warning("track: %s refused: %s", event_type, error.message)
        return False
    except Exception:
        logger.exception("track: %s could not be recorded", event_type)
        return False
    return True


def _aware(moment: object) -> datetime:
    """Return a moment of the caller's; one without a zone is meant in the shop's own."""
    if not isinstance(moment, datetime):
        raise InvalidEvent("occurred_at must be a datetime.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def _agreed(shopper: Shopper | None, request: HttpRequest | None, purpose: Purpose) -> frozenset[Purpose]:
    """Return what may be kept about the shopper; what the contract needs is never asked for."""
    if shopper is None or purpose == Purpose.CONTRACT:
        return frozenset({Purpose.CONTRACT})
    if request is not None:
        return consent.purposes_of(request)
    return frozenset(each for each in CONSENT_PURPOSES if shopper.allows(each))


def _store_one(row: EventData, is_bot: bool) -> None:
    try:
        insert_events([row], received_at=timezone.now(), is_bot=is_bot)
    except DatabaseError:
        logger.exception("track: %s could not be stored", row.type)
