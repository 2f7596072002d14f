"""What could not be stored: kept aside with its reason, counted, mended and replayed, and forgotten in time.

Room is bounded three times over: by the size of one event, by how many one sender and how many all senders may
leave here in a day, and by how long they stay. What exceeds that is counted and not kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connections, router, transaction
from django.utils import timezone

from personalization import conf
from personalization.models import QuarantinedEvent, Rejection, RejectionCount
from personalization.tracking import limits, parsing, sealing, secrets
from personalization.tracking.checking import storable
from personalization.tracking.parsing import Envelope

MAX_BYTES = 8_000
"""An event larger than this, as JSON, is kept in part only."""
COUNTS_KEPT = timedelta(days=400)
CHUNK = 500
_EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Rejected:
    """One raw event that could not be stored. ``origin`` tells apart what has no id: a file's row, say."""

    raw: Any
    code: str
    reason: str
    shopper_id: int | None
    origin: str = ""


def set_aside(rejected: Sequence[Rejected], envelope: Envelope, *, per_source: int | None = None) -> int:
    """Keep as many as there is room for, count all of them, and return how many are kept. Call it in a transaction."""
    if not rejected:
        return 0
    room = _room(envelope.source, len(rejected), per_source)
    kept = [_row(each, envelope) for each in rejected[:room]]
    QuarantinedEvent.objects.bulk_create(kept, ignore_conflicts=True)  # one that is sent again is kept once
    tally: Counter[tuple[str, str]] = Counter()
    for each in rejected:
        tally[each.code, _declared_name(each.raw)] += 1
    within = Counter((each.code, _declared_name(each.raw)) for each in rejected[:room])
    _count([(code, kind, count, within[code, kind]) for (code, kind), count in tally.items()])
    return room


def count(code: str, *, lasting: bool = True) -> None:
    """Count something that could not even be taken apart into events: a request, or a row of a file.

    ``lasting=False``: without waiting for the disk, for what a stranger can cause at will.
    """
    _count([(code, "", 1, 0)], lasting=lasting)


def _room(source: str, wanted: int, per_source: int | None) -> int:
    """Return how many more may be kept today: first by the sender, then by everybody, so that one fills no other's."""
    settings = conf.get()
    most = settings.quarantine_per_source if per_source is None else per_source
    used = limits.add("quarantine", source, wanted)
    wanted = max(0, min(wanted, most - (used - wanted)))
    if wanted:
        used = limits.add("quarantine", _EVERYBODY, wanted)
        wanted = max(0, min(wanted, settings.quarantine_per_day - (used - wanted)))
    return wanted


def _row(each: Rejected, envelope: Envelope) -> QuarantinedEvent:
    raw = each.raw if isinstance(each.raw, Mapping) else {"value": each.raw}
    event_id, kind = raw.get("id", ""), raw.get("type", "")
    lost: list[int] = []
    payload = _storable(raw, lost)
    text = json.dumps(payload, sort_keys=True)
    if len(text) > MAX_BYTES:
        lost.append(len(text))
        payload = _trimmed(payload)
    return QuarantinedEvent(
        source=envelope.source,
        event_id=storable(event_id)[:100] if isinstance(event_id, str) else "",
        type=storable(kind).strip()[:40] if isinstance(kind, str) else "",
        payload=sealing.seal(payload),
        reason=each.reason[:300],
        code=_known(each.code),
        shopper_id=each.shopper_id,
        received_at=envelope.received_at,
        sent_at=envelope.sent_at,
        channel=envelope.channel,
        is_bot=envelope.is_bot,
        trusted=envelope.trusted,
        trimmed=bool(lost),
        fingerprint=secrets.digest(f"{envelope.source}\x1f{each.origin}\x1f{text}", "quarantine"),
    )


def _known(code: str) -> str:
    return code if code in Rejection.values else Rejection.OTHER.value


def _declared_name(raw: Any) -> str:
    checker = parsing.declared(raw)
    return "" if checker is None else checker.event_type.name


def _storable(value: Any, lost: list[int], depth: int = 0) -> Any:
    """Return the payload as JSON that every database stores; ``lost`` notes the size of what had to be cut."""
    size = len(value) if isinstance(value, Mapping | list | tuple | str) else 0
    if depth > 8 or size > MAX_BYTES:
        lost.append(size)
    if depth > 8:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_BYTES]
        return {storable(str(key))[:100]: _storable(item, lost, depth + 1) for key, item in items}
    if isinstance(value, list | tuple):
        return [_storable(item, lost, depth + 1) for item in value[:MAX_BYTES]]
    if isinstance(value, str):
        return storable(value[:MAX_BYTES])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value if -1e15 < value < 1e15 else _figure(value)
    return storable(str(value))[:100]


def _figure(value: float) -> str:
    """Return a number that JSON or a database cannot hold as text: infinity, none at all, thousands of digits."""
    try:
        return str(value)[:100]
    except ValueError:  # more digits than Python writes out
        return "…"


def _trimmed(value: Any, depth: int = 0) -> Any:
    """Return the beginning of a payload that is too large: enough to see what it was."""
    if isinstance(value, dict):
        if depth > 2:
            return "…"
        return {key[:60]: _trimmed(item, depth + 1) for key, item in list(value.items())[:12]}
    if isinstance(value, list):
        return [_trimmed(item, depth + 1) for item in value[:3]] if depth <= 2 else "…"
    return value[:100] if isinstance(value, str) else value


def _count(rows: Iterable[tuple[str, str, int, int]], *, lasting: bool = True) -> None:
    """Add (reason, type, count, kept) to today's figures: one statement, its rows in the order of their key."""
    connection = connections[router.db_for_write(RejectionCount)]
    name = connection.ops.quote_name
    table = name(RejectionCount._meta.db_table)
    columns = [name(each) for each in ("day", "code", "type", "count", "kept")]
    today = connection.ops.adapt_datefield_value(timezone.now().astimezone(UTC).date())
    merged: dict[tuple[str, str], list[int]] = {}
    for code, kind, more, kept in rows:
        figures = merged.setdefault((_known(code), kind), [0, 0])
        figures[0] += more
        figures[1] += kept
    statement = (  # made of names alone; every value is a parameter
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join(['(%s, %s, %s, %s, %s)'] * len(merged))} "  # noqa: S608
        f"ON CONFLICT ({', '.join(columns[:3])}) DO UPDATE SET "
        f"{columns[3]} = {table}.{columns[3]} + excluded.{columns[3]}, "
        f"{columns[4]} = {table}.{columns[4]} + excluded.{columns[4]}"
    )
    values = [value for (code, kind), figures in sorted(merged.items()) for value in (today, code, kind, *figures)]
    if not lasting:
        statement += limits.unsynced(connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def payload_of(row: QuarantinedEvent) -> Any:
    """Return what was sent, opened."""
    return sealing.unseal(row.payload)


def by_day(days: int = 14) -> tuple[list[date], dict[str, dict[date, tuple[int, int]]]]:
    """Return the last days, newest first, and reason → day → (rejected, kept aside)."""
    today = timezone.now().astimezone(UTC).date()
    listed = [today - timedelta(days=back) for back in range(days)]
    found: dict[str, dict[date, tuple[int, int]]] = {}
    rows = RejectionCount.objects.filter(day__gte=listed[-1]).values_list("code", "day", "count", "kept")
    for code, day, rejected, kept in rows.order_by("code", "day"):
        before = found.setdefault(code, {}).get(day, (0, 0))
        found[code][day] = (before[0] + rejected, before[1] + kept)
    return listed, found


def forget_old(now: datetime | None = None) -> int:
    """Delete what has been kept aside for too long, and figures older than thirteen months; returns how many rows."""
    moment = now or timezone.now()
    gone, _tables = RejectionCount.objects.filter(day__lt=(moment - COUNTS_KEPT).date()).delete()
    old = QuarantinedEvent.objects.filter(received_at__lt=moment - timedelta(days=conf.get().quarantine_days))
    while True:
        with transaction.atomic():
            some = list(old.order_by("received_at").values_list("pk", flat=True)[:CHUNK])
            gone += QuarantinedEvent.objects.filter(pk__in=some).delete()[0]
        if len(some) < CHUNK:
            return gone
