"""Sessions judged after the fact: flagged as a bot's, or cleared, with all that stands on them.

Nothing is deleted. A verdict notes which events it changed; judging again takes its changes back first. Orders are
never flagged: they were paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from personalization import conf
from personalization.models import Event, SessionVerdict, Shopper
from personalization.ports.signals import events_rewritten
from personalization.tracking import bot_rules, identity, schema
from personalization.types import Purpose

GAP = timedelta(minutes=30)
"""A pause this long ends a session."""
EVERY_MINUTES = 10
REACH = timedelta(hours=1)
"""How far the chore looks back: what is older was judged by an earlier pass, or is by ``manage.py judge_bots``."""
CHUNK = 500


def behaviour_types() -> list[str]:
    """Return the event types that may be flagged: what contract and law need is nobody's trick."""
    declared = [schema.get(name) for name in schema.names()]
    return [each.name for each in declared if each is not None and each.purpose != Purpose.CONTRACT]


def sessions_of(shopper_id: int, since: datetime | None = None) -> Iterator[list[Event]]:
    """Yield a shopper's sessions that end at ``since`` or later, oldest first: events with pauses below ``GAP``."""
    rows = Event.objects.filter(shopper=shopper_id, type__in=behaviour_types()).order_by("occurred_at", "pk")
    session: list[Event] = []
    for event in rows.only("pk", "type", "occurred_at", "properties", "is_bot").iterator(chunk_size=2000):
        if session and event.occurred_at - session[-1].occurred_at >= GAP:
            if since is None or session[-1].occurred_at >= since:
                yield session
            session = []
        session.append(event)
    if session and (since is None or session[-1].occurred_at >= since):
        yield session


def judge(shopper_id: int, *, since: datetime | None = None, anew: bool = False) -> int:
    """Judge a shopper's sessions by the rules; returns how many verdicts changed. ``anew``: staff's word, too."""
    with transaction.atomic():
        identity.lock([shopper_id])
        found = list(sessions_of(shopper_id, since))
        known = {row.first_at: row for row in SessionVerdict.objects.filter(shopper=shopper_id)}
        changed = []
        for session in found:
            verdict = known.get(session[0].occurred_at)
            if verdict is not None and verdict.by_id is not None and not anew:
                continue
            rule = bot_rules.broken([_seen(event) for event in session], conf.get().bot_rules)
            if _write(shopper_id, session, verdict, is_bot=bool(rule), rule=rule, by=None):
                changed.append(session)
        _follow(shopper_id, changed)
    return len(changed)


def declare(shopper_id: int, *, is_bot: bool, by: Any, first_at: datetime | None = None) -> int:
    """Take staff's word for a shopper's sessions, or the one that began at ``first_at``; returns how many changed."""
    with transaction.atomic():
        identity.lock([shopper_id])
        known = {row.first_at: row for row in SessionVerdict.objects.filter(shopper=shopper_id)}
        changed = []
        for session in sessions_of(shopper_id):
            began = session[0].occurred_at
            asked = first_at is None or began == first_at
            if asked and _write(shopper_id, session, known.get(began), is_bot=is_bot, rule="", by=by):
                changed.append(session)
        _follow(shopper_id, changed)
    return len(changed)


def _seen(event: Event) -> bot_rules.Seen:
    dwell = event.properties.get("dwell_ms") if isinstance(event.properties, dict) else None
    told = float(dwell) if isinstance(dwell, int | float) and not isinstance(dwell, bool) else None
    return bot_rules.Seen(event.type, event.occurred_at.timestamp(), told)


def _write(
    shopper_id: int, session: Sequence[Event], verdict: SessionVerdict | None, *, is_bot: bool, rule: str, by: Any
) -> bool:
    """Store a verdict and set its events' flags; returns whether any flag changed. No row for an ordinary session."""
    if verdict is None and by is None and not is_bot:
        return False
    before = {event.pk: event.is_bot for event in session}
    as_sent = dict(before)
    if verdict is not None:
        as_sent.update(dict.fromkeys(verdict.flagged, False) | dict.fromkeys(verdict.cleared, True))
    # By the rules, a crawler by its own name stays one; staff's word goes over that, too.
    wanted = {key: is_bot if by is not None else is_bot or as_sent[key] for key in before}
    for value in (True, False):
        _set_flag([key for key, flag in wanted.items() if flag is value and before[key] is not value], value)
    fields = {
        "last_at": session[-1].occurred_at,
        "events": len(session),
        "is_bot": is_bot,
        "rule": rule,
        "by": by,
        "at": timezone.now(),
        "flagged": [key for key, flag in wanted.items() if flag and not as_sent[key]],
        "cleared": [key for key, flag in wanted.items() if not flag and as_sent[key]],
    }
    SessionVerdict.objects.update_or_create(shopper_id=shopper_id, first_at=session[0].occurred_at, defaults=fields)
    return wanted != before


def _set_flag(keys: Iterable[int], value: bool) -> None:
    for chunk in identity.batches(keys, CHUNK):
        Event.objects.filter(pk__in=chunk).update(is_bot=value)


def _follow(shopper_id: int, changed: Sequence[Sequence[Event]]) -> None:
    """Say which days are out of date, and whether the shopper as a whole looks like a bot: all they did was one's."""
    if not changed:
        return
    mine = Event.objects.filter(shopper=shopper_id)
    Shopper.objects.filter(pk=shopper_id).update(is_bot=mine.exists() and not mine.filter(is_bot=False).exists())
    days = [event.occurred_at.astimezone(UTC).date() for session in changed for event in (session[0], session[-1])]
    events_rewritten.send(sender=Event, shopper_ids=[shopper_id], first_day=min(days), last_day=max(days))


def suspects(since: datetime, until: datetime) -> list[int]:
    """Return the shoppers with enough events in a span for any rule to be broken."""
    least = bot_rules.least_events(conf.get().bot_rules)
    if not least:
        return []
    rows = Event.objects.filter(type__in=behaviour_types(), occurred_at__gte=since, occurred_at__lt=until)
    busy = rows.order_by().values("shopper").annotate(amount=Count("pk")).filter(amount__gte=least)
    return list(busy.values_list("shopper", flat=True))


def judge_recent(now: datetime | None = None) -> int:
    """Judge whoever did much in the last hour, every ten minutes; returns how many verdicts changed (a chore)."""
    now = now or timezone.now()
    if now.minute % EVERY_MINUTES:
        return 0
    return sum(judge(shopper, since=now - REACH) for shopper in suspects(now - REACH, now))
