"""A system check of the project's URLs: without ours, every page that uses a tag of the app would end in an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.urls import NoReverseMatch, reverse


@register(Tags.urls)
def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the app's URLs can be found."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("personalization:events")
    except NoReverseMatch:
        return [
            Warning(
                "The app's URLs are not included: pages with its tags answer with an error, and there is no REST API.",
                hint='Add path("personalization/", include("personalization.urls")) to the urlpatterns of '
                f"{settings.ROOT_URLCONF}.",
                id="personalization.W005",
            )
        ]
    return []
