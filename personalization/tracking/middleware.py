"""Middleware: honours withdrawal, signing in and signing out at once, and keeps personal pages out of shared caches."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from personalization import conf
from personalization.tracking import identity, logins
from personalization.tracking.consent import follow_manager, forget_browser, privacy_signal
from personalization.tracking.receivers import finish_login, harmless

PERSONAL = "_pz_personal"


def mark_personal(request: HttpRequest) -> None:
    """Say that this response depends on the shopper; the middleware then forbids shared caching."""
    setattr(request, PERSONAL, True)


class ShopperMiddleware:
    """Place after AuthenticationMiddleware. Costs no query by itself: the shopper is looked up when asked for."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        logins.awaits(request)
        response = self.get_response(request)
        user = logins.signed_in(request)
        if user is not None:
            finish_login(request, user)
        if getattr(request, logins.SIGNED_OUT, False):
            forget_browser(request, response)
        else:
            harmless(follow_manager)(request, response)
        name = conf.get().cookie_name
        carries_id = name in request.COOKIES and name not in response.cookies
        if carries_id and (privacy_signal(request) or not identity.visitor_id(request)):
            response.delete_cookie(name, samesite="Lax")
        if getattr(request, PERSONAL, False):
            patch_vary_headers(response, ["Cookie"])
            patch_cache_control(response, private=True, no_store=True)
        return response
