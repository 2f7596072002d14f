"""Sends events until it is killed, through all that happens to the database, and notes what was acknowledged.

``python -m tests.concurrency.reporter FILE``: a batch counts as acknowledged, and its ids go into FILE, once
``store_events`` returned. Until then the same batch is sent again, as a page does. Of the answers one in ten gets lost
on the way: the batch is sent again though it is stored.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any
from uuid import uuid4

import django

SIZE = 50
LOST_ANSWERS = 0.1


def report(path: str) -> None:
    from django.utils import timezone

    from personalization.types import EventData
    from tests.support import build

    shopper = build.shopper()
    print("sending", flush=True)
    with open(path, "a", encoding="ascii") as file:
        while True:
            batch = [EventData("r", uuid4().hex, "page_viewed", shopper.pk, timezone.now()) for _ in range(SIZE)]
            send(batch)
            if random.random() < LOST_ANSWERS:
                send(batch)
            file.write("".join(row.event_id + "\n" for row in batch))
            file.flush()


def send(batch: list[Any]) -> None:
    """Store a batch, again and again until it is acknowledged."""
    from django.db import DatabaseError, InterfaceError, connection

    from personalization.tracking.ingest import store_events

    while True:
        try:
            store_events(batch)
            return
        except (DatabaseError, InterfaceError):
            connection.close()
            time.sleep(0.02)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    report(sys.argv[1])
