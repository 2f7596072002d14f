"""The forms that work without a script: claim a coupon, wish for less like it, answer the consent banner."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urldefrag

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from personalization.campaigns import coupons
from personalization.decisioning import wishes
from personalization.decisioning.wishes import NotShown, Showing
from personalization.exceptions import PersonalizationError
from personalization.models import Shopper
from personalization.ports.messages import explain
from personalization.tracking import consent as consents
from personalization.tracking import identity, limits
from personalization.types import CONSENT_PURPOSES, Purpose

SESSION_COUPONS = "pz_coupons"
PLAIN = "text/plain; charset=utf-8"


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
    """Note that the shopper wants less like an offer that they were shown, and go back to the page."""
    return _wish(request, wishes.dismiss, _("Noted: “%(headline)s” stays away from now on."), offer_undo=True)


@never_cache
@require_POST
def take_back(request: HttpRequest) -> HttpResponse:
    """Take "Less like this" back, and go back to the page."""
    return _wish(request, wishes.take_back, _("Taken back: “%(headline)s” may be shown again."), offer_undo=False)


def _wish(
    request: HttpRequest, note: Callable[[HttpRequest, Shopper, Showing], bool], told: str, *, offer_undo: bool
) -> HttpResponse:
    """Note a wish about a rendered offer. What no card of this shopper's could have sent is answered plainly."""
    back = HttpResponseRedirect(_next(request))
    shopper = identity.shopper_for(request)
    try:
        limits.attempt("event", request=request, shopper=shopper)
    except PersonalizationError as error:
        messages.error(request, explain(error))
        return back
    offer_id = _offer(request)
    if not offer_id:
        return HttpResponse(_("Name the offer by its number."), status=400, content_type=PLAIN)
    if shopper is None or Purpose.PERSONALISATION not in consents.purposes_of(request):
        messages.error(request, _("This could not be noted. Only what you allow us to remember changes what you see."))
        return back
    try:
        seen = wishes.showing(shopper, offer_id, request.POST.get("decision", ""))
    except NotShown as error:
        return HttpResponse(explain(error), status=404, content_type=PLAIN)
    if not note(request, shopper, seen):
        messages.error(request, _("This could not be noted. Please try again."))
        return back
    messages.success(request, told % {"headline": seen.headline})
    if offer_undo:
        wishes.offer_undo(request.session, seen)
        opposite = f"pz-undo-{offer_id}"
    else:
        wishes.withdraw_undo(request.session, offer_id)
        opposite = f"pz-less-{seen.slot}-{offer_id}"
    # To the button that does the opposite, where the page shows it: that gets the focus, on this way only.
    return HttpResponseRedirect(f"{urldefrag(back.url).url}#{opposite}")


@never_cache
@require_POST
def consent(request: HttpRequest) -> HttpResponse:
    """Store the banner's answer: ``answer`` is ``all``, ``none`` or ``chosen`` (with ``purpose`` ticks).

    A withdrawal is confirmed by a message; with ``confirm`` also that there was nothing to withdraw.
    """
    response = HttpResponseRedirect(_next(request))
    answer = request.POST.get("answer", "none")
    chosen = set(request.POST.getlist("purpose"))
    if answer == "all":
        purposes = list(CONSENT_PURPOSES)
    elif answer == "chosen":
        purposes = [purpose for purpose in CONSENT_PURPOSES if purpose.value in chosen]
    else:
        purposes = []
    before = consents.purposes_of(request)
    consents.give_consent(request, response, purposes)
    if before - set(purposes):
        told = _("Withdrawn: from now on nothing more is recorded for what you no longer allow.")
    elif request.POST.get("confirm"):  # the button stands on a page that is the same for everybody
        told = _("Nothing is recorded about you: there was no consent to withdraw.")
    else:
        return response
    messages.success(request, told, fail_silently=True)
    return response
