"""A host's adapters, as small as they can be: the tests fill their lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from personalization.types import OrderData, ProductData, ProfileData, Purpose

PRODUCTS: list[ProductData] = []
ORDERS: list[OrderData] = []
PROFILES: dict[Any, ProfileData] = {}
PATHS = {
    "CATALOG": "tests.personalization.host.Catalog",
    "ORDERS": "tests.personalization.host.Orders",
    "SHOPPERS": "tests.personalization.host.Shoppers",
}


class Catalog:
    label = "host.product"

    def products(self) -> Iterator[ProductData]:
        yield from PRODUCTS

    def get(self, item_ids: Sequence[str]) -> dict[str, ProductData]:
        return {item.item_id: item for item in PRODUCTS if item.item_id in item_ids}


class Orders:
    label = "host.order"

    def orders(self, since: datetime | None = None) -> Iterator[OrderData]:
        yield from (order for order in ORDERS if since is None or order.placed_at >= since)


class Shoppers:
    def profile(self, user: Any) -> ProfileData:
        return PROFILES.get(user.pk, ProfileData())

    def profiles(self) -> Iterator[tuple[Any, ProfileData]]:
        yield from PROFILES.items()


class Consent:
    """A consent manager that keeps its word in a header, so that a test can say what was agreed to."""

    def purposes(self, request: HttpRequest) -> frozenset[Purpose]:
        return frozenset(map(Purpose, request.headers.get("X-Purposes", "").split()))


class Broken:
    """Every adapter at once, and every one of them down."""

    label = "host.broken"

    def __getattr__(self, name: str) -> Any:
        raise ConnectionError("the shop is not there")


def empty() -> None:
    PRODUCTS.clear()
    ORDERS.clear()
    PROFILES.clear()


def product(item_id: str, **fields: Any) -> ProductData:
    given = {"title": item_id.title(), "price_minor": 1000, "currency": "EUR", **fields}
    return ProductData(item_id=item_id, **given)
