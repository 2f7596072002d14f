"""Template tags: offers, products, the consent banner and the page script."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.template.context import Context
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from personalization import conf
from personalization.decisioning.decide import decide
from personalization.decisioning.products import recommend
from personalization.decisioning.wishes import dismissed_in
from personalization.exceptions import UnknownSlot
from personalization.learning.disclosure import disclose
from personalization.pure import markup
from personalization.tracking import bots, consent
from personalization.tracking.middleware import mark_personal
from personalization.tracking.pages import page_token
from personalization.types import CONSENT_PURPOSES, DecisionResult, Purpose, RankedOffer

logger = logging.getLogger(__name__)
register = template.Library()


def _request(context: Context) -> HttpRequest | None:
    request = context.get("request")
    return request if isinstance(request, HttpRequest) else None


def _decide(context: Context, slot: str, limit: int) -> DecisionResult | None:
    """Decide a slot for a page: an unknown slot is the template author's mistake, anything else never shows."""
    request = _request(context)
    if request is None:
        return None
    mark_personal(request)
    try:
        return decide(slot, request=request, limit=limit)
    except UnknownSlot as error:
        known = ", ".join(sorted(conf.get().slots)) or "none"
        raise template.TemplateSyntaxError(f'{error.message} Declared in PERSONALIZATION["SLOTS"]: {known}.') from None
    except Exception:
        logger.exception("slot %s could not be decided", slot)
        return None


@register.simple_tag(takes_context=True)
def offers(context: Context, slot: str, limit: int = 1) -> list[RankedOffer]:
    """Return the offers chosen for a slot, to be rendered by the page itself."""
    result = _decide(context, slot, limit)
    return list(result.offers) if result is not None else []


class OfferSlotNode(template.Node):
    """Renders the chosen offers, or the block's content where there is none."""

    def __init__(self, slot: FilterExpression, limit: FilterExpression | None, fallback: NodeList) -> None:
        self.slot, self.limit, self.fallback = slot, limit, fallback

    def _limit(self, context: Context) -> int:
        try:
            return int(self.limit.resolve(context)) if self.limit is not None else 1
        except (TypeError, ValueError):  # a variable that the page has not set
            return 1

    def render(self, context: Context) -> SafeString:
        slot = str(self.slot.resolve(context))
        result = _decide(context, slot, self._limit(context))
        request = _request(context)
        undo = _undo(request, slot)
        if result is None or not result.offers:
            return SafeString(undo + self.fallback.render(context))
        shared = {
            "decision": result,
            "next": request.get_full_path() if request else "/",
            "may_dismiss": _may_dismiss(request),
        }
        cards = [
            render_to_string("personalization/offer_card.html", {"offer": offer, **shared}, request=request)
            for offer in result.offers
        ]
        return SafeString("".join([undo, *cards]))


def _may_dismiss(request: HttpRequest | None) -> bool:
    """Return whether "Less like this" can be noted: with consent, and where it is logged what was shown."""
    if request is None or bots.is_bot(request.headers.get("User-Agent", "")):
        return False
    return Purpose.PERSONALISATION in consent.purposes_of(request)


def _undo(request: HttpRequest | None, slot: str) -> str:
    """Return the way back from "Less like this" where the cards were that it was pressed on of late."""
    session = getattr(request, "session", None)
    if request is None or session is None or not _may_dismiss(request):
        return ""
    lines = [
        render_to_string(
            "personalization/offer_dismissed.html", {"noted": noted, "next": request.get_full_path()}, request=request
        )
        for noted in dismissed_in(session, slot)
    ]
    return "".join(lines)


@register.tag
def offer_slot(parser: Parser, token: Token) -> OfferSlotNode:
    """``{% offer_slot "home_hero" [limit=2] %}…fallback…{% endoffer_slot %}``"""
    parts = token.split_contents()[1:]
    if not parts or len(parts) > 2 or (len(parts) == 2 and not parts[1].startswith("limit=")):
        raise template.TemplateSyntaxError('Write {% offer_slot "slot" [limit=N] %}.')
    limit = parser.compile_filter(parts[1].removeprefix("limit=")) if len(parts) == 2 else None
    fallback = parser.parse(("endoffer_slot",))
    parser.delete_first_token()
    return OfferSlotNode(parser.compile_filter(parts[0]), limit, fallback)


@register.filter
def clean_markup(text: Any) -> SafeString:
    """Return an offer's marked-up text for a page: whatever is stored, only harmless tags come out."""
    return SafeString(markup.clean(str(text or "")))


@register.simple_tag(takes_context=True)
def recommended_products(context: Context, product_id: Any = "", limit: int = 8) -> list[str]:
    """Return product ids for this shopper, best first; ``product_id`` is the product the page is about."""
    request = _request(context)
    if request is None:
        return []
    mark_personal(request)
    try:
        return recommend(request=request, item_id=str(product_id), limit=limit)
    except Exception:
        logger.exception("products could not be recommended")
        return []


@register.simple_tag(takes_context=True)
def consent_banner(context: Context) -> SafeString:
    """Render the consent banner until the visitor has answered it."""
    request = _request(context)
    if request is None:
        return SafeString("")
    mark_personal(request)
    if consent.consent_asked(request):
        return SafeString("")
    shown = {"ask": True, "purposes": CONSENT_PURPOSES, "next": request.get_full_path()}
    return render_to_string("personalization/consent_banner.html", shown, request=request)


@register.inclusion_tag("personalization/how_chosen.html", takes_context=True)
def how_offers_are_chosen(context: Context) -> dict[str, Any]:
    """Render how offers are chosen, in plain words, for a page of the shop's own: about nobody, the same for all."""
    request = _request(context)
    return {
        "found": disclose(conf.get().population),
        "switch_off": request is not None and not conf.get().consent,
        "next": request.get_full_path() if request is not None else "/",
        "csrf_token": context.get("csrf_token"),
    }


@lru_cache(maxsize=256)  # every page asks; the address depends on nothing else
def _intake(urlconf: Any, prefix: str, language: str | None) -> str:
    return reverse("personalization:events")


@lru_cache(maxsize=256)
def _script(src: str, intake: str, channel: str) -> SafeString:
    """Return all of the tag that is the same for everybody."""
    said = format_html(' data-pz-channel="{}"', channel) if channel else ""
    return format_html('<script src="{}" defer data-pz-endpoint="{}"{}', src, intake, said)


@register.simple_tag(takes_context=True)
def personalization_beacon(context: Context, channel: str = "") -> SafeString:
    """Render the page script's tag; without consent, nothing. ``channel``: where this page is shown, if not the web."""
    request = _request(context)
    if request is None:
        return SafeString("")
    mark_personal(request)  # without consent too: the page without the script is no page for everybody
    if not consent.purposes_of(request):
        return SafeString("")
    intake = _intake(get_urlconf() or settings.ROOT_URLCONF, get_script_prefix(), get_language())
    opening = _script(static("personalization/beacon.js"), intake, channel)
    return SafeString(f'{opening} data-pz-token="{page_token(request)}"></script>')  # a token holds nothing to escape
