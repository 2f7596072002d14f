"""A visitor's own data: see it, take it along, change consent, have it erased. Works without an account."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from personalization import api
from personalization.types import Purpose
from shop import coupons
from shop.forms import ConsentForm, EraseForm

WORDING = {
    Purpose.PERSONALISATION: (
        gettext_lazy("Offers and products chosen for me"),
        gettext_lazy("Remember what you look at, search and buy, and learn from it what suits you."),
    ),
    Purpose.ANALYTICS: (
        gettext_lazy("Surveys about how satisfied I am"),
        gettext_lazy("Keep what you answer when the shop asks how satisfied you are."),
    ),
    Purpose.MARKETING: (
        gettext_lazy("Messages about offers"),
        gettext_lazy("Include you in campaigns that are sent to selected customers."),
    ),
}

KEPT = {
    "events": gettext_lazy("What you viewed, searched, put into the basket and bought"),
    "exposures": gettext_lazy("Offers you were shown, and what came of them"),
    "decisions": gettext_lazy("Choices made for you, with their reasons"),
    "scores": gettext_lazy("Predictions about you"),
    "coupons": gettext_lazy("Your coupons"),
    "redemptions": gettext_lazy("Coupons you used"),
    "consents": gettext_lazy("What you agreed to, and when"),
    "known_as": gettext_lazy("Cookies and other ids that lead to you"),
}


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """What is stored, by kind, and the choices about it."""
    return render(request, "shop/privacy.html", _context(request, EraseForm()))


@require_safe
def how_chosen(request: HttpRequest) -> HttpResponse:
    """How offers are chosen, in plain words: the same for everybody."""
    return render(request, "shop/how_chosen.html", {"privacy_url": reverse("shop:privacy")})


def _context(request: HttpRequest, erase_form: EraseForm) -> dict[str, object]:
    shopper = api.shopper_for(request)
    agreed = api.purposes_of(request)
    stored = api.export(shopper) if shopper else {}
    return {
        "purposes": [(purpose.value, *words, purpose in agreed) for purpose, words in WORDING.items()],
        "stored": [(words, len(stored.get(name, []))) for name, words in KEPT.items()],
        "known": shopper is not None,
        "erase_form": erase_form,
    }


@require_POST
def consent(request: HttpRequest) -> HttpResponse:
    """Set the ticked purposes; what is not ticked is withdrawn."""
    form = ConsentForm(request.POST)
    response = redirect("shop:privacy")
    if form.is_valid():
        api.give_consent(request, response, form.agreed())
        messages.success(request, _("Your choice is saved and already in force."))
    else:
        messages.error(request, _("Your choice could not be read. Please try again."))
    return response


@never_cache
@require_safe
def download(request: HttpRequest) -> HttpResponse:
    """Everything that is stored about this shopper, as a JSON file."""
    shopper = api.shopper_for(request)
    response = JsonResponse(api.export(shopper) if shopper else {}, json_dumps_params={"indent": 2})
    response["Content-Disposition"] = 'attachment; filename="my-data.json"'
    return response


@require_POST
def erase(request: HttpRequest) -> HttpResponse:
    """Erase the shopper and withdraw every consent. Orders stay: the law wants them kept."""
    form = EraseForm(request.POST)
    if not form.is_valid():
        return render(request, "shop/privacy.html", _context(request, form), status=400)
    response = redirect("shop:privacy")
    shopper = api.shopper_for(request)
    api.withdraw_consent(request, response)
    if shopper is not None:
        api.erase(shopper)
        coupons.remove(request)
    messages.success(request, _("What was stored about you has been erased."))
    return response
