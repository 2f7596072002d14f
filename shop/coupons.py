"""Between the basket and the coupon engine: which coupon is applied, what it takes off, why it does not.

The session keeps the coupon's id, never its code.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest

from personalization import api
from personalization.ports.messages import explain
from personalization.types import CouponPreview
from shop.basket import Line, SessionBasket

SESSION_KEY = "shop_coupon"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A basket line with its share of the discount."""

    line: Line
    discount_minor: int

    @property
    def total_minor(self) -> int:
        return self.line.total_minor - self.discount_minor


@dataclass(frozen=True, slots=True)
class Quote:
    """What the basket costs now. ``refusal`` says why the applied coupon takes nothing off."""

    lines: tuple[PricedLine, ...]
    coupon_id: str
    offer_name: str
    refusal: str

    @property
    def subtotal_minor(self) -> int:
        return sum(priced.line.total_minor for priced in self.lines)

    @property
    def discount_minor(self) -> int:
        return sum(priced.discount_minor for priced in self.lines)

    @property
    def negative_discount_minor(self) -> int:
        return -self.discount_minor

    @property
    def total_minor(self) -> int:
        return self.subtotal_minor - self.discount_minor

    @property
    def orderable(self) -> bool:
        return bool(self.lines) and all(priced.line.available for priced in self.lines)


def applied(request: HttpRequest) -> str:
    """Return the id of the coupon applied to the basket, or an empty string."""
    return str(request.session.get(SESSION_KEY, ""))


def remove(request: HttpRequest) -> None:
    """Take the coupon off the basket; the shopper keeps it."""
    request.session.pop(SESSION_KEY, None)


def apply(request: HttpRequest, *, code: str = "", coupon_id: str = "") -> CouponPreview:
    """Apply a coupon by its code or id. Raises CouponRefused or BasketNotEligible; then nothing changes."""
    preview = api.preview(
        shopper=api.shopper_for(request),
        basket=SessionBasket(request).as_data(),
        code=code.strip(),
        coupon_id=coupon_id,
    )
    request.session[SESSION_KEY] = preview.coupon_id
    return preview


def quote(request: HttpRequest, basket: SessionBasket) -> Quote:
    """Price the basket with the applied coupon. A coupon that can never be used again is taken off."""
    coupon_id = applied(request)
    preview, refusal = None, ""
    if coupon_id and basket.lines:
        try:
            preview = api.preview(shopper=api.shopper_for(request), basket=basket.as_data(), coupon_id=coupon_id)
        except api.BasketNotEligible as error:
            refusal = explain(error)
        except api.CouponRefused as error:
            refusal = explain(error)
            remove(request)
            coupon_id = ""
    shares = preview.discount.per_line_minor if preview else (0,) * len(basket.lines)
    return Quote(
        lines=tuple(PricedLine(line, share) for line, share in zip(basket.lines, shares, strict=True)),
        coupon_id=coupon_id,
        offer_name=preview.offer_name if preview else "",
        refusal=refusal,
    )
