"""Events stored per second, identities claimed and repeats left out, beside raw COPY of the same rows.

Value: ``insert_events`` with batches as a request sends them (500, one JSON statement), in the notes also as an import
does (5,000, COPY and a merge). Peer: COPY of the same rows, as text that is ready beforehand, straight into the log
and its indexes: it claims nothing, so the same row twice would be there twice. One connection, a transaction a batch.
In the notes also COPY into one plain table with the unique key, and what a million events take on disk.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

from django.db import connection
from django.utils import timezone

from personalization.models import Shopper
from personalization.tracking import storage
from personalization.types import EventData
from tests.benchmarks import plain_events, report, stage
from tests.benchmarks.report import Paired

TARGET = 0.5
PEER = "COPY of the same rows into the log and its indexes, nothing claimed"
SIZES = {"batch": 500, "import": 5000}
TABLES = {"log": "personalization_event", "plain": plain_events.PlainEvent._meta.db_table}


def measure(quick: bool) -> report.Measurement:
    """Take turns: the way in, COPY into the log, COPY into a plain table."""
    if connection.vendor != "postgresql":
        raise stage.Skipped("COPY is PostgreSQL's.")
    plain_events.create_table()
    shoppers = [shopper.pk for shopper in Shopper.objects.bulk_create([Shopper() for _ in range(200)])]
    rounds = stage.size(quick, 12, 60, 200)
    notes: dict[str, Any] = {"rounds": rounds, "commit_ms": stage.commit_ms()}
    found: dict[str, Paired] = {}
    for name, size in SIZES.items():
        rates: dict[str, list[float]] = {"ours": [], **{table: [] for table in TABLES}}
        for number in range(rounds if name == "batch" else max(rounds // 6, 3)):
            rows = events(size, shoppers, number)
            order = list(rates) if number % 2 else list(reversed(rates))
            for contender in order:
                rates[contender].append(size / _seconds(contender, rows))
        found[name] = report.paired(rates["ours"], rates["log"])
        notes[f"{name}_of_{size}"] = {
            "beside_copy_into_the_log": found[name].as_json(),
            "beside_copy_into_a_plain_table_with_the_unique_key": report.paired(
                rates["ours"], rates["plain"]
            ).as_json(),
        }
    notes["mb_per_million_events"] = _disk()
    one = found["batch"]
    notes["ratio_min_max"] = [round(one.lowest, 3), round(one.highest, 3)]
    return report.Measurement(
        "intake_copy", round(one.value, 1), f"events/s in batches of {SIZES['batch']}", PEER, round(one.peer_value, 1),
        round(one.ratio, 3), TARGET, notes=notes,
    )  # fmt: skip


def events(count: int, shoppers: Sequence[int], number: int) -> list[EventData]:
    """Return what visits of the last three weeks leave behind, one batch a visitor as a page sends it."""
    visit, began = uuid.uuid4().hex, timezone.now() - timedelta(days=number % 21, hours=1)
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("page_viewed", {"path": f"/c/{number % 24}/", "title": "Shoes"}),
        ("basket_changed", {"quantity": 1, "basket_total_minor": 4990}),
        ("product_viewed", {"dwell_ms": 1200 + number}),
        ("product_seen", {"position": number % 12, "list": "home"}),
    )
    return [
        EventData(
            f"web:{visit}", str(uuid.uuid4()), kinds[place % 4][0], shoppers[number % len(shoppers)],
            began + timedelta(seconds=place), item_id=f"sku-{place * 7919 % 4000}", category=f"category-{place % 24}",
            properties=kinds[place % 4][1], channel="web",
        )
        for place in range(count)
    ]  # fmt: skip


def _seconds(contender: str, rows: list[EventData]) -> float:
    work: Callable[[], object]
    if contender == "ours":

        def work() -> None:
            assert storage.insert_events(rows, received_at=timezone.now()) == len(rows)

    else:
        text = StringIO(_text([replace(row, source=f"{contender}-{row.source}"[:80]) for row in rows]))
        statement = f"COPY {TABLES[contender]} ({storage.COLUMNS}) FROM STDIN"

        def work() -> None:
            with connection.cursor() as cursor:
                cursor.copy_expert(statement, text)

    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _text(rows: list[EventData]) -> str:
    shared = [timezone.now().isoformat(), None, False]
    encoded = ([*storage.encode(row, storage.instant(row.occurred_at), False), *shared] for row in rows)
    return "".join("\t".join(map(storage.copied, fields)) + "\n" for fields in encoded)


def _disk() -> dict[str, float]:
    """Return megabytes a million events: of the log with its indexes, of the claims, of one plain table."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what a table's free space map and visibility map take belongs to it
        cursor.execute(
            "SELECT sum(pg_relation_size(relid)), sum(pg_total_relation_size(relid)) "
            "FROM pg_partition_tree('personalization_event')"
        )
        log_rows, log_all = cursor.fetchone()
        cursor.execute("SELECT count(*) FROM personalization_event")
        (events_held,) = cursor.fetchone()
        cursor.execute(
            "SELECT pg_total_relation_size('personalization_eventclaim'), count(*) FROM personalization_eventclaim"
        )
        claims, claims_held = cursor.fetchone()
        cursor.execute(f"SELECT pg_total_relation_size('{TABLES['plain']}'), count(*) FROM {TABLES['plain']}")
        plain, plain_held = cursor.fetchone()
    return {
        "log": round(float(log_rows) / events_held, 1),
        "log_with_indexes": round(float(log_all) / events_held, 1),
        "claims": round(claims / claims_held, 1),
        "plain_table_with_unique_key": round(plain / plain_held, 1),
    }


if __name__ == "__main__":
    sys.exit(stage.main("intake_copy", measure, server=True))
