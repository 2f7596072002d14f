"""Twenty rule audiences over all shoppers: each is one query, however many shoppers; and the summaries they read.

A million shoppers with SOAK=1. Value: audiences counted per second. Peer: the same rules asked shopper by shopper in
Python, on a sample, scaled up.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.features import audiences, summaries
from personalization.models import Event, Shopper
from tests.benchmarks import crowd, report, stage

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
    count = stage.size(quick, 2_000, 100_000, 1_000_000)
    now = timezone.now()
    began = time.monotonic()
    _fill(count)
    filled = time.monotonic() - began
    began = time.monotonic()
    summarised = summaries.refresh("shop", now)
    summary_seconds = time.monotonic() - began
    crowd.analyze()
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
        "seconds_to_fill": round(filled, 1),
    }
    audiences_each = len(taken) / total
    return report.Measurement(
        "audiences", round(audiences_each, 2), "audiences/s", PEER, round(len(taken) / peer, 4),
        round(peer / total, 1), notes=notes,
    )  # fmt: skip


def _fill(count: int) -> None:
    """Make shoppers with profiles, and for each on average four events of the last year."""
    rows = crowd.Rows()
    age = f"18 + {rows.draw(0, 62)}"
    club = f"CASE WHEN {rows.draw(0, 62)} % 3 = 0 THEN 'no' ELSE 'yes' END"
    profile = rows.object(age=age, tier=rows.one_of(1, ("gold", "silver", "")), club=club)
    crowd.run(rows.insert_shoppers(count, joined_days=f"({age}) * 12", attributes=profile))
    ordered = f"{rows.draw(1, 100)} < 30"
    crowd.run(
        rows.insert_events(
            4 * count,
            source="benchmark",
            shopper=f"{crowd.first_key()} + 1 + {rows.draw(0, count)}",
            days=f"0.01 - 60 * LN(1 - {rows.draw(2, 1_000_000)} / 1000001.0)",
            kind=f"CASE WHEN {ordered} THEN 'order_placed' ELSE 'product_viewed' END",
            category=f"CASE WHEN {ordered} THEN '' ELSE {rows.one_of(3, CATEGORIES)} END",
            value=f"CASE WHEN {ordered} THEN 1000 + {rows.draw(4, 9000)} END",
        )
    )
    crowd.analyze()


if __name__ == "__main__":
    sys.exit(stage.main("audiences", measure, server=True))
