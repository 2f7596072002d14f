"""Between the basket and the campaign engine: which coupons are applied, what all offers take off, why one does not.

The session keeps the coupons' ids, never their codes. Offers that apply by themselves come with the quote.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from personalization import api
from personalization.types import CouponPreview
from shop.basket import Line, SessionBasket
from shop.tax import TaxShare, by_rate

SESSION_KEY = "shop_coupons"
MOST = 5


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A basket line with its share of the discount."""

    line: Line
    discount_minor: int

    @property
    def total_minor(self) -> int:
        return self.line.total_minor - self.discount_minor


@dataclass(frozen=True, slots=True)
class Saving:
    """One offer that is applied. ``coupon_id`` is empty where it applies by itself."""

    name: str
    coupon_id: str
    off_minor: int
    extras: tuple[str, ...]

    @property
    def negative_minor(self) -> int:
        return -self.off_minor


@dataclass(frozen=True, slots=True)
class Refused:
    """A coupon of the basket that takes nothing off, and why."""

    name: str
    coupon_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What the basket costs now. ``token`` holds the order to it; empty where no offer is applied."""

    lines: tuple[PricedLine, ...]
    savings: tuple[Saving, ...]
    refused: tuple[Refused, ...]
    coupon_ids: tuple[str, ...]
    token: str
    taxes: tuple[TaxShare, ...] = ()
    """What of the total is tax, by rate."""

    @property
    def subtotal_minor(self) -> int:
        return sum(priced.line.total_minor for priced in self.lines)

    @property
    def discount_minor(self) -> int:
        return sum(priced.discount_minor for priced in self.lines)

    @property
    def total_minor(self) -> int:
        return self.subtotal_minor - self.discount_minor

    @property
    def orderable(self) -> bool:
        return bool(self.lines) and all(priced.line.available for priced in self.lines)


def applied(request: HttpRequest) -> list[str]:
    """Return the ids of the coupons applied to the basket."""
    return [str(coupon_id) for coupon_id in request.session.get(SESSION_KEY, [])]


def remove(request: HttpRequest, coupon_id: str = "") -> None:
    """Take one coupon off the basket, or all; the shopper keeps them."""
    kept = [key for key in applied(request) if coupon_id and key != coupon_id]
    request.session[SESSION_KEY] = kept


def apply(request: HttpRequest, *, code: str = "", coupon_id: str = "") -> CouponPreview:
    """Apply a coupon by its code or id. Raises CouponRefused or BasketNotEligible; then nothing changes."""
    preview = api.preview(
        shopper=api.shopper_for(request),
        basket=SessionBasket(request).as_data(),
        code=code.strip(),
        coupon_id=coupon_id,
        request=request,
    )
    others = [key for key in applied(request) if key != preview.coupon_id]
    request.session[SESSION_KEY] = [*others, preview.coupon_id][-MOST:]
    return preview


def quote(request: HttpRequest, basket: SessionBasket) -> Quote:
    """Price the basket with the applied coupons and what applies by itself.

    A coupon that can never be used again is taken off the basket, and said once.
    """
    asked = applied(request)
    if not basket.lines:
        return Quote((), (), (), tuple(asked), "")
    data = basket.as_data()
    priced = api.quote(shopper=api.shopper_for(request), basket=data, coupon_ids=asked, request=request)
    taxed = api.tax_after_discounts(data, [item.discount for item in priced.applied])
    gone = [item.coupon_id for item in priced.refused if item.coupon_id and item.offer_id is None]
    for coupon_id in gone:
        remove(request, coupon_id)
    return Quote(
        lines=tuple(PricedLine(line, share) for line, share in zip(basket.lines, priced.per_line_minor, strict=True)),
        savings=tuple(_saving(item) for item in priced.applied),
        refused=tuple(Refused(item.name, item.coupon_id, item.message) for item in priced.refused if item.coupon_id),
        coupon_ids=tuple(key for key in asked if key not in gone),
        token=priced.token if priced.applied else "",
        taxes=by_rate((line.tax_rate, part.tax_minor) for line, part in zip(data.lines, taxed.lines, strict=True)),
    )


def _saving(item: api.AppliedOffer) -> Saving:
    return Saving(item.name, item.coupon_id, item.discount.off_minor, item.extras)
