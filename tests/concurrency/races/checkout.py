"""Races at the demo shop's checkout, over HTTP: the last piece, and the form that is sent twice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock
from uuid import uuid4

from django.db.models import QuerySet, Sum
from django.test import Client

from personalization.models import Event
from shop.models import Category, Order, OrderLine, Product
from tests.concurrency import arena

LEFT = 3
ADDRESS = {
    "name": "Ada",
    "email": "ada@example.com",
    "address": "Street 1",
    "postcode": "12345",
    "city": "Town",
    "country": "Land",
}
HIDDEN = re.compile(r'name="(token|total_minor|discount_minor)" value="([^"]*)"')


class Visitor:
    """A guest with one product in the basket and the checkout page open."""

    def __init__(self, product: Product) -> None:
        client = Client(headers={"user-agent": "Mozilla/5.0 Firefox/128.0"})
        client.post(f"/basket/add/{product.slug}/", {"quantity": 1})
        page = client.get("/checkout/").content.decode()
        self.form = ADDRESS | dict(HIDDEN.findall(page))
        self.cookies = client.cookies

    def send(self) -> None:
        """Send the form, as one of perhaps several tabs of the same browser."""
        tab = Client(headers={"user-agent": "Mozilla/5.0 Firefox/128.0"})
        tab.cookies.load({name: morsel.value for name, morsel in self.cookies.items()})
        answer = tab.post("/checkout/", self.form)
        assert answer.status_code in {200, 302, 409}, f"{answer.status_code}: {answer.content[:500]!r}"


def product(stock: int) -> Product:
    """Make a product of which so many pieces are left."""
    category, _ = Category.objects.get_or_create(slug="tea", defaults={"name": "Tea"})
    return Product.objects.create(title="Green tea", slug=uuid4().hex, category=category, price_minor=1000, stock=stock)


class LastPiece(arena.Race):
    """Many guests order the same product; ``LEFT`` pieces are there."""

    def prepare(self) -> None:
        self.product = product(LEFT)
        self.visitors = [Visitor(self.product) for _ in range(self.threads)]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [visitor.send for visitor in self.visitors]

    def _sold(self) -> int:
        return OrderLine.objects.filter(product=self.product).aggregate(sum=Sum("quantity"))["sum"] or 0

    def overruns(self) -> list[str]:
        sold = self._sold()
        return [f"{sold} pieces sold of {LEFT}"] if sold > LEFT else []

    def faults(self) -> list[str]:
        self.product.refresh_from_db()
        good = self._sold() == LEFT and self.product.stock == 0
        return [] if good else [f"{self._sold()} pieces sold of {LEFT}, {self.product.stock} left"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with arena.check_then_act():
            yield


class SentTwice(arena.Race):
    """One checkout form is sent many times at once: one order, one event."""

    def prepare(self) -> None:
        self.product = product(100)
        self.visitor = Visitor(self.product)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self.visitor.send] * self.threads

    def _orders(self) -> list[str]:
        orders = Order.objects.filter(checkout_token=self.visitor.form["token"])
        return list(orders.values_list("number", flat=True))

    def overruns(self) -> list[str]:
        orders = self._orders()
        return [f"one form made {len(orders)} orders"] if len(orders) > 1 else []

    def faults(self) -> list[str]:
        orders = self._orders()
        self.product.refresh_from_db()
        events = Event.objects.filter(type="order_placed", event_id__in=[f"shop.order:{number}" for number in orders])
        good = len(orders) == 1 and events.count() == 1 and self.product.stock == 99
        return [] if good else [f"{len(orders)} orders, {events.count()} events, {self.product.stock} of 100 left"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        def look_then_create(rows: QuerySet[Any], defaults: dict[str, Any], **keys: Any) -> tuple[Any, bool]:
            found = rows.filter(**keys).first()
            time.sleep(arena.PAUSE_SECONDS)
            return (found, False) if found else (rows.create(**keys, **defaults), True)

        arena.drop_unique(Order, "checkout_token")
        naive = mock.patch.object(QuerySet, "get_or_create", look_then_create)
        with arena.check_then_act(), naive:
            yield
