"""The log read for training: the memory it takes beside the 4 GiB that are allowed, and its time beside a bare cursor.

Three sizes, 60 days each, a hundred events a shopper: 1, 3 and 10 million with SOAK=1. Value: the most megabytes that
a process of its own has held at the largest size, after reading the frames, preparing the series that features come
from and gathering who turned to what. Peer: the promise, 4 GiB. In the notes each size's seconds, and how long a bare
cursor takes to fetch the same columns.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from django.db import connection
from django.utils import timezone

from personalization.features.compute import FeatureBuilder
from personalization.learning import frames
from personalization.models import CatalogItem
from tests.benchmarks import crowd, report, rollup, stage
from worker.rankers import interactions

PEER = "the promise: 4 GiB"
ALLOWED_MB, ITEMS = 4096, 10_000
COLUMNS = "shopper_id, occurred_at, type, item_id, category, offer_id, value_minor"


def measure(quick: bool) -> report.Measurement:
    """Read each size in a process of its own."""
    most = stage.size(quick, 20_000, 1_000_000, 10_000_000)
    CatalogItem.objects.bulk_create(
        [CatalogItem(item_id=str(number), label="t", title=str(number)) for number in range(ITEMS)]
    )
    sizes = [_one(int(most * share)) for share in rollup.SHARES]
    first, last = sizes[0], sizes[-1]
    notes: dict[str, Any] = {
        "sizes": sizes,
        "mb_a_million_more": round((last["peak_mb"] - first["peak_mb"]) / (last["events"] - first["events"]) * 1e6),
    }
    return report.Measurement(
        "reading", last["peak_mb"], "MB", PEER, ALLOWED_MB, round(last["peak_mb"] / ALLOWED_MB, 3),
        target=1.0, better="lower", notes=notes,
    )  # fmt: skip


def _one(events: int) -> dict[str, Any]:
    rows = crowd.Rows()
    rollup.fill(rows, events, item=f"CAST({rows.draw(4, ITEMS)} AS varchar(20))")
    read = stage.apart(read_everything)
    bare = stage.apart(fetch_bare)
    return {
        "peak_mb": read.peak_mb,
        "start_mb": read.start_mb,
        **read.result,
        "bare_cursor_s": bare.result,
        "read_by_bare": round(read.result["read_s"] / bare.result, 2),
    }


def read_everything() -> dict[str, Any]:
    """Do what training does with the log before it learns."""
    began = time.monotonic()
    found = frames.load("shop", timezone.now())
    read = time.monotonic()
    FeatureBuilder(found)
    builder = time.monotonic()
    known = interactions(found)
    return {
        "events": len(found.events),
        "read_s": round(read - began, 2),
        "series_s": round(builder - read, 2),
        "interactions_s": round(time.monotonic() - builder, 2),
        "interactions": len(known.time),
    }


def fetch_bare() -> float:
    """Fetch the columns through a cursor of the driver, a block at a time, and throw them away."""
    began = time.monotonic()
    with connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM personalization_event")
        while cursor.fetchmany(20_000):
            pass
    return round(time.monotonic() - began, 2)


if __name__ == "__main__":
    sys.exit(stage.main("reading", measure, server=True))
