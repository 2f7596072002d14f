"""What codes that are stored as they are (event types, consent, broken rules) are called in front of people.

A code that is not known here, a host's own event type for instance, is told as it is, with spaces.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from personalization.types import Purpose

EVENT_TYPES: Mapping[str, Promise | str] = {
    "page_viewed": _("page viewed"),
    "page_left": _("page left"),
    "product_viewed": _("product viewed"),
    "product_seen": _("product seen in a list"),
    "product_clicked": _("product clicked in a list"),
    "category_viewed": _("category viewed"),
    "search_performed": _("search"),
    "basket_changed": _("basket changed"),
    "offer_shown": _("offer shown"),
    "offer_viewed": _("offer looked at"),
    "offer_clicked": _("offer clicked"),
    "offer_dismissed": _("offer dismissed"),
    "coupon_claimed": _("coupon claimed"),
    "coupon_redeemed": _("coupon redeemed"),
    "order_placed": _("order placed"),
    "order_refunded": _("order refunded"),
    "logged_in": _("logged in"),
    "review_submitted": _("review written"),
    "feedback_given": _("wish about what is shown"),
    "satisfaction_answered": _("survey answered"),
}
BOT_RULES: Mapping[str, Promise | str] = {
    "rate": _("too many events at once"),
    "no_dwell": _("pages left at once"),
    "impossible": _("clicks on what was never seen"),
}


PURPOSES: Mapping[str, Promise | str] = {
    Purpose.ANALYTICS.value: _("analytics"),
    Purpose.PERSONALISATION.value: _("personalisation"),
    Purpose.MARKETING.value: _("marketing"),
}
GIVEN_THROUGH: Mapping[str, Promise | str] = {
    "banner": _("the consent banner"),
    "manager": _("a consent manager"),
    "unsubscribe": _("unsubscribing from a message"),
}
"""What wrote a line of the consent ledger."""


def event_type(code: str) -> str:
    """Return an event type's name."""
    return _told(EVENT_TYPES, code)


def bot_rule(code: str) -> str:
    """Return the name of a rule that gives a program away."""
    return _told(BOT_RULES, code)


def purpose(code: str) -> str:
    """Return the name of what a shopper agrees to."""
    return _told(PURPOSES, code)


def given_through(code: str) -> str:
    """Return the name of what wrote a line of the consent ledger."""
    return _told(GIVEN_THROUGH, code)


def _told(names: Mapping[str, Promise | str], code: str) -> str:
    return str(names[code]) if code in names else code.replace("_", " ")
