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
    steps, gift = page.locator("#id_offers-0-steps"), page.get_by_role("combobox", name="The gift")
    for chosen, shown, hidden in (
        ("coupon", [percent], [pieces, steps, gift]),
        ("n_for_m", [pieces], [percent, steps, gift]),
        ("gift", [gift], [percent, pieces, steps]),
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


def test_a_refused_form_puts_the_focus_on_the_first_error(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    expect(page.locator("#id_name")).to_be_focused()  # the control: while nothing is wrong, on the first field
    fill_basics(page, "Refused campaign")
    page.locator("#id_offers-0-name").fill("Too much off")
    page.locator("#id_offers-0-kind").select_option("coupon")
    page.locator("#id_offers-0-percent").fill("150")
    page.locator('input[name="_continue"]').click()
    expect(page.locator(".errornote")).to_be_visible()
    expect(page.locator("#id_offers-0-percent")).to_be_focused()


def test_the_check_list_follows_a_job_without_a_reload(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    fill_basics(page, "Followed campaign")
    page.locator("#id_offers-0-name").fill("A tenth off")
    page.locator("#id_offers-0-kind").select_option("coupon")
    page.locator("#id_offers-0-percent").fill("10")
    page.locator('input[name="_continue"]').click()
    page.get_by_role("button", name="Compute forecast").click()
    checks = page.locator("#pz-checks")
    expect(checks).to_contain_text("A forecast is being computed")
    page.evaluate("window.sameDocument = true")
    jobs = page.context.new_page()
    jobs.goto("/admin/personalization/job/")
    jobs.locator("#result_list tbody th a").first.click()
    jobs.get_by_role("button", name="Cancel this job").click()
    expect(jobs.get_by_role("button", name="Cancel this job")).to_have_count(0)
    page.bring_to_front()  # a page that is closed while it still loads may never answer
    expect(checks).not_to_contain_text("A forecast is being computed")
    expect(checks).to_contain_text("It has no forecast yet")
    assert page.evaluate("window.sameDocument")


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


def draft_with(page: Page, offers: int) -> int:
    """Make a draft with so many offers over the staff API, as whoever is signed in, and return its key."""
    body = {
        "name": "Many offers",
        "starts_at": "2030-03-01T00:00:00Z",
        "ends_at": "2030-04-01T00:00:00Z",
        "budget_minor": 100_000,
        "offers": [
            {"name": f"Offer {number}", "kind": "coupon", "percent": "10", "slots": ["home_hero"], "headline": "Now"}
            for number in range(offers)
        ],
    }
    made: int = page.evaluate(
        """async (body) => {
            const token = document.cookie.match(/csrftoken=([^;]+)/)[1];
            const headers = {"Content-Type": "application/json", "X-CSRFToken": token};
            const address = "/personalization/api/v1/campaigns/";
            const answer = await fetch(address, {method: "POST", headers, body: JSON.stringify(body)});
            return (await answer.json()).id;
        }""",
        body,
    )
    return made


def test_a_product_is_found_and_taken_by_keyboard(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    fill_basics(page, "With a product")
    page.locator("#id_offers-0-name").fill("One product")
    page.locator("#id_offers-0-kind").select_option("coupon")
    page.locator("#id_offers-0-percent").fill("10")
    ids = page.locator("#id_offers-0-item_ids")
    expect(ids).to_be_hidden()
    box = page.get_by_role("combobox", name="Products")
    box.focus()
    page.keyboard.type("tea")
    options = page.locator('.pz-found [role="option"]')
    expect(options.first).to_be_visible()
    second = options.nth(1).get_attribute("data-id") or ""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(options.first).to_be_hidden()
    assert ids.input_value() == second
    page.keyboard.type("nothing is called like this")
    expect(page.get_by_text("Nothing is found.").first).to_be_visible()
    page.keyboard.press("Escape")
    box.fill("")
    page.locator('input[name="_continue"]').focus()
    enter(page)
    expect(page.locator(".errornote")).to_have_count(0)
    assert live_shop.count("personalization_offer", f"name = 'One product' AND item_ids = '[\"{second}\"]'") == 1
    take_off = page.get_by_role("button", name=re.compile("^Remove "))
    take_off.focus()
    page.keyboard.press("Enter")
    expect(take_off).to_have_count(0)
    assert page.locator("#id_offers-0-item_ids").input_value() == ""
    page.locator("#offers-group").get_by_role("button", name="Add another Offer").click()
    expect(page.get_by_role("combobox", name="Products")).to_have_count(2)


def test_without_script_ids_are_typed_and_a_wrong_one_is_explained(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, live_shop)
    page.goto(LIST + "add/")
    page.locator("#id_offers-0-item_ids").fill("1, tee")
    page.locator('input[name="_continue"]').click()
    expect(page.get_by_text("There is no product “tee”.")).to_be_visible()
    expect(page.locator(".pz-chosen li").first).to_contain_text(re.compile(r"\w+ 1"))


def test_eight_offers_are_eight_lines(open_page: OpenPage, live_shop: LiveShop) -> None:
    page = open_page()
    sign_in(page, live_shop)
    change = f"{LIST}{draft_with(page, 8)}/change/"
    page.goto(change)
    lines = page.locator("#offers-group .pz-line.has_original")
    expect(lines).to_have_count(8)
    expect(lines.first.locator("summary").first).to_contain_text("Coupon · 10% off")
    assert page.evaluate("document.documentElement.scrollHeight") < 2500
    percent = page.locator("#id_offers-4-percent")
    expect(percent).to_be_hidden()
    lines.nth(4).locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(percent).to_be_visible()
    percent.fill("120")
    page.keyboard.press("Tab")
    lines.nth(4).locator("summary").first.click()
    page.locator('input[name="_continue"]').click()
    expect(page.locator("#id_offers-4-percent")).to_be_visible()  # the wrong one opens, and no other
    expect(page.locator("#id_offers-3-percent")).to_be_hidden()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("#id_offers-3-percent")).to_be_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    expect(page.locator("#id_offers-3-percent")).to_be_hidden()
    page.set_viewport_size(PHONE)
    assert fits(page)
