"""How events are stored: a whole batch at once, each identity claimed in the same transaction, repeated ones left out.

The log itself cannot hold the unique key: on PostgreSQL it is cut into months. So an event's identity is a row of
``EventClaim``, and an event is inserted only by whoever inserted its claim. On PostgreSQL a batch comes as one JSON
parameter of one statement (what a request sends) or, by the thousands (imports), through COPY and a temporary table;
the merge is the same. SQLite has one writer at a time: there the claims come first, and the events of those that were
new follow in the same transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from django.db import connection, transaction

from personalization.models import EventClaim, EventTombstone, claim_hex, claim_key
from personalization.tracking import retention, sealing, secrets
from personalization.types import EventData

TYPES = {
    "source": "varchar",
    "event_id": "varchar",
    "type": "varchar",
    "shopper_id": "bigint",
    "item_id": "varchar",
    "category": "varchar",
    "offer_id": "bigint",
    "value_minor": "bigint",
    "properties": "jsonb",
    "occurred_at": "timestamptz",
    "sent_at": "timestamptz",
    "received_at": "timestamptz",
    "clock_corrected": "boolean",
    "is_bot": "boolean",
    "channel": "varchar",
    "schema_version": "smallint",
}
COLUMNS = ", ".join(TYPES)
_TOMBSTONE = "tombstone"
# What follows the fields of a row are the key of its claim, and its digests: one under each key still accepted.
_KEY, _DIGESTS = len(TYPES), len(TYPES) + 1
_NOT_ERASED = "NOT EXISTS (SELECT 1 FROM personalization_eventtombstone t WHERE t.digest IN ({digests}))"
# In the order of the keys: two senders of the same events wait for each other, never in a circle. IS TRUE makes a hash
# of the claims: the planner knows nothing of the rows that were sent, and would compare all with all.
_MERGE = f"""
claimed AS (
    INSERT INTO personalization_eventclaim (key) SELECT key FROM sent WHERE {_NOT_ERASED}
    ORDER BY key ON CONFLICT DO NOTHING RETURNING key
)
INSERT INTO personalization_event ({COLUMNS}) SELECT {COLUMNS} FROM sent
WHERE (key IN (SELECT key FROM claimed)) IS TRUE
"""  # noqa: S608
_CLAIM_ON_SQLITE = f"""
INSERT INTO personalization_eventclaim (key) SELECT r.value->>{_KEY} FROM json_each(%s) AS r
WHERE {_NOT_ERASED} ON CONFLICT DO NOTHING RETURNING key
"""  # noqa: S608
_INSERT_ON_SQLITE = f"""
INSERT INTO personalization_event ({COLUMNS})
SELECT {", ".join(f"r.value->>{place}" for place in range(len(TYPES)))} FROM json_each(%s) AS r
"""  # noqa: S608
_STAGE = "personalization_staged"
COPY_FROM = 2000
"""Rows from which COPY is used: at 500 it was the slower way, at 5,000 about as fast (``tests.benchmarks.intake_copy``)
and lighter on memory. Chosen between the two."""


def bulk_size() -> int:
    """Return how many rows of an import one transaction should store: on SQLite nobody else writes meanwhile."""
    return 5000 if connection.vendor == "postgresql" else 500


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
    rows, corrected = _kept(rows, corrected, received_at)
    if not rows:
        return 0
    on_postgres = connection.vendor == "postgresql"
    moment = datetime.isoformat if on_postgres else _naive_utc
    received, sent = moment(received_at), None if sent_at is None else moment(sent_at)
    digests = secrets.digester(_TOMBSTONE)
    encoded: dict[str, list[Any]] = {}
    for index, row in enumerate(rows):
        key = claim_hex(row.source, row.event_id)
        if key not in encoded:  # of one batch, too, the first counts
            fields = encode(row, moment(row.occurred_at), sent, received, index in corrected, is_bot)
            encoded[key] = [*fields, key, *digests(_identity(row.source, row.event_id))]
    if not on_postgres:
        return _insert_on_sqlite(encoded)
    with connection.cursor() as cursor:
        if len(encoded) >= COPY_FROM and hasattr(cursor, "copy_expert"):  # psycopg2's; any driver can do the other
            return _insert_by_copy(cursor, encoded.values())
        return _insert_by_json(cursor, encoded.values())


def _kept(
    rows: Sequence[EventData], corrected: frozenset[int], now: datetime
) -> tuple[Sequence[EventData], frozenset[int]]:
    """Leave out what would be deleted at once: a repetition of a deleted event, above all."""
    ends = retention.horizons(now)
    gone = {index for index, row in enumerate(rows) if row.occurred_at < ends[row.type]} if ends else set()
    if not gone:
        return rows, corrected
    places = [index for index in range(len(rows)) if index not in gone]
    return [rows[index] for index in places], frozenset(new for new, old in enumerate(places) if old in corrected)


def from_array(**instead: str) -> str:
    """Return the columns of an event that is a JSON array ``r``, as PostgreSQL reads them; ``instead`` by name."""
    read = {name: f"(r->>{place})::{kind}" for place, (name, kind) in enumerate(TYPES.items())}
    read["properties"] = f"r->{list(TYPES).index('properties')}"
    return ", ".join(f"{value} AS {name}" for name, value in (read | instead).items())


def _insert_by_json(cursor: Any, encoded: Iterable[list[Any]]) -> int:
    listed = list(encoded)
    keys = [f"r->>{place} AS digest_{place}" for place in range(_DIGESTS, len(listed[0]))]
    cursor.execute(
        f"WITH sent AS MATERIALIZED (SELECT {from_array()}, (r->>{_KEY})::uuid AS key, {', '.join(keys)} "  # noqa: S608
        f"FROM jsonb_array_elements(%s::jsonb) AS r), {_merge(listed[0])}",
        [json.dumps(listed)],
    )
    return max(cursor.rowcount, 0)


def _insert_by_copy(cursor: Any, encoded: Iterable[list[Any]]) -> int:
    listed = list(encoded)
    columns = {**TYPES, "key": "uuid"} | {f"digest_{place}": "text" for place in range(_DIGESTS, len(listed[0]))}
    text = "".join("\t".join(map(copied, row)) + "\n" for row in listed)
    with transaction.atomic():
        cursor.execute(f"CREATE TEMPORARY TABLE {_STAGE} ({', '.join(f'{n} {k}' for n, k in columns.items())})")
        cursor.copy_expert(f"COPY {_STAGE} FROM STDIN", StringIO(text))
        cursor.execute(f"WITH sent AS (SELECT * FROM {_STAGE}), {_merge(listed[0])}")  # noqa: S608
        new = max(cursor.rowcount, 0)
        cursor.execute(f"DROP TABLE {_STAGE}")
    return new


def _merge(row: list[Any]) -> str:
    return _MERGE.replace("{digests}", ", ".join(f"digest_{place}" for place in range(_DIGESTS, len(row))))


def _insert_on_sqlite(encoded: dict[str, list[Any]]) -> int:
    first = next(iter(encoded.values()))
    places = ", ".join(f"r.value->>{place}" for place in range(_DIGESTS, len(first)))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM_ON_SQLITE.replace("{digests}", places), [json.dumps(list(encoded.values()))])
        claimed = {key for (key,) in cursor.fetchall()}
        new = [row for key, row in encoded.items() if key in claimed]
        if new:
            cursor.execute(_INSERT_ON_SQLITE, [json.dumps(new)])
    return len(new)


_SPECIAL = re.compile(r"[\\\n\r\t]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copied(value: Any) -> str:
    """Return a value as COPY's text format has it."""
    if value is None:
        return r"\N"
    if isinstance(value, dict | list):
        value = json.dumps(value)
    elif not isinstance(value, str):
        return str(value)
    return value.translate(_ESCAPED) if _SPECIAL.search(value) else value


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
    """Return which of these ids this source has stored already, those erased or dropped since included."""
    listed = list(event_ids)
    keys = {claim_key(source, event_id): event_id for event_id in listed}
    asked = {digest: event_id for event_id in listed for digest in tombstones(source, event_id)}
    claimed = EventClaim.objects.filter(key__in=keys).values_list("key", flat=True)
    erased = EventTombstone.objects.filter(digest__in=asked).values_list("digest", flat=True)
    return {*(keys[key] for key in claimed), *(asked[digest] for digest in erased)}
