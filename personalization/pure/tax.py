"""Tax on a basket after its discounts: net and tax per line, to the cent.

Each line is rounded by itself, half up, and one of net and tax is the difference to the other: lines, and so their
sums, always reconcile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from personalization.types import Basket, Discount


@dataclass(frozen=True, slots=True)
class Taxed:
    """An amount in minor units with its tax; ``gross_minor`` is ``net_minor`` plus ``tax_minor``."""

    gross_minor: int
    net_minor: int
    tax_minor: int

    def __add__(self, other: Taxed) -> Taxed:
        return Taxed(
            self.gross_minor + other.gross_minor, self.net_minor + other.net_minor, self.tax_minor + other.tax_minor
        )


NOTHING = Taxed(0, 0, 0)


@dataclass(frozen=True, slots=True)
class TaxedBasket:
    """What is to be paid: ``lines`` in the basket's order, delivery, and the sum of both."""

    lines: tuple[Taxed, ...]
    shipping: Taxed
    total: Taxed


def taxed(amount_minor: int, rate: Decimal, *, included: bool) -> Taxed:
    """Split an amount that includes its tax, or add the tax to one that does not. ``rate`` is in percent, not negative.

    Raises ValueError for a negative amount or rate.
    """
    if amount_minor < 0 or rate < 0:
        raise ValueError("An amount and its tax rate are not negative.")
    base = 100 + rate if included else Decimal(100)
    tax = int((amount_minor * rate / base).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return Taxed(amount_minor, amount_minor - tax, tax) if included else Taxed(amount_minor + tax, amount_minor, tax)


def after_discounts(basket: Basket, discounts: Sequence[Discount], shipping_rate: Decimal = Decimal(0)) -> TaxedBasket:
    """Return the basket's lines and delivery after ``discounts``, with tax.

    Delivery is untaxed unless its rate in percent is given. Raises ValueError if more comes off than there is.
    """
    included = basket.prices_include_tax
    lines = tuple(
        taxed(
            line.total_minor - sum(discount.per_line_minor[place] for discount in discounts),
            line.tax_rate,
            included=included,
        )
        for place, line in enumerate(basket.lines)
    )
    off = sum(discount.shipping_minor for discount in discounts)
    shipping = taxed(basket.shipping_minor - off, shipping_rate, included=included)
    return TaxedBasket(lines, shipping, _sum([*lines, shipping]))


def _sum(parts: Iterable[Taxed]) -> Taxed:
    return sum(parts, NOTHING)
