"""What a shopper did, as features: the arithmetic that every form of reading the past shares.

A form (series in memory, daily counts in SQL, an exported log in polars) says how much lies before each row's moment;
this says what the declared features are then. ``reference`` is the specification of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.features.frames import NEVER, Floats, Ints
from personalization.features.reference import DAY, HOUR

WINDOWS = (28, 7)
"""Days that features look back."""


@dataclass(slots=True)
class Past:
    """Per row, from events strictly before its moment; money in major units, moments in milliseconds or NEVER.

    ``last_event`` is the last of the feature stream, offers shown included.
    """

    orders: Floats
    orders_28d: Floats
    orders_7d: Floats
    spent: Floats
    spent_28d: Floats
    spent_7d: Floats
    largest: Floats
    product_views_28d: Floats
    product_views_7d: Floats
    searches_28d: Floats
    basket_changes_28d: Floats
    first_order: Ints
    last_order: Ints
    last_event: Ints


def observed_days(time: Ints, joined: Ints, first_order: Ints, start: int) -> Floats:
    """Return for how many days each row's shopper has been observed, at least one.

    From joining or the first order (milliseconds or NEVER), whichever came earlier, but not from before ``start``, the
    first event of all. Whoever was back-filled joined when the app was installed, and their orders lie before that:
    all of them in the days since would be a rate that nobody has.
    """
    since = np.maximum(np.where(joined == NEVER, start, np.minimum(joined, first_order)), start)
    days: Floats = np.maximum((time - since) / DAY, 1.0)
    return days


def features(past: Past, time: Ints, days: Floats) -> dict[str, Floats]:
    """Return the declared features of the group by name; nan where there is no order, or no event, yet."""
    return {
        "orders_28d": past.orders_28d,
        "orders_7d": past.orders_7d,
        "spend_28d": np.round(past.spent_28d, 6),
        "spend_7d": np.round(past.spent_7d, 6),
        "spend_mean": np.where(past.orders > 0, past.spent / np.maximum(past.orders, 1), np.nan),
        "spend_max": past.largest,
        "spend_per_day": past.spent / days,
        "orders_per_day": past.orders / days,
        "order_gap_hours": gap_hours(time, past.last_order),
        "product_views_28d": past.product_views_28d,
        "product_views_7d": past.product_views_7d,
        "searches_28d": past.searches_28d,
        "basket_changes_28d": past.basket_changes_28d,
        "event_gap_hours": gap_hours(time, past.last_event),
    }


def gap_hours(time: Ints, last: Ints) -> Floats:
    """Return the hours since; nan where it never happened."""
    return np.where(last == NEVER, np.nan, (time - last) / HOUR)
