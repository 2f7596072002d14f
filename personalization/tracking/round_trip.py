"""One event of a page view in one round trip (PostgreSQL): who asks, what they agreed to, and the row itself.

Looking the shopper up first and inserting afterwards would make two. The statement brings the shopper back, too, so
that the page's own tags need not ask for them again. SQLite makes no round trips: there the two steps stay apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from personalization.models import Shopper, claim_hex
from personalization.ports import adapters
from personalization.tracking import identity, storage
from personalization.tracking.planned import Planned
from personalization.types import EventData, Purpose

_BY_ACCOUNT = "s.user_id = %s"
_BY_VISITOR = (
    "s.id = (SELECT a.shopper_id FROM personalization_shopperalias a WHERE a.kind = 'visitor' AND a.value = %s)"
)
_STATEMENT = """
WITH who AS (SELECT {columns} FROM personalization_shopper s WHERE {finder}),
sent AS (SELECT %s::jsonb AS r, %s::uuid AS key),
claimed AS (
    INSERT INTO personalization_eventclaim (key)
    SELECT sent.key FROM sent, who
    WHERE {agreed}
      AND NOT EXISTS (SELECT 1 FROM personalization_eventtombstone t WHERE t.digest = ANY(%s))
    ON CONFLICT DO NOTHING RETURNING key
),
stored AS (
    INSERT INTO personalization_event ({fields})
    SELECT {values} FROM sent, who WHERE sent.key IN (SELECT key FROM claimed)
)
SELECT * FROM who
"""


def fits(request: HttpRequest) -> bool:
    """Return whether an event of this request can go the short way: who asks is not known yet, but can be found.

    Not within a transaction, one that the host opened by turning autocommit off included: a plan that is gone would
    spoil it.
    """
    alone = not connection.in_atomic_block and connection.get_autocommit()
    short = connection.vendor == "postgresql" and alone and not identity.is_known(request)
    return short and _finder(request) is not None


def store(request: HttpRequest, row: EventData, purpose: Purpose, *, is_bot: bool) -> Shopper | None:
    """Store the event for whoever asks, if they agreed to ``purpose``; return them, remembered for this request.

    The row's own shopper is ignored. Where a consent manager decides, it has agreed already, and so has ``CONTRACT``.
    None: nobody was found, so nothing was stored.
    """
    found = _finder(request)
    if found is None:
        return None
    finder, who = found
    now = timezone.now().isoformat()
    fields = storage.encode(row, row.occurred_at.isoformat(), None, now, False, is_bot)
    decided = purpose == Purpose.CONTRACT or adapters.consent() is not None
    given = [who, json.dumps(fields), claim_hex(row.source, row.event_id), storage.tombstones(row.source, row.event_id)]
    for found_row in _statement(finder, "TRUE" if decided else f"who.consent_{purpose.value}").run(connection, given):
        shopper = _shopper(found_row)
        identity.remember(request, shopper)
        return shopper
    return None


@cache
def _statement(finder: str, agreed: str) -> Planned:
    return Planned(
        _STATEMENT.format(
            columns=", ".join(f"s.{field.column}" for field in Shopper._meta.concrete_fields),
            finder=finder,
            fields=storage.COLUMNS,
            values=storage.from_array(shopper_id="who.id"),
            agreed=agreed,
        )
    )


def _shopper(row: tuple[Any, ...]) -> Shopper:
    names, converters = _columns()
    values = list(row)
    for place, convert, column in converters:
        values[place] = convert(values[place], column, connection)
    return Shopper.from_db(connection.alias, names, values)


@cache
def _columns() -> tuple[list[str], list[tuple[int, Callable[..., Any], Any]]]:
    """Return the names of a shopper's columns, and what makes Python's values of those that need it."""
    fields = Shopper._meta.concrete_fields
    converters = [
        (place, convert, field.get_col(Shopper._meta.db_table))
        for place, field in enumerate(fields)
        for convert in field.get_db_converters(connection)
    ]
    return [field.attname for field in fields], converters


def _finder(request: HttpRequest) -> tuple[str, Any] | None:
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return _BY_ACCOUNT, user.pk
    visitor = identity.visitor_id(request)
    return (_BY_VISITOR, visitor) if visitor else None
