"""Handing out coupons, and saying what one is worth. Holding and spending them: see ``redemption``.

Every limit is a conditional UPDATE whose row count is checked, and a CHECK or UNIQUE constraint behind it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import conf
from personalization.campaigns import codes
from personalization.exceptions import ClaimRefused, CouponRefused, UnknownOffer
from personalization.features import audiences
from personalization.models import Campaign, Coupon, Decision, Offer, Shopper
from personalization.pure.benefits import discount_for
from personalization.pure.money import format_minor
from personalization.tracking.ingest import track
from personalization.types import Basket, CouponPreview, IssuedCoupon, OfferKind


@dataclass(frozen=True, slots=True)
class CouponView:
    """A coupon as its shopper sees it. ``code`` is a secret: show it to its holder only."""

    coupon_id: str
    offer_name: str
    terms_text: str
    expires_at: datetime | None
    usable: bool
    code: str


def closed_reason(offer: Offer, now: datetime) -> str:
    """Return why this offer cannot be had at this moment by anybody; empty if it can."""
    campaign = offer.campaign
    if campaign.status != Campaign.Status.RUNNING:
        return "campaign_not_running"
    if not campaign.starts_at <= now < campaign.ends_at:
        return "outside_campaign_dates"
    if (offer.starts_at and now < offer.starts_at) or (offer.ends_at and now >= offer.ends_at):
        return "outside_window"
    if offer.max_issued is not None and offer.issued_count >= offer.max_issued:
        return "all_issued"
    if offer.max_redemptions is not None and offer.reserved_count + offer.redeemed_count >= offer.max_redemptions:
        return "sold_out"
    if campaign.budget_minor is not None and campaign.reserved_minor + campaign.spent_minor >= campaign.budget_minor:
        return "budget_used_up"
    return ""


def ineligible_reason(offer: Offer, shopper: Shopper | None, now: datetime) -> str:
    """Return why this shopper cannot have the offer; empty if they can."""
    if offer.tiers and (shopper is None or shopper.attributes.get("tier") not in offer.tiers):
        return "not_a_member"
    if not audiences.parse(offer.campaign.audience).matches(shopper, now):
        return "not_in_audience"
    return ""


def claim(
    offer_id: int,
    *,
    shopper: Shopper,
    decision_id: str = "",
    idempotency_key: str = "",
    request: HttpRequest | None = None,
) -> IssuedCoupon:
    """Issue this shopper's coupon for an offer; a repeated claim returns the coupon already issued.

    Give the ``request`` where there is one: whether the claim may be recorded as behaviour is its browser's word.

    ``decision_id`` says which decision showed the offer. With several coupons a shopper, claims that carry
    different idempotency keys (or decisions) get different coupons, up to the offer's limit.
    """
    now = timezone.now()
    offer = _claimable(offer_id, shopper.population)
    decision = _decision(decision_id, shopper)
    try:
        with transaction.atomic():
            issued = _claim(offer, shopper, decision, idempotency_key, now)
            if issued.new:
                _track_claim(issued, shopper, request)
            return issued
    except IntegrityError:  # the same shopper claimed at the same moment: theirs is the coupon
        held = Coupon.objects.filter(offer=offer, shopper=shopper).order_by("-claim_no").first()
        if held is None:
            raise
        return _issued(held, new=False)


def require_open(offer_id: int) -> None:
    """Raise unless somebody unknown might claim this offer now: for nothing, no shopper is made."""
    reason = closed_reason(_claimable(offer_id, conf.get().population), timezone.now())
    if reason:
        raise ClaimRefused(reason=reason)


def _claimable(offer_id: int, population: str) -> Offer:
    offer = Offer.objects.select_related("campaign").filter(pk=offer_id, campaign__population=population).first()
    if offer is None or offer.kind == OfferKind.ANNOUNCEMENT:
        raise UnknownOffer
    return offer


def _track_claim(issued: IssuedCoupon, shopper: Shopper, request: HttpRequest | None) -> None:
    track(
        "coupon_claimed",
        request=request,
        shopper=shopper,
        offer_id=issued.offer_id,
        source="coupons",
        event_id=f"claim:{issued.coupon_id}",
    )


def _decision(decision_id: str, shopper: Shopper) -> Decision | None:
    try:
        key = uuid.UUID(decision_id) if decision_id else None
    except ValueError:
        return None
    return Decision.objects.filter(pk=key, shopper=shopper).first() if key else None


def _claim(
    offer: Offer, shopper: Shopper, decision: Decision | None, idempotency_key: str, now: datetime
) -> IssuedCoupon:
    held = list(Coupon.objects.filter(offer=offer, shopper=shopper).order_by("claim_no"))
    repeated = _repeated(offer, held, decision, idempotency_key)
    if repeated is not None:
        return _issued(repeated, new=False)
    reason = closed_reason(offer, now) or ineligible_reason(offer, shopper, now)
    if reason:
        raise ClaimRefused(reason=reason)
    taken = Offer.objects.filter(Q(max_issued__isnull=True) | Q(issued_count__lt=F("max_issued")), pk=offer.pk).update(
        issued_count=F("issued_count") + 1
    )
    if not taken:
        raise ClaimRefused(reason="all_issued")
    code = codes.generate()
    coupon = Coupon.objects.create(
        offer=offer,
        shopper=shopper,
        claim_no=len(held) + 1,
        code_digest=codes.digest(code),
        code_ciphertext=codes.seal(code),
        expires_at=_expiry(offer, now),
        decision=decision,
        claim_key=idempotency_key[:100],
    )
    return IssuedCoupon(str(coupon.pk), code, offer.pk, coupon.expires_at, new=True)


def _repeated(offer: Offer, held: list[Coupon], decision: Decision | None, key: str) -> Coupon | None:
    """Return the coupon that this claim already got, or the last one when no more are allowed."""
    for coupon in held:
        same_key = bool(key) and coupon.claim_key == key[:100]
        if same_key or (not key and decision is not None and coupon.decision_id == decision.pk):
            return coupon
    return held[-1] if len(held) >= offer.per_shopper else None


def _expiry(offer: Offer, now: datetime) -> datetime:
    ends = [offer.campaign.ends_at]
    if offer.ends_at is not None:
        ends.append(offer.ends_at)
    if offer.valid_hours is not None:
        ends.append(now + timedelta(hours=offer.valid_hours))
    return min(ends)


def _issued(coupon: Coupon, *, new: bool) -> IssuedCoupon:
    code = codes.reveal(coupon.code_ciphertext)
    return IssuedCoupon(str(coupon.pk), code, coupon.offer_id, coupon.expires_at, new)


def usable_coupon(*, shopper: Shopper | None, code: str = "", coupon_id: str = "") -> Coupon:
    """Return the coupon this shopper may use now, by code or (their own) id.

    Unknown, expired, used, voided and foreign coupons raise the same CouponRefused.
    """
    coupons = Coupon.objects.select_related("offer__campaign")
    if coupon_id:
        try:
            coupon = coupons.filter(pk=uuid.UUID(str(coupon_id))).first()
        except ValueError:
            coupon = None
    else:
        # Every key is tried in one query, so that the time taken does not tell an unknown code from a known one.
        coupon = coupons.filter(code_digest__in=codes.digests(code)).first()
    reason = _unusable_reason(coupon, shopper, timezone.now())
    if coupon is None or reason:
        raise CouponRefused(reason=reason)
    return coupon


def _unusable_reason(coupon: Coupon | None, shopper: Shopper | None, now: datetime) -> str:
    if coupon is None:
        return "unknown"
    if coupon.shopper_id is not None and (shopper is None or coupon.shopper_id != shopper.pk):
        return "foreign"
    if coupon.voided_at is not None:
        return "voided"
    if coupon.expires_at is not None and coupon.expires_at <= now:
        return "expired"
    if coupon.used_count + coupon.reserved_count >= coupon.max_uses:
        return "used"
    campaign = coupon.offer.campaign
    if campaign.status != Campaign.Status.RUNNING or not campaign.starts_at <= now < campaign.ends_at:
        return "campaign_not_running"
    return ineligible_reason(coupon.offer, shopper, now)


def preview(*, shopper: Shopper | None, basket: Basket, code: str = "", coupon_id: str = "") -> CouponPreview:
    """Return what a coupon would take off this basket, without holding anything."""
    coupon = usable_coupon(shopper=shopper, code=code, coupon_id=coupon_id)
    discount = discount_for(coupon.offer.terms(), basket)
    return CouponPreview(str(coupon.pk), coupon.offer.headline or coupon.offer.name, discount)


def coupons_of(shopper: Shopper) -> list[CouponView]:
    """Return the shopper's coupons, usable ones first."""
    now = timezone.now()
    held = Coupon.objects.select_related("offer__campaign").filter(shopper=shopper).order_by("-issued_at")
    views = [
        CouponView(
            coupon_id=str(coupon.pk),
            offer_name=coupon.offer.headline or coupon.offer.name,
            terms_text=terms_text(coupon.offer),
            expires_at=coupon.expires_at,
            usable=not _unusable_reason(coupon, shopper, now),
            code=codes.reveal(coupon.code_ciphertext),
        )
        for coupon in held
    ]
    return sorted(views, key=lambda view: not view.usable)


def terms_text(offer: Offer) -> str:
    """Return the offer's terms as a sentence for shoppers."""
    currency = offer.campaign.currency
    if offer.percent:
        text = _("%(percent)s%% off") % {"percent": f"{offer.percent.normalize():f}"}
    elif offer.amount_minor:
        text = _("%(amount)s off") % {"amount": format_minor(offer.amount_minor, currency)}
    else:
        return ""
    if offer.category:
        text = _("%(benefit)s on %(category)s") % {"benefit": text, "category": offer.category}
    if offer.threshold_minor:
        minimum = format_minor(offer.threshold_minor, currency)
        text = _("%(benefit)s from %(minimum)s") % {"benefit": text, "minimum": minimum}
    return text
