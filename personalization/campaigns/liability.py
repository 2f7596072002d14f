"""What the coupons that are out could still cost: a counter on the campaign, moved with each coupon's own share.

A coupon carries what its unused redemptions cost at worst. Reserving moves one use's share into ``reserved``, a
release moves it back, the end of a coupon's life drops it. Terms without a bound count as nothing and are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from personalization.models import Campaign, Coupon, Offer
from personalization.pure.costs import worst_case

BATCH = 500


@dataclass(frozen=True, slots=True)
class Liability:
    """A campaign's worst case in minor units, and how many open coupons have terms that set no bound."""

    minor: int
    unbounded_coupons: int


def of_campaign(campaign: Campaign) -> Liability:
    """Return what the campaign's open coupons could still cost."""
    unbounded = [offer.pk for offer in campaign.offers.select_related("campaign") if worst_case(offer.terms()) is None]
    open_coupons = Coupon.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()), offer_id__in=unbounded, voided_at=None,
        max_uses__gt=F("reserved_count") + F("used_count"),
    )  # fmt: skip
    return Liability(campaign.liability_minor, open_coupons.count() if unbounded else 0)


def of_issue(offer: Offer, uses: int) -> int:
    """Return what a new coupon of so many uses adds; nothing where the terms set no bound."""
    return (worst_case(offer.terms()) or 0) * uses


def per_use(coupon: Coupon) -> int:
    """Return the share of a coupon's liability that one reservation takes over."""
    left = coupon.max_uses - coupon.reserved_count - coupon.used_count
    return coupon.liability_minor // left if left > 0 else 0


def add(offer: Offer, amount: int) -> bool:
    """Count liability; False if the campaign's budget has to cover it and does not."""
    if amount <= 0:
        return True
    room = (
        Q(gate_liability=False)
        | Q(budget_minor__isnull=True)
        | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor") + F("liability_minor") + amount)
    )
    moved = Campaign.objects.filter(room, pk=offer.campaign_id).update(liability_minor=F("liability_minor") + amount)
    return bool(moved)


def drop(coupon: Coupon) -> int:
    """Take a coupon's liability off its campaign, once; returns how much it was."""
    amount = coupon.liability_minor
    if amount <= 0:
        return 0
    moved = Coupon.objects.filter(pk=coupon.pk, liability_minor=amount).update(liability_minor=0)
    if not moved:
        return 0
    Campaign.objects.filter(offers=coupon.offer_id).update(liability_minor=F("liability_minor") - amount)
    return amount


def drop_expired(now: datetime | None = None) -> int:
    """Drop the liability of coupons that are past their date or void; returns how many."""
    now = now or timezone.now()
    over = Coupon.objects.filter(Q(expires_at__lte=now) | Q(voided_at__isnull=False), liability_minor__gt=0)
    done = 0
    while True:
        with transaction.atomic():
            rows = list(
                over.select_for_update(of=("self",)).order_by("pk").values_list("pk", "offer__campaign_id")[:BATCH]
            )
            keys = [pk for pk, _ in rows]
            for campaign_id in sorted({campaign for _, campaign in rows}):
                mine = Coupon.objects.filter(pk__in=keys, offer__campaign_id=campaign_id)
                amount = mine.aggregate(sum=Sum("liability_minor"))["sum"] or 0
                Campaign.objects.filter(pk=campaign_id).update(liability_minor=F("liability_minor") - amount)
            Coupon.objects.filter(pk__in=keys).update(liability_minor=0)
        done += len(rows)
        if len(rows) < BATCH:
            return done
