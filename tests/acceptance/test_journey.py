"""The whole way in a browser: consent → browse → offer → coupon → basket → order → the admin sees it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from personalization.admin.masking import masked_order
from tests.acceptance.conftest import LiveShop, OpenPage
from tests.acceptance.steps import ADDRESS, claim_an_offer, fill_address, put_into_basket

pytestmark = pytest.mark.browser
PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
"""Of a headless browser it is not logged what it was shown, and it gets no button to dismiss it."""


def test_from_consent_to_an_order_that_the_admin_sees(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    expect(page.locator(".pz-consent")).to_have_count(0)
    names = {cookie["name"] for cookie in page.context.cookies()}
    assert "pz_visitor" in names

    seen_before = live_shop.count("personalization_event", "type = 'product_viewed'")
    put_into_basket(page, "/category/electronics/")
    assert live_shop.count("personalization_event", "type = 'product_viewed'") > seen_before

    claim_an_offer(page)
    page.goto("/basket/")
    page.locator(".coupon form button").first.click()
    expect(page.get_by_text("You save")).to_be_visible()
    saved = page.locator(".totals__saved dd").inner_text()

    page.get_by_role("link", name="Go to checkout").click()
    fill_address(page)
    page.get_by_role("button", name=re.compile("^Place order")).click()
    expect(page.get_by_role("heading", level=1, name=re.compile("^Order "))).to_be_visible()
    number = page.get_by_role("heading", level=1).inner_text().split()[-1]
    assert page.locator(".totals__saved dd").inner_text().strip("-− ") == saved.strip("-− ")
    assert live_shop.count("personalization_event", f"type = 'order_placed' AND event_id LIKE '%{number}'") == 1
    assert live_shop.count("personalization_redemption", f"order_id = '{number}'") == 1

    _admin_sees(open_page(), live_shop, number)


def _admin_sees(page: Page, live_shop: LiveShop, number: str) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(live_shop.admin_password)
    page.get_by_role("button", name="Log in").click()
    page.goto(f"/admin/shop/order/?q={number}")
    expect(page.locator("#result_list")).to_contain_text(ADDRESS["Full name"])
    page.goto("/admin/personalization/redemption/")
    expect(page.locator("#result_list")).to_contain_text(masked_order(number))  # staff see its end
    page.goto("/admin/personalization/campaign/")
    expect(page.locator("#result_list")).to_contain_text("Beside the product")
    page.goto("/admin/personalization/event/?type__exact=order_placed")
    expect(page.locator("#result_list")).to_be_visible()


def test_the_same_way_without_scripts(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page(java_script_enabled=False)
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    put_into_basket(page, "/category/electronics/")
    claim_an_offer(page)
    page.goto("/basket/")
    page.locator(".coupon form button").first.click()
    page.get_by_role("link", name="Go to checkout").click()
    fill_address(page)
    redeemed = live_shop.count("personalization_redemption")
    page.get_by_role("button", name=re.compile("^Place order")).click()
    expect(page.get_by_role("heading", level=1, name=re.compile("^Order "))).to_be_visible()
    assert live_shop.count("personalization_redemption") == redeemed + 1


def test_the_page_reports_what_was_seen_and_clicked(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    before = {kind: _events(live_shop, kind) for kind in ("page_viewed", "offer_viewed")}
    # An offer counts as viewed after a second on the screen; what was gathered is sent two seconds later.
    with page.expect_request(lambda request: "offer_viewed" in (request.post_data or "")) as sent:
        page.goto("/")
        expect(page.locator(".pz-offer").first).to_be_visible()
    answer = sent.value.response()
    assert answer is not None
    assert answer.status == 204
    for kind, count in before.items():
        assert _events(live_shop, kind) > count, kind


def test_what_a_visitor_wants_less_of_goes_away_and_is_no_click(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page(user_agent=PERSON)
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    card = page.locator(".pz-offer").first
    offer, clicks = card.get_attribute("data-pz-offer"), _events(live_shop, "offer_clicked")
    dismissed = _events(live_shop, "offer_dismissed")
    card.get_by_role("button", name="Less like this").press("Enter")  # by keyboard
    expect(page.get_by_text("Noted: ")).to_be_visible()
    expect(page.locator(f'[data-pz-offer="{offer}"]')).to_have_count(0)
    page.goto("/basket/")  # what the page before had to tell is told
    assert _events(live_shop, "offer_dismissed") == dismissed + 1
    assert _events(live_shop, "offer_clicked") == clicks


def test_less_like_this_is_taken_back_by_keyboard(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page(user_agent=PERSON)
    page.goto("/")
    page.get_by_role("button", name="Allow all").click()
    card = page.locator(".pz-offer").first
    offer = card.get_attribute("data-pz-offer")
    card.get_by_role("button", name="Less like this").press("Enter")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    page.goto("/")
    expect(undo).to_be_visible()  # still, and without drawing the focus to it
    expect(undo).not_to_be_focused()
    undo.press("Enter")
    expect(page.get_by_text("Taken back: ")).to_be_visible()
    expect(undo).to_have_count(0)
    assert live_shop.count("personalization_event", f"type = 'feedback_given' AND offer_id = {offer}") == 1
    less = page.locator(f'[data-pz-offer="{offer}"]').first.get_by_role("button", name="Less like this")
    landed = page.url
    for _load in range(20):  # a choice in ten is drawn at random: it may be another card's turn
        if less.count():
            break
        page.goto("about:blank")
        page.goto(landed)
    expect(less).to_be_focused()


def _events(live_shop: LiveShop, kind: str) -> int:
    return live_shop.count("personalization_event", f"type = '{kind}'")
