"""The simulation's columns as the app's own data classes, ready for the bulk verbs of the public door."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from personalization.types import CONSENT_PURPOSES, Arm, EventData, ExposureData, ShopperData
from shop.money import currency
from shop.personalization import ShopOrders
from shop.simulation.hostrows import order_number, with_order_row
from shop.simulation.log import Exposures, Kind, Orders
from shop.simulation.people import People
from shop.simulation.words import CATEGORIES, CITIES, GENDERS, TIERS
from shop.simulation.world import World

SOURCE = "simulation"
ORDER_SOURCE = "orders"
"""Orders that the shop has rows of carry the identity under which back-filling would store them."""
SLUGS = tuple(words.slug for words in CATEGORIES)
DEVICES = ("mobile", "tablet", "desktop")
VIEWS = frozenset({Kind.PRODUCT_VIEWED, Kind.CATEGORY_VIEWED})


@dataclass(frozen=True)
class Keys:
    """What the numbers of the simulation are called outside: products, shoppers, offers (over all waves)."""

    start: datetime
    products: list[str]
    shoppers: list[int]
    offers: list[int]


def external_id(n: int) -> str:
    """Return the id under which the app knows the simulation's shopper ``n``."""
    return f"{SOURCE}:{n}"


def shopper_data(people: People, users: list[int | None], start: datetime) -> Iterator[ShopperData]:
    """Yield every shopper; those who refused are known by their orders alone."""
    for n in range(len(people)):
        account = users[n] is not None
        yield ShopperData(
            external_id=external_id(n),
            user_id=users[n],
            joined_at=start + timedelta(seconds=int(people.joined[n])),
            attributes=_profile(people, n) if account else {},
            purposes=frozenset(CONSENT_PURPOSES) if people.consents[n] else frozenset(),
            consent_source=SOURCE,
        )


def _profile(people: People, n: int) -> dict[str, Any]:
    """Describe an account as the shop's profile adapter does."""
    return {
        "age": int(people.age[n]),
        "gender": GENDERS[people.gender[n]] or None,
        "city": CITIES[people.city[n]],
        "tier": TIERS[people.tier[n]],
    }


def exposure_data(
    exposures: Exposures, keys: Keys, *, campaign: int, first_offer: int, name: str
) -> list[ExposureData]:
    """Return a wave's exposures, control included."""
    columns = zip(
        exposures.who.tolist(),
        exposures.offer.tolist(),
        exposures.propensity.tolist(),
        exposures.exposed.tolist(),
        exposures.window_ends.tolist(),
        exposures.viewed.tolist(),
        exposures.clicked.tolist(),
        exposures.redeemed.tolist(),
        exposures.purchased.tolist(),
        exposures.revenue.tolist(),
        exposures.cost.tolist(),
        strict=True,
    )

    def moment(seconds: int) -> datetime | None:
        return keys.start + timedelta(seconds=seconds) if seconds >= 0 else None

    return [
        ExposureData(
            source=SOURCE,
            source_row=f"{name}-{who}",
            shopper_id=keys.shoppers[who],
            exposed_at=keys.start + timedelta(seconds=exposed),
            window_ends_at=keys.start + timedelta(seconds=ends),
            campaign_id=campaign,
            offer_id=keys.offers[first_offer + offer] if offer >= 0 else None,
            arm=Arm.TREATMENT if offer >= 0 else Arm.CONTROL,
            propensity=propensity,
            viewed_at=moment(viewed),
            clicked_at=moment(clicked),
            redeemed_at=moment(redeemed),
            purchased_at=moment(purchased),
            revenue_minor=revenue,
            cost_minor=cost,
        )
        for who, offer, propensity, exposed, ends, viewed, clicked, redeemed, purchased, revenue, cost in columns
    ]


def devices_of(people: People) -> list[str]:
    """Return what each shopper looks at the shop with: phones, the more so the younger they are.

    It has chance of its own: it sets no taste, and the rest of the simulation stays as it was.
    """
    phones = np.clip(0.95 - (people.age - 18) / 90, 0.25, 0.95)
    drawn = np.random.default_rng(len(people)).random(len(people))
    tablets = phones + 0.3 * (1 - phones)
    found: list[str] = np.array(DEVICES)[(drawn > phones).astype(int) + (drawn > tablets)].tolist()
    return found


class EventWriter:
    """Turns event columns into the app's events. ``prefix`` keeps the event ids of two logs apart."""

    def __init__(self, world: World, orders: Orders, keys: Keys, prefix: str, *, shop_orders: bool) -> None:
        self._world = world
        self._orders = orders
        self._keys = keys
        self._prefix = prefix
        self._in_shop = with_order_row(world) if shop_orders else np.zeros(len(orders), dtype=bool)
        kinds = world.catalogue.searches
        self._results = {kind: kinds.count(kind) for kind in set(kinds)}
        self._devices = devices_of(world.people)

    def orders_without_consent(self) -> list[EventData]:
        """Return the orders of shoppers who refused: contract rows, and all there is of them."""
        silent = np.flatnonzero(~self._world.people.consents[self._orders.who])
        return [self._order(int(n)) for n in silent]

    def events(self, columns: dict[str, np.ndarray], begin: int, end: int | None) -> list[EventData]:
        """Return the events of rows ``begin`` to ``end`` (None: the last)."""
        part = zip(*(columns[name][begin:end].tolist() for name in columns), strict=True)
        return [self._event(begin + row, *values) for row, values in enumerate(part)]

    def _event(
        self,
        row: int,
        time: int,
        who: int,
        kind: int,
        item: int,
        category: int,
        offer: int,
        first: int,
        second: int,
    ) -> EventData:
        if kind == Kind.ORDER_PLACED:
            return self._order(first)
        return EventData(
            source=SOURCE,
            event_id=f"{self._prefix}{row}",
            type=Kind(kind).event_type,
            shopper_id=self._keys.shoppers[who],
            occurred_at=self._keys.start + timedelta(seconds=time),
            item_id=self._keys.products[item] if item >= 0 else "",
            category=SLUGS[category] if category >= 0 else "",
            offer_id=self._keys.offers[offer] if offer >= 0 else None,
            value_minor=int(self._orders.discount[first]) if kind == Kind.COUPON_REDEEMED else None,
            properties=self._properties(kind, who, first, second),
        )

    def _properties(self, kind: int, who: int, first: int, second: int) -> dict[str, Any]:
        if kind in VIEWS:
            return {"device": self._devices[who]}
        if kind == Kind.SEARCH_PERFORMED:
            query = self._world.catalogue.searches[first]
            return {"query": query, "results": self._results[query]}
        if kind == Kind.BASKET_CHANGED:
            return {"quantity": first, "basket_total_minor": second}
        return {}

    def _order(self, n: int) -> EventData:
        orders, catalogue = self._orders, self._world.catalogue
        number = self._prefix + order_number(self._keys.start, orders, n)
        if self._in_shop[n]:
            number = number.removeprefix(self._prefix)
        return EventData(
            source=ORDER_SOURCE if self._in_shop[n] else SOURCE,
            event_id=f"{ShopOrders.label}:{number}" if self._in_shop[n] else f"order:{number}",
            type=Kind.ORDER_PLACED.event_type,
            shopper_id=self._keys.shoppers[orders.who[n]],
            occurred_at=self._keys.start + timedelta(seconds=int(orders.time[n])),
            value_minor=int(orders.gross[n] - orders.discount[n]),
            properties={
                "order_id": number,
                "currency": currency(),
                "discount_minor": int(orders.discount[n]),
                "lines": [
                    {
                        "item_id": self._keys.products[item],
                        "quantity": int(quantity),
                        "unit_price_minor": int(catalogue.price[item]),
                        "category": SLUGS[catalogue.category[item]],
                    }
                    for item, quantity in zip(orders.items[n], orders.quantities[n], strict=True)
                    if item >= 0
                ],
            },
        )
