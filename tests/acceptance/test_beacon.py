"""The page script in a browser: what it sees, what it sends, and what it keeps to itself."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.acceptance import beacon_site
from tests.acceptance.beacon_site import SCRIPT, Site

pytestmark = pytest.mark.browser
STORED = "Object.keys(localStorage).length"
LONGER_THAN_A_LOOK = 1.6


@pytest.fixture
def site() -> Iterator[Site]:
    with beacon_site.serve() as site:
        yield site


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Iterator[Page]:
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.goto(site.address)
    yield page
    assert faults == []


def wait_until_nothing_is_stored(page: Page) -> None:
    """Ask again and again from here: the page's policy lets no other script ask."""
    until = time.monotonic() + 20
    while page.evaluate(STORED):
        assert time.monotonic() < until, page.evaluate("JSON.stringify(localStorage)")
        page.wait_for_timeout(50)


def test_it_is_small() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes(), 9)) < 3 * 1024


def test_a_page_view_is_sent_as_plain_text_with_the_senders_clock(page: Page, site: Site) -> None:
    (viewed,) = site.wait_for("page_viewed")
    assert viewed["properties"] == {"path": "/", "title": "A page"}
    assert site.bodies[0]["token"] == "owner:rest"
    assert site.bodies[0]["sent_at"] >= viewed["occurred_at"]
    assert site.types[0].startswith("text/plain")
    wait_until_nothing_is_stored(page)  # confirmed, it is kept no longer


def test_an_impression_counts_only_once_it_is_really_seen(page: Page, site: Site) -> None:
    (seen,) = site.wait_for("offer_viewed")
    assert (seen["offer_id"], seen["properties"]) == (7, {"decision_id": "d-1", "position": 2})
    page.evaluate("document.getElementById('low').scrollIntoView()")
    page.wait_for_timeout(300)  # scrolled past
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(LONGER_THAN_A_LOOK * 1000)
    page.evaluate("document.getElementById('low').scrollIntoView(); scrollBy(0, -520)")  # less than half of it
    page.wait_for_timeout(LONGER_THAN_A_LOOK * 1000)
    page.evaluate("personalization.track('category_viewed', {})")
    site.wait_for("category_viewed")
    assert site.events("product_seen") == []
    page.evaluate("document.getElementById('low').scrollIntoView()")
    (product,) = site.wait_for("product_seen")
    assert (product["item_id"], product["category"], product["properties"]) == ("p-9", "tea", {"position": 5})


def test_clicks_and_data_attributes(page: Page, site: Site) -> None:
    page.click("#take")
    page.click("#add")
    assert site.wait_for("offer_clicked")[0]["offer_id"] == 7
    (changed,) = site.wait_for("basket_changed")
    assert (changed["item_id"], changed["properties"]) == ("p-1", {"quantity": 2})
    assert site.events("product_clicked") == []


def test_what_happens_last_is_delivered_when_the_page_goes(page: Page, site: Site) -> None:
    site.wait_for("page_viewed")
    page.wait_for_timeout(500)
    page.evaluate("personalization.track('category_viewed', { category: 'tea' })")
    page.goto(f"{site.address}/other/")
    assert site.wait_for("category_viewed")[0]["category"] == "tea"
    (left,) = site.wait_for("page_left")
    assert 400 <= left["properties"]["dwell_ms"] < 60_000


def test_closing_the_tab_delivers_too(page: Page, site: Site) -> None:
    page.evaluate("personalization.track('category_viewed', {})")
    page.close(run_before_unload=True)
    assert site.wait_for("category_viewed")


def test_offline_it_is_kept_and_the_next_page_sends_it(page: Page, context: BrowserContext, site: Site) -> None:
    site.wait_for("page_viewed")
    context.set_offline(True)
    page.evaluate("personalization.track('category_viewed', { category: 'tea' })")
    page.wait_for_timeout(2500)
    assert site.events("category_viewed") == []
    assert page.evaluate(STORED) == 1
    context.set_offline(False)
    assert site.wait_for("category_viewed")


def test_a_server_that_fails_is_tried_again_and_the_next_page_takes_over(page: Page, site: Site) -> None:
    site.status = 503
    page.evaluate("personalization.track('category_viewed', {})")
    site.wait_for("category_viewed")
    assert page.evaluate(STORED) == 1
    site.status = 204
    before = len(site.bodies)
    page.goto(f"{site.address}/?again")
    wait_until_nothing_is_stored(page)
    again = [event["type"] for body in site.bodies[before:] for event in body["events"]]
    assert "category_viewed" in again


def test_what_the_server_cannot_read_is_not_sent_for_ever(page: Page, site: Site) -> None:
    site.status = 400
    wait_until_nothing_is_stored(page)
    assert site.events("page_viewed")


def test_the_store_is_bounded(page: Page, site: Site) -> None:
    site.status = 503
    page.evaluate("for (let n = 0; n < 500; n++) { personalization.track('category_viewed', { category: 'c' + n }) }")
    page.evaluate("personalization.track('category_viewed', { category: 'x'.repeat(20000) })")
    kept = page.evaluate("JSON.parse(localStorage.getItem('pz_queue:owner'))")
    assert [event["category"] for event in kept] == [f"c{number}" for number in range(400, 500)]


def test_withdrawing_drops_what_waits(page: Page, site: Site) -> None:
    site.status = 503
    page.evaluate("personalization.track('category_viewed', {})")
    assert page.evaluate(STORED) == 1
    before = len(site.bodies)
    page.click("#decline")
    page.wait_for_url("**/other/**")
    assert page.evaluate(STORED) == 0
    time.sleep(0.5)
    assert len(site.bodies) == before, "something was sent while leaving"


def test_consent_that_is_gone_elsewhere_is_noticed(page: Page, site: Site) -> None:
    site.wait_for("page_viewed")
    site.headers = {"Personalization-Consent": "none"}
    page.evaluate("personalization.track('category_viewed', {})")
    site.wait_for("category_viewed")
    wait_until_nothing_is_stored(page)
    before = len(site.bodies)
    page.evaluate("personalization.track('category_viewed', {})")
    page.wait_for_timeout(2500)
    assert (len(site.bodies), page.evaluate(STORED)) == (before, 0)


def test_global_privacy_control_silences_it(context: BrowserContext, site: Site) -> None:
    context.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })")
    context.add_init_script('localStorage.setItem(\'pz_queue:owner\', \'[{"id": "old", "type": "page_viewed"}]\')')
    page = context.new_page()
    page.goto(site.address)
    page.wait_for_timeout(2500)
    page.goto(f"{site.address}/other/")
    assert site.bodies == []
    page.goto(site.address)
    assert page.evaluate("typeof personalization") == "undefined"
    assert page.evaluate(STORED) == 0


def test_what_somebody_else_left_behind_is_not_sent(context: BrowserContext, site: Site) -> None:
    context.add_init_script('localStorage.setItem(\'pz_queue:stranger\', \'[{"id": "old", "type": "page_viewed"}]\')')
    page = context.new_page()
    page.goto(site.address)
    site.wait_for("page_viewed")
    assert "old" not in {event["id"] for event in site.events()}
    assert page.evaluate("localStorage.getItem('pz_queue:stranger')") is None
