"""How events are stored: a whole batch at once, each identity claimed in the same transaction, repeated ones left out.

The log itself cannot hold the unique key: on PostgreSQL it is cut into months. So an event's identity is a row of
``EventClaim``, and an event is inserted only by whoever inserted its claim. The claim outlives the event: it is also
what keeps an erased one from coming back. On PostgreSQL a batch comes as one JSON parameter of one statement (what a
request sends) or, by the thousands (imports), through COPY and a temporary table; the merge is the same. SQLite has one
writer at a time: there the claims come first, and the events of those that were new follow in the same transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import orjson
from django.db import connection, transaction

from personalization.models import EventClaim, claim_hex, claim_key
from personalization.tracking import retention, sealing
from personalization.types import EventData

OWN = {
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
    "clock_corrected": "boolean",
    "channel": "varchar",
    "schema_version": "smallint",
}
"""What each event of a batch has of its own, as :func:`encode` orders it."""
SHARED = {"received_at": "timestamptz", "sent_at": "timestamptz", "is_bot": "boolean"}
"""What all events of a batch have in common: it is sent once."""
COLUMNS = ", ".join((*OWN, *SHARED))
_KEY = len(OWN)  # what follows an event's own values is the key of its claim
GIVEN = ", ".join(f"%s::{kind} AS {name}" for name, kind in SHARED.items())
"""The same as parameters of a statement."""
# In the order of the keys: two senders of the same events wait for each other, never in a circle. IS TRUE makes a hash
# of the claims: the planner knows nothing of the rows that were sent, and would compare all with all.
_MERGE = f"""
claimed AS (
    INSERT INTO personalization_eventclaim (key) SELECT key FROM sent
    ORDER BY key ON CONFLICT DO NOTHING RETURNING key
)
INSERT INTO personalization_event ({COLUMNS}) SELECT {COLUMNS} FROM sent
WHERE (key IN (SELECT key FROM claimed)) IS TRUE
"""  # noqa: S608
_CLAIM_ON_SQLITE = f"""
INSERT INTO personalization_eventclaim (key) SELECT r.value->>{_KEY} FROM json_each(%s) AS r
WHERE TRUE ON CONFLICT DO NOTHING RETURNING key
"""  # noqa: S608
_INSERT_ON_SQLITE = f"""
INSERT INTO personalization_event ({COLUMNS})
SELECT {", ".join(f"r.value->>{place}" for place in range(len(OWN)))}, %s, %s, %s FROM json_each(%s) AS r
"""  # noqa: S608
_STAGE = "personalization_staged"
COPY_FROM = 2000
"""Rows from which COPY is used: at 500 it was the slower way, at 5,000 about as fast (``tests.benchmarks.intake_copy``)
and lighter on memory. Chosen between the two."""


def bulk_size() -> int:
    """Return how many rows of an import one transaction should store: on SQLite nobody else writes meanwhile."""
    return 5000 if connection.vendor == "postgresql" else 500


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
    moment: Callable[[datetime], datetime | str] = instant if on_postgres else _naive_utc
    encoded: dict[str, list[Any]] = {}
    for index, row in enumerate(rows):
        key = claim_hex(row.source, row.event_id)
        if key not in encoded:  # of one batch, too, the first counts
            encoded[key] = [*encode(row, moment(row.occurred_at), index in corrected), key]
    shared = [moment(received_at), None if sent_at is None else moment(sent_at), is_bot]
    if not on_postgres:
        return _insert_on_sqlite(encoded, shared)
    with connection.cursor() as cursor:
        if len(encoded) >= COPY_FROM and can_copy(cursor):
            return _insert_by_copy(cursor, encoded.values(), shared)
        return _insert_by_json(cursor, encoded.values(), shared)


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
    """Return an event's own columns out of a JSON array ``r``, as PostgreSQL reads them; ``instead`` by name."""
    read = {name: f"(r->>{place})::{kind}" for place, (name, kind) in enumerate(OWN.items())}
    read["properties"] = f"r->{list(OWN).index('properties')}"
    return ", ".join(f"{value} AS {name}" for name, value in (read | instead).items())


def _insert_by_json(cursor: Any, encoded: Iterable[list[Any]], shared: Sequence[Any]) -> int:
    cursor.execute(
        f"WITH sent AS MATERIALIZED (SELECT {from_array()}, {GIVEN}, (r->>{_KEY})::uuid AS key "  # noqa: S608
        f"FROM jsonb_array_elements(%s::jsonb) AS r), {_MERGE}",
        [*shared, as_json(list(encoded))],
    )
    return max(cursor.rowcount, 0)


def _insert_by_copy(cursor: Any, encoded: Iterable[list[Any]], shared: Sequence[Any]) -> int:
    columns = ", ".join(f"{name} {kind}" for name, kind in {**OWN, "key": "uuid"}.items())
    with transaction.atomic():
        cursor.execute(f"CREATE TEMPORARY TABLE {_STAGE} ({columns})")
        copy(cursor, f"COPY {_STAGE} FROM STDIN", encoded)
        cursor.execute(f"WITH sent AS (SELECT *, {GIVEN} FROM {_STAGE}), {_MERGE}", shared)  # noqa: S608
        new = max(cursor.rowcount, 0)
        cursor.execute(f"DROP TABLE {_STAGE}")
    return new


def _insert_on_sqlite(encoded: dict[str, list[Any]], shared: Sequence[Any]) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM_ON_SQLITE, [as_json(list(encoded.values()))])
        claimed = {key for (key,) in cursor.fetchall()}
        new = [row for key, row in encoded.items() if key in claimed]
        if new:
            cursor.execute(_INSERT_ON_SQLITE, [*shared, as_json(new)])
    return len(new)


_SPECIAL = re.compile(r"[\\\n\r\t]")
_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def can_copy(cursor: Any) -> bool:
    """Return whether the driver behind a cursor sends COPY: psycopg2 and psycopg 3 do; any can do the other way."""
    return hasattr(cursor, "copy_expert") or hasattr(cursor, "copy")


def copy(cursor: Any, statement: str, rows: Iterable[Iterable[Any]]) -> None:
    """Send rows to a ``COPY … FROM STDIN``, which stops at the first that the database refuses: a Django error then.

    Call it in a transaction: what was sent before stays otherwise.
    """
    text = "".join("\t".join(map(copied, row)) + "\n" for row in rows)
    with connection.wrap_database_errors:
        if hasattr(cursor, "copy_expert"):  # psycopg2
            cursor.copy_expert(statement, StringIO(text))
        else:  # psycopg 3
            with cursor.copy(statement) as stream:
                stream.write(text)


def copied(value: Any) -> str:
    """Return a value as COPY's text format has it."""
    if value is None:
        return r"\N"
    if isinstance(value, dict | list):
        value = as_json(value)
    elif not isinstance(value, str):
        return str(value)
    return value.translate(_ESCAPED) if _SPECIAL.search(value) else value


def as_json(value: Any) -> str:
    """Return JSON for the database to read back: unspaced, and as fast as it can be had.

    What orjson declines is left to the standard library: integers beyond 64 bits, half surrogates, keys that are not
    text. Moments become ISO text in either.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATACLASS).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"), default=_iso)


def _iso(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no value of JSON.")


def encode(row: EventData, occurred: datetime | str, corrected: bool) -> list[Any]:
    """Return what an event has of its own as the statement's parameter has it, in the order of ``OWN``."""
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
        corrected,
        row.channel,
        row.schema_version,
    ]


def instant(value: datetime) -> datetime | str:
    """Return a moment as :func:`as_json` takes it. orjson is quick at it, but rounds an offset to the minute."""
    return value if value.tzinfo is UTC else value.isoformat()


def _naive_utc(value: datetime) -> str:
    """Format a moment as Django stores it in SQLite; PostgreSQL reads ISO with its offset."""
    return str(value.astimezone(UTC).replace(tzinfo=None))


def existing_ids(source: str, event_ids: Iterable[str]) -> set[str]:
    """Return which of these ids this source has stored already, those erased or dropped since included."""
    keys = {claim_key(source, event_id): event_id for event_id in event_ids}
    claimed = EventClaim.objects.filter(key__in=keys).values_list("key", flat=True)
    return {keys[key] for key in claimed}
