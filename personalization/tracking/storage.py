"""The one statement that stores events: a whole batch in one parameter, repeated and erased ones left out.

``INSERT … SELECT`` over a JSON array is a single round trip on both databases, skips what the unique key already
holds, and its row count says exactly how many rows are new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from personalization.tracking import sealing, secrets
from personalization.types import EventData

COLUMNS = (
    "source, event_id, type, shopper_id, item_id, category, offer_id, value_minor, properties, "
    "occurred_at, sent_at, received_at, clock_corrected, is_bot, channel, schema_version"
)
_FIELDS = 16
_TOMBSTONE = "tombstone"
# What follows the fields of a row are its digests, one under each key still accepted.
_NOT_ERASED = "NOT EXISTS (SELECT 1 FROM personalization_eventtombstone t WHERE t.digest IN ({digests}))"
_SQLITE = f"""
INSERT INTO personalization_event ({COLUMNS})
SELECT r.value->>0, r.value->>1, r.value->>2, r.value->>3, r.value->>4, r.value->>5, r.value->>6, r.value->>7,
       r.value->>8, r.value->>9, r.value->>10, r.value->>11, r.value->>12, r.value->>13,
       r.value->>14, r.value->>15
FROM json_each(%s) AS r
WHERE {_NOT_ERASED}
ON CONFLICT (source, event_id) DO NOTHING
"""  # noqa: S608
# In the order of the keys: two senders of the same events wait for each other, never in a circle.
_POSTGRES = f"""
INSERT INTO personalization_event ({COLUMNS})
SELECT r->>0, r->>1, r->>2, (r->>3)::bigint, r->>4, r->>5, (r->>6)::bigint, (r->>7)::bigint, (r->>8)::jsonb,
       (r->>9)::timestamptz, (r->>10)::timestamptz, (r->>11)::timestamptz, (r->>12)::boolean, (r->>13)::boolean,
       r->>14, (r->>15)::smallint
FROM jsonb_array_elements(%s::jsonb) AS r
WHERE {_NOT_ERASED}
ORDER BY 1, 2
ON CONFLICT (source, event_id) DO NOTHING
"""  # noqa: S608


def tombstone(source: str, event_id: str) -> str:
    """Return the digest under which an erased event's identity is remembered."""
    return tombstones(source, event_id)[0]


def tombstones(source: str, event_id: str) -> list[str]:
    """Return the digests under which it may be remembered: one for each key, newest first."""
    return secrets.digests(_identity(source, event_id), _TOMBSTONE)


def _identity(source: str, event_id: str) -> str:
    return f"{source}\x1f{event_id}"


def insert_events(
    rows: Sequence[EventData],
    *,
    received_at: datetime,
    sent_at: datetime | None = None,
    corrected: frozenset[int] = frozenset(),
    is_bot: bool = False,
) -> int:
    """Store rows and return how many are new. ``corrected`` holds the positions whose clock was mended."""
    if not rows:
        return 0
    on_postgres = connection.vendor == "postgresql"
    moment = datetime.isoformat if on_postgres else _naive_utc
    received, sent = moment(received_at), None if sent_at is None else moment(sent_at)
    digests = secrets.digester(_TOMBSTONE)
    encoded = [
        [
            *encode(row, moment(row.occurred_at), sent, received, index in corrected, is_bot),
            *digests(_identity(row.source, row.event_id)),
        ]
        for index, row in enumerate(rows)
    ]
    statement, value = (_POSTGRES, "r") if on_postgres else (_SQLITE, "r.value")
    places = ", ".join(f"{value}->>{place}" for place in range(_FIELDS, len(encoded[0])))
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("{digests}", places), [json.dumps(encoded)])
        return max(cursor.rowcount, 0)


def encode(row: EventData, occurred: str, sent: str | None, received: str, corrected: bool, is_bot: bool) -> list[Any]:
    """Return an event as the statement's parameter has it: its values in the order of ``COLUMNS``."""
    return [
        row.source,
        row.event_id,
        row.type,
        row.shopper_id,
        row.item_id,
        row.category,
        row.offer_id,
        row.value_minor,
        sealing.seal_properties(row.type, row.properties),
        occurred,
        sent,
        received,
        corrected,
        is_bot,
        row.channel,
        row.schema_version,
    ]


def _naive_utc(value: datetime) -> str:
    """Format a moment as Django stores it in SQLite; PostgreSQL reads ISO with its offset."""
    return str(value.astimezone(UTC).replace(tzinfo=None))


def existing_ids(source: str, event_ids: Iterable[str]) -> set[str]:
    """Return which of these ids this source has stored already, those erased since included."""
    from personalization.models import Event, EventTombstone

    asked = {digest: event_id for event_id in event_ids for digest in tombstones(source, event_id)}
    names = set(asked.values())
    stored = Event.objects.filter(source=source, event_id__in=names).values_list("event_id", flat=True)
    erased = EventTombstone.objects.filter(digest__in=asked).values_list("digest", flat=True)
    return {*stored, *(asked[digest] for digest in erased)}
