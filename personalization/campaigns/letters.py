"""What a message says: the offer's texts, a code where the offer is claimed, links that lead back to the shop."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from personalization.campaigns import clicks, clock, codes, coupons, unsubscribe
from personalization.campaigns.channels import Rendered
from personalization.models import Coupon, Offer, OutboxMessage
from personalization.pure import markup
from personalization.types import OfferKind


def render(message: OutboxMessage, offer: Offer, coupon: Coupon | None, address: str) -> Rendered:
    """Return the message in the shopper's language, on the clock of the campaign."""
    shopper, link = message.shopper, clicks.link_for(message, offer)
    code = codes.reveal(coupon.code_ciphertext) if coupon is not None else ""
    unsubscribe_url = unsubscribe.url(shopper, message.channel)
    expires_at = coupon.expires_at.astimezone(clock.zone_of(offer.campaign)) if coupon and coupon.expires_at else None
    with translation.override(language_of(shopper.attributes)):
        headline = offer.headline or offer.name
        words: dict[str, Any] = {
            "headline": headline,
            "body": offer.body,
            # What is stored may be older than the list of harmless tags.
            "body_html": mark_safe(markup.clean(offer.body_html)),
            "terms": coupons.terms_text(offer),
            "code": code,
            "expires_at": expires_at,
            "link": link,
            "cta_label": offer.cta_label or _("To the shop"),
            "unsubscribe_url": unsubscribe_url,
        }
        return Rendered(
            message_id=str(message.pk),
            shopper_key=str(shopper.key),
            address=address,
            subject=headline,
            text=render_to_string("personalization/email/offer.txt", words),
            html=render_to_string("personalization/email/offer.html", words),
            link=link,
            unsubscribe_url=unsubscribe_url,
            campaign_id=offer.campaign_id,
            offer_id=offer.pk,
            code=code,
        )


def language_of(attributes: dict[str, Any]) -> str:
    """Return the shopper's own language (attribute ``language``) where the shop speaks it, else the shop's."""
    wanted = attributes.get("language")
    spoken = isinstance(wanted, str) and wanted in dict(settings.LANGUAGES)
    return str(wanted) if spoken else settings.LANGUAGE_CODE


def coupon_for(message: OutboxMessage, offer: Offer, now: datetime) -> Coupon | None:
    """Return the shopper's coupon to send along: one they hold and can use, else a new one. Raises ClaimRefused.

    An offer that is not claimed needs none.
    """
    if offer.application != Offer.Application.CLAIM or offer.kind == OfferKind.ANNOUNCEMENT:
        return None
    held = held_coupon(message, offer, now)
    if held is not None:
        return held
    return coupons.issue(offer, shopper=message.shopper, origin=Coupon.Origin.TRIGGER, claim_key=f"push:{message.pk}")


def held_coupon(message: OutboxMessage, offer: Offer, now: datetime) -> Coupon | None:
    """Return the newest coupon for the offer that the shopper holds and can use."""
    held = Coupon.objects.filter(offer=offer, shopper=message.shopper, voided_at=None).order_by("-claim_no")
    for coupon in held:
        alive = coupon.expires_at is None or coupon.expires_at > now
        if alive and coupon.used_count + coupon.reserved_count < coupon.max_uses:
            return coupon
    return None
