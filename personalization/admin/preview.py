"""How a campaign's offers look on a phone and on a desk, and what a shopper would be shown: looked at, never logged."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from personalization import conf
from personalization.admin import explanation
from personalization.admin.display import words_of
from personalization.decisioning import decide
from personalization.exceptions import PersonalizationError
from personalization.features import audiences
from personalization.models import Campaign, Offer, Shopper
from personalization.types import RankedOffer

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin

MOST_FOUND = 10
SEES_AS = ("personalization.view_shopper", "personalization.view_decision")
"""Looking through a shopper's eyes shows what is kept and predicted about them."""


@dataclass(frozen=True)
class Card:
    """One offer's card as a page shows it."""

    name: str
    html: SafeString


@dataclass(frozen=True)
class Rehearsal:
    """What one slot would answer a shopper now."""

    slot: str
    cards: list[Card]
    told: explanation.Explanation


def card(request: HttpRequest, offer: RankedOffer, name: str) -> Card:
    """Render an offer with the template that the shop's pages use, its own one if it has one."""
    context = {"offer": offer, "decision": None, "next": "/"}
    try:
        html = render_to_string("personalization/offer_card.html", context, request=request)
    except NoReverseMatch:  # a shop without our addresses renders its offers itself
        html = render_to_string("admin/personalization/campaign/plain_card.html", context, request=request)
    return Card(name, SafeString(html))


def cards(request: HttpRequest, campaign: Campaign, most: int | None = None) -> list[Card]:
    """Return the cards of a campaign's stored offers, or of the first so many."""
    offers = campaign.offers.select_related("campaign").order_by("pk")[:most]
    return [card(request, decide.sketch(offer), offer.name) for offer in offers]


def may_see_as(request: HttpRequest) -> bool:
    """Return whether the user may look at the shop as a shopper."""
    return bool(request.user.has_perms(SEES_AS))


def preview_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """GET shows the cards, and with ``as`` what that shopper would see; POST finds a shopper, named in its body."""
    if request.method not in {"GET", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if not model_admin.has_view_permission(request, campaign):
        raise PermissionDenied
    here = reverse("admin:personalization_campaign_preview", args=[campaign.pk])
    sees_as = may_see_as(request)
    found: list[Shopper] | None = None
    if (request.method == "POST" or "as" in request.GET) and not sees_as:
        raise PermissionDenied
    if request.method == "POST":
        found = find(model_admin, request, campaign, request.POST.get("shopper", ""))
        if len(found) == 1:
            return HttpResponseRedirect(f"{here}?as={found[0].pk}#pz-see-as")
    shopper = _shopper(request.GET.get("as", ""), campaign)
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "original": campaign,
        "title": _("Preview: %(name)s") % {"name": campaign.name},
        "media": model_admin.media,
        "cards": cards(request, campaign),
        "may_see_as": sees_as,
        "found": found,
        "samples": _samples(campaign) if sees_as else [],
        "shopper": shopper,
        "unknown": bool(request.GET.get("as")) and shopper is None,
        "rehearsals": rehearse(request, campaign, shopper) if shopper is not None else [],
        "as_if_running": campaign.status != Campaign.Status.RUNNING,
        "here": here,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/personalization/campaign/preview.html", context)


def find(model_admin: CampaignAdmin, request: HttpRequest, campaign: Campaign, term: str) -> list[Shopper]:
    """Return the shoppers with exactly this pseudonym, account name or imported id."""
    if not term.strip():
        return []
    page: Any = model_admin.admin_site.get_model_admin(Shopper)
    shoppers = Shopper.objects.filter(population=campaign.population)
    rows, _several = page.get_search_results(request, shoppers, term)
    return list(rows.order_by("pk")[:MOST_FOUND])


def rehearse(request: HttpRequest, campaign: Campaign, shopper: Shopper) -> list[Rehearsal]:
    """Return what each of the campaign's slots would answer, the campaign taken as running. Nothing is written."""
    extra = as_if_running(campaign)
    declared = conf.get().slots
    slots = sorted({slot for offer in extra for slot in words_of(offer.slots)} & set(declared))
    answers = []
    for slot in slots:
        decision, result = decide.rehearse(slot, shopper, limit=3, extra=extra)
        answers.append(
            Rehearsal(
                slot=str(declared[slot]),
                cards=[card(request, offer, offer.headline) for offer in result.offers],
                told=explanation.explain(decision, with_features=True),
            )
        )
    return answers


def as_if_running(campaign: Campaign) -> list[Offer]:
    """Return copies of the campaign's offers whose campaign runs at this moment: in memory only."""
    stage = copy.copy(campaign)
    now = timezone.now()
    stage.status = Campaign.Status.RUNNING
    stage.starts_at = min(stage.starts_at, now)
    if stage.ends_at <= now:
        stage.ends_at = now + (campaign.ends_at - campaign.starts_at)
    offers = list(campaign.offers.order_by("pk"))
    for offer in offers:
        offer.campaign = stage
    return offers


def _shopper(given: str, campaign: Campaign) -> Shopper | None:
    if not given.isdecimal() or len(given) > 18:
        return None
    return Shopper.objects.filter(pk=int(given), population=campaign.population).first()


def _samples(campaign: Campaign) -> list[Shopper]:
    try:
        return list(audiences.sample(campaign, 5))
    except PersonalizationError:  # a rule that cannot be read is told beside the audience
        return []
