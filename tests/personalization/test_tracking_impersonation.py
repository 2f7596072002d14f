"""Staff who "log in as" a shopper: nobody is merged, nothing is recorded, no consent is given in their name.

The packages sign in first and leave their mark afterwards, in the same request: the views below do it as they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path, reverse

from personalization import api
from personalization.models import ConsentRecord, Event, Shopper, ShopperMerge
from personalization.tracking import consent
from personalization.types import CONSENT_PURPOSES
from tests.personalization.builders import Browser, event, make_account
from tests.personalization.conftest import Committing, Configure

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"


def hijack(request: HttpRequest) -> HttpResponse:
    user = get_user_model().objects.get(username="ada")
    staff = request.user.pk
    login(request, user, backend=BACKEND)
    request.session["hijack_history"] = [str(staff)]
    return HttpResponse()


def loginas(request: HttpRequest) -> HttpResponse:
    staff = request.user.pk
    login(request, get_user_model().objects.get(username="ada"), backend=BACKEND)
    request.session["loginas_from_user"] = f"{staff}:signed"
    return HttpResponse()


def own(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(username="ada"), backend=BACKEND)
    request.session["support_desk"] = True
    return HttpResponse()


def says_so(request: HttpRequest) -> bool:
    """The hook of a host with a "log in as" of its own."""
    return bool(request.session.get("support_desk"))


urlpatterns = [
    *(path(f"as/{view.__name__}/", view) for view in (hijack, loginas, own)),
    path("", include("shop.urls")),
]


@pytest.fixture(autouse=True)
def _urls(configure: Configure) -> Iterator[None]:
    configure(IMPERSONATION="tests.personalization.test_tracking_impersonation.says_so")
    with override_settings(ROOT_URLCONF="tests.personalization.test_tracking_impersonation"):
        yield


@pytest.fixture
def ada() -> Shopper:
    """An account that agreed to everything."""
    shopper = api.shopper_for_user(make_account("ada"))
    consent.record(shopper, CONSENT_PURPOSES, source="banner")
    return shopper


@pytest.mark.parametrize("way", ["hijack", "loginas", "own"])
def test_staff_and_shopper_stay_two(visitor: Browser, ada: Shopper, committing: Committing, way: str) -> None:
    visitor.events(event("product_viewed", item_id="staffs-own"))
    before = visitor.shopper()
    with committing():
        assert visitor.get(f"/as/{way}/").status_code == 200
        assert visitor.events(event("product_viewed", item_id="as-ada")).status_code == 204
        visitor.get(reverse("shop:home"))
    assert not ShopperMerge.objects.exists()
    assert list(Event.objects.values_list("item_id", "shopper")) == [("staffs-own", before.pk)]
    assert visitor.shopper() == before  # the browser's cookie still is the staff's


@pytest.mark.parametrize("way", ["hijack", "own"])
def test_staff_answer_no_banner_for_a_shopper(browser: Browser, ada: Shopper, way: str) -> None:
    lines = ConsentRecord.objects.count()
    browser.get(f"/as/{way}/")
    browser.answer("none")
    ada.refresh_from_db()
    assert all(ada.allows(purpose) for purpose in CONSENT_PURPOSES)
    assert ConsentRecord.objects.count() == lines
    assert "pz-consent__title" not in browser.get(reverse("shop:home")).content.decode()


def test_an_account_without_a_shopper_gets_none_by_it(visitor: Browser) -> None:
    make_account("ada")
    before = Shopper.objects.count()
    visitor.get("/as/hijack/")
    visitor.get(reverse("shop:home"))
    assert Shopper.objects.count() == before


def test_without_the_mark_the_same_login_merges(visitor: Browser, ada: Shopper, configure: Configure) -> None:
    """The negative control: it is the mark that keeps them apart."""
    configure(IMPERSONATION="")
    visitor.get("/as/own/")
    merge = ShopperMerge.objects.get()
    assert (merge.account, merge.reason) == (ada, "login")


def test_a_hook_that_cannot_be_imported_is_told_by_the_checks(configure: Configure) -> None:
    from personalization.checks import check_settings

    def told(path: Any) -> set[str | None]:
        configure(IMPERSONATION=path)
        return {message.id for message in check_settings(None)} - {"personalization.W001"}

    assert told("nowhere.at_all") == {"personalization.E006"}
    assert told("tests.personalization.test_tracking_impersonation.BACKEND") == {"personalization.E007"}
    assert told("tests.personalization.test_tracking_impersonation.says_so") == set()
