"""Without consent a visit to the whole shop leaves nothing: every table is counted, and every cookie named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization.learning import frames
from personalization.models import Decision, Event, Shopper
from shop.models import Product

pytestmark = pytest.mark.django_db
NECESSARY = {"csrftoken", "sessionid", "pz_consent", "messages"}
NAMELESS = {"personalization_decision", "django_session"}
"""Tables that may grow: offers are chosen without regard to the person, and a basket needs a session."""
Commit = Callable[..., AbstractContextManager[Any]]
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0"


def counts() -> dict[str, int]:
    """Return how many rows every table of the database has."""
    found: dict[str, int] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")
            found[table] = cursor.fetchone()[0]
    return found


def browse(client: Client, product: Product) -> None:
    """Look at every kind of page, search, fill the basket, and send what a page's script would send."""
    for address in (
        reverse("shop:home"),
        product.get_absolute_url(),
        reverse("shop:search") + "?q=tea",
        reverse("shop:basket"),
        reverse("shop:privacy"),
        reverse("shop:login"),
    ):
        assert client.get(address).status_code == 200, address
    client.post(reverse("shop:basket-add", args=[product.slug]), {"quantity": 1})
    answer = client.post(
        reverse("personalization:events"),
        {"events": [{"id": "1", "type": "product_viewed", "item_id": str(product.pk)}]},
        content_type="application/json",
    )
    assert answer.status_code == 204


@pytest.fixture(params=["asked nothing", "declined", "Global Privacy Control", "withdrawn"])
def stranger(request: pytest.FixtureRequest, product: Product) -> Client:
    """A browser whose owner did not agree, in each way in which one can."""
    client = Client(headers={"user-agent": AGENT})
    if request.param == "Global Privacy Control":
        client = Client(headers={"user-agent": AGENT, "sec-gpc": "1"})
    if request.param == "declined":
        client.post(reverse("personalization:consent"), {"answer": "none", "next": "/"})
    if request.param == "withdrawn":
        client.post(reverse("personalization:consent"), {"answer": "all", "next": "/"})
        assert "pz_visitor" in client.cookies
        client.post(reverse("shop:privacy-consent"), {"purposes": []})
    return client


def test_no_row_cookie_or_sample_without_consent(
    stranger: Client, product: Product, django_capture_on_commit_callbacks: Commit
) -> None:
    before = counts()
    with django_capture_on_commit_callbacks(execute=True):  # when events are written
        browse(stranger, product)
    grown = {table for table, count in counts().items() if count != before[table]}
    assert grown <= NAMELESS
    assert not Decision.objects.exclude(shopper=None).exists()
    assert {name for name, cookie in stranger.cookies.items() if cookie.value} <= NECESSARY
    assert samples() == 0


def samples() -> int:
    """Return how many shoppers and events a training would read now."""
    loaded = frames.load("shop", timezone.now() + timedelta(days=1))
    return len(loaded.shoppers.ids) + len(loaded.events.time)


def test_with_consent_the_same_visit_is_kept(product: Product, django_capture_on_commit_callbacks: Commit) -> None:
    """The control: the visit is one that leaves traces once its owner agrees."""
    client = Client(headers={"user-agent": AGENT})
    client.post(reverse("personalization:consent"), {"answer": "all", "next": "/"})
    before = counts()
    with django_capture_on_commit_callbacks(execute=True):
        for address in (reverse("shop:home"), product.get_absolute_url(), reverse("shop:search") + "?q=tea"):
            client.get(address)
    grown = {table for table, count in counts().items() if count != before[table]}
    assert "personalization_event" in grown
    assert Event.objects.filter(type="search_performed").count() == 1
    assert "pz_visitor" in client.cookies
    assert Shopper.objects.get().consent_personalisation
    assert samples() > 1
