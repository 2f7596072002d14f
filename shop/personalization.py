"""The shop's side of the personalisation app: three adapters, named in ``settings.PERSONALIZATION``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

from django.utils import timezone

from personalization.types import BasketLine, OrderData, ProductData, ProfileData
from shop.models import CustomerProfile, Order, Product
from shop.money import currency

CHUNK = 500


class ShopCatalog:
    """Products, hidden ones included: the app decides what may be shown from ``visible`` and ``stock``."""

    label = "shop.product"

    def products(self) -> Iterator[ProductData]:
        rows = Product.objects.select_related("category", "brand").order_by("pk")
        yield from map(product_data, rows.iterator(chunk_size=CHUNK))

    def get(self, item_ids: Sequence[str]) -> dict[str, ProductData]:
        keys = [int(item_id) for item_id in item_ids if is_key(item_id)]
        rows = Product.objects.filter(pk__in=keys).select_related("category", "brand")
        return {str(row.pk): product_data(row) for row in rows}


class ShopOrders:
    """Orders with their lines. An order's id is its number, in events and in redemptions alike."""

    label = "shop.order"

    def orders(self, since: datetime | None = None) -> Iterator[OrderData]:
        rows = Order.objects.order_by("placed_at", "pk").prefetch_related("lines__product__category")
        if since is not None:
            rows = rows.filter(placed_at__gte=since)
        yield from map(order_data, rows.iterator(chunk_size=CHUNK))


class ShopShoppers:
    """What the shop knows of its accounts."""

    def profile(self, user: Any) -> ProfileData:
        row = CustomerProfile.objects.filter(user_id=user.pk).first()
        return profile_data(row) if row else ProfileData(joined_at=user.date_joined)

    def profiles(self) -> Iterator[tuple[Any, ProfileData]]:
        for row in CustomerProfile.objects.order_by("pk").iterator(chunk_size=CHUNK):
            yield row.user_id, profile_data(row)


def is_key(item_id: str) -> bool:
    """Tell whether this id can be a product's primary key; other sources' ids can be anything."""
    return item_id.isascii() and item_id.isdigit() and len(item_id) <= 18


def product_data(product: Product) -> ProductData:
    """Describe a product; needs ``category`` and ``brand`` joined."""
    return ProductData(
        item_id=str(product.pk),
        title=product.title,
        price_minor=product.price_minor,
        currency=currency(),
        category=product.category.slug,
        brand=product.brand.name if product.brand else "",
        cost_minor=product.cost_minor,
        stock=product.stock,
        visible=product.visible,
        url=product.get_absolute_url(),
    )


def order_data(order: Order) -> OrderData:
    """Describe an order; needs its lines with product and category prefetched."""
    return OrderData(
        order_id=order.number,
        placed_at=order.placed_at,
        lines=tuple(
            BasketLine(
                item_id=str(line.product_id),
                quantity=line.quantity,
                unit_price_minor=line.unit_price_minor,
                category=line.product.category.slug,
            )
            for line in order.lines.all()
        ),
        total_minor=order.total_minor,
        currency=order.currency,
        user_id=order.user_id,
        guest_ref="" if order.user_id else order.email,
        discount_minor=order.discount_minor,
        cancelled=order.status == Order.Status.CANCELLED,
    )


def profile_data(profile: CustomerProfile) -> ProfileData:
    """Describe an account by age (never the date of birth), gender, city and tier."""
    return ProfileData(
        joined_at=profile.joined_at,
        attributes={
            "age": age_on(timezone.localdate(), profile.birth_date),
            "gender": profile.gender or None,
            "city": profile.city or None,
            "tier": profile.tier,
        },
    )


def age_on(day: date, birth_date: date | None) -> int | None:
    """Return full years of age on a day."""
    if birth_date is None:
        return None
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))
