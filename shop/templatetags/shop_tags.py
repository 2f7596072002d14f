"""What the shop's templates need beyond Django: money, product pictures, products by id."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from zlib import crc32

from django import template
from django.utils.formats import number_format

from shop import money as wallet
from shop.models import Category, Product
from shop.personalization import is_key

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

BACKDROPS = 4
PLAIN = BACKDROPS
LAYOUTS = (
    ("translate(0 0)",),
    ("translate(-2 90) scale(.63)", "translate(122 90) scale(.63)"),
    ("translate(-32 -50) scale(1.2)",),
    tuple(f"translate({x} {y}) scale(.52)" for x in (5, 149) for y in (4, 140)),
)
"""Where a picture's object stands, as SVG transforms: once, as a pair, close up, as a pattern of four."""


@register.filter
def money(minor: int, code: str = "") -> str:
    """Show minor units as an amount."""
    return wallet.money(minor, code)


@register.filter
def rate(percent: Decimal) -> str:
    """Show a percentage without needless decimals: 19, 5.5."""
    return number_format(Decimal(f"{percent:f}"))


@register.inclusion_tag("shop/_picture.html")
def product_picture(product: Product) -> dict[str, object]:
    """Draw a product: its category's object and colours, arranged by chance that its slug decides."""
    chance = crc32(product.slug.encode())
    layout = (0, 2, 1, 0, 3, 0, 2)[chance // 40 % 7]
    return _picture(
        product.category,
        scheme=(0, 0, 1, 0, 2)[chance % 5],
        layout=layout,
        backdrop=PLAIN if layout == 3 else chance // 5 % BACKDROPS,
        flip=chance // 20,
    )


@register.inclusion_tag("shop/_picture.html")
def category_picture(category: Category) -> dict[str, object]:
    """Draw a category's object in its colours."""
    return _picture(category, scheme=0, layout=0, backdrop=(category.pk or 0) % BACKDROPS, flip=0)


def _picture(category: Category, *, scheme: int, layout: int, backdrop: int, flip: int) -> dict[str, object]:
    """Return the colours and shapes of a picture; a category without an object of its own gets a vase."""
    ground, middle, deep, light = PALETTES[(category.pk or 0) % len(PALETTES)]
    paper, back, main, second, spark = (
        (ground, light, deep, middle, light),
        (middle, ground, deep, light, middle),
        (deep, middle, light, ground, middle),
    )[scheme]
    return {
        "paper": paper,
        "back": back,
        "main": main,
        "second": second,
        "spark": spark,
        "backdrop": backdrop,
        "flip": flip % 2,
        "places": LAYOUTS[layout],
        "objects": [f"shop/objects/{category.slug}.html", "shop/objects/other.html"],
    }


@register.simple_tag
def products_by_id(item_ids: Sequence[str], limit: int = 8) -> list[Product]:
    """Turn recommended ids into products that can be bought now, in the order given."""
    keys = [int(item_id) for item_id in item_ids if is_key(item_id)]
    found = Product.objects.filter(visible=True, stock__gt=0).select_related("category", "brand").in_bulk(keys)
    return [found[key] for key in keys if key in found][:limit]
