"""The link in a message, followed: on to the shop's page, counted if it was a person.

Mail programs and their scanners follow links before anybody has seen them. What says that it only looks ahead, and
what is known to scan mail, is sent on and not counted; a scanner that calls itself a browser cannot be told apart.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from personalization.campaigns import clicks
from personalization.tracking import bots, consent


@never_cache
@require_safe
def click(request: HttpRequest, token: str) -> HttpResponse:
    """Redirect to the page of the message's offer; to the shop's home page if the link is not ours."""
    link = clicks.read(token)
    if request.method == "GET" and not bots.looks_ahead(request) and not consent.privacy_signal(request):
        clicks.record(link)
    response = HttpResponseRedirect(link.target)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response
