"""How long events are kept, by type: deleted in batches, and by whole months where all in one are past their time.

Each batch is a transaction that leaves everything consistent, so a run that is killed goes on where it was. A deleted
event's claim stays for ``CLAIM_DAYS``: a sender may repeat an event for a year after it happened, and one that is past
its time is not stored again in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Min
from django.utils import timezone

from personalization import conf
from personalization.models import Event, EventClaim, claim_key
from personalization.ports.signals import events_rewritten
from personalization.tracking import partitions, schema
from personalization.tracking.partitions import Month

CHUNK = 500
"""Rows a transaction; on SQLite nobody else writes meanwhile."""
MOST = 100_000
"""Rows a run: the next minute goes on."""
_ALL = "*"
_FOREVER = datetime.min.replace(tzinfo=UTC)


class Horizons(dict[str, datetime]):
    """Event type → the moment before which its events are deleted; false where nothing is ever deleted."""

    def __init__(self, windows: dict[str, int], others: int, now: datetime) -> None:
        self._others = now - timedelta(days=others) if others else _FOREVER
        super().__init__({name: now - timedelta(days=days) if days else _FOREVER for name, days in windows.items()})

    def __missing__(self, name: str) -> datetime:
        return self._others

    def __bool__(self) -> bool:
        return self.latest != _FOREVER

    @property
    def latest(self) -> datetime:
        """What lies after this is kept, whatever its type."""
        return max(self._others, *self.values(), _FOREVER)


def horizons(now: datetime) -> Horizons:
    """Return how far back each type is kept: as the settings say, else as it declares, else as ``*`` says."""
    given = conf.get().retention_days
    declared = {name: schema.get(name) for name in schema.names()}
    windows = {name: each.retention_days for name, each in declared.items() if each and each.retention_days}
    windows |= {name: days for name, days in given.items() if name != _ALL}
    return Horizons(windows, given.get(_ALL, 0), now)


def delete_old(now: datetime | None = None) -> int:
    """Delete what is past its time, and claims that lapsed; returns how many rows, a month counting for its events."""
    moment = now or timezone.now()
    ends = horizons(moment)
    gone = 0
    if ends:
        months = [] if connection.in_atomic_block else partitions.held()  # dropping one takes a transaction of its own
        gone = sum(_drop(month, moment) for month in months if _is_past(month, ends))
        for name in _types():
            gone += _delete(name, ends[name], moment, MOST - gone)
    return gone + _forget_claims(moment, MOST - gone)


def _types() -> list[str]:
    """Return the types that the log holds, each by a step over its index."""
    found: list[str] = []
    name = Event.objects.aggregate(first=Min("type"))["first"]
    while name is not None:
        found.append(name)
        name = Event.objects.filter(type__gt=name).aggregate(first=Min("type"))["first"]
    return found


def _delete(name: str, end: datetime, now: datetime, most: int) -> int:
    old = Event.objects.filter(type=name, occurred_at__lt=end)
    gone = 0
    while gone < most:
        with transaction.atomic():
            rows = list(
                old.order_by("occurred_at").values("pk", "source", "event_id", "shopper_id", "occurred_at")[:CHUNK]
            )
            if not rows:
                break
            last = rows[-1]["occurred_at"]
            Event.objects.filter(pk__in=[row["pk"] for row in rows], occurred_at__lte=last)._raw_delete("default")
            _release(((row["source"], row["event_id"]) for row in rows), now)
            _announce({row["shopper_id"] for row in rows}, rows[0]["occurred_at"], last)
        gone += len(rows)
    return gone


def _is_past(month: Month, ends: Horizons) -> bool:
    """Return whether every type that the month holds is past its time; an empty month that is over is, too."""
    if month.end > ends.latest:
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT type FROM {month.table}")  # noqa: S608
        return all(month.end <= ends[name] for (name,) in cursor.fetchall())


def _drop(month: Month, now: datetime) -> int:
    """Let the month's claims lapse, batch by batch, then drop it whole. A batch done again changes nothing."""
    inside = Event.objects.filter(occurred_at__gte=month.start, occurred_at__lt=month.end)
    span = inside.aggregate(first=Min("pk"), last=Max("pk"))
    gone, after = 0, (span["first"] or 0) - 1
    while True:
        rows = list(inside.filter(pk__gt=after).order_by("pk").values_list("pk", "source", "event_id")[: 10 * CHUNK])
        if not rows:
            break
        _release(((source, event_id) for _pk, source, event_id in rows), now)
        gone, after = gone + len(rows), rows[-1][0]
    shoppers = set(inside.values_list("shopper_id", flat=True).distinct().order_by())

    def announce() -> None:
        _announce(shoppers, month.start, month.end - timedelta(microseconds=1))

    return gone if partitions.drop(month, announce) else 0


def _release(identities: Iterable[tuple[str, str]], now: datetime) -> None:
    keys = [claim_key(source, event_id) for source, event_id in identities]
    lapses_at = now + timedelta(days=conf.get().claim_days)
    EventClaim.objects.filter(key__in=keys, lapses_at=None).update(lapses_at=lapses_at)


def _announce(shoppers: set[int], first: datetime, last: datetime) -> None:
    if shoppers:
        days: dict[str, Any] = {"first_day": first.astimezone(UTC).date(), "last_day": last.astimezone(UTC).date()}
        events_rewritten.send(sender=Event, shopper_ids=shoppers, expired=True, **days)


def _forget_claims(now: datetime, most: int) -> int:
    lapsed = EventClaim.objects.filter(lapses_at__lt=now).order_by("lapses_at").values_list("pk", flat=True)
    gone = 0
    while gone < most:
        with transaction.atomic():
            some = list(lapsed[:CHUNK])
            gone += EventClaim.objects.filter(pk__in=some, lapses_at__lt=now).delete()[0]
        if len(some) < CHUNK:
            break
    return gone
