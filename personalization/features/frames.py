"""Columns in memory: shoppers, events, exposures, offers and products up to a cut-off, as numpy arrays.

Times are integer milliseconds since the epoch; ``NEVER`` stands for "has not happened". Rows of ``Events`` are
sorted by (shopper, time). Shoppers, offers, items and categories are referred to by their position in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER = np.int64(2**62)
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STREAM_TYPES = (
    "product_viewed",
    "category_viewed",
    "search_performed",
    "basket_changed",
    "order_placed",
    "offer_shown",
    "offer_viewed",
    "offer_clicked",
    "coupon_redeemed",
    "page_viewed",
    "logged_in",
)
TYPE_CODE = {name: code for code, name in enumerate(STREAM_TYPES)}


def milliseconds(moment: datetime) -> int:
    """Return a moment as milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)


def _nothing() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class EarlierProfiles:
    """What profiles were before they changed, sorted by (shopper, until); each held up to and including ``until``."""

    shopper: Ints = field(default_factory=_nothing)
    until: Ints = field(default_factory=_nothing)
    attributes: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Shoppers:
    """``ids`` are primary keys, ascending; ``attributes`` the raw profile values; ``joined`` milliseconds or NEVER.

    ``attributes`` are those of the cut-off; ``earlier`` holds what they were before.
    """

    ids: Ints
    attributes: list[dict[str, Any]]
    joined: Ints
    earlier: EarlierProfiles = field(default_factory=EarlierProfiles)

    def __len__(self) -> int:
        return len(self.ids)

    def profile(self, shopper: Ints, time: Ints) -> Ints:
        """Return which profile held at each moment: a place in ``[*attributes, *earlier.attributes]``.

        A change counts from after its moment on, as every event does.
        """
        earlier = self.earlier
        if not len(earlier.shopper):
            return shopper
        # A search by (shopper, moment): the first of a shopper's versions that held at the moment or later.
        moments = np.unique(earlier.until)
        width = np.int64(len(moments) + 1)
        keys = earlier.shopper * width + np.searchsorted(moments, earlier.until)
        at = np.searchsorted(keys, shopper * width + np.searchsorted(moments, time))
        found = np.minimum(at, len(keys) - 1)
        held = (at < len(keys)) & (earlier.shopper[found] == shopper)
        return np.where(held, len(self.ids) + found, shopper)


@dataclass(slots=True)
class Events:
    """The stream, offers shown included. ``item``, ``category`` and ``offer`` are positions or -1."""

    shopper: Ints
    time: Ints
    type: Ints
    item: Ints
    category: Ints
    offer: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.time)


@dataclass(slots=True)
class Lines:
    """Order lines, sorted by (shopper, time)."""

    shopper: Ints
    time: Ints
    item: Ints
    quantity: Floats


@dataclass(slots=True)
class Reviews:
    """Reviews sorted by (shopper, time), of shops that ask for their sentiment; elsewhere there are none.

    ``item`` and ``category`` are positions or -1; ``stars`` −1 (one star) to 1 (five), nan without; ``text`` may be
    empty; ``hosted`` is the sentiment that the host gave the text, −1 to 1, nan where it gave none.
    """

    shopper: Ints = field(default_factory=_nothing)
    time: Ints = field(default_factory=_nothing)
    item: Ints = field(default_factory=_nothing)
    category: Ints = field(default_factory=_nothing)
    stars: Floats = field(default_factory=lambda: np.zeros(0))
    text: list[str] = field(default_factory=list)
    hosted: Floats = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.time)


@dataclass(slots=True)
class Exposures:
    """One row an exposure; ``offer`` is -1 for control and holdout. Outcomes after the cut-off read NEVER."""

    id: Ints
    shopper: Ints
    offer: Ints
    time: Ints
    window_end: Ints
    viewed: Ints
    clicked: Ints
    redeemed: Ints
    purchased: Ints
    revenue: Floats
    cost: Floats
    propensity: Floats

    def __len__(self) -> int:
        return len(self.time)

    def take(self, mask: NDArray[Any]) -> Exposures:
        """Return the chosen rows."""
        return Exposures(*(getattr(self, name)[mask] for name in self.__slots__))


@dataclass(slots=True)
class Offers:
    """Terms per offer. Money is in major units; ``category`` is a position or -1; ``hours`` nan if open-ended.

    ``attribution_hours``: for how long after an exposure an outcome counts. ``external`` is the id an imported offer
    had in its data set, else empty.
    """

    ids: Ints
    names: list[str]
    kinds: list[str]
    amount: Floats
    percent: Floats
    threshold: Floats
    max_discount: Floats
    hours: Floats
    category: Ints
    channels: Floats
    members_only: Floats
    external: list[str]
    campaign: Ints
    attribution_hours: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True)
class Items:
    """Products: host ids, category positions, prices in major units (nan if unknown); brands and titles, or none.

    ``image`` [items, d] holds the vectors that the host supplies, rows of zeros where it has none; d is 0 without any.
    """

    ids: list[str]
    category: Ints
    price: Floats
    visible: NDArray[np.bool_]
    brand: list[str] = field(default_factory=list)
    title: list[str] = field(default_factory=list)
    image: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))


@dataclass(slots=True)
class Frames:
    """Everything that a worker may learn from, up to ``until`` (milliseconds); ``start`` is the first event.

    ``simulated`` says that the data was made up by a program; ``digits`` are the decimal places of the population's
    currency: money here is in major units.
    """

    population: str
    until: int
    start: int
    shoppers: Shoppers
    events: Events
    lines: Lines
    exposures: Exposures
    offers: Offers
    items: Items
    categories: list[str]
    digits: int = 2
    simulated: bool = False
    reviews: Reviews = field(default_factory=Reviews)
