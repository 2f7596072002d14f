"""Tax in the basket, at the checkout and on the order: by rate, and to the cent."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from personalization import api
from personalization.models import Campaign
from personalization.types import Basket, BasketLine
from shop.models import Category, Order, OrderLine, Product
from shop.tax import TaxShare, by_rate
from tests.shop.conftest import Browser

Products = Callable[..., Product]
Campaigns = Callable[..., Campaign]


@pytest.fixture
def kettle(make_product: Products) -> Product:
    kitchen = Category.objects.create(name="Kitchen", slug="kitchen")
    return make_product("Kettle", category=kitchen, price_minor=3333)


def shares_of(page: Any, name: str) -> list[tuple[str, int]]:
    taxes = page.context[name].taxes if name == "quote" else page.context[name]
    return [(str(share.rate), share.tax_minor) for share in taxes]


def test_basket_checkout_and_order_show_the_same_tax(
    browser: Browser, product: Product, kettle: Product, make_campaign: Campaigns
) -> None:
    browser.fill(product, 3)
    browser.fill(kettle, 1)
    browser.claim(make_campaign())
    basket = browser.get(reverse("shop:basket"))
    # 27.00 at 7 % and 30.00 (33.33 less its tenth, rounded) at 19 %
    lines = {line.line.product.title: line.total_minor for line in basket.context["quote"].lines}
    expected = [
        ("19", round(lines["Kettle"] * 19 / 119)),
        ("7", round(lines["Green Tea"] * 7 / 107)),
    ]
    assert shares_of(basket, "quote") == expected
    assert "including 19% tax" in basket.content.decode()
    checkout = browser.get(reverse("shop:checkout"))
    assert shares_of(checkout, "quote") == expected
    page = browser.check_out()
    assert shares_of(page, "taxes") == expected
    assert "including 7% tax" in page.content.decode()
    order = Order.objects.get()
    assert {(line.title, line.tax_rate) for line in order.lines.all()} == {
        ("Kettle", Decimal("19")), ("Green Tea", Decimal("7")),
    }  # fmt: skip
    assert sum(line.tax_minor for line in order.lines.all()) == sum(tax for _rate, tax in expected)


def test_rates_come_from_the_settings(browser: Browser, product: Product, kettle: Product, settings: Any) -> None:
    settings.SHOP_TAX_RATE, settings.SHOP_TAX_RATES = Decimal("5.5"), {"coffee-tea": Decimal(0)}
    browser.fill(product)
    browser.fill(kettle)
    page = browser.get(reverse("shop:basket"))
    assert shares_of(page, "quote") == [("5.5", round(3333 * 5.5 / 105.5))]
    assert "including 5.5% tax" in page.content.decode()
    settings.SHOP_TAX_RATE = Decimal(0)
    assert "tax</dt>" not in browser.get(reverse("shop:basket")).content.decode()


def test_an_order_keeps_the_rate_of_its_day(browser: Browser, product: Product, settings: Any) -> None:
    browser.fill(product)
    browser.check_out()
    settings.SHOP_TAX_RATES = {"coffee-tea": Decimal(99)}
    page = browser.get(Order.objects.get().get_absolute_url())
    assert shares_of(page, "taxes") == [("7", 65)]


def test_the_database_refuses_more_tax_than_is_paid(browser: Browser, product: Product) -> None:
    browser.fill(product)
    browser.check_out()
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderLine.objects.update(tax_minor=1001)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.integers(1, 9), st.sampled_from([0, 5, 7, 19])), min_size=1, max_size=8
    )
)
def test_parts_add_up_to_the_cent(rows: list[tuple[int, int, int]]) -> None:
    lines = tuple(
        BasketLine(item_id=str(place), quantity=pieces, unit_price_minor=price, tax_rate=Decimal(rate))
        for place, (price, pieces, rate) in enumerate(rows)
    )
    basket = Basket(lines=lines, currency="EUR")
    taxed = api.tax_after_discounts(basket, [])
    shares = by_rate((line.tax_rate, part.tax_minor) for line, part in zip(lines, taxed.lines, strict=True))
    assert sum(share.tax_minor for share in shares) == taxed.total.tax_minor
    assert taxed.total.net_minor + taxed.total.tax_minor == taxed.total.gross_minor == basket.total_minor


def test_equal_rates_are_one_share_whatever_their_decimals() -> None:
    assert by_rate([(Decimal("7.00"), 3), (Decimal(7), 4), (Decimal(0), 0)]) == (TaxShare(Decimal(7), 7),)
