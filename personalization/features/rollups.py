"""Events counted by shopper and day as they come in, so that a day's features cost a day's events.

The log's keys are the order of arrival. A pass adds the events after the last one counted, whatever day they happened
on, in batches: counts and the place reached are one transaction. So a late event is counted like any other, and a pass
that was killed goes on where it stopped. What changes stored events (a merge, one taken back, a session judged again)
marks the days of the shopper in its own transaction, and the pass counts these again from the log.

Only this module writes counts, and only with the state's row locked. A reader holds that row, shared: what it reads of
counts, marks and place belongs together. Shoppers with a mark, or without counts yet, and events after the place are
read from the log: the answer is the log's, always; how much is counted decides only what it costs.

Whoever has not agreed to personalisation is not counted; who withdraws is dropped by the next refresh of summaries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.features import rollup_sql as sql
from personalization.models import Event, RolledShopper, RollupState, StaleDays
from personalization.tracking import profiles

BATCH = 50_000
MARKS = 500
PASS_SECONDS = 20.0
WAIT_SECONDS = 2.0
EVER = (date(1, 1, 1), date(9999, 12, 31))
_LOOK = "SELECT through FROM personalization_rollupstate"
_HOLD = "SELECT through, set_config('jit', 'off', true) FROM personalization_rollupstate FOR SHARE"
"""Compiling a reader's statement takes longer than running it: its cost is estimated far above what it is."""
Progress = Callable[[str, float], None]


def _silent(stage: str, done: float) -> None:
    """Say nothing."""


@contextmanager
def held() -> Iterator[int]:
    """Hold the counts still for a block, in a transaction, and give the key of the last event counted.

    Readers do not wait for each other. Whoever deletes a shopper takes it too: nothing is counted for them meanwhile.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_HOLD if connection.vendor == "postgresql" else _LOOK)
            row = cursor.fetchone()
        yield row[0] if row else 0


def edge_days(edges: Mapping[str, datetime]) -> dict[str, Any]:
    """Return the UTC days of named moments, as ``rollup_sql.pieces`` wants them: name → ``name_day``."""
    return {f"{name}_day": _day(moment.astimezone(UTC).date()) for name, moment in edges.items()}


def mark_stale(shopper_ids: Collection[int] | None, first_day: date, last_day: date) -> None:
    """Mark days (UTC, inclusive) of these shoppers, or of all (None), in the transaction that changes their events.

    Somebody who is being erased needs no mark: their counts go with them.
    """
    if shopper_ids is not None and not shopper_ids:
        return
    asked = "TRUE" if shopper_ids is None else f"id IN ({', '.join(str(int(key)) for key in shopper_ids)})"
    statement = f"""
INSERT INTO personalization_staledays (shopper_id, first_day, last_day)
SELECT id, %(first_day)s, %(last_day)s FROM personalization_shopper WHERE {asked}
"""  # noqa: S608
    _run(statement, {"first_day": _day(first_day), "last_day": _day(last_day)})


def on_rewritten(
    sender: Any, *, shopper_ids: Collection[int] | None, first_day: date, last_day: date, **kwargs: Any
) -> None:
    """Mark the days of events that were changed or removed (a receiver of ``events_rewritten``)."""
    mark_stale(shopper_ids, first_day, last_day)


def chore() -> int:
    """Count what has come in, for at most twenty seconds; returns how many keys and marks were passed."""
    return catch_up(seconds=PASS_SECONDS)


def catch_up(progress: Progress = _silent, *, seconds: float | None = None) -> int:
    """Count every event that has arrived and every day that was marked; returns how many keys and marks were passed.

    If another process is counting, it is left to it. ``seconds`` bounds the work, not its result.
    """
    ends = None if seconds is None else time.monotonic() + seconds
    state, _new = RollupState.objects.get_or_create(pk=1)
    bound = settled()
    done = _repeat(_recount, ends)
    for moved in _moves(lambda: _add(bound), ends):
        done += moved
        state.refresh_from_db()
        progress(gettext_noop("counting events"), min(state.through / max(bound, 1), 1.0))
    return done + _repeat(_recount, ends)


def _moves(step: Callable[[], int], ends: float | None) -> Iterator[int]:
    """Repeat a step while it moves something and there is time; yield what it moved."""
    while (ends is None or time.monotonic() < ends) and (moved := step()):
        yield moved


def _repeat(step: Callable[[], int], ends: float | None = None) -> int:
    return sum(_moves(step, ends))


def settled() -> int:
    """Return a key up to which every event that will ever be is committed: what may be counted.

    Keys are drawn before the commit, so a lower one may appear after a higher one. A writer holds its lock on the
    table from before it draws a key until it ends: once those who held it when the highest key was read are gone,
    nothing below can come. Nobody is blocked; while somebody takes long, the answer is "nothing new". SQLite has one
    writer at a time.
    """
    highest = _highest()
    if connection.vendor != "postgresql":
        return highest
    writers, until = _writers(), time.monotonic() + WAIT_SECONDS
    while writers:
        if time.monotonic() > until:
            return 0
        time.sleep(0.01)
        writers &= _writers()
    return highest


def _highest() -> int:
    return Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _writers() -> set[str]:
    """Return the other transactions that may be writing events, to the table or one of its partitions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT virtualtransaction FROM pg_locks WHERE relation IN (SELECT 'personalization_event'::regclass "
            "UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = 'personalization_event'::regclass) "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND pid IS DISTINCT FROM pg_backend_pid() AND granted AND mode IN ('RowExclusiveLock', "
            "'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
        )
        return {row[0] for row in cursor.fetchall()}


def _take() -> RollupState | None:
    """Lock the state for the rest of the transaction; None: somebody else has it."""
    return RollupState.objects.select_for_update(skip_locked=True).filter(pk=1).first()


def _add(bound: int) -> int:
    """Add one batch of events up to ``bound`` to the counts and return how many keys were passed."""
    with transaction.atomic():
        state = _take()
        if state is None:
            return 0
        keys = Event.objects.filter(pk__gt=state.through, pk__lte=bound).order_by("pk").values_list("pk", flat=True)
        through = max(keys[:BATCH], default=state.through) if bound > state.through else state.through
        if through == state.through:
            return 0
        values = {"after": state.through, "through": through}
        _cover(sql.COVER_NEWCOMERS, values)
        for counts in sql.tables():
            _run(sql.add(counts), values)
        _move(state, through)
        return int(through - values["after"])


def _cover(statement: str, values: dict[str, Any]) -> int:
    """Take shoppers in; those who have older events (they agreed only now) are counted from the beginning."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        newcomers = [row[0] for row in cursor.fetchall()]
    if newcomers and values["after"]:
        first_day, last_day = map(_day, EVER)
        _run(sql.mark_older(newcomers), values | {"first_day": first_day, "last_day": last_day})
    return len(newcomers)


def _move(state: RollupState, through: int) -> None:
    moved = RollupState.objects.filter(pk=1, through=state.through).update(through=through, at=timezone.now())
    if not moved:
        raise RuntimeError("The state of the daily counts moved while it was locked.")


def _recount() -> int:
    """Count some marked days again and take their marks away; returns how many marks.

    A mark made meanwhile stays, whatever of its change was seen: only marks that were read here are removed.
    """
    with transaction.atomic():
        state = _take()
        if state is None:
            return 0
        found = list(StaleDays.objects.order_by("pk").values_list("pk", "shopper_id")[:MARKS])
        if not found:
            return 0
        marks, shoppers = [pk for pk, _shopper in found], sorted({shopper for _pk, shopper in found})
        for counts in sql.tables():
            _run(sql.clear(counts, marks), {})
            _run(sql.recount(counts, marks, shoppers), {"through": state.through})
        StaleDays.objects.filter(pk__in=marks).delete()
        return len(marks)


def tidy() -> int:
    """Drop what is derived of whoever no longer agrees, and count whoever agreed without having come back since.

    Returns how many rows and shoppers that were.
    """
    done = profiles.forget_refused()
    done += _repeat(_drop)
    for moved in _moves(_cover_uncounted, None):
        done += moved
        _repeat(_recount)
    return done


def _drop() -> int:
    with transaction.atomic():
        if _take() is None:
            return 0
        refused = RolledShopper.objects.exclude(
            shopper__consent_personalisation=True, shopper__merged_into=None
        ).values_list("pk", flat=True)
        gone = list(refused[:MARKS])
        for counts in sql.tables():
            _run(sql.drop(counts, gone), {})
        # With their place, whatever they answer meanwhile: without one they are read from the log.
        RolledShopper.objects.filter(pk__in=gone).delete()
        return len(gone)


def _cover_uncounted() -> int:
    with transaction.atomic():
        state = _take()
        if state is None:
            return 0
        return _cover(sql.COVER_UNCOUNTED, {"after": state.through, "most": MARKS})


def _run(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _day(day: date) -> Any:
    return connection.ops.adapt_datefield_value(day)
