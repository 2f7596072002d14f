"""Offers and triggers in one line each: what a campaign's page shows of them while they are closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from personalization.admin.display import number
from personalization.campaigns.wording import terms_text
from personalization.models import Offer, Trigger


@dataclass(frozen=True, slots=True)
class Line:
    """``kind`` and ``facts`` say what it is; ``state`` how it stands, and ``tone`` colours that."""

    kind: str
    facts: tuple[str, ...]
    state: str
    tone: str = "quiet"


def offer_line(offer: Offer) -> Line:
    """Return an offer's kind, terms, limits and state, as stored or as just typed."""
    facts = (terms_text(offer), *_limits(offer))
    state, tone = _offer_state(offer)
    return Line(str(offer.get_kind_display()), tuple(fact for fact in facts if fact), state, tone)


def _limits(offer: Offer) -> list[str]:
    told = []
    if offer.max_redemptions is not None:
        most = offer.max_redemptions
        told.append(
            ngettext("%(most)s redemption at most", "%(most)s redemptions at most", most) % {"most": number(most)}
        )
    if offer.max_issued is not None:
        most = offer.max_issued
        words = ngettext("%(most)s coupon at most", "%(most)s coupons at most", most)
        told.append(words % {"most": number(most)})
    if offer.uses_per_shopper > 1:
        told.append(_("%(most)s times a shopper") % {"most": number(offer.uses_per_shopper)})
    if offer.starts_at is not None or offer.ends_at is not None:
        told.append(_("in its own window"))
    return told


def _offer_state(offer: Offer) -> tuple[str, str]:
    if offer.ends_at is not None and offer.ends_at <= timezone.now():
        return _("window closed"), "quiet"
    if offer.issued_count or offer.redeemed_count:
        figures = {"issued": number(offer.issued_count), "redeemed": number(offer.redeemed_count)}
        return _("%(issued)s issued · %(redeemed)s redeemed") % figures, "good"
    if not offer.slots and offer.application == Offer.Application.CLAIM:
        return _("no slot yet"), "wait"
    return "", "quiet"


def trigger_line(trigger: Trigger, labels: Mapping[str, str]) -> Line:
    """Return an occasion, its details (named by ``labels``) and channels, and whether it is switched off."""
    facts = [f"{labels.get(name, name)}: {value}" for name, value in trigger.params.items()]
    days = trigger.open_days
    facts.append(ngettext("open for %(days)s day", "open for %(days)s days", days) % {"days": number(days)})
    facts.extend(str(channel) for channel in trigger.channels)
    state = ("", "quiet") if trigger.active else (_("switched off"), "quiet")
    return Line(str(trigger.get_kind_display()), tuple(facts), *state)
