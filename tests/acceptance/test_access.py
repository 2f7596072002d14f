"""The shop works by keyboard alone, and fits a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.conftest import PHONE, OpenPage
from tests.acceptance.steps import ADDRESS, put_into_basket

pytestmark = pytest.mark.browser

MANY_TABS = 120


def tab_to(page: Page, name: str, role: str = "") -> None:
    """Press Tab until the focus is on the control with this name; it must be seen there."""
    for _ in range(MANY_TABS):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const element = document.activeElement;
                const label = element.labels && element.labels[0];
                const style = getComputedStyle(element);
                return {
                    name: (element.getAttribute("aria-label") || (label && label.innerText)
                        || element.innerText || "").trim(),
                    tag: element.tagName.toLowerCase(),
                    seen: style.outlineStyle !== "none" || style.boxShadow !== "none",
                };
            }"""
        )
        if re.match(name, focused["name"]) and role in ("", focused["tag"]):
            assert focused["seen"], f"the focus on {name!r} cannot be seen"
            return
    pytest.fail(f"{MANY_TABS} times Tab did not reach {name!r}")


def enter(page: Page) -> None:
    """Press Enter on what has the focus, and wait for the page that it leads to."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def test_an_order_by_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/category/electronics/")
    tab_to(page, "Skip to content")
    page.keyboard.press("Enter")
    product = page.locator(".card:not(.card--gone) .card__title").first.inner_text()
    tab_to(page, f"(?s).*{re.escape(product)}", "a")
    enter(page)
    tab_to(page, "Add to basket", "button")
    enter(page)
    if not page.url.endswith("/basket/"):
        tab_to(page, "Basket", "a")
        enter(page)
    tab_to(page, "Go to checkout", "a")
    enter(page)
    expect(page.get_by_role("heading", level=1, name="Checkout")).to_be_visible()
    for label, value in ADDRESS.items():
        tab_to(page, label, "input")
        page.keyboard.type(value)
    tab_to(page, "Place order", "button")
    enter(page)
    expect(page.get_by_role("heading", level=1, name=re.compile("^Order "))).to_be_visible()


def test_the_banner_is_answered_by_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/privacy/")
    tab_to(page, "Decline", "button")
    enter(page)
    expect(page.locator(".pz-consent")).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_no_page_is_wider_than_a_phone(language: str, open_page: OpenPage) -> None:
    page = open_page()
    page.set_viewport_size(PHONE)
    put_into_basket(page, "/category/electronics/")
    page.locator(f"button[name=language][value={language}]").click()
    product = page.url
    too_wide = {}
    for address in (
        "/",
        "/category/electronics/",
        product,
        "/search/?q=a",
        "/basket/",
        "/checkout/",
        "/account/login/",
        "/account/register/",
        "/privacy/",
    ):
        page.goto(address)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            too_wide[address] = width
    assert too_wide == {}
