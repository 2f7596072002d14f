"""A visitor sees, downloads and erases what is kept about them: by keyboard alone, on a desk and on a phone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.acceptance.conftest import DESKTOP, LiveShop, OpenPage
from tests.acceptance.test_access import enter, tab_to

pytestmark = pytest.mark.browser
PHONE: ViewportSize = {"width": 390, "height": 844}
STORED = "What you viewed, searched, put into the basket and bought"
SURE = "Yes, erase what is stored about me"


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def stored(page: Page) -> int:
    """Return how many events the page says are kept."""
    row = page.locator("dl.totals div").filter(has_text=STORED)
    return int(row.locator("dd").inner_text())


def look_around(page: Page) -> None:
    """Open a product and wait until what was seen has arrived."""
    page.goto("/category/electronics/")
    page.goto(page.locator(".card:not(.card--gone) .card__link").first.get_attribute("href") or "/")
    page.goto("/privacy/")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_ones_data_is_seen_taken_along_and_erased(
    viewport: ViewportSize, open_page: OpenPage, live_shop: LiveShop, tmp_path: Path
) -> None:
    shoppers = live_shop.count("personalization_shopper")
    page = open_page(accept_downloads=True)
    page.set_viewport_size(viewport)
    page.goto("/")
    assert fits(page)
    tab_to(page, "Allow all", "button")
    enter(page)
    expect(page.locator(".pz-consent")).to_have_count(0)
    assert live_shop.count("personalization_shopper") == shoppers + 1
    look_around(page)
    assert fits(page)
    assert stored(page) > 0

    tab_to(page, "Download everything", "a")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    file = tmp_path / "my-data.json"
    download.value.save_as(file)
    told = json.loads(file.read_text())
    assert {"product_viewed", "category_viewed"} <= {event["type"] for event in told["events"]}
    assert {consent["purpose"] for consent in told["consents"]} == {"analytics", "marketing", "personalisation"}

    page.goto("/privacy/")
    tab_to(page, SURE, "input")
    page.keyboard.press("Space")
    tab_to(page, "Erase", "button")
    enter(page)
    expect(page.get_by_text("What was stored about you has been erased.")).to_be_visible()
    expect(page.get_by_text("Nothing: this browser is not known to the shop.")).to_be_visible()
    assert fits(page)
    assert "pz_visitor" not in {cookie["name"] for cookie in page.context.cookies()}
    assert live_shop.count("personalization_shopper") == shoppers
