"""What the shop's templates need beyond Django: money, product pictures, products by id."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from django import template

from shop import money as wallet
from shop.models import Category, Product

register = template.Library()

PALETTES = (
    ("#efe7dc", "#d9b99b", "#8a5a3c", "#f8f3ec"),
    ("#e3ebe6", "#a9c4b4", "#3f6b57", "#f4f8f5"),
    ("#f3e6e0", "#e2b3a1", "#a5573f", "#fbf4f0"),
    ("#e8ecdc", "#bfca94", "#63733a", "#f7f9f0"),
    ("#e1e9ed", "#a3bfcc", "#376478", "#f3f7f9"),
    ("#efe5ea", "#d3a9bb", "#86496a", "#f9f3f6"),
    ("#f4ecd6", "#e6c877", "#96701a", "#fcf8ec"),
    ("#e7e6f0", "#b9b5d8", "#564f8c", "#f6f5fa"),
    ("#dfebea", "#97c5c1", "#2c6b68", "#f1f8f7"),
    ("#ebe6e2", "#c4b2a6", "#64524a", "#f7f4f2"),
    ("#f2e4e4", "#dda5a5", "#9a4545", "#fbf3f3"),
    ("#e3e7ef", "#aab9d6", "#41598c", "#f4f6fa"),
)
"""Per category: ground, middle, deep, light. Neighbouring categories get colours that differ."""

PICTURES = 6


@register.filter
def money(minor: int, code: str = "") -> str:
    """Show minor units as an amount."""
    return wallet.money(minor, code)


@register.inclusion_tag("shop/_picture.html")
def product_picture(product: Product) -> dict[str, object]:
    """Draw a product: its category's colours, one of a few still lifes, its initial."""
    return {
        **_colours(product.category),
        "shape": crc32(product.slug.encode()) % PICTURES,
        "flip": crc32(product.title.encode()) % 2,
        "initial": product.title[:1].upper(),
    }


@register.inclusion_tag("shop/_picture.html")
def category_picture(category: Category) -> dict[str, object]:
    """Draw a category in its colours."""
    return {**_colours(category), "shape": category.pk % PICTURES, "flip": 0, "initial": ""}


def _colours(category: Category) -> dict[str, object]:
    ground, middle, deep, light = PALETTES[(category.pk or 0) % len(PALETTES)]
    return {"ground": ground, "middle": middle, "deep": deep, "light": light}


@register.simple_tag
def products_by_id(item_ids: Sequence[str], limit: int = 8) -> list[Product]:
    """Turn recommended ids into products that can be bought now, in the order given."""
    keys = [int(item_id) for item_id in item_ids if str(item_id).isdigit()]
    found = Product.objects.filter(visible=True, stock__gt=0).select_related("category", "brand").in_bulk(keys)
    return [found[key] for key in keys if key in found][:limit]
