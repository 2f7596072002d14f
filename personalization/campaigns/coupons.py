"""Handing out coupons, and saying what one is worth. Holding and spending them: see ``redemption``.

Every limit is a conditional UPDATE whose row count is checked, and a CHECK or UNIQUE constraint behind it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils import timezone

from personalization import conf
from personalization.campaigns import codes, liability, sites, snapshots, switch, triggers
from personalization.campaigns.secrecy import even_time
from personalization.campaigns.wording import terms_text
from personalization.exceptions import ClaimRefused, CouponRefused, UnknownOffer
from personalization.models import Campaign, CodeBatch, Coupon, Decision, Offer, Shopper
from personalization.models.prepared import Prepared
from personalization.pure.benefits import discount_for
from personalization.pure.pacing import allowed_minor
from personalization.tracking import identity, limits
from personalization.tracking.ingest import track
from personalization.types import Basket, CouponPreview, IssuedCoupon, OfferKind

_BY_ID = Prepared(lambda: Coupon.objects.select_related("offer__campaign"))


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
    if campaign.budget_minor is not None:
        used = campaign.reserved_minor + campaign.spent_minor
        if used >= campaign.budget_minor:
            return "budget_used_up"
        if campaign.pacing == Campaign.Pacing.EVEN and used >= allowed_minor(
            campaign.budget_minor, campaign.starts_at, campaign.ends_at, now
        ):
            return "paced"
    return ""


def ineligible_reason(offer: Offer, shopper: Shopper | None, now: datetime) -> str:
    """Return why this shopper cannot have the offer; empty if they can."""
    if not is_member(offer, shopper):
        return "not_a_member"
    if not snapshots.belongs(offer.campaign, shopper, now):
        return "not_in_audience"
    return ""


def is_member(offer: Offer, shopper: Shopper | None) -> bool:
    """Return whether the shopper has the loyalty tier and the points that the offer asks for."""
    if not offer.tiers and not offer.member_points:
        return True
    if shopper is None or (offer.tiers and shopper.attributes.get("tier") not in offer.tiers):
        return False
    points = shopper.attributes.get("points")
    has = points if isinstance(points, int | float) and not isinstance(points, bool) else 0
    return has >= (offer.member_points or 0)


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
    if not sites.shows_on(offer.campaign, sites.host_of(request)):
        raise ClaimRefused(reason=sites.REASON)
    decision = _decision(decision_id, shopper)
    try:
        with transaction.atomic():
            issued = _claim(offer, shopper, decision, idempotency_key, now)
            if issued.new:
                _track_claim(issued, shopper, request)
            return issued
    except IntegrityError:  # the same shopper claimed at the same moment: theirs is the coupon
        held = Coupon.objects.filter(offer=offer, shopper=shopper).order_by("-claim_no").first()
        if held is None and identity.is_gone(shopper):  # erased at this moment, in another window
            raise ClaimRefused(reason="erased") from None
        if held is None:
            raise
        return _issued(held, new=False)


def require_open(offer_id: int) -> None:
    """Raise unless somebody unknown might claim this offer now: for nothing, no shopper is made."""
    offer = _claimable(offer_id, conf.get().population)
    reason = closed_reason(offer, timezone.now()) or triggers.reason(offer, None, timezone.now())
    if not reason and switch.engaged_now(offer.campaign.population):
        reason = switch.REASON
    if reason:
        raise ClaimRefused(reason=reason)


def _claimable(offer_id: int, population: str) -> Offer:
    offer = Offer.objects.select_related("campaign").filter(pk=offer_id, campaign__population=population).first()
    if offer is None or offer.kind == OfferKind.ANNOUNCEMENT or offer.application != Offer.Application.CLAIM:
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
    # An occasion opens the claim; a coupon that was claimed outlasts it.
    reason = closed_reason(offer, now) or ineligible_reason(offer, shopper, now) or triggers.reason(offer, shopper, now)
    if not reason and switch.engaged_now(shopper.population):
        reason = switch.REASON
    if reason:
        raise ClaimRefused(reason=reason)
    coupon, code = draw(
        offer,
        shopper=shopper,
        claim_no=len(held) + 1,
        expires_at=expiry(offer, now),
        decision=decision,
        claim_key=idempotency_key[:100],
    )
    return IssuedCoupon(str(coupon.pk), code, offer.pk, coupon.expires_at, new=True)


def issue(
    offer: Offer,
    *,
    origin: Coupon.Origin,
    shopper: Shopper | None = None,
    code: str = "",
    max_uses: int = 1,
    expires_at: datetime | None = None,
    claim_key: str = "",
    replaces: Coupon | None = None,
    batch: CodeBatch | None = None,
) -> Coupon:
    """Make one coupon for a program or a member of staff: under the offer's limits, whoever it is for.

    ``code`` is a code with a meaning; empty: one is drawn. With a ``claim_key`` a repetition returns the coupon made.
    Raises ClaimRefused. Call it where no transaction of yours depends on it, or inside yours: both commit or neither.
    """
    with transaction.atomic():
        mine = list(Coupon.objects.filter(offer=offer, shopper=shopper).order_by("claim_no")) if shopper else []
        for coupon in mine:
            if claim_key and coupon.claim_key == claim_key[:100]:
                return coupon
        return draw(
            offer,
            shopper=shopper,
            claim_no=len(mine) + 1,
            expires_at=expires_at or expiry(offer, timezone.now()),
            claim_key=claim_key[:100],
            origin=origin,
            code=code,
            max_uses=max_uses,
            replaces=replaces,
            batch=batch,
        )[0]


def draw(offer: Offer, *, code: str = "", max_uses: int = 1, **fields: Any) -> tuple[Coupon, str]:
    """Count one coupon under the offer's limit and its campaign's liability, make it, and return it with its code."""
    taken = Offer.objects.filter(Q(max_issued__isnull=True) | Q(issued_count__lt=F("max_issued")), pk=offer.pk).update(
        issued_count=F("issued_count") + 1
    )
    if not taken:
        raise ClaimRefused(reason="all_issued")
    worst = liability.of_issue(offer, max_uses)
    code = code or codes.generate()
    coupon = Coupon.objects.create(
        offer=offer,
        code_digest=codes.digest(code),
        code_ciphertext=codes.seal(code),
        max_uses=max_uses,
        liability_minor=worst,
        **fields,
    )
    if not liability.add(offer, worst):
        raise ClaimRefused(reason="liability")
    return coupon, code


def void(coupon: Coupon) -> bool:
    """Make a coupon unusable and drop what it could have cost; what it holds already still goes through."""
    with transaction.atomic():
        if not Coupon.objects.filter(pk=coupon.pk, voided_at=None).update(voided_at=timezone.now()):
            return False
        coupon.refresh_from_db()
        liability.drop(coupon)
        return True


def _repeated(offer: Offer, held: list[Coupon], decision: Decision | None, key: str) -> Coupon | None:
    """Return the coupon that this claim already got, or the last one when no more are allowed."""
    for coupon in held:
        same_key = bool(key) and coupon.claim_key == key[:100]
        if same_key or (not key and decision is not None and coupon.decision_id == decision.pk):
            return coupon
    return held[-1] if len(held) >= offer.per_shopper else None


def expiry(offer: Offer, now: datetime) -> datetime:
    """Return until when a coupon made now can be used."""
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
    if coupon_id:
        coupon = by_id(coupon_id)
    else:
        # Every key is tried in one query, so that the time taken does not tell an unknown code from a known one.
        coupons = Coupon.objects.select_related("offer__campaign")
        coupon = coupons.filter(code_digest__in=codes.digests(code)).first()
    reason = unusable_reason(coupon, shopper, timezone.now())
    if coupon is None or reason:
        raise CouponRefused(reason=reason)
    return coupon


def by_id(coupon_id: str) -> Coupon | None:
    """Return a coupon with its offer and campaign, or None: for what is no id, too."""
    try:
        return _BY_ID.get(uuid.UUID(str(coupon_id)))
    except ValueError:
        return None


def tried_coupon(
    *, shopper: Shopper | None, code: str = "", coupon_id: str = "", request: HttpRequest | None = None
) -> Coupon:
    """Return the coupon as :func:`usable_coupon` does; a code is counted as a try, and refused in even time."""
    if not code or coupon_id:
        return usable_coupon(shopper=shopper, coupon_id=coupon_id)
    if request is not None or shopper is not None:
        limits.attempt("code", request=request, shopper=shopper)
    with even_time():
        return usable_coupon(shopper=shopper, code=code)


def unusable_reason(coupon: Coupon | None, shopper: Shopper | None, now: datetime) -> str:
    """Return why this shopper cannot use the coupon at ``now``; empty if they can."""
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
    if switch.engaged_now(campaign.population):
        return switch.REASON
    return ineligible_reason(coupon.offer, shopper, now)


def preview(
    *,
    shopper: Shopper | None,
    basket: Basket,
    code: str = "",
    coupon_id: str = "",
    request: HttpRequest | None = None,
) -> CouponPreview:
    """Return what a coupon would take off this basket, without holding anything.

    A code is a try, counted for the request's account, session and address: too many raise TooManyTries. Call it
    outside transactions, as ``limits`` and ``secrecy`` say.
    """
    coupon = tried_coupon(shopper=shopper, code=code, coupon_id=coupon_id, request=request)
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
            usable=not unusable_reason(coupon, shopper, now),
            code=codes.reveal(coupon.code_ciphertext),
        )
        for coupon in held
    ]
    return sorted(views, key=lambda view: not view.usable)
