"""Shoppers × ten triggers a second: one evaluation of everybody, and what a range of them costs in statements.

A first figure, without a peer. A million shoppers (100,000 with ``--quick``) with about four events each, a summary
and a birthday; nine kinds of triggers and one of them twice, half of them with a channel. Statements are counted for
the first range and the last; a second evaluation shows that nothing is written twice.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.campaigns import triggers
from personalization.models import Occurrence, OutboxMessage, PricePoint, Shopper, Trigger
from tests.benchmarks import report, stage
from tests.support import build

ITEMS = 1000
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("welcome", {"days": 30}),
    ("birthday", {"days_before": 3}),
    ("season", {"from": "01-01", "to": "12-31"}),
    ("holiday", {"country": "DE", "days_before": 60}),
    ("win_back", {"days": 90}),
    ("win_back", {"days": 180}),
    ("basket", {"hours": 4}),
    ("replenishment", {"days_before": 3}),
    ("price_drop", {"percent": 10}),
    ("event", {"type": "search_performed", "property": "results", "value": 0}),
]
_EVENTS = (
    # type, share of shoppers, days ago at most, properties
    ("order_placed", 50, 300, "{}"),
    ("product_viewed", 100, 60, "{}"),
    ("product_viewed", 100, 20, "{}"),
    ("basket_changed", 50, 20, '{"basket_total_minor": 4000}'),
    ("search_performed", 50, 20, '{"results": 0}'),
)


def measure(quick: bool) -> report.Measurement:
    """Fill the tables, evaluate ten triggers over everybody, then again."""
    shoppers = 100_000 if quick else 1_000_000
    began = time.monotonic()
    _fill(shoppers)
    filled = time.monotonic() - began
    campaign = build.campaign(ends_at=timezone.now() + timedelta(days=30))
    made = [
        Trigger.objects.create(campaign=campaign, kind=kind, params=params, channels=["email"] if number % 2 else [])
        for number, (kind, params) in enumerate(KINDS)
    ]
    first, again = [_evaluate(made) for _ in range(2)]
    total = sum(row["seconds"] for row in first)
    notes = {
        "shoppers": shoppers,
        "seconds_for_all_ten": round(total, 1),
        "seconds_the_second_time": round(sum(row["seconds"] for row in again), 1),
        "new_the_second_time": sum(row["new"] for row in again),
        "triggers": first,
        "statements_a_range": _per_range(shoppers),
        "messages": OutboxMessage.objects.count(),
        "occurrences": Occurrence.objects.count(),
        "seconds_to_fill": round(filled, 1),
        "database": stage.database_version(),
    }
    rate = shoppers * len(KINDS) / total
    return report.Measurement(
        name="triggers", value=rate, unit="shoppers × triggers/s", peer="none", peer_value=None, ratio=None, notes=notes
    )


def _evaluate(made: list[Trigger]) -> list[dict[str, Any]]:
    rows = []
    for trigger in made:
        began = time.monotonic()
        new = triggers.evaluate(trigger)
        rows.append({"kind": trigger.kind, "new": new, "seconds": round(time.monotonic() - began, 2)})
    return rows


def _per_range(shoppers: int) -> list[float]:
    """Return how many statements a range takes when the shoppers are cut into 2 and into 8 ranges, for each trigger."""
    found = []
    for trigger in Trigger.objects.select_related("campaign").order_by("pk")[1:2]:
        counts = []
        for ranges in (2, 8):
            with CaptureQueriesContext(connection) as queries:
                triggers.evaluate(trigger, size=shoppers // ranges)
            counts.append(len(queries))
        found.append((counts[1] - counts[0]) / 6)
    return found


def _fill(shoppers: int) -> None:
    """Write shoppers, events, summaries and prices, each in one statement."""
    rows = _Rows(shoppers)
    with connection.cursor() as cursor:
        cursor.execute(rows.shoppers())
        base = (Shopper.objects.order_by("pk").values_list("pk", flat=True).first() or 1) - 1
        for number, event in enumerate(_EVENTS):
            cursor.execute(rows.events(base, number, *event))
        cursor.execute(rows.summaries(base))
    fell = timezone.now() - timedelta(days=5)
    start = fell - timedelta(days=400)
    PricePoint.objects.bulk_create(
        PricePoint(item_id=str(item), price_minor=1000, currency="EUR", since=start, until=fell)
        for item in range(ITEMS)
    )
    PricePoint.objects.bulk_create(
        PricePoint(item_id=str(item), price_minor=990 if item % 10 else 800, currency="EUR", since=fell)
        for item in range(ITEMS)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


class _Rows:
    """Statements that make rows out of numbers, in the words of the database at hand."""

    def __init__(self, shoppers: int) -> None:
        self.postgres = connection.vendor == "postgresql"
        self.now = f"{timezone.now():%Y-%m-%d %H:%M:%S}"
        self.json = "jsonb" if self.postgres else "text"
        counted = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {shoppers})"
        series = f"generate_series(1, {shoppers}) AS n(i)" if self.postgres else f"({counted} SELECT i FROM c) AS n"
        self.series = series

    def ago(self, days: str) -> str:
        """Return the moment so many days back."""
        if self.postgres:
            return f"(CAST('{self.now}+00' AS timestamptz) - ({days}) * interval '1 day')"
        return f"strftime('%Y-%m-%d %H:%M:%S', '{self.now}', '-' || ({days}) || ' days')"

    def shoppers(self) -> str:
        key = "gen_random_uuid()" if self.postgres else "lower(hex(randomblob(16)))"
        born = '{"birthday": "%s-%s"}'
        two = "lpad(CAST({} AS varchar(2)), 2, '0')" if self.postgres else "printf('%02d', {})"
        first, rest = born.split("%s-%s")
        day = f"{two.format('1 + i % 12')} || '-' || {two.format('1 + i % 28')}"
        return (
            "INSERT INTO personalization_shopper (key, population, joined_at, attributes, consent_analytics, "
            "consent_personalisation, consent_marketing, is_bot, created_at) "
            f"SELECT {key}, 'shop', {self.ago('i % 1000')}, CAST('{first}' || {day} || '{rest}' AS {self.json}), "
            f"true, true, i % 2 = 0, false, {self.ago('0')} FROM {self.series}"
        )

    def events(self, base: int, number: int, kind: str, share: int, days: int, properties: str) -> str:
        return (
            "INSERT INTO personalization_event (source, event_id, type, shopper_id, item_id, category, properties, "
            "occurred_at, received_at, clock_corrected, is_bot) "
            f"SELECT 'bench{number}', CAST(i AS varchar(20)), '{kind}', {base} + i, "
            f"CAST(i % {ITEMS} AS varchar(9)), '', CAST('{properties}' AS {self.json}), "
            f"{self.ago(f'(CAST(i AS bigint) * 7919 % ({days} * 10)) / 10.0')}, {self.ago('0')}, false, false "
            f"FROM {self.series} WHERE i % 100 < {share}"
        )

    def summaries(self, base: int) -> str:
        last = self.ago("(CAST(i AS bigint) * 7919 % 3000) / 10.0")
        return (
            "INSERT INTO personalization_shoppersummary (shopper_id, population, as_of, orders, spent_minor, "
            "last_order_at, views_30d, stage, segment, cycle_days, top_category, device, cluster) "
            f"SELECT {base} + i, 'shop', {self.ago('0')}, 3, 0, {last}, 0, "
            f"'active', '', 40 + i % 60, '', '', '' FROM {self.series} WHERE i % 100 < 50"
        )


if __name__ == "__main__":
    sys.exit(stage.main("triggers", measure, server=True))
