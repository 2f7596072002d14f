"""What a page knows at once of a shopper without scores: read as a training reads it, or the quick model would be told
other things than it was taught.

Asked for only where there is a quick model and nothing better: one query, a second where the catalogue has to tell a
product's category.
"""

from __future__ import annotations

import math
from datetime import datetime

from personalization import conf
from personalization.features.frames import milliseconds
from personalization.learning.fairness import hidden_from_offers
from personalization.models import CatalogItem, Event, Shopper
from personalization.pure.numbers import number_or_nan
from personalization.pure.quick import LAST_EVENTS, TYPES, Known, Person, Recent


def read(shopper: Shopper, now: datetime) -> Known:
    """Return the shopper's last events of the types that count, and what their own row tells."""
    rows = list(
        Event.objects.filter(shopper=shopper, is_bot=False, type__in=TYPES, occurred_at__lte=now)
        .order_by("-occurred_at")
        .values_list("type", "category", "item_id", "occurred_at", "value_minor")[:LAST_EVENTS]
    )
    silent = {item for _kind, category, item, _at, _value in rows if item and not category}
    listed = CatalogItem.objects.filter(population=shopper.population, item_id__in=silent) if silent else None
    told = {} if listed is None else dict(listed.values_list("item_id", "category"))
    recent = [
        Recent(kind, category or told.get(item, ""), (now - at).total_seconds() / 60, float(value or 0))
        for kind, category, item, at, value in rows
    ]
    return Known(recent, _person(shopper, now))


def _person(shopper: Shopper, now: datetime) -> Person:
    """Return income and tenure, as :mod:`personalization.learning.people` does: nothing that is hidden from offers."""
    income = None if "income" in hidden_from_offers(shopper.population) else shopper.attributes.get("income")
    told = number_or_nan(income)
    own = shopper.population == conf.get().population
    since = shopper.joined_at or (shopper.created_at if own else None)
    later = since is not None and milliseconds(since) > milliseconds(now)  # a clock was moved
    days = None if since is None or later else (now - since).total_seconds() / 86_400
    return Person(None if math.isnan(told) else told, days)
