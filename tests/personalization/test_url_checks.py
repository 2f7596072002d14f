"""A project that forgot the app's URLs is told so before its pages fail."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from django.http import HttpResponse
from django.urls import path
from pytest_django import Settings

from personalization.checks import check_urls
from personalization.insight import doctor


@pytest.fixture
def bare(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ModuleType("bare_urls")
    urls.urlpatterns = [path("", lambda request: HttpResponse(), name="home")]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bare_urls", urls)
    settings.ROOT_URLCONF = "bare_urls"


def test_it_says_what_to_add(bare: None) -> None:
    (message,) = check_urls(None)
    assert message.id == "personalization.W005"
    assert 'include("personalization.urls")' in str(message.hint)
    assert "bare_urls" in str(message.hint)


def test_whoever_has_them_hears_nothing() -> None:
    assert check_urls(None) == []


@pytest.mark.django_db
def test_the_doctor_passes_it_on(bare: None) -> None:
    assert "The app's URLs are not included" in " ".join(finding.text for finding in doctor.examine())
