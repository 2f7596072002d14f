"""A shop's orders with an intent to learn: regulars come every few days, the others once in a while. No offers.

Everything hangs on ``START``; the last order lies just before ``END``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from personalization.models import Event, Shopper
from tests.worker.population import DAY

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 28 + 5 * 7 + 2
END = START + DAYS * DAY
REGULAR_DAYS, RARE_DAYS = 6.0, 45.0
PEOPLE = 200


def build(people: int = PEOPLE, *, days: int = DAYS, seed: int = 0, regulars: float = 0.5) -> list[Shopper]:
    """Write shoppers with their orders and return them, regulars first."""
    rng = np.random.default_rng(seed)
    shoppers = Shopper.objects.bulk_create(
        Shopper(
            population="shop", joined_at=START - DAY, consent_analytics=True, consent_personalisation=True,
            attributes={"tier": "gold" if rng.random() < 0.5 else "basic"},
        )
        for _ in range(people)
    )  # fmt: skip
    events: list[Event] = []
    for place, shopper in enumerate(shoppers):
        mean = REGULAR_DAYS if place < people * regulars else RARE_DAYS
        at = START + timedelta(days=float(rng.exponential(mean)))
        while at < START + days * DAY:
            events.append(order(shopper, at, f"{place}-{len(events)}", int(rng.integers(1000, 9000))))
            at += timedelta(days=float(rng.exponential(mean)))
    events.append(order(shoppers[0], START + days * DAY, "last", 1000))
    Event.objects.bulk_create(events, batch_size=500)
    return shoppers


def order(shopper: Shopper, at: datetime, event_id: str, value_minor: int = 1000) -> Event:
    """Return an order that is not saved yet."""
    return Event(
        source="buyers", event_id=event_id, shopper=shopper, occurred_at=at, type="order_placed",
        value_minor=value_minor,
    )  # fmt: skip
