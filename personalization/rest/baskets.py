"""What the endpoints about money share: baskets and their prices, who asks, and the keys under which they ask.

What a browser says about prices, costs, the shop's own promotions and delivery is not believed; what the shop's own
systems say is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from personalization import conf
from personalization.models import Shopper
from personalization.ports import adapters
from personalization.tracking import identity, limits, secrets
from personalization.types import Basket, BasketLine, Facts, ProductData

MOST = 10**12
MOST_LINES = 1000
ONLY_SHOP = "Read from the shop's own systems only."


class LineSerializer(serializers.Serializer[Any]):
    item_id = serializers.CharField(max_length=100)
    quantity = serializers.IntegerField(min_value=1, max_value=100_000)
    unit_price_minor = serializers.IntegerField(min_value=0, max_value=MOST)
    category = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    host_discount_minor = serializers.IntegerField(
        min_value=0, max_value=MOST, required=False, default=0, help_text=ONLY_SHOP
    )
    unit_cost_minor = serializers.IntegerField(
        min_value=0, max_value=MOST, required=False, allow_null=True, default=None, help_text=ONLY_SHOP
    )


class BasketSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField(max_length=3)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    shipping_minor = serializers.IntegerField(
        min_value=0, max_value=MOST, required=False, default=0, help_text=ONLY_SHOP
    )
    prices_include_tax = serializers.BooleanField(required=False, default=True, help_text=ONLY_SHOP)
    lines: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=LineSerializer(), allow_empty=False, max_length=MOST_LINES
    )


class AmountSerializer(serializers.Serializer[Any]):
    amount_minor = serializers.IntegerField()


class ReleasedSerializer(serializers.Serializer[Any]):
    released = serializers.BooleanField()


class OrderSerializer(serializers.Serializer[Any]):
    order_label = serializers.CharField(max_length=80)
    order_id = serializers.CharField(max_length=100)


class RefundSerializer(OrderSerializer):
    operation_id = serializers.CharField(max_length=80)
    amount_minor = serializers.IntegerField(min_value=0, max_value=MOST, required=False)


class CanRedeem(BasePermission):
    """The shop's own systems: accounts with the permission to add redemptions."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_shop(request)


def is_shop(request: Request) -> bool:
    """Tell whether one of the shop's own systems asks."""
    return bool(request.user and request.user.has_perm("personalization.add_redemption"))


def valid(serializer: type[serializers.BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the body as the serializer reads it; raises ValidationError with the fields that do not fit."""
    checked = serializer(data=request.data)
    checked.is_valid(raise_exception=True)
    data: dict[str, Any] = checked.validated_data
    return data


def as_told(data: dict[str, Any]) -> Basket:
    """Return a basket just as it was sent: for the shop's own systems only."""
    lines = tuple(BasketLine(**line) for line in data["lines"])
    basket = Basket(
        lines=lines,
        currency=data["currency"],
        reference=data["reference"],
        shipping_minor=data["shipping_minor"],
        prices_include_tax=data["prices_include_tax"],
    )
    if sum(line.list_minor for line in lines) > MOST:
        raise serializers.ValidationError({"basket": ["The lines add up to more than can be sold."]})
    return basket


def priced(data: dict[str, Any], request: Request) -> Basket:
    """Return the basket as the catalogue prices it, unless one of the shop's own systems sent it.

    A browser's basket has no delivery costs and no promotions of the shop's: who wants offers on those lets the
    shop's server ask. Costs come from the catalogue wherever they are not told, so that nothing sells below them.
    Without a catalogue adapter the given prices stand; then only the comparison in ``redeem`` protects the shop.
    """
    basket = as_told(data)
    catalogue = adapters.catalog()
    products = catalogue.get([line.item_id for line in basket.lines]) if catalogue is not None else None
    if is_shop(request):
        return basket if products is None else replace(basket, lines=_with_costs(basket.lines, products))
    lines = tuple(replace(line, host_discount_minor=0, unit_cost_minor=None) for line in basket.lines)
    if products is not None:
        lines = _priced(lines, products, basket.currency)
    sold = replace(basket, lines=lines, shipping_minor=0, prices_include_tax=True)
    if sold.total_minor > MOST:
        raise serializers.ValidationError({"basket": ["The lines add up to more than can be sold."]})
    return sold


def _with_costs(lines: tuple[BasketLine, ...], products: dict[str, ProductData]) -> tuple[BasketLine, ...]:
    return tuple(
        replace(line, unit_cost_minor=products[line.item_id].cost_minor)
        if line.unit_cost_minor is None and line.item_id in products
        else line
        for line in lines
    )


def _priced(lines: tuple[BasketLine, ...], products: dict[str, ProductData], currency: str) -> tuple[BasketLine, ...]:
    wanted: Counter[str] = Counter()
    sold = []
    for line in lines:
        product = products.get(line.item_id)
        if product is None or not product.visible:
            raise serializers.ValidationError({"basket": [f"There is no product {line.item_id!r}."]})
        if product.currency != currency:
            raise serializers.ValidationError({"basket": [f"{line.item_id!r} is sold in {product.currency}."]})
        wanted[line.item_id] += line.quantity
        if product.stock is not None and wanted[line.item_id] > product.stock:
            raise serializers.ValidationError({"basket": [f"Only {product.stock} of {line.item_id!r} are in stock."]})
        sold.append(
            replace(
                line,
                unit_price_minor=product.price_minor,
                category=product.category,
                unit_cost_minor=product.cost_minor,
            )
        )
    return tuple(sold)


def shopper_of(request: Request) -> Shopper:
    """Return the request's shopper; one without any consent is made for somebody unknown."""
    shopper = identity.shopper_for(request._request, create=True)
    assert shopper is not None
    return shopper


def named_shopper(request: Request, data: dict[str, Any]) -> Shopper | None:
    """Return the shopper in whose name one of the shop's own systems asks; None where it names nobody."""
    if "shopper" not in data:
        return None
    if not is_shop(request):
        raise PermissionDenied
    found = Shopper.objects.filter(key=data["shopper"], population=conf.get().population).first()
    if found is None:
        raise serializers.ValidationError({"shopper": ["There is no such shopper."]})
    return found


def own_key(shopper: Shopper, key: str, purpose: str = "reservation") -> str:
    """Return the key as stored: it collides with no other shopper's key, and with none of the shop's own."""
    return f"api:{secrets.digest(f'{shopper.key}:{key}', purpose)}"


def facts_of(request: Request) -> Facts | None:
    """Return where an order comes from, as far as a browser cannot invent it; None for the shop's own systems."""
    return None if is_shop(request) else Facts(network=limits.address_of(request._request))
