"""The log in months: inserts never fail for want of one, housekeeping gives way, reads and the ORM see one table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from personalization.learning import chores
from personalization.models import Event, EventClaim, Shopper, claim_key
from personalization.tracking import partitions, storage
from personalization.tracking.ingest import store_events
from personalization.tracking.partitions import Month
from personalization.tracking.planned import sqlstate
from personalization.types import EventData
from tests.personalization.builders import make_event

JUNE = datetime(2021, 6, 15, tzinfo=UTC)
on_postgres = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("name", ["pgcode", "sqlstate"])
def test_either_drivers_error_says_what_it_was(name: str) -> None:
    """As psycopg2 calls it, and as psycopg 3 does: housekeeping gives way to readers with both."""
    cause = Exception("canceling statement due to lock timeout")
    setattr(cause, name, "55P03")
    error = OperationalError("canceling statement due to lock timeout")
    error.__cause__ = cause
    assert sqlstate(error) == "55P03"
    assert sqlstate(OperationalError("no server")) is None


@pytest.fixture
def months() -> Iterator[None]:
    """Give the log its months as a fresh database has them, and leave it so."""
    _as_at_first()
    yield
    _as_at_first()


def _as_at_first() -> None:
    Event.objects.all()._raw_delete("default")
    ahead = {Month(Month.of(timezone.now()).number + step) for step in range(partitions.AHEAD)}
    for month in set(partitions.held()) - ahead:
        soon(lambda month=month: partitions.drop(month))  # type: ignore[misc]
    soon(lambda: partitions.keep_house() or ahead <= set(partitions.held()))


def soon(step: Callable[[], object]) -> None:
    """Repeat what gives way to others (an autovacuum, too) until it was done."""
    until = time.monotonic() + 60
    while not step():
        assert time.monotonic() < until
        time.sleep(0.05)


def rows(count: int, at: datetime = JUNE, *, source: str = "") -> list[EventData]:
    shopper, source = Shopper.objects.create(), source or uuid4().hex
    return [EventData(source, str(number), "page_viewed", shopper.pk, at) for number in range(count)]


def lies_in(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM personalization_event WHERE tableoid = %s::regclass", [table])
        return int(cursor.fetchone()[0])


def make_in_bulk(shopper: Shopper, **fields: Any) -> list[Event]:
    return Event.objects.bulk_create([Event(shopper=shopper, type="page_viewed", **fields)])


@contextmanager
def elsewhere(statement: str) -> Iterator[None]:
    """Hold a transaction open in another connection after it ran a statement."""
    running, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            running.set()
            done.wait(60)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert running.wait(60)
        yield
    finally:
        done.set()
        thread.join()


def test_a_month_begins_and_ends_in_utc() -> None:
    december = Month.of(datetime(2024, 12, 31, 23, 59, tzinfo=UTC))
    assert (december.start, december.end) == (datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    assert december.table == "personalization_event_y2024m12"
    assert Month.of(december.end).start == december.end
    assert Month.of(datetime(2024, 3, 1, tzinfo=UTC) - timedelta(microseconds=1)).start.day == 1
    late_in_oslo = datetime.fromisoformat("2025-01-01T00:30:00+01:00")
    assert Month.of(late_in_oslo) == december


@pytest.mark.django_db
def test_on_sqlite_there_is_nothing_to_keep() -> None:
    if connection.vendor == "postgresql":
        assert partitions.keep_house() == 0, "inside a transaction it must hold no locks"
    else:
        assert partitions.held() == []
        assert partitions.keep_house() == 0
    assert "event_months" in chores.run_all()


@pytest.mark.django_db
@pytest.mark.parametrize("make", [make_event, make_in_bulk])
def test_the_orm_claims_too(make: Callable[..., Any]) -> None:
    shopper = Shopper.objects.create()
    given: dict[str, Any] = {"source": "a", "event_id": "1", "occurred_at": timezone.now()}
    make(shopper, **given)
    with pytest.raises(IntegrityError), transaction.atomic():
        make(shopper, **given)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_event(shopper, **given)
    assert Event.objects.count() == EventClaim.objects.count() == 1
    assert store_events([EventData("a", "1", "page_viewed", shopper.pk, timezone.now())]) == 0
    event = Event.objects.get(source="a", event_id="1")
    event.is_bot = True
    event.save()
    assert Event.objects.get(pk=event.pk).is_bot
    with pytest.raises(ValueError, match="track"):
        Event.objects.bulk_create([event], ignore_conflicts=True)
    shopper.delete()
    assert not Event.objects.exists()
    assert storage.existing_ids("a", ["1", "2"]) == {"1"}, "what was deleted is still known"


@pytest.mark.django_db
def test_the_database_and_python_agree_on_a_claim() -> None:
    """The migration claims what is stored already, in SQL."""
    from importlib import import_module

    expression = import_module("personalization.migrations.0015_event_months").CLAIM[connection.vendor]
    make_event(Shopper.objects.create(), source="web:ü", event_id="🛍 1")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {expression} FROM personalization_event")
        (found,) = cursor.fetchone()
    assert str(found).replace("-", "") == claim_key("web:ü", "🛍 1").hex


@pytest.mark.parametrize("count", [2, storage.COPY_FROM])
@pytest.mark.django_db
def test_both_ways_in_store_the_same(count: int) -> None:
    shopper = Shopper.objects.create()
    odd = {"path": 'a\tb\\c\n"d"', "n": None, "f": 1.5, "list": [True, "é"]}
    batch = [
        EventData(
            "x", f"{number}\t\\N", "page_viewed", shopper.pk, JUNE, item_id="\\.", value_minor=-5 if number else None,
            properties=odd, channel="web", schema_version=3,
        )
        for number in range(count)
    ]  # fmt: skip
    sent = datetime(2021, 7, 1, tzinfo=UTC)
    told = storage.insert_events(
        [*batch, batch[0]], received_at=sent, sent_at=sent, corrected=frozenset({1}), is_bot=True
    )
    assert told == count
    assert storage.insert_events(batch, received_at=sent) == 0
    stored = list(Event.objects.order_by("value_minor").values())
    assert len(stored) == count
    one = next(row for row in stored if row["event_id"] == "1\t\\N")
    assert (one["item_id"], one["properties"], one["value_minor"], one["offer_id"]) == ("\\.", odd, -5, None)
    assert (one["occurred_at"], one["sent_at"], one["received_at"]) == (JUNE, sent, sent)
    assert (one["channel"], one["schema_version"], one["is_bot"], one["clock_corrected"]) == ("web", 3, True, True)
    assert sum(row["clock_corrected"] for row in stored) == 1


class TestOnPostgres:
    pytestmark = [*on_postgres, pytest.mark.usefixtures("months")]

    def test_the_months_ahead_stand_ready(self) -> None:
        now = timezone.now()
        current = Month.of(now)
        assert partitions.held() == [Month(current.number + step) for step in range(partitions.AHEAD)]
        assert partitions.keep_house() == 0
        soon(lambda: partitions.keep_house(now + timedelta(days=31)))
        store_events(rows(3, now))
        assert lies_in(current.table) == 3

    def test_an_event_of_any_time_is_stored_and_moves_into_its_month(self) -> None:
        stray = rows(5, datetime(1999, 1, 1, tzinfo=UTC))
        assert store_events(stray) == 5
        assert lies_in(partitions.OTHERS) == 5
        crowd = rows(partitions.OWN_MONTH)
        assert store_events(crowd) == len(crowd)
        soon(lambda: partitions.keep_house() or Month.of(JUNE) in partitions.held())
        assert (lies_in(partitions.OTHERS), lies_in(Month.of(JUNE).table)) == (5, len(crowd))
        assert store_events(crowd) == store_events(stray) == 0, "a claim does not care where its event lies"
        assert store_events(rows(1)) == 1
        assert lies_in(Month.of(JUNE).table) == len(crowd) + 1
        assert Event.objects.count() == len(crowd) + 6

    def test_a_reader_makes_housekeeping_give_way_not_wait(self) -> None:
        batch = rows(partitions.OWN_MONTH)
        with elsewhere("SELECT count(*) FROM personalization_event"):
            assert store_events(batch) == len(batch)
            assert partitions.keep_house() == 0
            assert lies_in(partitions.OTHERS) == len(batch)
        soon(partitions.keep_house)
        assert lies_in(Month.of(JUNE).table) == len(batch)
        with elsewhere("SELECT count(*) FROM personalization_event"):
            assert not partitions.drop(Month.of(JUNE))
        soon(lambda: partitions.drop(Month.of(JUNE)))
        assert not Event.objects.exists()

    def test_one_process_keeps_house_at_a_time(self) -> None:
        store_events(rows(10))
        with elsewhere(f"SELECT pg_advisory_xact_lock({partitions._HOUSEKEEPING})"):
            assert partitions.keep_house(timezone.now() + timedelta(days=62)) == 0

    def test_foreign_keys_and_indexes_reach_every_month(self) -> None:
        batch = rows(partitions.OWN_MONTH)
        store_events(batch)
        soon(lambda: partitions.keep_house() or Month.of(JUNE) in partitions.held())
        with pytest.raises(IntegrityError), transaction.atomic():
            Event.objects.update(shopper=10**9)
        with connection.cursor() as cursor:
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [Month.of(JUNE).table])
            found = " ".join(row[0] for row in cursor.fetchall())
        for columns in ("(id, occurred_at)", "(shopper_id, occurred_at)", "(type, occurred_at)"):
            assert columns in found
        Shopper.objects.get(pk=batch[0].shopper_id).delete()
        assert not Event.objects.exists()

    def test_the_plain_table_and_back(self) -> None:
        """The migration moves what is there, in both directions, and loses no row, index, key or number."""
        store_events(
            [*rows(partitions.OWN_MONTH), *rows(7, timezone.now()), *rows(2, datetime(1990, 1, 1, tzinfo=UTC))]
        )
        before = list(Event.objects.order_by("pk").values())
        executor = MigrationExecutor(connection)
        leaves = executor.loader.graph.leaf_nodes("personalization")
        try:
            executor.migrate([("personalization", "0014_identity_and_bots")])
            assert partitions.held() == []
            with connection.cursor() as cursor:
                cursor.execute("SELECT relkind FROM pg_class WHERE oid = 'personalization_event'::regclass")
                assert cursor.fetchone() == ("r",)
                cursor.execute("SELECT count(*) FROM personalization_event")
                assert cursor.fetchone() == (len(before),)
        finally:
            executor = MigrationExecutor(connection)
            executor.migrate(leaves)
        assert list(Event.objects.order_by("pk").values()) == before
        assert lies_in(Month.of(JUNE).table) == partitions.OWN_MONTH
        assert lies_in(partitions.OTHERS) == 2
        again = make_event(Shopper.objects.create())
        assert again.pk > before[-1]["id"]
        known = [row["event_id"] for row in before if row["source"] == before[0]["source"]]
        assert storage.existing_ids(before[0]["source"], known) == set(known)
