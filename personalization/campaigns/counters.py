"""The counters that hold every limit: each is moved by a statement that also checks it, and the row count decides.

Locks are taken in one order everywhere, so that baskets of several coupons cannot wait for each other in a ring:
coupons, then usage slots, offers, campaigns; by primary key within each. Rows are inserted before the offer's and
the campaign's row are touched, since those are what everybody waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.utils import IntegrityError

from personalization.campaigns import liability
from personalization.exceptions import CouponRefused
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Reservation, UsageSlot
from personalization.pure.pacing import allowed_minor
from personalization.types import Discount

State = Reservation.State
OPEN_STATES = (State.HELD, State.REVIEW)


@dataclass(frozen=True, slots=True)
class Item:
    """One coupon with the benefit it is to give, and the reservation row to write for it."""

    coupon: Coupon
    discount: Discount
    reservation: Reservation


def take(items: Sequence[Item], now: datetime) -> None:
    """Reserve all items or raise CouponRefused with the first limit in the way. Call it inside a transaction."""
    items = sorted(items, key=lambda item: item.coupon.pk)
    for item in items:
        _take_coupon(item)
    for item in items:
        item.reservation.save(force_insert=True)
        _take_slot(item)
        write(item.reservation, LedgerEntry.Kind.RESERVE, f"reserve:{item.reservation.pk}", item.discount.cost_minor, 0)
    for offer_id in sorted({item.coupon.offer_id for item in items}):
        _take_offer(offer_id, sum(1 for item in items if item.coupon.offer_id == offer_id))
    campaigns = {item.coupon.offer.campaign_id: item.coupon.offer.campaign for item in items}
    for key in sorted(campaigns):
        mine = [item for item in items if item.reservation.campaign_id == key]
        _take_budget(
            campaigns[key],
            sum(item.discount.cost_minor for item in mine),
            sum(item.reservation.liability_minor for item in mine),
            now,
        )


def _take_coupon(item: Item) -> None:
    share = item.reservation.liability_minor = liability.per_use(item.coupon)
    taken = Coupon.objects.filter(
        pk=item.coupon.pk,
        voided_at=None,
        max_uses__gt=F("reserved_count") + F("used_count"),
        liability_minor__gte=share,
    ).update(reserved_count=F("reserved_count") + 1, liability_minor=F("liability_minor") - share)
    if not taken:
        raise CouponRefused(reason="used")


def _take_slot(item: Item) -> None:
    """Of a code that anybody may use, each shopper has so many redemptions: one row each, numbered."""
    shopper_id, offer = item.reservation.shopper_id, item.coupon.offer
    if item.coupon.shopper_id is not None or shopper_id is None:
        return
    taken = set(UsageSlot.objects.filter(offer=offer, shopper_id=shopper_id).values_list("number", flat=True))
    free = [number for number in range(1, offer.uses_per_shopper + 1) if number not in taken]
    for number in free:
        try:
            with transaction.atomic():
                UsageSlot.objects.create(
                    offer=offer, shopper_id=shopper_id, number=number, reservation=item.reservation
                )
            return
        except IntegrityError:  # taken at the same moment
            continue
    raise CouponRefused(reason="used_by_shopper")


def _take_offer(offer_id: int, uses: int) -> None:
    taken = Offer.objects.filter(
        Q(max_redemptions__isnull=True) | Q(max_redemptions__gte=F("reserved_count") + F("redeemed_count") + uses),
        pk=offer_id,
    ).update(reserved_count=F("reserved_count") + uses)
    if not taken:
        raise CouponRefused(reason="sold_out")


def _take_budget(campaign: Campaign, amount: int, share: int, now: datetime) -> None:
    room = Q(budget_minor__isnull=True) | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor") + amount)
    if campaign.pacing == Campaign.Pacing.EVEN and campaign.budget_minor is not None:
        open_now = allowed_minor(campaign.budget_minor, campaign.starts_at, campaign.ends_at, now)
        room &= Q(reserved_minor__lte=open_now - amount - F("spent_minor"))
    taken = Campaign.objects.filter(room, pk=campaign.pk, status=Campaign.Status.RUNNING).update(
        reserved_minor=F("reserved_minor") + amount, liability_minor=F("liability_minor") - share
    )
    if not taken:
        raise CouponRefused(reason="budget")


def settle(reservation: Reservation) -> None:
    """Move a reservation that has just become redeemed from reserved to spent."""
    amount = reservation.amount_minor
    Coupon.objects.filter(pk=reservation.coupon_id).update(
        reserved_count=F("reserved_count") - 1, used_count=F("used_count") + 1
    )
    write(reservation, LedgerEntry.Kind.REDEEM, f"redeem:{reservation.pk}", -amount, amount)
    Offer.objects.filter(pk=reservation.offer_id).update(
        reserved_count=F("reserved_count") - 1, redeemed_count=F("redeemed_count") + 1
    )
    Campaign.objects.filter(pk=reservation.campaign_id).update(
        reserved_minor=F("reserved_minor") - amount, spent_minor=F("spent_minor") + amount
    )


def let_go(reservation: Reservation, state: State, from_states: Sequence[Any] = OPEN_STATES) -> bool:
    """Give a reservation's discount back; False if it was not in one of these states any more."""
    moved = Reservation.objects.filter(pk=reservation.pk, state__in=from_states).update(state=state)
    if not moved:
        return False
    amount, share = reservation.amount_minor, reservation.liability_minor
    Coupon.objects.filter(pk=reservation.coupon_id).update(
        reserved_count=F("reserved_count") - 1, liability_minor=F("liability_minor") + share
    )
    UsageSlot.objects.filter(reservation=reservation).delete()
    write(reservation, LedgerEntry.Kind.RELEASE, f"release:{reservation.pk}", -amount, 0)
    Offer.objects.filter(pk=reservation.offer_id).update(reserved_count=F("reserved_count") - 1)
    Campaign.objects.filter(pk=reservation.campaign_id).update(
        reserved_minor=F("reserved_minor") - amount, liability_minor=F("liability_minor") + share
    )
    return True


def write(reservation: Reservation, kind: LedgerEntry.Kind, key: str, reserved: int, spent: int) -> None:
    """Append one movement to the ledger; its operation id makes it happen once."""
    LedgerEntry.objects.create(
        operation_id=key,
        kind=kind,
        campaign_id=reservation.campaign_id,
        reservation=reservation,
        reserved_delta=reserved,
        spent_delta=spent,
    )
