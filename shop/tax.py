"""Value added tax, which the shop's prices include: its rates, and how much of an amount it is.

A line is split by the app, rounded by itself; the shares of a page are sums of lines, so they add up to the cent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings

from shop.models import Product


@dataclass(frozen=True, slots=True)
class TaxShare:
    """How much of what is paid is tax at one rate, in percent."""

    rate: Decimal
    tax_minor: int


def rate_of(product: Product) -> Decimal:
    """Return a product's rate in percent: its category's own, or the usual one."""
    rate: Decimal = settings.SHOP_TAX_RATES.get(product.category.slug, settings.SHOP_TAX_RATE)
    return rate


def by_rate(parts: Iterable[tuple[Decimal, int]]) -> tuple[TaxShare, ...]:
    """Add up rate and tax of each line, the highest rate first; untaxed lines have no share."""
    sums: dict[Decimal, int] = defaultdict(int)
    for rate, tax_minor in parts:
        if rate:
            sums[rate.normalize()] += tax_minor
    return tuple(TaxShare(rate, sums[rate]) for rate in sorted(sums, reverse=True))
