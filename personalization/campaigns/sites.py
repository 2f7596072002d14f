"""On which of the installation's sites a campaign shows: host names, compared without a query."""

from __future__ import annotations

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest

from personalization.models import Campaign
from personalization.pure.places import plain_host

REASON = "other_site"


def host_of(request: HttpRequest | None) -> str | None:
    """Return the host name that the visitor asked for; None where there is no request (a program, a job).

    A host that the project does not allow is no site at all: it gets the empty name.
    """
    if request is None:
        return None
    try:
        return plain_host(request.get_host())
    except DisallowedHost:
        return ""


def shows_on(campaign: Campaign, host: str | None) -> bool:
    """Tell whether a campaign shows on a host; without a host every campaign does."""
    return not campaign.sites or host is None or host in campaign.sites
