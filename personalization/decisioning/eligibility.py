"""Which candidates this shopper may have now, and the reason for every one that is left out."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from django.utils.translation import gettext_noop

from personalization.campaigns import catalog, snapshots, triggers
from personalization.campaigns.coupons import closed_reason, is_member
from personalization.decisioning.session import Session
from personalization.models import Coupon, Offer, Shopper

REASONS = {
    "campaign_not_running": gettext_noop("the campaign is not running"),
    "outside_campaign_dates": gettext_noop("outside the campaign's dates"),
    "outside_window": gettext_noop("outside the offer's window"),
    "all_issued": gettext_noop("all coupons are issued"),
    "sold_out": gettext_noop("all redemptions are taken"),
    "budget_used_up": gettext_noop("the campaign's budget is used up"),
    "paced": gettext_noop("today's share of the campaign's budget is used up"),
    "other_currency": gettext_noop("no product is sold in its currency"),
    "not_a_member": gettext_noop("for other loyalty tiers"),
    "not_in_audience": gettext_noop("the shopper is not in the audience"),
    "no_occasion": gettext_noop("its occasion has not come for this shopper"),
    "already_used": gettext_noop("the shopper has used it already"),
    "dismissed": gettext_noop("the shopper asked for less like this"),
    "predicted_loss": gettext_noop("it is predicted to cost more than it brings"),
}
"""Why an offer is left out, as msgids."""


def split(
    offers: list[Offer], shopper: Shopper | None, *, personal: bool, recent: Session, now: datetime
) -> tuple[list[Offer], dict[int, str], frozenset[int]]:
    """Return the eligible offers; for the others, offer id → reason code; and whose coupon waits for the shopper.

    ``personal`` False (no consent): loyalty terms still hold, since they are part of the offer, but audience rules
    match only everybody.
    """
    excluded: dict[int, str] = {}
    used, held = _own_coupons(shopper, offers, now)
    members = snapshots.memberships(shopper if personal else None, (offer.campaign for offer in offers))
    foreign = catalog.foreign(offers)
    waiting = triggers.without_occasion(offers, shopper if personal else None, now)
    eligible: list[Offer] = []
    for offer in offers:
        reason = closed_reason(offer, now)
        if reason == "all_issued" and offer.pk in held:
            reason = ""
        if not reason and offer.pk in foreign:
            reason = "other_currency"
        reason = reason or _personal_reason(offer, shopper, personal, now, members)
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
    return eligible, excluded, held


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


def _own_coupons(shopper: Shopper | None, offers: list[Offer], now: datetime) -> tuple[frozenset[int], frozenset[int]]:
    """Return the offers of which the shopper got every coupon they can get: all spent, and at least one of use."""
    if shopper is None or not offers:
        return frozenset(), frozenset()
    limits = {offer.pk: offer.per_shopper for offer in offers}
    got, spent, of_use = Counter[int](), Counter[int](), set[int]()
    rows = Coupon.objects.filter(shopper=shopper, offer_id__in=limits).values_list(
        "offer_id", "used_count", "reserved_count", "max_uses", "expires_at", "voided_at"
    )
    for offer_id, used, reserved, most, expires_at, voided_at in rows:
        got[offer_id] += 1
        spent[offer_id] += int(used >= most)
        if used + reserved < most and voided_at is None and (expires_at is None or expires_at > now):
            of_use.add(offer_id)
    complete = {offer_id for offer_id, count in got.items() if count >= limits[offer_id]}
    return frozenset(key for key in complete if spent[key] >= limits[key]), frozenset(complete & of_use)
