"""Every page answers, in both languages, for known and unknown visitors; the privacy page keeps its word."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.urls import reverse

from personalization.models import Event, Shopper
from shop.models import Category, CustomerProfile, Product, SimulationInfo
from shop.money import money
from tests.shop.conftest import Browser

PAGES = ["home", "search", "basket", "login", "register", "privacy"]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_answer(browser: Browser, product: Product, name: str, language: str) -> None:
    page = browser.get(reverse(f"shop:{name}"), headers={"accept-language": language})
    assert page.status_code == 200
    assert f'lang="{"en" if language == "en" else "zh-hans"}"' in page.content.decode()


def test_pages_carry_no_inline_script_style_or_foreign_host(browser: Browser, product: Product) -> None:
    browser.fill(product)
    for url in [reverse(f"shop:{name}") for name in [*PAGES, "checkout"]] + [product.get_absolute_url()]:
        html = browser.get(url).content.decode()
        for unwanted in (" style=", "<style", " onclick", "javascript:", 'src="http', 'href="http'):
            assert unwanted not in html, (url, unwanted)


def test_a_shelf_is_sorted_and_paged(browser: Browser, make_product: Callable[..., Product]) -> None:
    for number in range(30):
        make_product(f"Tea {number}", price_minor=100 + number, stock=number)
    url = reverse("shop:category", args=["coffee-tea"])
    cheapest = browser.get(url, {"sort": "price"}).context["page"]
    assert [product.price_minor for product in cheapest][:3] == [100, 101, 102]
    assert (cheapest.paginator.num_pages, len(cheapest)) == (2, 24)
    assert len(browser.get(url, {"page": "2"}).context["page"]) == 6
    for nonsense in ({"page": "x"}, {"page": "-1"}, {"page": "9" * 50}, {"sort": "; drop"}):
        assert browser.get(url, nonsense).status_code == 200
    assert [product.stock for product in browser.get(url, {"page": 2}).context["page"]][-1] == 0
    assert browser.get(reverse("shop:category", args=["nothing"])).status_code == 404


def test_search_finds_every_word(browser: Browser, make_product: Callable[..., Product]) -> None:
    make_product("Green Tea", description="Grassy and light")
    make_product("Earl Grey")
    make_product("Hidden Green", visible=False)

    def found(query: str) -> list[str]:
        return [row.title for row in browser.get(reverse("shop:search"), {"q": query}).context["page"]]

    assert found("green") == ["Green Tea"]
    assert found("leafline grassy") == ["Green Tea"]
    assert found("green earl") == []
    assert found("") == []
    for odd in ("\x00", "%", "x" * 101, "'; --"):
        assert browser.get(reverse("shop:search"), {"q": odd}).status_code == 200


def test_a_missing_page_is_friendly(browser: Browser, db: None) -> None:
    page = browser.get("/product/nothing/")
    assert page.status_code == 404
    assert "This page is not here" in page.content.decode()


def test_a_simulation_is_named_as_one(browser: Browser, product: Product) -> None:
    assert "simulated" not in browser.get(reverse("shop:home")).content.decode()
    SimulationInfo.objects.create(seed=7)
    assert "simulated (seed 7)" in browser.get(reverse("shop:home")).content.decode()


def test_registering_makes_an_account_that_can_sign_in(browser: Browser, db: None) -> None:
    form = {"name": "Ada Byron", "email": "Ada@Example.org", "password": "analytical-engine"}
    page = browser.post(reverse("shop:register"), form, follow=True)
    assert "Hello, Ada Byron" in page.content.decode()
    user = User.objects.get()
    assert (user.username, user.profile.tier) == ("ada@example.org", CustomerProfile.Tier.BASIC)
    browser.post(reverse("shop:logout"))
    assert browser.get(reverse("shop:account")).status_code == 302
    again = {"username": "ADA@example.org", "password": "analytical-engine"}
    assert browser.post(reverse("shop:login"), again).headers["Location"] == reverse("shop:home")


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"email": "ada"}, "email"), ({"password": "short"}, "password"), ({"name": ""}, "name")],
)
def test_a_bad_registration_is_explained(browser: Browser, db: None, changes: dict[str, str], field: str) -> None:
    form = {"name": "Ada", "email": "ada@example.org", "password": "analytical-engine"} | changes
    assert field in browser.post(reverse("shop:register"), form).context["form"].errors
    assert not User.objects.exists()


def test_an_address_is_registered_once(browser: Browser, db: None) -> None:
    User.objects.create_user("ada@example.org", "ada@example.org", "analytical-engine")
    form = {"name": "Ada", "email": "ADA@example.org", "password": "analytical-engine"}
    assert "email" in browser.post(reverse("shop:register"), form).context["form"].errors
    assert User.objects.count() == 1


@pytest.fixture
def consenting(browser: Browser, product: Product, django_capture_on_commit_callbacks: Any) -> Browser:
    """A visitor who agreed to everything and looked at a product."""
    purposes = ["analytics", "personalisation", "marketing"]
    browser.post(reverse("shop:privacy-consent"), {"purposes": purposes})
    with django_capture_on_commit_callbacks(execute=True):
        browser.get(product.get_absolute_url())
    return browser


def test_nothing_is_stored_without_consent(
    browser: Browser, product: Product, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        browser.get(product.get_absolute_url())
        browser.get(reverse("shop:search"), {"q": "tea"})
        browser.fill(product)
    assert not Event.objects.exists()
    assert not Shopper.objects.exists()
    assert "not known to the shop" in browser.get(reverse("shop:privacy")).content.decode()


def test_consent_starts_and_ends_recording(
    consenting: Browser, product: Product, django_capture_on_commit_callbacks: Any
) -> None:
    assert Event.objects.get().type == "product_viewed"
    consenting.post(reverse("shop:privacy-consent"), {})
    with django_capture_on_commit_callbacks(execute=True):
        consenting.get(product.get_absolute_url())
    assert Event.objects.count() == 1


def test_the_download_holds_what_was_seen(consenting: Browser, product: Product) -> None:
    answer = consenting.get(reverse("shop:privacy-download"))
    assert "attachment" in answer.headers["Content-Disposition"]
    events = json.loads(answer.content)["events"]
    assert [(event["type"], event["item_id"]) for event in events] == [("product_viewed", str(product.pk))]


def test_erasing_takes_a_tick_and_leaves_nothing(consenting: Browser) -> None:
    url = reverse("shop:privacy-erase")
    assert consenting.post(url, {}).status_code == 400
    assert Event.objects.exists()
    page = consenting.post(url, {"sure": "on"}, follow=True)
    assert "has been erased" in page.content.decode()
    assert not Event.objects.exists()
    assert not Shopper.objects.exists()
    assert "not known to the shop" in page.content.decode()


def test_the_back_office_opens(browser: Browser, product: Product, tea: Category) -> None:
    browser.force_login(User.objects.create_superuser("boss"))
    browser.fill(product)
    browser.check_out()
    for name in ("category", "brand", "product", "order", "customerprofile", "simulationinfo"):
        assert browser.get(reverse(f"admin:shop_{name}_changelist")).status_code == 200
    order = product._meta.apps.get_model("shop", "Order").objects.get()
    assert browser.get(reverse("admin:shop_order_change", args=[order.pk])).status_code == 200
    action = {"action": "cancel_orders", "_selected_action": [order.pk]}
    browser.post(reverse("admin:shop_order_changelist"), action)
    order.refresh_from_db()
    assert order.status == "cancelled"


def test_the_api_is_described(browser: Browser, db: None) -> None:
    assert browser.get(reverse("api-schema")).status_code == 200
    assert browser.get(reverse("api-docs")).status_code == 200


@pytest.mark.parametrize(
    ("minor", "code", "text"),
    [
        (0, "EUR", "€0.00"),
        (123456, "EUR", "€1,234.56"),
        (-250, "EUR", "−€2.50"),
        (500, "JPY", "¥500"),
        (100, "CHF", "CHF 1.00"),
    ],
)
def test_money_is_written_as_people_read_it(minor: int, code: str, text: str) -> None:
    assert money(minor, code) == text


def test_browsers_find_an_icon_where_no_page_names_one(browser: Browser) -> None:
    """On error pages, in the admin and at the API's description."""
    answer = browser.get("/favicon.ico")
    assert (answer.status_code, answer["Location"]) == (302, "/static/shop/icon.svg")
    assert finders.find("shop/icon.svg") is not None
