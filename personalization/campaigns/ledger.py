"""The ledger explains the counters: compare them, and rebuild them from it."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.db.models import Count, Q, Sum

from personalization.campaigns.counters import OPEN_STATES
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Reservation

State = Reservation.State


def _truth(campaign: Campaign) -> tuple[int, int]:
    sums = LedgerEntry.objects.filter(campaign=campaign).aggregate(
        reserved=Sum("reserved_delta"), spent=Sum("spent_delta")
    )
    return sums["reserved"] or 0, sums["spent"] or 0


def _liability(campaign: Campaign) -> int:
    return Coupon.objects.filter(offer__campaign=campaign).aggregate(sum=Sum("liability_minor"))["sum"] or 0


def _counts(field: str, campaign: Campaign) -> dict[object, tuple[int, int]]:
    rows = (
        Reservation.objects.filter(campaign=campaign)
        .values(field)
        .annotate(
            held=Count("pk", filter=Q(state__in=OPEN_STATES)), redeemed=Count("pk", filter=Q(state=State.REDEEMED))
        )
    )
    return {row[field]: (row["held"], row["redeemed"]) for row in rows}


def verify_ledger(campaign: Campaign) -> list[str]:
    """Return every counter that differs from the ledger and the reservations; empty if all agree."""
    campaign = Campaign.objects.get(pk=campaign.pk)
    found: list[str] = []
    reserved, spent = _truth(campaign)
    if (campaign.reserved_minor, campaign.spent_minor) != (reserved, spent):
        found.append(
            f"campaign {campaign.pk}: counters {campaign.reserved_minor}/{campaign.spent_minor}, "
            f"ledger {reserved}/{spent} (reserved/spent)"
        )
    owed = _liability(campaign)
    if campaign.liability_minor != owed:
        found.append(f"campaign {campaign.pk}: liability {campaign.liability_minor}, coupons {owed}")
    by_offer = _counts("offer_id", campaign)
    issued = dict(Coupon.objects.filter(offer__campaign=campaign).values_list("offer_id").annotate(count=Count("pk")))
    for offer in Offer.objects.filter(campaign=campaign):
        held, redeemed = by_offer.get(offer.pk, (0, 0))
        expected = (issued.get(offer.pk, 0), held, redeemed)
        actual = (offer.issued_count, offer.reserved_count, offer.redeemed_count)
        if actual != expected:
            found.append(f"offer {offer.pk}: counters {actual}, rows {expected} (issued, reserved, redeemed)")
    by_coupon = _counts("coupon_id", campaign)
    for coupon in Coupon.objects.filter(offer__campaign=campaign).iterator():
        expected_uses = by_coupon.get(coupon.pk, (0, 0))
        if (coupon.reserved_count, coupon.used_count) != expected_uses:
            found.append(
                f"coupon {coupon.pk}: counters {(coupon.reserved_count, coupon.used_count)}, rows {expected_uses}"
            )
    return found


def rebuild_counters(campaign: Campaign) -> None:
    """Set every counter of a campaign from the ledger and the reservations, while shoppers go on spending."""
    with transaction.atomic():
        coupons = _lock(campaign)
        reserved, spent = _truth(campaign)
        by_coupon = _counts("coupon_id", campaign)
        by_offer = _counts("offer_id", campaign)
        issued = dict(
            Coupon.objects.filter(offer__campaign=campaign).values_list("offer_id").annotate(count=Count("pk"))
        )
        for key in coupons:
            held, redeemed = by_coupon.get(key, (0, 0))
            Coupon.objects.filter(pk=key).update(reserved_count=held, used_count=redeemed)
        for offer in Offer.objects.filter(campaign=campaign).order_by("pk"):
            held, redeemed = by_offer.get(offer.pk, (0, 0))
            Offer.objects.filter(pk=offer.pk).update(
                issued_count=issued.get(offer.pk, 0), reserved_count=held, redeemed_count=redeemed
            )
        Campaign.objects.filter(pk=campaign.pk).update(
            reserved_minor=reserved, spent_minor=spent, liability_minor=_liability(campaign)
        )


def _lock(campaign: Campaign) -> list[uuid.UUID]:
    """Lock the campaign's rows in the writers' own order, so that nothing moves between sum and counter.

    Returns the coupons that are locked. One issued meanwhile is not among them: its counters are as its writer
    left them, and touching them here could wait for somebody who waits for us.
    """
    coupons = Coupon.objects.select_for_update(of=("self",)).filter(offer__campaign=campaign).order_by("pk")
    locked = [coupon.pk for coupon in coupons.only("pk").iterator()]
    list(Offer.objects.select_for_update().filter(campaign=campaign).order_by("pk").values_list("pk"))
    list(Campaign.objects.select_for_update().filter(pk=campaign.pk).values_list("pk"))
    return locked
