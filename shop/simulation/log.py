"""What happened in the simulation, in columns: events, orders and exposures. Times are seconds from its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from shop.simulation.catalogue import Ints


class Kind(IntEnum):
    """Event types, as small numbers; ``event_type`` gives the app's word."""

    PRODUCT_VIEWED = 0
    CATEGORY_VIEWED = 1
    SEARCH_PERFORMED = 2
    BASKET_CHANGED = 3
    ORDER_PLACED = 4
    OFFER_SHOWN = 5
    OFFER_VIEWED = 6
    OFFER_CLICKED = 7
    COUPON_REDEEMED = 8

    @property
    def event_type(self) -> str:
        return self.name.lower()


COLUMNS = ("time", "who", "kind", "item", "category", "offer", "first", "second")
"""``offer`` counts over all waves. ``first`` and ``second`` depend on the type: basket_changed: quantity, basket
total; search_performed: the product looked for; order_placed and coupon_redeemed: the order's number."""


class EventLog:
    """Collects events in columns; ``columns`` sorts them by time."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(
        self,
        kind: Kind,
        time: Ints,
        who: Ints,
        *,
        item: Ints | int = -1,
        category: Ints | int = -1,
        offer: Ints | int = -1,
        first: Ints | int = -1,
        second: Ints | int = -1,
    ) -> None:
        """Append events of one type; scalars hold for all of them."""
        block = np.empty((len(COLUMNS), len(time)), dtype=np.int64)
        for row, column in enumerate((time, who, int(kind), item, category, offer, first, second)):
            block[row] = column
        self._parts.append(block)

    def columns(self) -> dict[str, Ints]:
        """Return all events in the order of their time; ties stay in the order in which they were added."""
        whole = np.concatenate(self._parts, axis=1)
        order = np.argsort(whole[0], kind="stable")
        return {name: whole[row][order] for row, name in enumerate(COLUMNS)}


@dataclass(frozen=True)
class Orders:
    """Orders in arrays of length O; ``items`` and ``quantities`` are O × 4, padded with -1 and 0.

    ``gross`` is the lines' sum, ``discount`` what the offer took off; the shopper paid the difference. ``offer``
    counts over all waves (-1: nothing redeemed).
    """

    time: Ints
    who: Ints
    items: Ints
    quantities: Ints
    gross: Ints
    discount: Ints
    offer: Ints

    @classmethod
    def joined(cls, parts: list[Orders]) -> Orders:
        """Return the parts' orders one after the other."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__})

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Exposures:
    """A wave's exposures in arrays of length E. ``offer`` counts within the wave; -1 is control.

    ``viewed``, ``clicked``, ``purchased`` and ``redeemed`` are times (-1: did not happen). ``base`` and
    ``with_offer`` are the true purchase probabilities without and with the offer: nobody but the truth reads them.
    """

    who: Ints
    offer: Ints
    propensity: np.ndarray
    exposed: Ints
    window_ends: Ints
    viewed: Ints
    clicked: Ints
    purchased: Ints
    redeemed: Ints
    base: np.ndarray
    with_offer: np.ndarray
    revenue: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    cost: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.who)
