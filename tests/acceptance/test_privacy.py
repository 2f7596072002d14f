"""Without consent: no cookie but the strictly necessary ones, no event, nothing in the browser's storage."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.conftest import LiveShop, OpenPage
from tests.acceptance.steps import fill_address, put_into_basket

pytestmark = pytest.mark.browser

NECESSARY = {"csrftoken", "sessionid", "pz_consent", "messages", "django_language"}
BEHAVIOUR = "type NOT IN ('order_placed', 'order_refunded')"


def _browse(page: Page) -> None:
    for address in ("/", "/category/electronics/", "/search/?q=a", "/basket/", "/privacy/"):
        page.goto(address)


def _cookies(page: Page) -> set[str]:
    return {cookie["name"] for cookie in page.context.cookies()}


@pytest.mark.parametrize("answer", ["", "Decline"])
def test_nothing_is_kept_about_who_did_not_agree(answer: str, open_page: OpenPage, live_shop: LiveShop) -> None:
    before = live_shop.count("personalization_event")
    shoppers = live_shop.count("personalization_shopper")
    page = open_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto("/")
    if answer:
        page.get_by_role("button", name=answer).click()
        expect(page.locator(".pz-consent")).to_have_count(0)
    _browse(page)

    assert _cookies(page) <= NECESSARY
    assert page.evaluate("Object.keys(localStorage).length + Object.keys(sessionStorage).length") == 0
    assert live_shop.count("personalization_event") == before
    assert live_shop.count("personalization_shopper") == shoppers
    assert not [url for url in sent if "/events/" in url or "beacon" in url]


def test_an_order_without_consent_is_kept_for_the_contract_only(open_page: OpenPage, live_shop: LiveShop) -> None:
    behaviour = live_shop.count("personalization_event", BEHAVIOUR)
    orders = live_shop.count("personalization_event", "type = 'order_placed'")
    page = open_page()
    page.goto("/")
    page.get_by_role("button", name="Decline").click()
    put_into_basket(page, "/category/electronics/")
    page.goto("/checkout/")
    fill_address(page)
    page.get_by_role("button", name=re.compile("^Place order")).click()
    expect(page.get_by_role("heading", level=1, name=re.compile("^Order "))).to_be_visible()

    assert _cookies(page) <= NECESSARY
    assert live_shop.count("personalization_event", BEHAVIOUR) == behaviour
    assert live_shop.count("personalization_event", "type = 'order_placed'") == orders + 1


def test_consent_can_be_withdrawn(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    assert "pz_visitor" in _cookies(page)
    page.goto("/privacy/")
    for box in page.locator("main input[type=checkbox][name=purposes]").all():
        box.uncheck()
    page.locator("main form").filter(has=page.locator("[name=purposes]")).get_by_role("button").click()
    assert "pz_visitor" not in _cookies(page)
    _browse(page)  # by its end, what was on its way at the withdrawal has arrived
    before = live_shop.count("personalization_event")
    _browse(page)
    assert live_shop.count("personalization_event") == before
