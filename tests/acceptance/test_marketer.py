"""A marketer designs a campaign in a browser: by keyboard, on a phone, and with what matters in view."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.conftest import PHONE, LiveShop, OpenPage
from tests.acceptance.test_access import enter, tab_to

pytestmark = pytest.mark.browser
LIST = "/admin/personalization/campaign/"


def sign_in(page: Page, shop: LiveShop) -> None:
    page.goto("/admin/login/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(shop.admin_password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Log out").or_(page.get_by_role("button", name="Log out"))).to_be_visible()


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def fill_basics(page: Page, name: str) -> None:
    page.locator("#id_name").fill(name)
    for field, day in (("starts_at", "2030-03-01"), ("ends_at", "2030-04-01")):
        page.locator(f"#id_{field}_0").fill(day)
        page.locator(f"#id_{field}_1").fill("00:00:00")


def test_a_kind_shows_the_fields_that_it_has(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    kind = page.locator("#id_offers-0-kind")
    percent, pieces = page.locator("#id_offers-0-percent"), page.locator("#id_offers-0-buy_quantity")
    steps, gift = page.locator("#id_offers-0-steps"), page.locator("#id_offers-0-gift_item_id")
    for chosen, shown, hidden in (
        ("coupon", [percent], [pieces, steps, gift]),
        ("n_for_m", [pieces], [percent, steps, gift]),
        ("spend_threshold", [percent, steps], [pieces, gift]),
        ("announcement", [], [percent, pieces, steps, gift]),
    ):
        kind.select_option(chosen)
        for field in shown:
            expect(field).to_be_visible()
        for field in hidden:
            expect(field).to_be_hidden()
    kind.select_option("coupon")
    percent.fill("10")
    kind.select_option("n_for_m")
    expect(percent).to_be_visible()  # nothing that was typed is hidden


def test_a_campaign_with_steps_by_keyboard_alone(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    fill_basics(page, "Keyboard campaign")
    page.locator("#id_offers-0-name").focus()
    page.keyboard.type("More for more")
    page.keyboard.press("Tab")
    page.keyboard.type("Spend")
    tab_to(page, "Step 1: from a spend of", "input")
    page.keyboard.type("50")
    page.keyboard.press("Tab")
    page.keyboard.type("5")
    tab_to(page, "Step 2: from a spend of", "input")
    page.keyboard.type("100")
    tab_to(page, "Step 2: amount off", "input")
    page.keyboard.type("12.50")
    page.locator("#id_offers-0-headline").focus()
    page.keyboard.type("The more the merrier")
    page.locator('input[name="_continue"]').focus()
    enter(page)
    expect(page.locator(".errornote")).to_have_count(0)
    assert live_shop.count("personalization_offer", "name = 'More for more' AND steps LIKE '%1250%'") == 1
    page.locator('nav.pz-parts a[href="#pz-launch"]').focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("Forecast and launch"))).to_be_in_viewport()


def test_a_closed_step_opens_for_its_link(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    page.locator("details.pz-part > summary").nth(3).click()
    expect(page.locator("#id_currency")).to_be_hidden()
    page.locator('nav.pz-parts a[href="#pz-budget"]').click()
    expect(page.locator("#id_currency")).to_be_visible()


def test_without_script_every_field_is_there(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    for name in ("percent", "steps", "buy_quantity", "gift_item_id", "points"):
        expect(page.locator(f"#id_offers-0-{name}")).to_be_visible()


def test_every_page_fits_a_phone(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    page.set_viewport_size(PHONE)
    sign_in(page, live_shop)
    page.goto(LIST)
    change = page.locator("#result_list th.field-name a").first.get_attribute("href") or ""
    change = change.split("?")[0]
    preview = change.replace("/change/", "/preview/")
    for address in (LIST, LIST + "add/", LIST + "calendar/", change, preview):
        page.goto(address)
        assert fits(page), address


def test_see_it_as_a_shopper_leaves_no_trace(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "?status__exact=running")
    change = (page.locator("#result_list th.field-name a").first.get_attribute("href") or "").split("?")[0]
    before = [live_shop.count(f"personalization_{table}") for table in ("decision", "exposure", "event")]
    page.goto(change.replace("/change/", "/preview/"))
    page.locator('a[href*="?as="]').first.click()
    expect(page.get_by_text("Nothing is logged")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Offers for “.+”: \d+ eligible"))).not_to_have_count(0)
    assert before == [live_shop.count(f"personalization_{table}") for table in ("decision", "exposure", "event")]
