"""Offers and benefits as sentences for shoppers, in the language that is active."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from personalization.models import Offer, offer_rules
from personalization.ports.money import money
from personalization.types import Discount, OfferKind


def terms_text(offer: Offer) -> str:
    """Return the offer's terms as a sentence; empty for an announcement."""
    text = _benefit(offer)
    if not text:
        return ""
    if offer.category:
        text = _("%(benefit)s on %(category)s") % {"benefit": text, "category": offer.category}
    if offer.threshold_minor:
        minimum = money(offer.threshold_minor, offer.campaign.currency)
        text = _("%(benefit)s from %(minimum)s") % {"benefit": text, "minimum": minimum}
    return text


def _benefit(offer: Offer) -> str:
    currency = offer.campaign.currency
    match offer.kind:
        case OfferKind.FREE_SHIPPING:
            return _("Free delivery")
        case OfferKind.N_FOR_M:
            pieces = {"taken": offer.buy_quantity, "paid": offer.pay_quantity}
            return _("%(taken)s for the price of %(paid)s") % pieces
        case OfferKind.POINTS:
            return _points(offer.points)
        case OfferKind.GIFT_CARD:
            return _("A gift card of %(amount)s") % {"amount": money(offer.amount_minor, currency)}
        case OfferKind.CASH_BACK:
            return _("%(benefit)s back as credit") % {"benefit": _amount(offer, currency)}
        case OfferKind.BUNDLE:
            return _("%(benefit)s off the set") % {"benefit": _amount(offer, currency)}
    if offer.steps:
        return " · ".join(
            _step(step.threshold_minor, step.percent, step.amount_minor, currency)
            for step in offer_rules.steps_in_force(offer.steps)
        )
    if offer.percent or offer.amount_minor:
        return _("%(benefit)s off") % {"benefit": _amount(offer, currency)}
    return _("A present") if offer.gift_item_id else ""


def _amount(offer: Offer, currency: str) -> str:
    return _number(offer.percent, offer.amount_minor, currency)


def _number(percent: object, amount_minor: int, currency: str) -> str:
    if amount_minor:
        return money(amount_minor, currency)
    return f"{percent.normalize():f}%" if hasattr(percent, "normalize") else f"{percent}%"


def _step(threshold_minor: int, percent: object, amount_minor: int, currency: str) -> str:
    words = {
        "benefit": _number(percent, amount_minor, currency),
        "minimum": money(threshold_minor, currency),
    }
    return _("%(benefit)s off from %(minimum)s") % words


def _points(points: int) -> str:
    return ngettext("%(points)s loyalty point", "%(points)s loyalty points", points) % {"points": points}


def extras_text(discount: Discount, currency: str) -> list[str]:
    """Return what a benefit gives beside money off the lines, a sentence each."""
    told = []
    if discount.shipping_minor:
        told.append(_("%(amount)s off delivery") % {"amount": money(discount.shipping_minor, currency)})
    if discount.gifts:
        told.append(_("A present comes along"))
    if discount.later_minor:
        told.append(_("%(amount)s to come") % {"amount": money(discount.later_minor, currency)})
    if discount.points:
        told.append(_points(discount.points))
    return told
