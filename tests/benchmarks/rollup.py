"""Daily counts: what a day's events cost against counting everything again, and whether the cost grows in line.

Three sizes, 60 days each, a hundred events a shopper, eight a visit: 1, 3 and 10 million with SOAK=1. Value: seconds
for one more day's events (two in a hundred of them late) at the largest size. Peer: seconds for counting the whole log.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from django.utils import timezone

from personalization.features import counted, rollups
from personalization.models import Event, RolledShopper, Shopper, ShopperDay
from tests.benchmarks import crowd, report, stage

PEER = "counting the whole log"
DAYS = 60
EACH = 100
VISIT = 8
TARGET = 0.05
SHARES = (0.1, 0.3, 1.0)
CATEGORIES = ("tea", "pots", "socks", "books", "toys")
EMPTIED = ("event", "shopperdaycategory", "shopperday", "staledays", "rolledshopper", "rollupstate", "shopper")


def measure(quick: bool) -> report.Measurement:
    """Measure each size on tables of its own."""
    most = stage.size(quick, 20_000, 1_000_000, 10_000_000)
    sizes = [_one(int(most * share)) for share in SHARES]
    last, first = sizes[-1], sizes[0]
    notes: dict[str, Any] = {
        "sizes": sizes,
        "seconds_a_million_largest_by_smallest": round(last["all_s_a_million"] / first["all_s_a_million"], 2),
    }
    return report.Measurement(
        "rollup", last["day_s"], "s a day", PEER, last["all_s"], round(last["day_s"] / last["all_s"], 4),
        target=TARGET, better="lower", notes=notes,
    )  # fmt: skip


def _one(events: int) -> dict[str, Any]:
    """Count a log from nothing, then one more day; read everybody's features from the counts, then from the log."""
    rows = crowd.Rows()
    shoppers = fill(rows, events)
    everything, _done = _timed(rollups.catch_up)
    day = max(events // DAYS, 1)
    late = f"CASE WHEN {rows.draw(4, 100)} < 2 THEN 1 + {rows.draw(2, DAYS)} ELSE 0 END"
    crowd.run(_events(rows, day, shoppers, "day", f"0.01 + (1 - i / {day}.0) * 0.9 + {late}"))
    one_day, _done = _timed(rollups.catch_up)
    crowd.analyze()
    keys, now = np.array(Shopper.objects.order_by("pk").values_list("pk", flat=True)), timezone.now()
    from_counts, found = _timed(lambda: counted.past(keys, now))
    counts = ShopperDay.objects.count()
    RolledShopper.objects.all().delete()
    from_log, wanted = _timed(lambda: counted.past(keys, now))
    return {
        "events": Event.objects.count(),
        "shoppers": shoppers,
        "rows": counts,
        "all_s": round(everything, 3),
        "all_s_a_million": round(everything / events * 1e6, 2),
        "day_events": day,
        "day_s": round(one_day, 3),
        "features_from_counts_s": round(from_counts, 3),
        "features_from_the_log_s": round(from_log, 3),
        "features_agree": all(
            bool(np.array_equal(getattr(found, name), getattr(wanted, name))) for name in type(found).__slots__
        ),
    }


def fill(rows: crowd.Rows, events: int, item: str = "''") -> int:
    """Make a log of so many events in empty tables and return how many shoppers it is of."""
    crowd.run(*(f"DELETE FROM personalization_{table}" for table in EMPTIED))
    shoppers = max(events // EACH, 1)
    crowd.run(rows.insert_shoppers(shoppers, joined_days="90", attributes=rows.object(age="30")))
    crowd.run(_events(rows, events, shoppers, "log", f"1 + {DAYS} * (1 - i / {events}.0)", item))
    crowd.analyze()
    return shoppers


def _timed(do: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = do()
    return time.perf_counter() - began, result


def _events(rows: crowd.Rows, count: int, shoppers: int, source: str, days: str, item: str = "''") -> str:
    """Return the statement that makes events in the order of their moments; a visit is of one shopper."""
    visitor = f"(CAST(i / {VISIT} AS bigint) * 48271 % 2147483647 % {shoppers})"
    draw = rows.draw(1, 100)
    kind = (
        f"CASE WHEN {draw} < 6 THEN 'order_placed' WHEN {draw} < 16 THEN 'basket_changed' "
        f"WHEN {draw} < 26 THEN 'search_performed' ELSE 'product_viewed' END"
    )
    return rows.insert_events(
        count,
        source=source,
        shopper=f"{crowd.first_key()} + 1 + {visitor}",
        days=days,
        kind=kind,
        item=item,
        category=f"CASE WHEN {draw} < 26 THEN '' ELSE {rows.one_of(3, CATEGORIES)} END",
        value=f"CASE WHEN {draw} < 6 THEN 1000 + {rows.draw(2, 9000)} END",
    )


if __name__ == "__main__":
    sys.exit(stage.main("rollup", measure, server=True))
