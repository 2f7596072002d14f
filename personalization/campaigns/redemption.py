"""Reserve → redeem | release | expire → refund: the money's way, one conditional UPDATE a limit.

The counters and the order of their locks live in ``counters``; here is who may move them, and when. Everything runs
inside one transaction with its ledger entry.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from personalization import conf
from personalization.campaigns import counters, grants, risk
from personalization.campaigns.counters import Item, let_go
from personalization.campaigns.coupons import usable_coupon
from personalization.exceptions import BasketNotEligible, CouponRefused, RefundRefused, ReservationGone, UnderReview
from personalization.models import Coupon, LedgerEntry, Redemption, Reservation, Shopper
from personalization.models.prepared import Prepared, insert
from personalization.pure.benefits import discount_for
from personalization.pure.returns import after_return
from personalization.pure.stacking import Candidate, application_order
from personalization.tracking.ingest import track
from personalization.types import Basket, Discount, Facts, Gift, Hold

State = Reservation.State
_BY_KEY = Prepared(lambda: Reservation.objects.all(), "idempotency_key")
_WHOLE = Prepared(lambda: Reservation.objects.select_related("shopper", "coupon", "offer__campaign"))


def reserve(
    *,
    shopper: Shopper | None,
    basket: Basket,
    idempotency_key: str,
    coupon_id: str = "",
    code: str = "",
    facts: Facts | None = None,
) -> Hold:
    """Set the discount aside for this basket; the same key returns the same reservation.

    Raises CouponRefused (also when a limit or the budget is used up, or the key stands for another basket),
    BasketNotEligible, or UnderReview: then the reservation waits for the shop's decision, and the same key returns
    it once it is approved. ``facts`` are what the shop knows about where the order comes from.
    """
    try:
        with transaction.atomic():
            done = _already_held(idempotency_key, shopper, basket)
            if done is None:
                done = _reserve(shopper, basket, idempotency_key, coupon_id, code, facts)
    except (IntegrityError, CouponRefused) as error:  # perhaps the same key, at the same moment, in another process
        done = _already_held(idempotency_key, shopper, basket)
        if done is None:
            raise (error if isinstance(error, CouponRefused) else CouponRefused(reason="limit")) from None
    return _usable(done)


def _usable(reservation: Reservation) -> Hold:
    """Return the hold; it is outside of the transaction that this raises, so that what waits is kept."""
    if reservation.state == State.REVIEW:
        raise UnderReview
    return hold_of(reservation)


def _already_held(idempotency_key: str, shopper: Shopper | None, basket: Basket) -> Reservation | None:
    done = _BY_KEY.get(idempotency_key)
    if done is None:
        return None
    if done.shopper_id != (shopper.pk if shopper else None):
        raise CouponRefused(reason="foreign_key")
    if done.state not in {State.HELD, State.REVIEW, State.REDEEMED}:
        raise ReservationGone
    # Whoever knows a checkout's key could else hold a discount for an invented basket under it beforehand.
    if discount_for(done.offer.terms(), basket) != benefit_of(done):
        raise CouponRefused(reason="other_basket")
    return done


def _reserve(
    shopper: Shopper | None, basket: Basket, key: str, coupon_id: str, code: str, facts: Facts | None
) -> Reservation:
    coupon = usable_coupon(shopper=shopper, coupon_id=coupon_id, code=code)
    item = prepare(coupon, discount_for(coupon.offer.terms(), basket), shopper, basket, key)
    now = timezone.now()
    counters.hold([item])
    suspicion = risk.judge(item.reservation, facts, now)
    counters.charge([item], now)
    if suspicion is not None:
        risk.stop([suspicion], now)
    return item.reservation


def prepare(
    coupon: Coupon, discount: Discount, shopper: Shopper | None, basket: Basket, key: str, basket_key: str = ""
) -> Item:
    """Return a coupon with its benefit and the reservation row to write, nothing written yet."""
    reservation = Reservation(
        coupon=coupon,
        offer=coupon.offer,
        campaign=coupon.offer.campaign,
        shopper=shopper,
        idempotency_key=key,
        basket_key=basket_key,
        amount_minor=discount.cost_minor,
        off_minor=discount.off_minor,
        per_line_minor=list(discount.per_line_minor),
        benefit=record_of(discount),
        basket_reference=basket.reference[:100],
        expires_at=timezone.now() + timedelta(minutes=conf.get().reservation_minutes),
    )
    return Item(coupon, discount, reservation)


def redeem(reservation_id: str | uuid.UUID, *, order_label: str, order_id: str) -> int:
    """Spend a reservation on an order and return what comes off its price in minor units.

    Call it inside the order's own transaction: both commit or neither does. Repeated for the same order it returns
    the same amount; a reservation that was released, expired or spent on another order raises ReservationGone.
    """
    return redeem_all([reservation_id], order_label=order_label, order_id=order_id)


def redeem_all(reservation_ids: Iterable[str | uuid.UUID], *, order_label: str, order_id: str) -> int:
    """Spend several reservations on one order, or none, as :func:`redeem` does; returns what they take off together.

    One call for all of an order's reservations: two orders that share coupons or campaigns then never wait for each
    other in a ring.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("redeem() belongs inside the order's transaction.atomic().")
    found = sorted({row.pk: row for row in map(_find, reservation_ids)}.values(), key=lambda row: row.coupon_id)
    # What fails after the first one was spent leaves none spent, whatever the order's own transaction makes of it.
    with transaction.atomic() if len(found) > 1 else nullcontext():
        spent = [row for row in found if _redeem(row, order_label, order_id)]
        counters.settle(spent)
    return sum(row.off_minor for row in found)


def _redeem(row: Reservation, order_label: str, order_id: str) -> bool:
    """Make a reservation part of an order; False if it is already. What it moves is settled afterwards."""
    if not _spend(row, order_label, order_id):
        return False
    holder = counters.holder(row)
    redemption = Redemption(
        reservation=row,
        coupon_id=row.coupon_id,
        offer_id=row.offer_id,
        campaign_id=row.campaign_id,
        shopper_id=holder,
        order_label=order_label,
        order_id=order_id,
        amount_minor=row.amount_minor,
        off_minor=row.off_minor,
    )
    insert(redemption)
    grants.promise(redemption, benefit_of(row), row.offer)
    if holder is not None:
        _track_redemption(row)
    return True


def _spend(reservation: Reservation, order_label: str, order_id: str) -> bool:
    """Mark a held reservation as redeemed; False if this order has spent it already. Raises ReservationGone."""
    of_order = Redemption.objects.filter(order_label=order_label, order_id=order_id)
    # Only a coupon of several uses can be held twice for one order; it counts there once.
    several = reservation.coupon.max_uses > 1
    if several and of_order.filter(coupon=reservation.coupon).exclude(reservation=reservation).exists():
        raise ReservationGone
    if counters.spend(reservation):
        return True
    if not of_order.filter(reservation=reservation).exists():
        raise ReservationGone
    return False


def _track_redemption(reservation: Reservation) -> None:
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
    if earned.cost_minor < reservation.amount_minor:
        raise BasketNotEligible("The order is not the basket that was reserved. Reserve again.", reason="changed")


def release(reservation_id: str | uuid.UUID) -> bool:
    """Give a held discount back (payment declined, basket left); False if it was not held any more."""
    return bool(release_all([reservation_id]))


def release_all(reservation_ids: Iterable[str | uuid.UUID]) -> int:
    """Give several held discounts back in one transaction; returns how many were still held."""
    with transaction.atomic():
        return let_go([_find(reservation_id) for reservation_id in reservation_ids], State.RELEASED)


def expire_reservations(now: datetime | None = None) -> int:
    """Free every reservation past its lifetime, each in its own transaction; returns how many."""
    overdue = Reservation.objects.filter(state=State.HELD, expires_at__lte=now or timezone.now())
    freed = 0
    for reservation in list(overdue.order_by("coupon_id", "pk")[:10_000]):
        with transaction.atomic():
            freed += let_go([reservation], State.EXPIRED, [State.HELD])
    return freed


def refund(
    *,
    order_label: str,
    order_id: str,
    operation_id: str,
    amount_minor: int | None = None,
    kept: Basket | None = None,
) -> int:
    """Take discount back from an order's redemptions and return how much.

    Give ``amount_minor``; or ``kept``, the basket that is left after a return, for which the terms are computed
    anew; or neither, for all that is left. The same ``operation_id`` moves nothing twice. Call it inside the order's
    transaction. What was granted already (points booked, a gift card issued) does not come back; what is still to be
    granted becomes that much less. Raises RefundRefused.
    """
    with transaction.atomic():
        redemptions = list(
            Redemption.objects.select_for_update(of=("self",))
            .select_related("reservation__offer__campaign")
            .filter(order_label=order_label, order_id=order_id)
            .order_by("coupon_id", "pk")
        )
        keys = [f"refund:{operation_id}:{redemption.pk}" for redemption in redemptions]
        done = dict(LedgerEntry.objects.filter(operation_id__in=keys).values_list("operation_id", "spent_delta"))
        if done:
            return -sum(done.values())
        earned = _earned(redemptions, amount_minor, kept)
        parts = _parts(redemptions, amount_minor, earned)
        by_campaign: dict[int, int] = {}
        for redemption, key, part in zip(redemptions, keys, parts, strict=True):
            if part:
                _refund_one(redemption, part, key)
                by_campaign[redemption.campaign_id] = by_campaign.get(redemption.campaign_id, 0) + part
            grants.reduce(redemption, benefit_of(redemption.reservation), earned.get(redemption.pk))
        counters.give_back(by_campaign)
        return sum(parts)


def _parts(redemptions: list[Redemption], amount_minor: int | None, earned: Mapping[int, Discount]) -> list[int]:
    """Return what each redemption gives back: nothing of what has been granted for good."""
    granted = grants.granted_minor(redemptions)
    left = [max(row.amount_minor - row.refunded_minor - granted.get(row.pk, 0), 0) for row in redemptions]
    if amount_minor is None or earned:
        return [
            min(max(row.amount_minor - row.refunded_minor - earned[row.pk].cost_minor, 0), most)
            for row, most in zip(redemptions, left, strict=True)
        ]
    wanted = amount_minor
    if not 0 <= wanted <= sum(left):
        raise RefundRefused
    parts = []
    for most in left:
        parts.append(min(wanted, most))
        wanted -= parts[-1]
    return parts


def _earned(redemptions: list[Redemption], amount_minor: int | None, kept: Basket | None) -> dict[int, Discount]:
    """Return redemption → what its offer would have given on what is kept; empty where an amount is asked for.

    Offers of one quote are computed together, as they were given; a coupon that was reserved by itself is alone.
    """
    if kept is None:
        return {row.pk: Discount(0, ()) for row in redemptions} if amount_minor is None else {}
    if any(row.reservation.offer.campaign.currency != kept.currency for row in redemptions):
        raise RefundRefused("This offer is in another currency.", reason="currency")

    def applied(row: Redemption) -> tuple[Any, ...]:
        # Their own order, in which they were written: a priority may have been edited since.
        phase, *_rest = application_order(Candidate("", row.reservation.offer.terms()))
        return phase, row.reservation.created_at, row.pk

    together: dict[Any, list[Redemption]] = {}
    for row in sorted(redemptions, key=applied):
        together.setdefault(row.reservation.basket_key or row.pk, []).append(row)
    earned: dict[int, Discount] = {}
    for rows in together.values():
        found = after_return([(row.reservation.offer.terms(), benefit_of(row.reservation)) for row in rows], kept)
        earned.update({row.pk: discount for row, discount in zip(rows, found, strict=True)})
    return earned


def _refund_one(redemption: Redemption, amount: int, key: str) -> None:
    moved = Redemption.objects.filter(pk=redemption.pk, amount_minor__gte=F("refunded_minor") + amount).update(
        refunded_minor=F("refunded_minor") + amount
    )
    if not moved:
        raise RefundRefused
    redemption.refunded_minor += amount
    counters.write(redemption.reservation, LedgerEntry.Kind.REFUND, key, 0, -amount)


def _find(reservation_id: str | uuid.UUID) -> Reservation:
    try:
        key = uuid.UUID(str(reservation_id))
    except ValueError:
        raise ReservationGone from None
    reservation = _WHOLE.get(key)
    if reservation is None:
        raise ReservationGone
    return reservation


def hold_of(reservation: Reservation) -> Hold:
    """Return a reservation as its shopper's hold."""
    return Hold(
        reservation_id=str(reservation.pk),
        coupon_id=str(reservation.coupon_id),
        discount=benefit_of(reservation),
        expires_at=reservation.expires_at,
    )


def record_of(discount: Discount) -> dict[str, Any]:
    """Return what a benefit holds beside the lines, ready for JSON; empty for a plain discount."""
    record: dict[str, Any] = {
        "shipping": discount.shipping_minor,
        "gifts": [[gift.item_id, gift.value_minor] for gift in discount.gifts],
        "later": discount.later_minor,
        "points": discount.points,
        "points_cost": discount.points_cost_minor,
    }
    return {name: value for name, value in record.items() if value}


def discount_of(per_line_minor: list[int], record: dict[str, Any]) -> Discount:
    """Return the benefit that was written as shares of the lines and :func:`record_of`."""
    return Discount(
        amount_minor=sum(per_line_minor),
        per_line_minor=tuple(per_line_minor),
        shipping_minor=record.get("shipping", 0),
        gifts=tuple(Gift(item_id, value) for item_id, value in record.get("gifts", [])),
        later_minor=record.get("later", 0),
        points=record.get("points", 0),
        points_cost_minor=record.get("points_cost", 0),
    )


def benefit_of(reservation: Reservation) -> Discount:
    """Return the benefit that a reservation set aside."""
    return discount_of(reservation.per_line_minor, reservation.benefit)
