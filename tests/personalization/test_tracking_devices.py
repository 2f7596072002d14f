"""What sort of device a view came from: one of three words, without a query, and only with consent."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization import api
from personalization.features import audiences, summaries
from personalization.models import Event, Shopper
from personalization.tracking.devices import device_class
from tests.personalization.builders import AGENT, Browser, event, make_alias, make_request, make_shopper

pytestmark = pytest.mark.django_db
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile/15E148 Safari"
PIXEL = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36"
GALAXY_TAB = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"
OLD_IPAD = "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 Version/12.1 Mobile/15E148 Safari/604.1"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (IPHONE, "mobile"),
        (PIXEL, "mobile"),
        (GALAXY_TAB, "tablet"),
        (OLD_IPAD, "tablet"),
        (WINDOWS, "desktop"),
        (AGENT, "desktop"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36", "desktop"),
        ("python-requests/2.32", ""),
        ("", ""),
    ],
)
def test_the_class_of_a_device(agent: str, expected: str) -> None:
    assert device_class(agent) == expected


def device() -> Any:
    return Event.objects.get().properties.get("device")


@pytest.mark.parametrize("kind", ["page_viewed", "product_viewed", "category_viewed"])
def test_a_view_from_a_browser_gets_its_device(kind: str) -> None:
    browser = Browser(headers={"user-agent": IPHONE})
    browser.answer("all")
    browser.events(event(kind, item_id="p-1"))
    assert device() == "mobile"


def test_a_sender_that_knows_better_is_believed() -> None:
    browser = Browser(headers={"user-agent": WINDOWS})
    browser.answer("all")
    browser.events(event("page_viewed", properties={"device": "television"}))
    assert device() == "television"


def test_other_events_carry_none_and_without_consent_there_is_no_event() -> None:
    browser = Browser(headers={"user-agent": IPHONE})
    browser.events(event("page_viewed"))
    browser.answer("chosen", purpose=["analytics"])
    browser.events(event("page_viewed"))
    assert not Event.objects.exists()
    browser.answer("all")
    browser.events(event("search_performed", properties={"query": "tea"}))
    assert device() is None


def test_a_server_side_view_gets_it_from_its_request_and_costs_no_query_more() -> None:
    counts = []
    for agent in (IPHONE, "python-requests/2.32"):
        request = make_request(visitor=make_alias(make_shopper()), agent=agent)
        with CaptureQueriesContext(connection) as queries:
            assert api.track("product_viewed", request=request, item_id="p-1")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_view_on_a_phone_puts_its_shopper_into_the_audience_of_phones() -> None:
    browser = Browser(headers={"user-agent": PIXEL})
    browser.answer("all")
    browser.events(event("product_viewed", item_id="p-1"))
    make_shopper()
    now = timezone.now()
    summaries.refresh("shop", now)
    phones = audiences.parse({"all": [{"field": "device", "op": "in", "value": ["mobile"]}]})
    assert list(phones.filter(Shopper.objects.all(), now)) == [browser.shopper()]
