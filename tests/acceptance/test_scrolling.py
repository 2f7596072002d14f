"""Tables of the admin that are wider than their place say so, and scroll from the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

import personalization

pytestmark = pytest.mark.browser
ADDRESS = "http://admin.test"
ASSETS = Path(personalization.__file__).parent / "static" / "personalization"
SHADOW = "(frame, edge) => Number(getComputedStyle(frame, edge).opacity)"
CELLS = "".join(f"<td>what stands in column {number}</td>" for number in range(12))
PAGE = f"""<!doctype html><title>Admin</title>
<style>.results {{ overflow-x: auto }} td {{ white-space: nowrap }}</style>
<link rel="stylesheet" href="/admin.css"><script src="/admin.js" defer></script>
<div id="content"><h1> Select decision to view </h1><a href="#">before</a>
<div id="changelist"><div class="results"><table><tr>{CELLS}</tr></table></div></div></div>"""
"""A list as the admin's own template builds it (tests/admin/test_pages.py looks after that)."""


def serve(route: Route) -> None:
    path = route.request.url.removeprefix(ADDRESS)
    if path.startswith("/admin."):
        route.fulfill(path=ASSETS / path[1:])
    else:
        route.fulfill(body=PAGE, content_type="text/html")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.route(f"{ADDRESS}/**", serve)
    page.goto(ADDRESS)
    yield page
    context.close()


def frame_of(page: Page) -> tuple[Locator, Locator]:
    """Return the list, and the frame around it that shows the shadows."""
    region = page.locator(".results")
    return region, page.locator(".pz-frame", has=region)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_list_that_is_cut_shows_where_it_goes_on(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    region, frame = frame_of(page)
    expect(frame).to_have_class("pz-frame pz-more-after")
    assert (frame.evaluate(SHADOW, "::before"), frame.evaluate(SHADOW, "::after")) == (0, 0.3)
    expect(region).to_have_attribute("aria-label", "Select decision to view")
    page.get_by_role("link", name="before").focus()
    page.keyboard.press("Tab")
    expect(region).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(frame).to_have_class(re.compile("pz-more-before"))
    assert frame.evaluate(SHADOW, "::before") == 0.3
    region.evaluate("region => region.scrollTo(region.scrollWidth, 0)")
    expect(frame).to_have_class("pz-frame pz-more-before")


def test_a_list_that_fits_shows_nothing_and_takes_no_focus(page: Page) -> None:
    """The control, and what a window that is made wider comes back to."""
    page.set_viewport_size({"width": 390, "height": 900})
    region, frame = frame_of(page)
    expect(region).to_have_attribute("tabindex", "0")
    page.set_viewport_size({"width": 4000, "height": 900})
    expect(frame).to_have_class("pz-frame")
    assert (frame.evaluate(SHADOW, "::before"), frame.evaluate(SHADOW, "::after")) == (0, 0)
    for name in ("tabindex", "role", "aria-label"):
        expect(region).not_to_have_attribute(name, re.compile(""))
