"""Which candidates this shopper may have now, and the reason for every one that is left out."""

from __future__ import annotations

from datetime import datetime

from personalization.campaigns import snapshots, triggers
from personalization.campaigns.coupons import closed_reason, is_member
from personalization.decisioning.session import Session
from personalization.models import Coupon, Offer, Shopper

REASONS = {
    "campaign_not_running": "the campaign is not running",
    "outside_campaign_dates": "outside the campaign's dates",
    "outside_window": "outside the offer's window",
    "all_issued": "all coupons are issued",
    "sold_out": "all redemptions are taken",
    "budget_used_up": "the campaign's budget is used up",
    "paced": "today's share of the campaign's budget is used up",
    "not_a_member": "for other loyalty tiers",
    "not_in_audience": "the shopper is not in the audience",
    "no_occasion": "its occasion has not come for this shopper",
    "already_used": "the shopper has used it already",
    "dismissed": "the shopper asked for less like this",
    "predicted_loss": "it is predicted to cost more than it brings",
}


def split(
    offers: list[Offer], shopper: Shopper | None, *, personal: bool, recent: Session, now: datetime
) -> tuple[list[Offer], dict[int, str]]:
    """Return the eligible offers and, for the others, offer id → reason code.

    ``personal`` False (no consent): loyalty terms still hold, since they are part of the offer, but audience rules
    match only everybody.
    """
    excluded: dict[int, str] = {}
    used = _used_offers(shopper, offers)
    members = snapshots.memberships(shopper if personal else None, (offer.campaign for offer in offers))
    waiting = triggers.without_occasion(offers, shopper if personal else None, now)
    eligible: list[Offer] = []
    for offer in offers:
        reason = closed_reason(offer, now) or _personal_reason(offer, shopper, personal, now, members)
        if not reason and offer.pk in waiting:
            reason = triggers.REASON
        if not reason and offer.pk in used:
            reason = "already_used"
        if not reason and _is_unwanted(offer, recent):
            reason = "dismissed"
        if reason:
            excluded[offer.pk] = reason
        else:
            eligible.append(offer)
    return eligible, excluded


def _personal_reason(
    offer: Offer, shopper: Shopper | None, personal: bool, now: datetime, members: frozenset[int]
) -> str:
    if not is_member(offer, shopper):
        return "not_a_member"
    if not snapshots.belongs(offer.campaign, shopper if personal else None, now, members):
        return "not_in_audience"
    return ""


def _is_unwanted(offer: Offer, recent: Session) -> bool:
    """Return whether the shopper wants less of it, of its category, or of every product that it is for."""
    if offer.pk in recent.dismissed or offer.category in recent.unwanted_categories:
        return True
    return bool(offer.item_ids) and recent.unwanted_items.issuperset(map(str, offer.item_ids))


def _used_offers(shopper: Shopper | None, offers: list[Offer]) -> set[int]:
    """Return the offers of which the shopper has spent every coupon they can get (one query)."""
    if shopper is None or not offers:
        return set()
    limits = {offer.pk: offer.per_shopper for offer in offers}
    spent: dict[int, int] = {}
    rows = Coupon.objects.filter(shopper=shopper, offer_id__in=limits).values_list("offer_id", "used_count", "max_uses")
    for offer_id, used, most in rows:
        spent[offer_id] = spent.get(offer_id, 0) + int(used >= most)
    return {offer_id for offer_id, count in spent.items() if count >= limits[offer_id]}
