"""Events that were kept aside, tried again: by today's schema and today's consent, at the time they happened.

A replay is idempotent: the event keeps its identity, so it is stored once however often it is replayed, and never
after its shopper was erased. What is stored, known already or no longer agreed to leaves the quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from personalization.exceptions import InvalidEvent
from personalization.models import Offer, QuarantinedEvent, Rejection, Shopper
from personalization.tracking import parsing, quarantine, sealing
from personalization.tracking.parsing import Envelope
from personalization.tracking.storage import insert_events
from personalization.types import CONSENT_PURPOSES, Purpose


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of replayed events; ``withheld``: their shopper does not agree any more."""

    stored: int = 0
    known: int = 0
    withheld: int = 0
    invalid: int = 0

    def __add__(self, other: ReplayResult) -> ReplayResult:
        return ReplayResult(
            self.stored + other.stored,
            self.known + other.known,
            self.withheld + other.withheld,
            self.invalid + other.invalid,
        )


def replay(keys: Iterable[int]) -> ReplayResult:
    """Replay events by primary key, each in a transaction of its own; those that are gone are passed over."""
    total = ReplayResult()
    for key in sorted(set(keys)):
        total += replay_one(key)
    return total


def replay_one(key: int, payload: Any = None) -> ReplayResult:
    """Replay one event, mended where ``payload`` is given. Still invalid, it stays, with what is wrong now."""
    with transaction.atomic():
        row = QuarantinedEvent.objects.select_for_update().filter(pk=key).first()
        if row is None:
            return ReplayResult()
        if payload is None:
            payload = quarantine.payload_of(row)
        else:
            row.trimmed = False
        try:
            result = _again(row, payload)
        except InvalidEvent as error:
            row.payload = sealing.seal(payload)
            row.reason = error.message[:300]
            row.code = error.reason if error.reason in Rejection.values else Rejection.OTHER
            row.save(update_fields=["payload", "trimmed", "reason", "code"])
            return ReplayResult(invalid=1)
        row.delete()
        return result


def _again(row: QuarantinedEvent, payload: Any) -> ReplayResult:
    """Store the event, or say why not; raises InvalidEvent where it is still none."""
    if row.trimmed:
        raise InvalidEvent("It was not kept whole. Complete it by hand, then replay it.", reason=row.code)
    shopper = _shopper(row)
    if shopper is None:
        raise InvalidEvent("Nobody knows whose event this is.", reason="no_shopper")
    agreed = frozenset({Purpose.CONTRACT, *(each for each in CONSENT_PURPOSES if shopper.allows(each))})
    envelope = Envelope(
        source=row.source,
        received_at=row.received_at,
        purposes=agreed,
        sent_at=row.sent_at,
        channel=row.channel,
        is_bot=row.is_bot,
        trusted=row.trusted,
    )
    checker = parsing.declared(payload)
    if parsing.purpose_of(checker, envelope) not in agreed:
        return ReplayResult(withheld=1)
    parsed = parsing.parse(payload, checker, envelope, shopper.pk, default_id=f"quarantined-{row.pk}")
    if parsed is None:  # UNKNOWN_EVENTS drops it by now
        return ReplayResult(withheld=1)
    event, mended = parsed
    if event.offer_id is not None and not Offer.objects.filter(pk=event.offer_id).exists():
        raise InvalidEvent("There is no such offer.", reason="unknown_offer")
    stored = insert_events(
        [event],
        received_at=row.received_at,
        sent_at=row.sent_at,
        corrected=frozenset({0} if mended else ()),
        is_bot=row.is_bot,
    )
    return ReplayResult(stored=stored, known=1 - stored)


def _shopper(row: QuarantinedEvent) -> Shopper | None:
    """Return whose event it is now: an erased shopper took their rows along, a merged one is the account's."""
    if row.shopper_id is None:
        return None
    found = Shopper.objects.select_related("merged_into").get(pk=row.shopper_id)
    return found.merged_into or found
