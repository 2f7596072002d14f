"""Figures for a monitoring system, as plain text: for whoever has the token, or staff who may see the reports."""

from __future__ import annotations

import hmac

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from personalization import conf
from personalization.insight.exposition import CONTENT_TYPE, exposition

PERMISSION = "personalization.view_monitoringreport"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """GET the metrics; the token comes in the Authorization header, never in the address."""
    if not _may(request):
        response = HttpResponse("Not allowed.\n", status=403, content_type="text/plain; charset=utf-8")
    else:
        response = HttpResponse(exposition(), content_type=CONTENT_TYPE)
    response["X-Robots-Tag"] = "noindex"
    return response


def _may(request: HttpRequest) -> bool:
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _is_the_token(given):
        return True
    user = getattr(request, "user", None)
    return user is not None and user.is_active and user.is_staff and user.has_perm(PERMISSION)


def _is_the_token(given: str) -> bool:
    """Return whether this is METRICS_TOKEN, in a time that tells nothing of it; never where none is set."""
    wanted = conf.get().metrics_token.strip()  # read from a file, it ends with a line break
    try:
        sent = given.strip().encode("latin-1")  # the bytes as they came: that is how a server decodes a header
    except UnicodeEncodeError:
        return False
    return bool(wanted) and hmac.compare_digest(sent, wanted.encode())
