"""The forms that work without a script: claim a coupon, wish for less like it, answer the consent banner."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from personalization.campaigns import coupons
from personalization.exceptions import PersonalizationError
from personalization.models import Offer
from personalization.ports.messages import explain
from personalization.tracking import consent as consents
from personalization.tracking import identity, limits
from personalization.tracking.ingest import track
from personalization.types import CONSENT_PURPOSES

SESSION_COUPONS = "pz_coupons"
MOST_DECISION = 64


def _next(request: HttpRequest) -> str:
    """Return where to go back to: the form's ``next`` or the referring page, on this host only."""
    for target in (request.POST.get("next", ""), request.headers.get("Referer", "")):
        if target and url_has_allowed_host_and_scheme(
            target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        ):
            return target
    return "/"


def _offer(request: HttpRequest) -> int:
    raw = request.POST.get("offer", "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 else 0


@never_cache
@require_POST
def claim(request: HttpRequest) -> HttpResponse:
    """Claim the coupon of a rendered offer and go back to the page."""
    offer_id = _offer(request)
    try:
        limits.attempt("claim", request=request, shopper=identity.shopper_for(request))
        if identity.shopper_for(request) is None:
            coupons.require_open(offer_id)
        shopper = identity.shopper_for(request, create=True)
        assert shopper is not None
        issued = coupons.claim(offer_id, shopper=shopper, decision_id=request.POST.get("decision", ""), request=request)
    except PersonalizationError as error:
        messages.error(request, explain(error))
        return HttpResponseRedirect(_next(request))
    held = [key for key in request.session.get(SESSION_COUPONS, []) if key != issued.coupon_id]
    request.session[SESSION_COUPONS] = [issued.coupon_id, *held][:20]
    messages.success(request, _("Your coupon is ready. It is waiting in your basket."))
    return HttpResponseRedirect(_next(request))


@never_cache
@require_POST
def dismiss(request: HttpRequest) -> HttpResponse:
    """Note that the shopper wants less like a rendered offer, and go back to the page."""
    shopper = identity.shopper_for(request)
    try:
        limits.attempt("event", request=request, shopper=shopper)
    except PersonalizationError as error:
        messages.error(request, explain(error))
        return HttpResponseRedirect(_next(request))
    offer = Offer.objects.filter(pk=_offer(request)).values_list("pk", flat=True).first()
    decision = {"decision_id": request.POST.get("decision", "")[:MOST_DECISION]}
    if offer is not None and track("offer_dismissed", request=request, offer_id=offer, properties=decision):
        messages.success(request, _("Noted: you will see less like this."))
    else:
        messages.error(request, _("This could not be noted. Only what you allow us to remember changes what you see."))
    return HttpResponseRedirect(_next(request))


@never_cache
@require_POST
def consent(request: HttpRequest) -> HttpResponse:
    """Store the banner's answer: ``answer`` is ``all``, ``none`` or ``chosen`` (with ``purpose`` ticks)."""
    response = HttpResponseRedirect(_next(request))
    answer = request.POST.get("answer", "none")
    chosen = set(request.POST.getlist("purpose"))
    if answer == "all":
        purposes = list(CONSENT_PURPOSES)
    elif answer == "chosen":
        purposes = [purpose for purpose in CONSENT_PURPOSES if purpose.value in chosen]
    else:
        purposes = []
    consents.give_consent(request, response, purposes)
    return response
