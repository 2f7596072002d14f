"""What visitors do, in the words of the page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

ADDRESS = {
    "Full name": "Ada Acceptance",
    "E-mail address": "ada@example.com",
    "Street and number": "Test Street 1",
    "Postcode": "12345",
    "City": "Testville",
    "Country": "Testland",
}
ENOUGH_MINOR = 15_000
"""A basket above every threshold that the simulation's offers ask for."""


def put_into_basket(page: Page, shelf: str) -> None:
    """Take products from a shelf, dearest first, until every offer's threshold is met."""
    page.goto(shelf)
    links = page.locator(".card:not(.card--gone) .card__link")
    priced = [
        (_minor(links.nth(place).locator(".card__price").inner_text()), links.nth(place).get_attribute("href") or "")
        for place in range(links.count())
    ]
    total = 0
    for price, link in sorted(priced, reverse=True):
        page.goto(link)
        page.get_by_role("button", name="Add to basket").click()
        total += price
        if total >= ENOUGH_MINOR:
            break
    assert total >= ENOUGH_MINOR, f"the shelf {shelf} is too cheap: {total}"


def claim_an_offer(page: Page) -> None:
    """Claim the offer that the basket shows."""
    page.goto("/basket/")
    card = page.locator(".pz-offer").filter(has=page.locator("form[action$='/claim/']")).first
    expect(card).to_be_visible()
    card.locator(".pz-offer__cta").click()
    expect(page.get_by_text("Your coupon is ready.")).to_be_visible()


def fill_address(page: Page) -> None:
    for label, value in ADDRESS.items():
        page.get_by_label(label).fill(value)


def _minor(price: str) -> int:
    """Read an amount as the page prints it: €1,234.50."""
    return int(re.sub(r"\D", "", price))
