"""Reserve → redeem | release | expire → refund: the money's way, one conditional UPDATE a limit.

Locks are taken in one order everywhere (coupon, offer, campaign; by primary key within each), inside one
transaction with the ledger entry. A counter is only ever moved by a statement that also checks its limit.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from personalization import conf
from personalization.campaigns.coupons import usable_coupon
from personalization.exceptions import BasketNotEligible, CouponRefused, RefundRefused, ReservationGone
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Redemption, Reservation, Shopper
from personalization.pure.benefits import discount_for
from personalization.tracking.ingest import track
from personalization.types import Basket, Discount, Hold

State = Reservation.State


def reserve(
    *, shopper: Shopper | None, basket: Basket, idempotency_key: str, coupon_id: str = "", code: str = ""
) -> Hold:
    """Set the discount aside for this basket; the same key returns the same reservation.

    Raises CouponRefused (also when a limit or the budget is used up, or the key stands for another basket) or
    BasketNotEligible.
    """
    try:
        with transaction.atomic():
            held = _already_held(idempotency_key, shopper, basket)
            return held or _reserve(shopper, basket, idempotency_key, coupon_id, code)
    except IntegrityError:  # the same key, at the same moment, in another process
        held = _already_held(idempotency_key, shopper, basket)
        if held is None:
            raise CouponRefused(reason="limit") from None
        return held


def _already_held(idempotency_key: str, shopper: Shopper | None, basket: Basket) -> Hold | None:
    done = Reservation.objects.select_related("offer__campaign").filter(idempotency_key=idempotency_key).first()
    if done is None:
        return None
    if done.shopper_id != (shopper.pk if shopper else None):
        raise CouponRefused(reason="foreign_key")
    if done.state not in {State.HELD, State.REDEEMED}:
        raise ReservationGone
    # Whoever knows a checkout's key could else hold a discount for an invented basket under it beforehand.
    if discount_for(done.offer.terms(), basket) != _hold(done).discount:
        raise CouponRefused(reason="other_basket")
    return _hold(done)


def _reserve(shopper: Shopper | None, basket: Basket, idempotency_key: str, coupon_id: str, code: str) -> Hold:
    coupon = usable_coupon(shopper=shopper, coupon_id=coupon_id, code=code)
    discount = discount_for(coupon.offer.terms(), basket)
    amount = discount.amount_minor
    _take_or_refuse(coupon, amount)
    reservation = Reservation.objects.create(
        coupon=coupon,
        offer=coupon.offer,
        campaign=coupon.offer.campaign,
        shopper=shopper,
        idempotency_key=idempotency_key,
        amount_minor=amount,
        per_line_minor=list(discount.per_line_minor),
        basket_reference=basket.reference[:100],
        expires_at=timezone.now() + timedelta(minutes=conf.get().reservation_minutes),
    )
    _write(reservation, LedgerEntry.Kind.RESERVE, f"reserve:{reservation.pk}", amount, 0)
    return _hold(reservation)


def _take_or_refuse(coupon: Coupon, amount: int) -> None:
    """Move the three counters, each only if its limit allows; the row counts decide."""
    taken = Coupon.objects.filter(
        pk=coupon.pk, voided_at=None, max_uses__gt=F("reserved_count") + F("used_count")
    ).update(reserved_count=F("reserved_count") + 1)
    if not taken:
        raise CouponRefused(reason="used")
    taken = Offer.objects.filter(
        Q(max_redemptions__isnull=True) | Q(max_redemptions__gt=F("reserved_count") + F("redeemed_count")),
        pk=coupon.offer_id,
    ).update(reserved_count=F("reserved_count") + 1)
    if not taken:
        raise CouponRefused(reason="sold_out")
    taken = Campaign.objects.filter(
        Q(budget_minor__isnull=True) | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor") + amount),
        pk=coupon.offer.campaign_id,
        status=Campaign.Status.RUNNING,
    ).update(reserved_minor=F("reserved_minor") + amount)
    if not taken:
        raise CouponRefused(reason="budget")


def redeem(reservation_id: str | uuid.UUID, *, order_label: str, order_id: str) -> int:
    """Spend a reservation on an order and return the discount in minor units.

    Call it inside the order's own transaction: both commit or neither does. Repeated for the same order it returns
    the same amount; a reservation that was released, expired or spent on another order raises ReservationGone.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("redeem() belongs inside the order's transaction.atomic().")
    reservation = _find(reservation_id)
    of_order = Redemption.objects.filter(order_label=order_label, order_id=order_id)
    # Only a coupon of several uses can be held twice for one order; it counts there once.
    several = reservation.coupon.max_uses > 1
    if several and of_order.filter(coupon=reservation.coupon).exclude(reservation=reservation).exists():
        raise ReservationGone
    moved = Reservation.objects.filter(pk=reservation.pk, state=State.HELD).update(state=State.REDEEMED)
    if not moved:
        done = of_order.filter(reservation=reservation).first()
        if done is None:
            raise ReservationGone
        return done.amount_minor
    amount = reservation.amount_minor
    Coupon.objects.filter(pk=reservation.coupon_id).update(
        reserved_count=F("reserved_count") - 1, used_count=F("used_count") + 1
    )
    Offer.objects.filter(pk=reservation.offer_id).update(
        reserved_count=F("reserved_count") - 1, redeemed_count=F("redeemed_count") + 1
    )
    Campaign.objects.filter(pk=reservation.campaign_id).update(
        reserved_minor=F("reserved_minor") - amount, spent_minor=F("spent_minor") + amount
    )
    Redemption.objects.create(
        reservation=reservation,
        coupon_id=reservation.coupon_id,
        offer_id=reservation.offer_id,
        campaign_id=reservation.campaign_id,
        shopper_id=reservation.shopper_id,
        order_label=order_label,
        order_id=order_id,
        amount_minor=amount,
    )
    _write(reservation, LedgerEntry.Kind.REDEEM, f"redeem:{reservation.pk}", -amount, amount)
    _track_redemption(reservation, order_id)
    return amount


def _track_redemption(reservation: Reservation, order_id: str) -> None:
    if reservation.shopper is not None:
        track(
            "coupon_redeemed",
            shopper=reservation.shopper,
            offer_id=reservation.offer_id,
            value_minor=reservation.amount_minor,
            source="coupons",
            event_id=f"redeem:{reservation.pk}",
        )


def require_worth(reservation_id: str | uuid.UUID, basket: Basket) -> None:
    """Raise BasketNotEligible unless this basket earns at least what the reservation holds.

    For shops whose orders are built elsewhere: a hold made on one basket must not pay for another.
    """
    reservation = _find(reservation_id)
    earned = discount_for(reservation.offer.terms(), basket)
    if earned.amount_minor < reservation.amount_minor:
        raise BasketNotEligible("The order is not the basket that was reserved. Reserve again.", reason="changed")


def release(reservation_id: str | uuid.UUID) -> bool:
    """Give a held discount back (payment declined, basket left); False if it was not held any more."""
    with transaction.atomic():
        return _let_go(_find(reservation_id), State.RELEASED)


def expire_reservations(now: datetime | None = None) -> int:
    """Free every reservation past its lifetime, each in its own transaction; returns how many."""
    overdue = Reservation.objects.filter(state=State.HELD, expires_at__lte=now or timezone.now())
    freed = 0
    for reservation in list(overdue.order_by("coupon_id", "pk")[:10_000]):
        with transaction.atomic():
            freed += _let_go(reservation, State.EXPIRED)
    return freed


def _let_go(reservation: Reservation, state: Reservation.State) -> bool:
    moved = Reservation.objects.filter(pk=reservation.pk, state=State.HELD).update(state=state)
    if not moved:
        return False
    amount = reservation.amount_minor
    Coupon.objects.filter(pk=reservation.coupon_id).update(reserved_count=F("reserved_count") - 1)
    Offer.objects.filter(pk=reservation.offer_id).update(reserved_count=F("reserved_count") - 1)
    Campaign.objects.filter(pk=reservation.campaign_id).update(reserved_minor=F("reserved_minor") - amount)
    _write(reservation, LedgerEntry.Kind.RELEASE, f"release:{reservation.pk}", -amount, 0)
    return True


def refund(*, order_label: str, order_id: str, operation_id: str, amount_minor: int | None = None) -> int:
    """Take discount back from an order's redemptions (all that is left, if no amount is given).

    Returns the amount; the same ``operation_id`` moves nothing twice. Call it inside the order's transaction.
    """
    with transaction.atomic():
        redemptions = list(
            Redemption.objects.select_for_update()
            .filter(order_label=order_label, order_id=order_id)
            .order_by("coupon_id", "pk")
        )
        keys = [f"refund:{operation_id}:{redemption.pk}" for redemption in redemptions]
        done = dict(LedgerEntry.objects.filter(operation_id__in=keys).values_list("operation_id", "spent_delta"))
        if done:
            return -sum(done.values())
        left = sum(redemption.amount_minor - redemption.refunded_minor for redemption in redemptions)
        wanted = left if amount_minor is None else amount_minor
        if not 0 <= wanted <= left:
            raise RefundRefused
        for redemption, key in zip(redemptions, keys, strict=True):
            part = min(wanted, redemption.amount_minor - redemption.refunded_minor)
            wanted -= part
            if part:
                _refund_one(redemption, part, key)
        return left if amount_minor is None else amount_minor


def _refund_one(redemption: Redemption, amount: int, key: str) -> None:
    moved = Redemption.objects.filter(pk=redemption.pk, amount_minor__gte=F("refunded_minor") + amount).update(
        refunded_minor=F("refunded_minor") + amount
    )
    if not moved:
        raise RefundRefused
    Campaign.objects.filter(pk=redemption.campaign_id).update(spent_minor=F("spent_minor") - amount)
    _write(redemption.reservation, LedgerEntry.Kind.REFUND, key, 0, -amount)


def _write(reservation: Reservation, kind: LedgerEntry.Kind, key: str, reserved: int, spent: int) -> None:
    LedgerEntry.objects.create(
        operation_id=key,
        kind=kind,
        campaign_id=reservation.campaign_id,
        reservation=reservation,
        reserved_delta=reserved,
        spent_delta=spent,
    )


def _find(reservation_id: str | uuid.UUID) -> Reservation:
    try:
        key = uuid.UUID(str(reservation_id))
    except ValueError:
        raise ReservationGone from None
    reservation = Reservation.objects.select_related("shopper", "coupon").filter(pk=key).first()
    if reservation is None:
        raise ReservationGone
    return reservation


def _hold(reservation: Reservation) -> Hold:
    return Hold(
        reservation_id=str(reservation.pk),
        coupon_id=str(reservation.coupon_id),
        discount=Discount(reservation.amount_minor, tuple(reservation.per_line_minor)),
        expires_at=reservation.expires_at,
    )
