"""What the shopper did a moment ago: read at each decision, so that offers follow the last click."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from personalization.models import Event, Shopper
from personalization.models.events import WISHES
from personalization.tracking.event_types import LESS, MORE, NEITHER
from personalization.tracking.parsing import FUTURE_TOLERANCE

GLANCES = ("product_seen", "page_left")
"""What says nothing of interest: a product that stood on the screen, and how long a page did."""
LAST_EVENTS = 20
HALF_LIFE_MINUTES = 30.0
WISHED = 0.5
"""What "more like this" weighs, however long ago it was said: half of what was looked at this moment."""


@dataclass(slots=True)
class Session:
    """The freshest events, newest first: items with weights, interest by category (at most 1).

    ``dismissed`` offers, ``unwanted_items`` and ``unwanted_categories`` are those of which the shopper wants less.
    """

    items: dict[str, float] = field(default_factory=dict)
    interest: dict[str, float] = field(default_factory=dict)
    dismissed: set[int] = field(default_factory=set)
    unwanted_items: set[str] = field(default_factory=set)
    unwanted_categories: set[str] = field(default_factory=set)


def read(shopper: Shopper | None, now: datetime) -> Session:
    """Return the shopper's last twenty events weighed by age, and what they dismissed (two indexed queries)."""
    if shopper is None:
        return Session()
    rows = (
        Event.objects.filter(shopper=shopper, is_bot=False, occurred_at__lte=now)
        .exclude(type__in=(*WISHES, *GLANCES))
        .order_by("-occurred_at")
        .values_list("item_id", "category", "occurred_at")[:LAST_EVENTS]
    )
    session = summarise(rows, now)
    # "Less like this" outlasts the session: however much was viewed since, it stays away.
    wishes = Event.objects.filter(shopper=shopper, type__in=WISHES, occurred_at__lte=now + FUTURE_TOLERANCE)
    latest: dict[tuple[str, Any], tuple[str, str, str]] = {}
    for kind, offer_id, item_id, category, properties in wishes.order_by("occurred_at", "pk").values_list(
        "type", "offer_id", "item_id", "category", "properties"
    ):
        wish = LESS if kind == "offer_dismissed" else properties.get("wish")
        subject = _subject_of(offer_id, item_id, category)
        if subject is not None and wish in {LESS, MORE, NEITHER}:
            latest.pop(subject, None)  # the order is that of the wishes that count
            latest[subject] = wish, item_id, category
    for (about, name), (wish, item_id, category) in latest.items():
        _note(session, about, name, wish, item_id, category)
    return session


def _note(session: Session, about: str, name: Any, wish: str, item_id: str, category: str) -> None:
    """Take down the wish that counts about an offer, a product or a category."""
    if wish == LESS:
        getattr(session, about).add(name)
    elif wish == MORE and item_id:
        session.items.setdefault(item_id, WISHED)
    if wish == MORE and category:
        session.interest[category] = max(session.interest.get(category, 0.0), WISHED)


def _subject_of(offer_id: int | None, item_id: str, category: str) -> tuple[str, Any] | None:
    """Return the most particular thing that a wish names, under the set of a session that it would belong to."""
    if offer_id is not None:
        return "dismissed", offer_id
    if item_id:
        return "unwanted_items", item_id
    return ("unwanted_categories", category) if category else None


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
