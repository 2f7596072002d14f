"""What the shopper did a moment ago: read at each decision, so that offers follow the last click."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from personalization.models import Event, Shopper

LAST_EVENTS = 20
HALF_LIFE_MINUTES = 30.0


@dataclass(slots=True)
class Session:
    """The freshest events, newest first: items with weights, interest by category (at most 1), dismissed offers."""

    items: dict[str, float] = field(default_factory=dict)
    interest: dict[str, float] = field(default_factory=dict)
    dismissed: set[int] = field(default_factory=set)


def read(shopper: Shopper | None, now: datetime) -> Session:
    """Return the shopper's last twenty events as weights that halve every thirty minutes (one indexed query)."""
    if shopper is None:
        return Session()
    rows = (
        Event.objects.filter(shopper=shopper, is_bot=False, occurred_at__lte=now)
        .order_by("-occurred_at")
        .values_list("type", "item_id", "category", "offer_id", "occurred_at")[:LAST_EVENTS]
    )
    return summarise(rows, now)


def summarise(rows: Iterable[tuple[str, str, str, int | None, datetime]], now: datetime) -> Session:
    """Weigh events (type, item, category, offer, moment) by age."""
    session = Session()
    for kind, item_id, category, offer_id, occurred_at in rows:
        minutes = max((now - occurred_at).total_seconds() / 60, 0.0)
        weight = math.pow(0.5, minutes / HALF_LIFE_MINUTES)
        if kind == "offer_dismissed" and offer_id is not None:
            session.dismissed.add(offer_id)
        if item_id:
            session.items[item_id] = max(session.items.get(item_id, 0.0), weight)
        if category:
            session.interest[category] = min(1.0, session.interest.get(category, 0.0) + weight / 3)
    return session
