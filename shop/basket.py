"""The basket: product id → quantity in the session, priced from the catalogue each time it is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from django.http import HttpRequest

from personalization.ports.signals import basket_changed
from personalization.types import Basket, BasketLine
from shop import tax
from shop.models import Product
from shop.money import currency

SESSION_KEY = "shop_basket"
MAX_QUANTITY = 99
MAX_LINES = 50


class BasketFull(Exception):
    """The basket holds as many different products as it can."""


@dataclass(frozen=True, slots=True)
class Line:
    """One product of the basket at today's price."""

    product: Product
    quantity: int

    @property
    def total_minor(self) -> int:
        return self.quantity * self.product.price_minor

    @property
    def available(self) -> bool:
        """Whether this many can be ordered now."""
        return self.product.visible and self.product.stock >= self.quantity


class SessionBasket:
    """What this session is about to buy. Products that were taken off sale drop out by themselves."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @property
    def quantities(self) -> dict[str, int]:
        stored: dict[str, int] = self.request.session.get(SESSION_KEY, {})
        return stored

    @property
    def count(self) -> int:
        """Number of pieces; needs no query."""
        return sum(self.quantities.values())

    @cached_property
    def lines(self) -> list[Line]:
        """The lines in the order in which they were put in."""
        quantities = self.quantities
        found = Product.objects.select_related("category", "brand").in_bulk([int(key) for key in quantities])
        return [
            Line(found[int(key)], quantity)
            for key, quantity in quantities.items()
            if int(key) in found and found[int(key)].visible
        ]

    @property
    def total_minor(self) -> int:
        return sum(line.total_minor for line in self.lines)

    def quantity_of(self, product: Product) -> int:
        return self.quantities.get(str(product.pk), 0)

    def set(self, product: Product, quantity: int) -> None:
        """Put this many into the basket; 0 takes the product out."""
        quantities = dict(self.quantities)
        key = str(product.pk)
        if quantity <= 0:
            quantities.pop(key, None)
        elif key not in quantities and len(quantities) >= MAX_LINES:
            raise BasketFull
        else:
            quantities[key] = min(quantity, MAX_QUANTITY)
        self._store(quantities)
        basket_changed.send(
            sender=type(self),
            request=self.request,
            item_id=key,
            category=product.category.slug,
            quantity=max(0, quantities.get(key, 0)),
            basket_total_minor=self.total_minor,
        )

    def clear(self) -> None:
        """Empty the basket after an order; not a change of mind, so no signal."""
        self._store({})

    def as_data(self) -> Basket:
        """Return the basket in the words of the personalisation app."""
        return Basket(
            lines=tuple(
                BasketLine(
                    item_id=str(line.product.pk),
                    quantity=line.quantity,
                    unit_price_minor=line.product.price_minor,
                    category=line.product.category.slug,
                    tax_rate=tax.rate_of(line.product),
                )
                for line in self.lines
            ),
            currency=currency(),
        )

    def _store(self, quantities: dict[str, int]) -> None:
        self.request.session[SESSION_KEY] = quantities
        self.__dict__.pop("lines", None)
