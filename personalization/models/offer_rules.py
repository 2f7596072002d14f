"""What makes an offer's terms whole: one rule a kind, each naming the field to mend."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _

from personalization.types import OfferKind, Step

if TYPE_CHECKING:
    from personalization.models.offers import Offer

MAX_STEPS = 10
WITHOUT_MONEY_OFF = {
    OfferKind.FREE_SHIPPING,
    OfferKind.GIFT,
    OfferKind.POINTS,
    OfferKind.N_FOR_M,
    OfferKind.ANNOUNCEMENT,
}
PRESENTS = {OfferKind.BIRTHDAY, OfferKind.WELCOME}
LISTS = ("tiers", "slots", "item_ids")
Problems = dict[str, object]


def problems(offer: Offer) -> Problems:
    """Return field → what is wrong with it; empty if the terms are whole."""
    found: Problems = {}
    if offer.percent and offer.amount_minor:
        found["amount_minor"] = _("Give either a percentage or an amount, not both.")
    found.update(_benefit(offer))
    found.update(_kind(offer))
    if offer.threshold_minor and offer.amount_minor > offer.threshold_minor and offer.kind != OfferKind.GIFT_CARD:
        found["amount_minor"] = _("The amount off is larger than the minimum spend.")
    if offer.starts_at and offer.ends_at and offer.ends_at <= offer.starts_at:
        found["ends_at"] = _("The window must close after it opens.")
    for name in LISTS:
        words = getattr(offer, name)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            found[name] = _("Give a list of words.")
    if not _is_page(offer.cta_url):
        found["cta_url"] = _("Give a page of the shop, or an address that begins with https://.")
    return found


def _benefit(offer: Offer) -> Problems:
    """Every kind needs its benefit, and only its own."""
    kind = OfferKind(offer.kind) if offer.kind in set(OfferKind) else None
    has_money_off = bool(offer.percent or offer.amount_minor or offer.steps)
    if kind == OfferKind.ANNOUNCEMENT and has_money_off:
        return {"kind": _("An announcement carries no benefit. Choose another kind or clear the benefit.")}
    if kind in WITHOUT_MONEY_OFF:
        return {"percent": _("This kind takes no percentage or amount off.")} if has_money_off else {}
    if kind in PRESENTS and offer.gift_item_id:
        return {}
    return {} if has_money_off else {"percent": _("Give a percentage or an amount.")}


def _kind(offer: Offer) -> Problems:
    found: Problems = {}
    match offer.kind:
        case OfferKind.SPEND_THRESHOLD:
            found.update(_threshold(offer))
        case OfferKind.FLASH_SALE if not offer.ends_at:
            found["ends_at"] = _("A flash sale needs the moment at which it closes.")
        case OfferKind.MEMBER_EXCLUSIVE if not offer.tiers and not offer.member_points:
            found["tiers"] = _("A member exclusive needs at least one loyalty tier, or points.")
        case OfferKind.GIFT if not offer.gift_item_id:
            found["gift_item_id"] = _("Name the product that is given away.")
        case OfferKind.GIFT_CARD if not offer.amount_minor:
            found["amount_minor"] = _("Give the gift card's value.")
        case OfferKind.POINTS if not offer.points:
            found["points"] = _("Say how many points are granted.")
        case OfferKind.BUNDLE if len(set(map(str, offer.item_ids or ()))) < 2:
            found["item_ids"] = _("A bundle names at least two products.")
        case OfferKind.N_FOR_M if not 0 < offer.pay_quantity < offer.buy_quantity:
            found["pay_quantity"] = _("Fewer pieces must be paid than are taken, and at least one.")
    if offer.steps and offer.kind != OfferKind.SPEND_THRESHOLD:
        found["steps"] = _("Only a spend threshold has steps.")
    return found


def _threshold(offer: Offer) -> Problems:
    if not offer.steps:
        if offer.threshold_minor:
            return {}
        return {"threshold_minor": _("A spend threshold needs its minimum spend.")}
    if offer.percent or offer.amount_minor:
        return {"steps": _("Give the benefit either in the steps or beside them, not both.")}
    try:
        steps = read_steps(offer.steps)
    except ValueError:
        return {"steps": _("A step has a minimum spend and either a percentage or an amount.")}
    if len(steps) > MAX_STEPS or [step.threshold_minor for step in steps] != sorted(
        {step.threshold_minor for step in steps}
    ):
        return {"steps": _("Give at most ten steps, each with a higher minimum spend than the one before.")}
    return {}


def read_words(raw: Any) -> frozenset[str]:
    """Return the texts of a list; a row that holds something else, written past the forms, has none."""
    return frozenset(word for word in raw if isinstance(word, str)) if isinstance(raw, list) else frozenset()


def steps_in_force(raw: Any) -> tuple[Step, ...]:
    """Return an offer's steps; none if the row holds something else, written past the forms."""
    try:
        return read_steps(raw)
    except ValueError:
        return ()


def read_steps(raw: Any) -> tuple[Step, ...]:
    """Return the steps of an offer; raise ValueError if they are none."""
    if not isinstance(raw, list):
        raise ValueError("steps are a list")
    return tuple(_read_step(item) for item in raw)


def _read_step(raw: Any) -> Step:
    if not isinstance(raw, Mapping) or not set(raw) <= {"threshold_minor", "percent", "amount_minor"}:
        raise ValueError("a step names threshold_minor and percent or amount_minor")
    threshold, amount = raw.get("threshold_minor", 0), raw.get("amount_minor", 0)
    try:
        percent = Decimal(str(raw.get("percent", 0)))
    except InvalidOperation:
        raise ValueError("a percentage is a number") from None
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (threshold, amount))
    if not whole or not percent.is_finite() or not 0 <= percent <= 100:
        raise ValueError("a step's numbers are out of bounds")
    if threshold <= 0 or not 0 <= amount <= threshold or bool(percent) == bool(amount):
        raise ValueError("a step's numbers are out of bounds")
    return Step(threshold, percent, amount)


def _is_page(address: str) -> bool:
    """Tell whether a link leads to a page, and not into a script."""
    try:
        return urlsplit(address).scheme in {"", "http", "https"}
    except ValueError:
        return False
