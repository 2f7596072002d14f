"""What the shopper did a moment ago: read at each decision, so that offers follow the last click."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from personalization.models import Event, Shopper
from personalization.models.events import WISHES
from personalization.pure.quick import Recent
from personalization.tracking.event_types import LESS, MORE

GLANCES = ("product_seen", "page_left")
"""What says nothing of interest: a product that stood on the screen, and how long a page did."""
LAST_EVENTS = 20
HALF_LIFE_MINUTES = 30.0
WISHED = 0.5
"""What "more like this" weighs, however long ago it was said: half of what was looked at this moment."""


@dataclass(slots=True)
class Session:
    """The freshest events, newest first (``recent``): items with weights, interest by category (at most 1).

    ``dismissed`` offers, ``unwanted_items`` and ``unwanted_categories`` are those of which the shopper wants less.
    """

    items: dict[str, float] = field(default_factory=dict)
    interest: dict[str, float] = field(default_factory=dict)
    dismissed: set[int] = field(default_factory=set)
    unwanted_items: set[str] = field(default_factory=set)
    unwanted_categories: set[str] = field(default_factory=set)
    recent: list[Recent] = field(default_factory=list)


def read(shopper: Shopper | None, now: datetime) -> Session:
    """Return the shopper's last twenty events weighed by age, and what they dismissed (two indexed queries)."""
    if shopper is None:
        return Session()
    rows = (
        Event.objects.filter(shopper=shopper, is_bot=False, occurred_at__lte=now)
        .exclude(type__in=(*WISHES, *GLANCES))
        .order_by("-occurred_at")
        .values_list("item_id", "category", "occurred_at", "type")[:LAST_EVENTS]
    )
    session = summarise(rows, now)
    # "Less like this" outlasts the session: however much was viewed since, it stays away.
    wishes = Event.objects.filter(shopper=shopper, type__in=WISHES).order_by("occurred_at", "pk")
    for kind, offer_id, item_id, category, properties in wishes.values_list(
        "type", "offer_id", "item_id", "category", "properties"
    ):
        wish = LESS if kind == "offer_dismissed" else properties.get("wish")
        _note(session, wish, offer_id, item_id, category)
    return session


def _note(session: Session, wish: str | None, offer_id: int | None, item_id: str, category: str) -> None:
    """Take one wish down; what it is about is the most particular thing that it names, and the latest one counts."""
    about, name = _subject_of(session, offer_id, item_id, category)
    if name is None or wish not in {LESS, MORE}:
        return
    if wish == LESS:
        about.add(name)
        return
    about.discard(name)
    if item_id:
        session.items.setdefault(item_id, WISHED)
    if category:
        session.interest[category] = max(session.interest.get(category, 0.0), WISHED)


def _subject_of(session: Session, offer_id: int | None, item_id: str, category: str) -> tuple[set[Any], Any]:
    if offer_id is not None:
        return session.dismissed, offer_id
    if item_id:
        return session.unwanted_items, item_id
    return session.unwanted_categories, category or None


def summarise(rows: Iterable[tuple[str, str, datetime, str]], now: datetime) -> Session:
    """Weigh events (item, category, moment, type) by age."""
    session = Session()
    for item_id, category, occurred_at, kind in rows:
        minutes = max((now - occurred_at).total_seconds() / 60, 0.0)
        session.recent.append(Recent(kind, category, minutes))
        weight = math.pow(0.5, minutes / HALF_LIFE_MINUTES)
        if item_id:
            session.items[item_id] = max(session.items.get(item_id, 0.0), weight)
        if category:
            session.interest[category] = min(1.0, session.interest.get(category, 0.0) + weight / 3)
    return session
