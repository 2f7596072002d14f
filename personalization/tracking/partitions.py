"""The log's months on PostgreSQL: made ahead, made good where events came to a month that had none, dropped whole.

An insert never waits for a month to be made: what has none goes into the partition for all other months, and whoever
keeps house moves it. Making and dropping one needs short, strong locks (on the log and the tables it points to), so
both give up after ``PATIENCE`` instead of making a queue of everybody behind a long reader; the next run tries again.
That is shorter than PostgreSQL waits before it looks for a deadlock: what gives way is the housekeeping.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from django.db import OperationalError, ProgrammingError, connection, transaction
from django.utils import timezone

from personalization.models import Event
from personalization.tracking.planned import sqlstate

TABLE = "personalization_event"
OTHERS = f"{TABLE}_other"
AHEAD = 3
"""Months that stand ready, the current one included."""
OWN_MONTH = 1000
"""Events from which a past month gets a partition of its own: a stray date makes none."""
PATIENCE = "150ms"
_HOUSEKEEPING = 1_886_020_966
"""Key of the advisory lock under which one process at a time keeps house."""
_LOCK_NOT_AVAILABLE, _DUPLICATE_TABLE = "55P03", "42P07"
_NAME = re.compile(rf"{TABLE}_y(\d{{4}})m(\d{{2}})")


@dataclass(frozen=True, order=True, slots=True)
class Month:
    """A month in UTC, by its number since the year 0."""

    number: int

    @classmethod
    def of(cls, moment: datetime) -> Self:
        at = moment.astimezone(UTC)
        return cls(at.year * 12 + at.month - 1)

    @property
    def start(self) -> datetime:
        return datetime(self.number // 12, self.number % 12 + 1, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        return Month(self.number + 1).start

    @property
    def table(self) -> str:
        return f"{TABLE}_y{self.start:%Y}m{self.start:%m}"


def held() -> list[Month]:
    """Return the months that have a partition of their own, oldest first; none where the log is one plain table."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass",
            [TABLE],
        )
        names = [_NAME.fullmatch(name) for (name,) in cursor.fetchall()]
    return sorted(Month(int(found[1]) * 12 + int(found[2]) - 1) for found in names if found)


def keep_house(now: datetime | None = None) -> int:
    """Make the months that are missing, those ahead and those that events came to; returns how many.

    Inside somebody's transaction it makes none: the locks would last as long.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return 0
    current = Month.of(now or timezone.now()).number
    wanted = {Month(current + step) for step in range(AHEAD)} | _crowded()
    return sum(_make(month) for month in sorted(wanted - set(held())))


def drop(month: Month, announce: Callable[[], None] | None = None) -> bool:
    """Drop a month with all its events; ``announce`` is called in the same transaction. False: in use, try again."""
    return _run(f"DROP TABLE IF EXISTS {month.table}", then=announce)


def _crowded() -> set[Month]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT date_trunc('month', occurred_at, 'UTC') FROM {OTHERS} GROUP BY 1 HAVING count(*) >= %s",  # noqa: S608
            [OWN_MONTH],
        )
        return {Month.of(start) for (start,) in cursor.fetchall()}


def _make(month: Month) -> bool:
    """Make a month's partition, with what lies in the one for all others."""
    columns = ", ".join(str(field.column) for field in Event._meta.concrete_fields)
    start, end = f"'{month.start.isoformat()}'", f"'{month.end.isoformat()}'"
    inside = f"occurred_at >= {start} AND occurred_at < {end}"
    return _run(
        f"CREATE TABLE {month.table} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        # What the foreign keys need comes first: nobody waits for us there while we wait for them here.
        "LOCK TABLE personalization_shopper, personalization_offer IN SHARE ROW EXCLUSIVE MODE",
        f"LOCK TABLE ONLY {TABLE} IN SHARE UPDATE EXCLUSIVE MODE",
        f"LOCK TABLE {OTHERS} IN ACCESS EXCLUSIVE MODE",
        f"WITH moved AS (DELETE FROM {OTHERS} WHERE {inside} RETURNING {columns}) "  # noqa: S608
        f"INSERT INTO {month.table} ({columns}) SELECT {columns} FROM moved",
        f"ALTER TABLE {TABLE} ATTACH PARTITION {month.table} FOR VALUES FROM ({start}) TO ({end})",
    )


def _run(*statements: str, then: Callable[[], None] | None = None) -> bool:
    """Run them in a transaction of their own; False, and nothing done, where a lock is not to be had soon."""
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_HOUSEKEEPING])
            if not cursor.fetchone()[0]:
                return False
            for statement in statements:
                cursor.execute(statement)
            if then is not None:
                then()
    except (OperationalError, ProgrammingError) as error:
        if sqlstate(error) not in {_LOCK_NOT_AVAILABLE, _DUPLICATE_TABLE}:
            raise
        return False
    return True
