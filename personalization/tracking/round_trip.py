"""One event of a page view in one round trip (PostgreSQL): who asks, what they agreed to, and the row itself.

Looking the shopper up first and inserting afterwards would make two. The statement brings the shopper back, too, so
that the page's own tags need not ask for them again. SQLite makes no round trips: there the two steps stay apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
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
    SELECT sent.key FROM sent, who WHERE {agreed}
    ON CONFLICT DO NOTHING RETURNING key
),
stored AS (
    INSERT INTO personalization_event ({fields})
    SELECT {values}, {shared} FROM sent, who WHERE sent.key IN (SELECT key FROM claimed)
)
SELECT * FROM who
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """Where to look for whoever sent a request: the condition on a shopper, its value, and the connection to ask."""

    finder: str
    who: Any
    database: BaseDatabaseWrapper


def asker(request: HttpRequest) -> Asker | None:
    """Return who sent a request, if its event can go the short way: they are not known yet, but can be found.

    Not within a transaction, one that the host opened by turning autocommit off included: a plan that is gone would
    spoil it.
    """
    database = connections[DEFAULT_DB_ALIAS]
    alone = not database.in_atomic_block and database.get_autocommit()
    if database.vendor != "postgresql" or not alone or identity.is_known(request):
        return None
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return Asker(_BY_ACCOUNT, user.pk, database)
    visitor = identity.visitor_id(request)
    return Asker(_BY_VISITOR, visitor, database) if visitor else None


def store(request: HttpRequest, asks: Asker, row: EventData, purpose: Purpose, *, is_bot: bool) -> Shopper | None:
    """Store the event for whoever asks, if they agreed to ``purpose``; return them, remembered for this request.

    The row's own shopper is ignored. Where a consent manager decides, it has agreed already, and so has ``CONTRACT``.
    None: nobody was found, so nothing was stored.
    """
    fields = storage.as_json(storage.encode(row, storage.instant(row.occurred_at), False))
    shared = [timezone.now().isoformat(), None, is_bot]
    decided = purpose == Purpose.CONTRACT or adapters.consent() is not None
    key = claim_hex(row.source, row.event_id)
    statement = _statement(asks.finder, "TRUE" if decided else f"who.consent_{purpose.value}")
    for found_row in statement.run(asks.database, [asks.who, fields, key, *shared]):
        shopper = _shopper(found_row, asks.database)
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
            shared=storage.GIVEN,
            agreed=agreed,
        )
    )


def _shopper(row: tuple[Any, ...], database: BaseDatabaseWrapper) -> Shopper:
    names, converters = _columns()
    values = list(row)
    for place, convert, column in converters:
        values[place] = convert(values[place], column, database)
    return Shopper.from_db(database.alias, names, values)


@cache
def _columns() -> tuple[list[str], list[tuple[int, Callable[..., Any], Any]]]:
    """Return the names of a shopper's columns, and what makes Python's values of those that need it."""
    fields = Shopper._meta.concrete_fields
    converters = [
        (place, convert, field.get_col(Shopper._meta.db_table))
        for place, field in enumerate(fields)
        for convert in field.get_db_converters(connections[DEFAULT_DB_ALIAS])
    ]
    return [field.attname for field in fields], converters
