"""The counters that hold every limit: each is moved by a statement that also checks it, and the row count decides.

Locks are taken in one order everywhere, so that baskets of several coupons cannot wait for each other in a ring:
reservations, then coupons, usage slots, offers, campaigns; by coupon, offer (slots) or primary key within each. Rows
are inserted before the offer's and the campaign's row are touched, since those are what everybody waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection, transaction
from django.db.models import UUIDField
from django.db.utils import IntegrityError

from personalization.campaigns import liability
from personalization.exceptions import CouponRefused
from personalization.models import Campaign, Coupon, LedgerEntry, Reservation, UsageSlot
from personalization.models.prepared import insert
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


def hold(items: Sequence[Item]) -> None:
    """Take what is each shopper's own: coupons and usage slots; write reservations and ledger.

    Raises CouponRefused with the first limit in the way. Call it inside a transaction, and then :func:`charge`: what
    else has to be looked up or inserted comes between the two, before the rows that everybody waits for are locked.
    """
    items = sorted(items, key=lambda item: item.coupon.pk)
    for item in items:
        _take_coupon(item)
    for item in items:
        insert(item.reservation)
    # By offer: two baskets of one shopper, with other codes of the same offers, would else wait in a ring.
    for item in sorted(items, key=lambda item: item.coupon.offer_id):
        _take_slot(item)
    for item in items:
        write(item.reservation, LedgerEntry.Kind.RESERVE, f"reserve:{item.reservation.pk}", item.discount.cost_minor, 0)


def charge(items: Sequence[Item], now: datetime) -> None:
    """Take what all shoppers share: the offers' redemptions and the campaigns' budgets. Raises CouponRefused."""
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


def _move(statement: str, **parameters: Any) -> bool:
    """Run one UPDATE and return whether its conditions held; UUIDs are given as such."""
    for name, value in parameters.items():
        if isinstance(value, UUID):
            parameters[name] = _UUID.get_db_prep_value(value, connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return bool(cursor.rowcount)


_UUID = UUIDField()
# The statements are written out: they are what holds the limits, and Django would take longer to compose them than the
# database to run them.
_TAKE_COUPON = """
UPDATE personalization_coupon SET reserved_count = reserved_count + 1, liability_minor = liability_minor - %(share)s
WHERE id = %(coupon)s AND voided_at IS NULL AND max_uses > reserved_count + used_count AND liability_minor >= %(share)s
"""
_TAKE_OFFER = """
UPDATE personalization_offer SET reserved_count = reserved_count + %(uses)s
WHERE id = %(offer)s AND (max_redemptions IS NULL OR max_redemptions >= reserved_count + redeemed_count + %(uses)s)
"""
_TAKE_BUDGET = """
UPDATE personalization_campaign
SET reserved_minor = reserved_minor + %(amount)s, liability_minor = liability_minor - %(share)s
WHERE id = %(campaign)s AND status = 'running'
  AND (budget_minor IS NULL OR budget_minor >= reserved_minor + spent_minor + %(amount)s)
"""
_TAKE_PACED_BUDGET = f"{_TAKE_BUDGET}  AND %(open_now)s >= reserved_minor + spent_minor + %(amount)s"
_SPEND = "UPDATE personalization_reservation SET state = 'redeemed' WHERE id = %(reservation)s AND state = 'held'"
_HOLDER = "SELECT shopper_id FROM personalization_reservation WHERE id = %s"
_SETTLE_COUPON = """
UPDATE personalization_coupon SET reserved_count = reserved_count - 1, used_count = used_count + 1
WHERE id = %(coupon)s
"""
_SETTLE_OFFER = """
UPDATE personalization_offer
SET reserved_count = reserved_count - %(uses)s, redeemed_count = redeemed_count + %(uses)s
WHERE id = %(offer)s
"""
_SETTLE_BUDGET = """
UPDATE personalization_campaign
SET reserved_minor = reserved_minor - %(amount)s, spent_minor = spent_minor + %(amount)s
WHERE id = %(campaign)s
"""
_FREE_COUPON = """
UPDATE personalization_coupon SET reserved_count = reserved_count - 1, liability_minor = liability_minor + %(share)s
WHERE id = %(coupon)s
"""
_FREE_OFFER = "UPDATE personalization_offer SET reserved_count = reserved_count - %(uses)s WHERE id = %(offer)s"
_FREE_BUDGET = """
UPDATE personalization_campaign
SET reserved_minor = reserved_minor - %(amount)s, liability_minor = liability_minor + %(share)s
WHERE id = %(campaign)s
"""
_REFUND_BUDGET = "UPDATE personalization_campaign SET spent_minor = spent_minor - %(amount)s WHERE id = %(campaign)s"


def _take_coupon(item: Item) -> None:
    share = item.reservation.liability_minor = liability.per_use(item.coupon)
    if not _move(_TAKE_COUPON, coupon=item.coupon.pk, share=share):
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
    if not _move(_TAKE_OFFER, offer=offer_id, uses=uses):
        raise CouponRefused(reason="sold_out")


def _take_budget(campaign: Campaign, amount: int, share: int, now: datetime) -> None:
    given = {"campaign": campaign.pk, "amount": amount, "share": share}
    if campaign.pacing == Campaign.Pacing.EVEN and campaign.budget_minor is not None:
        open_now = allowed_minor(campaign.budget_minor, campaign.starts_at, campaign.ends_at, now)
        taken = _move(_TAKE_PACED_BUDGET, **given, open_now=open_now)
    else:
        taken = _move(_TAKE_BUDGET, **given)
    if not taken:
        raise CouponRefused(reason="budget")


def spend(reservation: Reservation) -> bool:
    """Mark a held reservation as redeemed; of several who try, one does. Then call :func:`settle`."""
    return _move(_SPEND, reservation=reservation.pk)


def holder(reservation: Reservation) -> int | None:
    """Return whose a reservation is, under the lock that :func:`spend` took: nobody's, if they were erased before."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLDER, [_UUID.get_db_prep_value(reservation.pk, connection)])
        return cast("int | None", cursor.fetchone()[0])


def settle(reservations: Sequence[Reservation]) -> None:
    """Move reservations that have just become redeemed from reserved to spent."""
    for row in _by_coupon(reservations):
        _move(_SETTLE_COUPON, coupon=row.coupon_id)
        write(row, LedgerEntry.Kind.REDEEM, f"redeem:{row.pk}", -row.amount_minor, row.amount_minor)
    for offer_id, uses in _sums(reservations, "offer_id"):
        _move(_SETTLE_OFFER, offer=offer_id, uses=uses)
    for campaign_id, amount in _sums(reservations, "campaign_id", "amount_minor"):
        _move(_SETTLE_BUDGET, campaign=campaign_id, amount=amount)


def let_go(reservations: Sequence[Reservation], state: State, from_states: Sequence[Any] = OPEN_STATES) -> int:
    """Give the discount of these reservations back; returns how many were still in one of the states.

    Call it inside a transaction.
    """
    freed = [
        row
        for row in _by_coupon(reservations)
        if Reservation.objects.filter(pk=row.pk, state__in=from_states).update(state=state)
    ]
    for row in freed:
        _move(_FREE_COUPON, coupon=row.coupon_id, share=row.liability_minor)
    for row in freed:
        UsageSlot.objects.filter(reservation=row).delete()
        write(row, LedgerEntry.Kind.RELEASE, f"release:{row.pk}", -row.amount_minor, 0)
    for offer_id, uses in _sums(freed, "offer_id"):
        _move(_FREE_OFFER, offer=offer_id, uses=uses)
    shares = dict(_sums(freed, "campaign_id", "liability_minor"))
    for campaign_id, amount in _sums(freed, "campaign_id", "amount_minor"):
        _move(_FREE_BUDGET, campaign=campaign_id, amount=amount, share=shares[campaign_id])
    return len(freed)


def give_back(redemptions: Mapping[int, int]) -> None:
    """Take refunds, as campaign → minor units, off what was spent."""
    for campaign_id in sorted(redemptions):
        _move(_REFUND_BUDGET, campaign=campaign_id, amount=redemptions[campaign_id])


def _by_coupon(reservations: Sequence[Reservation]) -> list[Reservation]:
    return sorted(reservations, key=lambda row: row.coupon_id)


def _sums(reservations: Sequence[Reservation], key: str, value: str = "") -> list[tuple[int, int]]:
    """Return (key, sum of a field, or how many) in the order in which the rows are locked."""
    sums: dict[int, int] = {}
    for row in reservations:
        sums[getattr(row, key)] = sums.get(getattr(row, key), 0) + (getattr(row, value) if value else 1)
    return sorted(sums.items())


def write(reservation: Reservation, kind: LedgerEntry.Kind, key: str, reserved: int, spent: int) -> None:
    """Append one movement to the ledger; its operation id makes it happen once."""
    insert(
        LedgerEntry(
            operation_id=key,
            kind=kind,
            campaign_id=reservation.campaign_id,
            reservation=reservation,
            reserved_delta=reserved,
            spent_delta=spent,
        )
    )
