"""Shoppers × ten triggers a second: one evaluation of everybody, and what a range of them costs in statements.

A first figure, without a peer. A million shoppers with SOAK=1, with about four events each, a summary and a birthday;
nine kinds of triggers and one of them twice, half of them with a channel. Statements are counted for the first range
and the last; a second evaluation shows that nothing is written twice.
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
from personalization.models import Occurrence, OutboxMessage, PricePoint, Trigger
from tests.benchmarks import crowd, report, stage
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
    shoppers = stage.size(quick, 10_000, 100_000, 1_000_000)
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
    rows = crowd.Rows()
    two = "lpad(CAST({} AS varchar(2)), 2, '0')" if rows.postgres else "printf('%02d', {})"
    birthday = f"{two.format('1 + i % 12')} || '-' || {two.format('1 + i % 28')}"
    profile = rows.object(birthday=birthday)
    crowd.run(rows.insert_shoppers(shoppers, joined_days="i % 1000", attributes=profile, marketing="i % 2 = 0"))
    base = crowd.first_key()
    for number, (kind, share, days, properties) in enumerate(_EVENTS):
        crowd.run(
            rows.insert_events(
                shoppers,
                source=f"bench{number}",
                shopper=f"{base} + i",
                days=f"(CAST(i AS bigint) * 7919 % ({days} * 10)) / 10.0",
                kind=f"'{kind}'",
                where=f"i % 100 < {share}",
                item=f"CAST(i % {ITEMS} AS varchar(9))",
                properties=properties,
            )
        )
    crowd.run(_summaries(rows, base, shoppers))
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
    crowd.analyze()


def _summaries(rows: crowd.Rows, base: int, shoppers: int) -> str:
    last = rows.ago("(CAST(i AS bigint) * 7919 % 3000) / 10.0")
    return (
        "INSERT INTO personalization_shoppersummary (shopper_id, population, as_of, orders, spent_minor, "
        "last_order_at, views_30d, stage, segment, cycle_days, top_category, device, cluster) "
        f"SELECT {base} + i, 'shop', {rows.ago('0')}, 3, 0, {last}, 0, "
        f"'active', '', 40 + i % 60, '', '', '' FROM {rows.series(shoppers)} WHERE i % 100 < 50"
    )


if __name__ == "__main__":
    sys.exit(stage.main("triggers", measure, server=True))
