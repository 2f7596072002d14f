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
    """Return the shopper's last twenty events weighed by age, and what they dismissed (two indexed queries)."""
    if shopper is None:
        return Session()
    rows = (
        Event.objects.filter(shopper=shopper, is_bot=False, occurred_at__lte=now)
        .order_by("-occurred_at")
        .values_list("item_id", "category", "occurred_at")[:LAST_EVENTS]
    )
    session = summarise(rows, now)
    # "Less like this" outlasts the session: however much was viewed since, it stays away.
    session.dismissed.update(
        offer_id
        for offer_id in Event.objects.filter(shopper=shopper, type="offer_dismissed").values_list("offer_id", flat=True)
        if offer_id is not None
    )
    return session


def summarise(rows: Iterable[tuple[str, str, datetime]], now: datetime) -> Session:
    """Weigh events (item, category, moment) by age."""
    session = Session()
    for item_id, category, occurred_at in rows:
        minutes = max((now - occurred_at).total_seconds() / 60, 0.0)
        weight = math.pow(0.5, minutes / HALF_LIFE_MINUTES)
        if item_id:
            session.items[item_id] = max(session.items.get(item_id, 0.0), weight)
        if category:
            session.interest[category] = min(1.0, session.interest.get(category, 0.0) + weight / 3)
    return session
