"""The page that tells everybody how offers are chosen, for shops that put it into no page of their own."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from personalization import conf


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Return the page: the same for everybody."""
    return render(request, "personalization/how_chosen_page.html", {"home": conf.get().public_url or "/"})
