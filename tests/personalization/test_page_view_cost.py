"""A page view's tracking (who asks, what they agreed to, the row) is one round trip, and none where nobody agreed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path

from personalization import api
from personalization.models import Event, Shopper
from personalization.ports.signals import product_viewed
from personalization.tracking import consent, identity, round_trip, schema
from personalization.tracking.schema import EventType, Property
from personalization.types import Purpose
from tests.personalization.builders import Browser, make_account, make_alias, make_request, make_shopper
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db(transaction=True)  # a request is in no transaction
P, A, M = Purpose.PERSONALISATION, Purpose.ANALYTICS, Purpose.MARKETING
MOST, ROW = (1, 1) if connection.vendor == "postgresql" else (3, 2)
"""SQLite looks up, claims and inserts in statements of their own: inside a process none is a round trip."""
Counting = Callable[[int], AbstractContextManager[Any]]
BARE = Template("{{ item }}")
TAGGED = Template("{% load personalization %}{{ item }}{% consent_banner %}{% personalization_beacon %}")


def untracked(request: HttpRequest) -> HttpResponse:
    return HttpResponse(BARE.render(Context({"request": request, "item": Shopper.objects.count()})))


def tracked(request: HttpRequest) -> HttpResponse:
    product_viewed.send(sender=None, request=request, item_id="p-1", category="tea")
    return HttpResponse(TAGGED.render(Context({"request": request, "item": Shopper.objects.count()})))


urlpatterns = [path("tracked/", tracked), path("untracked/", untracked), path("", include("shop.urls"))]


@pytest.fixture
def addresses() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.personalization.test_page_view_cost"):
        yield


@contextmanager
def counted(most: int) -> Iterator[None]:
    with CaptureQueriesContext(connection) as found:
        yield
    told = [query["sql"][:120] for query in found.captured_queries if not query["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(told) <= most, told


@pytest.mark.parametrize("signed_in", [False, True])
def test_a_page_with_everything_costs_one_query_more(addresses: None, signed_in: bool) -> None:
    browser = Browser()
    if signed_in:
        browser.force_login(make_account())
    browser.answer("all")
    figures = {}
    for page in ("/untracked/", "/tracked/"):
        with CaptureQueriesContext(connection) as found:
            html = browser.get(page).content.decode()
        figures[page] = [query["sql"] for query in found.captured_queries]
    assert "data-pz-token" in html
    # Without the tags nothing asks who is signed in: the session and the account are the shop's own queries.
    own = [sql for sql in figures["/tracked/"] if "django_session" in sql or "auth_user" in sql]
    added = [
        sql
        for sql in figures["/tracked/"]
        if sql not in [*own, *figures["/untracked/"]] and not sql.startswith(("BEGIN", "COMMIT"))
    ]
    assert len(added) <= MOST, added
    assert Event.objects.filter(type="product_viewed", item_id="p-1").count() == 1


@pytest.mark.parametrize("known_by", ["cookie", "account"])
def test_who_asks_is_known_afterwards(known_by: str) -> None:
    account = make_account() if known_by == "account" else None
    shopper = make_shopper(user=account)
    request = make_request(visitor="" if account else make_alias(shopper), user=account)
    with counted(MOST):
        assert api.track("product_viewed", request=request, item_id="p-1", category="tea") is True
    with counted(0):
        assert api.shopper_for(request) == shopper
        assert api.purposes_of(request) == {P, A, M}
    stored = Event.objects.get()
    assert (stored.shopper, stored.item_id, stored.category) == (shopper, "p-1", "tea")
    assert (stored.channel, stored.properties, stored.is_bot) == ("web", {"device": "desktop"}, False)
    found = api.shopper_for(request)
    assert found is not None
    assert vars(found).keys() - {"_state"} == vars(Shopper.objects.get()).keys() - {"_state"}
    assert found.attributes == shopper.attributes  # read as the model reads it
    with counted(ROW):  # somebody known already: the row alone
        assert api.track("product_viewed", request=request, item_id="p-2") is True


def test_without_consent_it_stores_nothing_and_says_so() -> None:
    shopper = make_shopper(consent_personalisation=False)
    request = make_request(visitor=make_alias(shopper))
    with counted(1):
        assert api.track("product_viewed", request=request, item_id="p-1") is False
    assert not Event.objects.exists()
    consent.record(shopper, [P], source="banner")
    assert api.track("product_viewed", request=make_request(visitor=request.COOKIES["pz_visitor"]), item_id="p") is True
    consent.record(shopper, [A], source="banner")  # withdrawn: the very next request
    again = make_request(visitor=request.COOKIES["pz_visitor"])
    assert api.track("product_viewed", request=again, item_id="p-1") is False
    assert Event.objects.count() == 1


@pytest.mark.parametrize("fields", [{}, {"headers": {"sec-gpc": "1"}}], ids=["stranger", "privacy control"])
def test_a_refusal_costs_nothing(fields: dict[str, Any]) -> None:
    visitor = make_alias(make_shopper()) if fields else ""
    with counted(0):
        assert api.track("product_viewed", request=make_request(visitor=visitor, **fields), item_id="p-1") is False
    assert not Event.objects.exists()


def test_a_forged_cookie_and_an_erased_event_store_nothing() -> None:
    assert api.track("product_viewed", request=make_request(visitor="0" * 32), item_id="p-1") is False
    shopper = make_shopper()
    once: dict[str, Any] = {"item_id": "p-1", "event_id": "one"}
    assert api.track("product_viewed", request=make_request(visitor=make_alias(shopper)), **once) is True
    for _ in range(2):
        api.track("product_viewed", request=make_request(visitor=make_alias(shopper)), **once)
    assert Event.objects.count() == 1
    api.erase(shopper)
    api.track("product_viewed", request=make_request(visitor=make_alias(make_shopper())), **once)
    assert not Event.objects.exists()


def test_a_property_with_a_purpose_of_its_own_is_still_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    schema.register(EventType("hinted", properties=(Property("hint", purpose=Purpose.ANALYTICS), Property("plain"))))
    shopper = make_shopper(consent_analytics=False)
    for given in ({"hint": "x", "plain": "y"}, {"plain": "y"}):
        request = make_request(visitor=make_alias(shopper))
        assert api.track("hinted", request=request, properties=given) is True
    assert list(Event.objects.values_list("properties", flat=True)) == [{"plain": "y"}] * 2


def test_a_consent_manager_decides_here_too(configure: Configure) -> None:
    configure(CONSENT="tests.personalization.host.Consent")
    shopper = make_shopper(consent_personalisation=False)
    for said, stored in (("", False), ("analytics", False), ("personalisation", True)):
        request = make_request(visitor=make_alias(shopper), headers={"x-purposes": said})
        assert api.track("product_viewed", request=request, item_id="p-1") is stored
    assert Event.objects.count() == 1


def test_the_short_way_is_for_requests_outside_transactions() -> None:
    from django.db import transaction

    request = make_request(visitor=make_alias(make_shopper()))
    assert (round_trip.asker(request) is not None) is (connection.vendor == "postgresql")
    connection.set_autocommit(False)
    try:
        assert round_trip.asker(request) is None
    finally:
        connection.set_autocommit(True)
    with transaction.atomic():
        assert round_trip.asker(request) is None
        api.track("product_viewed", request=request, item_id="p-1")
        assert not Event.objects.exists()  # it waits for the commit
    assert Event.objects.count() == 1
    assert identity.is_known(request)
    assert round_trip.asker(request) is None
