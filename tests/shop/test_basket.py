"""The basket: what can be put in, what is refused with a clear word, what a coupon takes off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from personalization.models import Campaign, Coupon, Offer
from personalization.ports.signals import basket_changed
from shop.basket import MAX_LINES, MAX_QUANTITY
from shop.models import Product
from tests.shop.conftest import Browser


def test_products_go_in_change_and_leave(browser: Browser, product: Product) -> None:
    page = browser.fill(product, 2)
    assert page.context["quote"].total_minor == 2000
    assert page.context["basket_count"] == 2
    url = reverse("shop:basket-change", args=[product.slug])
    assert browser.post(url, {"quantity": 3}, follow=True).context["quote"].total_minor == 3000
    assert browser.post(url, {"quantity": 0}, follow=True).context["quote"].lines == ()


@pytest.mark.parametrize(
    ("quantity", "words"),
    [
        ("many", "whole number"),
        ("", "enter a quantity"),
        ("-1", "cannot be negative"),
        ("0", "at least 1"),
        ("1.5", "whole number"),
        ("100", "at most 99 pieces"),
        ("9" * 5000, "whole number"),
        ("11", "Only 10 of Green Tea are left"),
    ],
)
def test_a_wrong_quantity_is_explained(browser: Browser, product: Product, quantity: str, words: str) -> None:
    page = browser.fill(product, quantity)
    assert page.status_code == 200
    assert words in page.content.decode()
    assert page.context["basket_count"] == 0


def test_adding_again_adds_up_to_the_stock_only(browser: Browser, product: Product) -> None:
    browser.fill(product, 6)
    page = browser.fill(product, 6)
    assert "Only 10 of Green Tea are left" in page.content.decode()
    assert page.context["basket_count"] == 6


def test_a_product_taken_off_sale_drops_out(browser: Browser, product: Product) -> None:
    browser.fill(product)
    Product.objects.update(visible=False)
    assert browser.get(reverse("shop:basket")).context["quote"].lines == ()


def test_what_sold_out_meanwhile_is_marked_and_blocks_the_checkout(browser: Browser, product: Product) -> None:
    browser.fill(product, 3)
    Product.objects.update(stock=2)
    assert "Only 2 left" in browser.get(reverse("shop:basket")).content.decode()
    assert browser.get(reverse("shop:checkout")).headers["Location"] == reverse("shop:basket")


def test_unknown_and_hidden_products_are_not_found(browser: Browser, product: Product) -> None:
    assert browser.post(reverse("shop:basket-add", args=["nothing"]), {"quantity": 1}).status_code == 404
    Product.objects.update(visible=False)
    assert browser.get(product.get_absolute_url()).status_code == 404
    assert browser.fill(product).status_code == 404


def test_a_basket_has_a_size(browser: Browser, make_product: Callable[..., Product]) -> None:
    for number in range(MAX_LINES):
        browser.fill(make_product(f"Tea {number}"))
    assert "basket is full" in browser.fill(make_product("One more")).content.decode()
    assert MAX_QUANTITY == 99


def test_changes_are_announced(browser: Browser, product: Product) -> None:
    heard: list[tuple[str, str, int, int]] = []

    def listen(item_id: str, category: str, quantity: int, basket_total_minor: int, **_more: object) -> None:
        heard.append((item_id, category, quantity, basket_total_minor))

    basket_changed.connect(listen)
    try:
        browser.fill(product, 2)
        browser.post(reverse("shop:basket-change", args=[product.slug]), {"quantity": 0})
    finally:
        basket_changed.disconnect(listen)
    key = str(product.pk)
    assert heard == [(key, "coffee-tea", 2, 2000), (key, "coffee-tea", 0, 0)]


def test_a_coupon_shows_its_discount_per_line(
    browser: Browser, make_product: Callable[..., Product], make_campaign: Callable[..., Campaign]
) -> None:
    browser.fill(make_product("Green Tea"), 2)
    browser.fill(make_product("Earl Grey", price_minor=500))
    coupon = browser.claim(make_campaign())
    page = browser.get(reverse("shop:basket"))
    quote = page.context["quote"]
    assert (quote.subtotal_minor, quote.discount_minor, quote.total_minor) == (2500, 250, 2250)
    assert [priced.discount_minor for priced in quote.lines] == [200, 50]
    assert quote.coupon_ids == (str(coupon.pk),)
    summary = page.content.decode().partition('<dl class="totals">')[2].partition("</dl>")[0]
    assert summary.count("−€2.50") + summary.count("-€2.50") == 1, "what is taken off is taken off once"
    before, total, after = summary.partition("€22.50")
    assert total
    assert "You save" not in before
    assert "<dt>You save</dt><dd>€2.50</dd>" in after


def test_offers_add_up_and_one_coupon_is_taken_off_alone(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    browser.fill(product)
    first, second = browser.claim(make_campaign()), browser.claim(make_campaign())
    Offer.objects.filter(campaign=make_campaign()).update(application="automatic", percent=50, headline="Half off")
    page = browser.get(reverse("shop:basket"))
    quote = page.context["quote"]
    assert len(quote.savings) == 3
    assert quote.discount_minor == sum(saving.off_minor for saving in quote.savings) == 595
    assert "Half off" in page.content.decode()
    page = browser.post(reverse("shop:coupon-remove"), {"coupon": str(first.pk)}, follow=True)
    assert page.context["quote"].coupon_ids == (str(second.pk),)
    assert page.context["quote"].discount_minor == 550


def test_a_coupon_can_be_taken_off_and_applied_again_from_my_coupons(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    browser.fill(product)
    coupon = browser.claim(make_campaign())
    page = browser.post(reverse("shop:coupon-remove"), follow=True)
    assert page.context["quote"].discount_minor == 0
    assert [view.coupon_id for view in page.context["my_coupons"]] == [str(coupon.pk)]
    page = browser.post(reverse("shop:coupon-apply"), {"coupon": str(coupon.pk)}, follow=True)
    assert page.context["quote"].discount_minor == 100


def test_the_coupons_at_hand_stand_before_the_checkout(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    """Where a shopper looks before they pay: those that can be used, each with its button."""
    spent, claimed = browser.claim(make_campaign()), browser.claim(make_campaign(name="A fifth off", percent=20))
    Coupon.objects.filter(pk=spent.pk).update(voided_at=timezone.now())
    browser.post(reverse("shop:coupon-remove"))
    page = browser.fill(product)
    assert [view.coupon_id for view in page.context["my_coupons"]] == [str(claimed.pk)]
    html = page.content.decode()
    places = [html.index(text) for text in ("My coupons", f'value="{claimed.pk}"', "Coupon code", "Go to checkout")]
    assert places == sorted(places)
    assert "Used or expired" not in html


def test_a_page_writes_its_dates_in_one_way(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    coupon = browser.claim(make_campaign())
    page = browser.fill(product).content.decode()
    assert coupon.expires_at is not None
    assert f"Valid until {date_format(timezone.localtime(coupon.expires_at), 'DATE_FORMAT')}" in page


def test_unknown_and_foreign_codes_are_refused_in_the_same_words(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    coupon = Browser().claim(make_campaign())
    browser.fill(product)
    url = reverse("shop:coupon-apply")
    answers = [
        browser.post(url, data, follow=True).content.decode()
        for data in ({"code": "NOSUCHCODE"}, {"coupon": str(coupon.pk)}, {"code": "x\x00y"}, {"coupon": "1"})
    ]
    assert "This code cannot be used." in answers[0]
    assert "This code cannot be used." in answers[1]
    assert all("enter a code" in answer for answer in answers[2:])


def test_a_coupon_below_its_threshold_says_why_and_starts_to_count_later(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    browser.fill(product, 5)
    browser.claim(make_campaign(kind="spend_threshold", threshold_minor=4000))
    url = reverse("shop:basket-change", args=[product.slug])
    page = browser.post(url, {"quantity": 3}, follow=True)
    assert page.context["quote"].discount_minor == 0
    assert "Spend €10.00 more" in page.content.decode()
    page = browser.post(url, {"quantity": 4}, follow=True)
    assert page.context["quote"].discount_minor == 400
