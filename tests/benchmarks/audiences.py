"""Twenty rule audiences over all shoppers: each is one query, however many shoppers; and the summaries they read.

Value: audiences counted per second. Peer: the same rules asked shopper by shopper in Python, on a sample, scaled up.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.features import audiences, summaries
from personalization.models import Event, Shopper
from tests.benchmarks import report, stage
from tests.support.scale import rounds

BATCH = 5_000
PEER = "the same rules, one shopper after the other"
CATEGORIES = ("tea", "pots", "socks", "books", "toys")
ASKED = 500


def rules() -> list[dict[str, Any]]:
    """Return twenty rules: profile, behaviour, RFM, stage, interests, and nested ones."""

    def about(name: str, op: str, value: Any) -> dict[str, Any]:
        return {"field": name, "op": op, "value": value}

    def seen(category: str, days: int, value: int) -> dict[str, Any]:
        return {"event": "product_viewed", "category": category, "days": days, "op": ">=", "value": value}

    gold, old = about("tier", "in", ["gold"]), about("age", ">=", 50)
    lately, fan = about("recency_days", "<=", 14), {"interest": "tea", "op": ">=", "value": 0.3}
    single = [
        gold, old, about("tenure_days", ">=", 365), about("attributes.club", "in", ["yes"]),
        about("orders", ">=", 2), about("spent_minor", ">=", 10_000), lately, about("last_seen_days", ">=", 30),
        about("stage", "in", ["loyal", "active"]), about("segment", "in", ["champions", "at_risk"]),
        about("churn_risk", ">=", 0.7), about("cycle_days", "<=", 20), fan, seen("tea", 30, 1), seen("", 7, 2),
    ]  # fmt: skip
    nested: list[dict[str, Any]] = [
        {"any": [gold, old, fan]},
        {"not": {"any": [lately, fan]}},
        {"all": [{"any": [gold, lately]}, {"not": seen("tea", 30, 1)}]},
        {"all": [old, {"not": about("has_coupon", "is", True)}]},
        {"any": [{"all": [gold, fan]}, {"all": [lately, {"not": old}]}]},
    ]
    return [{"all": [rule]} for rule in [*single, *nested]]


def measure(quick: bool) -> report.Measurement:
    """Fill the tables, summarise, then count each audience."""
    count = int(os.environ.get("AUDIENCE_SHOPPERS", 0)) or (2_000 if quick else rounds(20_000, 1_000_000))
    now = timezone.now()
    _fill(count, now)
    began = time.monotonic()
    summarised = summaries.refresh("shop", now)
    summary_seconds = time.monotonic() - began
    _analyze()
    taken, sizes, queries = [], [], []
    for rule in rules():
        audience = audiences.parse(rule)
        with CaptureQueriesContext(connection) as captured:
            began = time.monotonic()
            sizes.append(audience.filter(Shopper.objects.all(), now).count())
            taken.append(time.monotonic() - began)
        queries.append(len(captured))
    asked = list(Shopper.objects.order_by("key")[:ASKED])
    began = time.monotonic()
    for rule in rules():
        audience = audiences.parse(rule)
        for shopper in asked:
            audience.matches(shopper, now)
    peer = (time.monotonic() - began) * count / len(asked)
    total = sum(taken)
    notes = {
        "shoppers": count,
        "events": Event.objects.count(),
        "queries": max(queries),
        "seconds_slowest": round(max(taken), 3),
        "seconds_all": round(total, 2),
        "sizes": sizes,
        "summaries": summarised,
        "summary_seconds": round(summary_seconds, 1),
    }
    audiences_each = len(taken) / total
    return report.Measurement(
        "audiences", round(audiences_each, 2), "audiences/s", PEER, round(len(taken) / peer, 4),
        round(peer / total, 1), notes=notes,
    )  # fmt: skip


def _analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _fill(count: int, now: datetime) -> None:
    """Make shoppers with profiles, and for each on average four events of the last year."""
    rng = np.random.default_rng(0)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        ages, tiers = rng.integers(18, 80, size), rng.choice(["gold", "silver", ""], size)
        made = Shopper.objects.bulk_create(
            Shopper(
                consent_personalisation=True,
                joined_at=now - timedelta(days=int(age) * 12),
                attributes={"age": int(age), "tier": str(tier), "club": "yes" if age % 3 else "no"},
            )
            for age, tier in zip(ages, tiers, strict=True)
        )
        Event.objects.bulk_create(_events([shopper.pk for shopper in made], rng, now))
    _analyze()


def _events(shoppers: list[int], rng: np.random.Generator, now: datetime) -> list[Event]:
    found = []
    for shopper, times in zip(shoppers, rng.poisson(4, len(shoppers)), strict=True):
        for days, ordered, category in zip(
            rng.exponential(60, times), rng.random(times) < 0.3, rng.choice(CATEGORIES, times), strict=True
        ):
            found.append(
                Event(
                    source="benchmark",
                    event_id=uuid.uuid4().hex,
                    type="order_placed" if ordered else "product_viewed",
                    shopper_id=shopper,
                    occurred_at=now - timedelta(days=float(days) + 0.01),
                    value_minor=int(1000 + 9000 * (days % 1)) if ordered else None,
                    category="" if ordered else str(category),
                )
            )
    return found


if __name__ == "__main__":
    sys.exit(stage.main("audiences", measure, server=True))
