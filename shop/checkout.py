"""From basket to order, and back: what the page quoted is reserved first, then one transaction holds stock, offers
and order together; if it fails, the offers are free again.

Order of locks, the same in every request: the order's unique token, products by primary key, then the coupons.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from personalization import api
from personalization.ports.signals import order_placed, order_refunded
from shop import coupons
from shop.basket import Line, SessionBasket
from shop.models import Order, OrderLine, Product
from shop.money import currency
from shop.personalization import ShopOrders, order_data

TOKENS_KEY = "shop_checkout_tokens"
ORDERS_KEY = "shop_orders"
REMEMBERED = 10
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class CheckoutError(Exception):
    """The order was not placed; nothing was changed."""


class SoldOut(CheckoutError):
    """There are fewer pieces left than the basket asks for."""

    def __init__(self, product: Product) -> None:
        self.product = product
        super().__init__(product.title)


class TotalChanged(CheckoutError):
    """The price or the discount is no longer what the page showed: ask again."""


class DiscountUnderReview(CheckoutError):
    """The shop wants to look at this discount first; without it the order can be placed now."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The amounts that the shopper saw and agreed to."""

    total_minor: int
    discount_minor: int
    quote: str = ""


def new_token(request: HttpRequest) -> str:
    """Return a fresh one-time token for the checkout form, remembered by this session."""
    token = str(uuid.uuid4())
    request.session[TOKENS_KEY] = [*request.session.get(TOKENS_KEY, []), token][-REMEMBERED:]
    return token


def knows_token(request: HttpRequest, token: str) -> bool:
    """Return whether this session was given the token."""
    return token in request.session.get(TOKENS_KEY, [])


def order_of_token(token: str) -> Order | None:
    """Return the order that this token already made."""
    return Order.objects.filter(checkout_token=token).first()


def place(
    request: HttpRequest, basket: SessionBasket, *, token: str, shown: Shown | None, details: dict[str, str]
) -> Order:
    """Place the order, all or nothing. A token that was used already returns the order it made.

    Raises SoldOut, TotalChanged or DiscountUnderReview; then nothing has changed.
    """
    key = f"checkout:{token}"
    hold = None if order_of_token(token) else _reserve(request, basket, key, shown)
    try:
        with transaction.atomic():
            order, new = Order.objects.get_or_create(
                checkout_token=token,
                defaults={
                    "number": new_number(),
                    "currency": currency(),
                    "user": _account(request.user),
                    **details,
                },
            )
            if new:
                _fill(request, order, basket, hold=hold, shown=shown)
    except CheckoutError:
        api.release_basket(key)
        raise
    remember(request, order)
    basket.clear()
    coupons.remove(request)
    return order


def _reserve(request: HttpRequest, basket: SessionBasket, key: str, shown: Shown | None) -> api.BasketHold | None:
    """Reserve what the page quoted; None where no offer was applied."""
    if shown is None or not shown.quote:
        return None
    shopper = api.shopper_for(request, create=True)
    assert shopper is not None
    try:
        return api.reserve_quote(shown.quote, shopper=shopper, basket=basket.as_data(), idempotency_key=key)
    except api.UnderReview as error:
        raise DiscountUnderReview from error
    except (api.QuoteChanged, api.CouponRefused) as error:
        raise TotalChanged from error


def _fill(
    request: HttpRequest, order: Order, basket: SessionBasket, *, hold: api.BasketHold | None, shown: Shown | None
) -> None:
    """Take stock and coupons, write lines and totals; everything inside the caller's transaction."""
    lines = basket.lines
    for line in sorted(lines, key=lambda line: line.product.pk):
        _take(line)
    shares = hold.per_line_minor if hold is not None else (0,) * len(lines)
    data = basket.as_data()
    taxed = api.tax_after_discounts(data, [held.discount for held in hold.holds] if hold is not None else [])
    if hold is not None:
        order.discount_minor = _redeem(hold, order)
    order.total_minor = basket.total_minor - order.discount_minor
    if shown is None or (order.total_minor, order.discount_minor) != (shown.total_minor, shown.discount_minor):
        raise TotalChanged
    order.save(update_fields=["total_minor", "discount_minor", "reservation_id"])
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            product=line.product,
            title=line.product.title,
            quantity=line.quantity,
            unit_price_minor=line.product.price_minor,
            discount_minor=share,
            tax_rate=sold.tax_rate,
            tax_minor=part.tax_minor,
        )
        for line, share, sold, part in zip(lines, shares, data.lines, taxed.lines, strict=True)
    )
    transaction.on_commit(lambda: _announce(request, order.pk), robust=True)


def _redeem(hold: api.BasketHold, order: Order) -> int:
    try:
        redeemed = api.redeem_basket(hold.basket_key, order_label=ShopOrders.label, order_id=order.number)
    except api.ReservationGone as error:  # it expired, or was released, between the page and now
        raise TotalChanged from error
    if hold.holds:
        order.reservation_id = uuid.UUID(hold.holds[0].reservation_id)
    return redeemed


def _take(line: Line) -> None:
    """Take the pieces if they are there, at the price that was read; the database decides, not the page."""
    free = Product.objects.filter(pk=line.product.pk, visible=True, stock__gte=line.quantity)
    if free.filter(price_minor=line.product.price_minor).update(stock=F("stock") - line.quantity):
        return
    raise TotalChanged if free.exists() else SoldOut(line.product)


def _announce(request: HttpRequest, order_pk: int) -> None:
    order = Order.objects.prefetch_related("lines__product__category").get(pk=order_pk)
    order_placed.send(sender=Order, request=request, order=order_data(order))


def cancel(order: Order, request: HttpRequest | None = None) -> bool:
    """Cancel an order: pieces go back to the shelf, the discount to its budget. False if it already was."""
    with transaction.atomic():
        placed = Order.objects.filter(pk=order.pk, status=Order.Status.PLACED)
        if not placed.update(status=Order.Status.CANCELLED):
            return False
        for line in order.lines.order_by("product_id"):
            Product.objects.filter(pk=line.product_id).update(stock=F("stock") + line.quantity)
        if order.reservation_id:
            api.refund(order_label=ShopOrders.label, order_id=order.number, operation_id=f"cancel:{order.number}")
        transaction.on_commit(lambda: _announce_refund(request, order), robust=True)
    order.status = Order.Status.CANCELLED
    return True


def _announce_refund(request: HttpRequest | None, order: Order) -> None:
    order_refunded.send(sender=Order, request=request, order_id=order.number, amount_minor=order.total_minor)


def remember(request: HttpRequest, order: Order) -> None:
    """Let this session see the order again: a guest has no account to find it under."""
    seen = [number for number in request.session.get(ORDERS_KEY, []) if number != order.number]
    request.session[ORDERS_KEY] = [*seen, order.number][-REMEMBERED:]


def may_see(request: HttpRequest, order: Order) -> bool:
    """Return whether the order belongs to this account or session."""
    if order.user_id is not None and order.user_id == request.user.pk:
        return True
    return order.number in request.session.get(ORDERS_KEY, [])


def new_number() -> str:
    """Return an order number that neither counts nor can be guessed."""
    return f"{timezone.localdate():%y%m%d}-{''.join(secrets.choice(ALPHABET) for _ in range(8))}"


def _account(user: AbstractBaseUser | AnonymousUser) -> Any:
    return user if user.is_authenticated else None
