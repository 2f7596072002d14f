"""The three adapters: what the personalisation app sees of the shop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from personalization.types import BasketLine, ProductData
from shop.models import CustomerProfile, Order, OrderLine, Product
from shop.personalization import ShopCatalog, ShopOrders, ShopShoppers, age_on


def test_the_catalogue_streams_hidden_products_too(make_product: Callable[..., Product]) -> None:
    shown = make_product()
    hidden = make_product("Earl Grey", visible=False, brand=None, cost_minor=None, stock=0)
    rows = list(ShopCatalog().products())
    assert rows[0] == ProductData(
        item_id=str(shown.pk),
        title="Green Tea",
        price_minor=1000,
        currency="EUR",
        category="coffee-tea",
        brand="Leafline",
        cost_minor=400,
        stock=10,
        visible=True,
        url="/product/green-tea/",
    )
    assert (rows[1].item_id, rows[1].visible, rows[1].brand, rows[1].cost_minor) == (
        str(hidden.pk),
        False,
        "",
        None,
    )


def test_the_catalogue_answers_in_one_query_and_leaves_unknown_ids_out(
    make_product: Callable[..., Product], django_assert_num_queries: Any
) -> None:
    first, second = make_product(), make_product("Earl Grey")
    asked = [str(second.pk), "999999", "B00-UK", "", "²", "9" * 40, "-1", str(first.pk)]
    with django_assert_num_queries(1):
        found = ShopCatalog().get(asked)
    assert set(found) == {str(first.pk), str(second.pk)}


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada@example.org", date_joined=datetime(2024, 1, 1, tzinfo=UTC))


def make_order(product: Product, placed_at: datetime, **fields: Any) -> Order:
    order = Order.objects.create(
        number=f"{placed_at:%y%m%d}", placed_at=placed_at, currency="EUR", total_minor=1900, **fields
    )
    OrderLine.objects.create(order=order, product=product, title=product.title, quantity=2, unit_price_minor=1000)
    return order


def test_orders_come_oldest_first_with_lines(product: Product, user: User, django_assert_max_num_queries: Any) -> None:
    start = datetime(2024, 5, 1, tzinfo=UTC)
    make_order(product, start + timedelta(days=2), email="bob@example.org", status=Order.Status.CANCELLED)
    make_order(product, start, user=user, email="ada@example.org", discount_minor=100)
    make_order(product, start + timedelta(days=1), email="bob@example.org")
    with django_assert_max_num_queries(4):
        rows = list(ShopOrders().orders())
    assert [row.order_id for row in rows] == ["240501", "240502", "240503"]
    assert (rows[0].user_id, rows[0].guest_ref, rows[0].discount_minor) == (user.pk, "", 100)
    assert (rows[1].user_id, rows[1].guest_ref) == (None, "bob@example.org")
    assert [row.cancelled for row in rows] == [False, False, True]
    assert rows[0].lines == (BasketLine(str(product.pk), 2, 1000, "coffee-tea"),)
    assert [row.order_id for row in ShopOrders().orders(start + timedelta(days=1))] == ["240502", "240503"]


def test_profiles_give_age_but_no_birth_date(user: User) -> None:
    joined = datetime(2024, 2, 1, tzinfo=UTC)
    CustomerProfile.objects.create(
        user=user, birth_date=date(1990, 6, 15), gender="female", city="Porto", tier="gold", joined_at=joined
    )
    profile = ShopShoppers().profile(user)
    assert profile.joined_at == joined
    assert set(profile.attributes) == {"age", "gender", "city", "tier"}
    assert profile.attributes["tier"] == "gold"
    assert list(ShopShoppers().profiles()) == [(user.pk, profile)]


def test_an_account_without_a_profile_has_its_joining_date(user: User) -> None:
    profile = ShopShoppers().profile(user)
    assert profile.joined_at == user.date_joined
    assert dict(profile.attributes) == {}


@pytest.mark.parametrize(("day", "age"), [(date(2020, 6, 14), 29), (date(2020, 6, 15), 30), (date(2021, 2, 28), 30)])
def test_age_counts_full_years(day: date, age: int) -> None:
    assert age_on(day, date(1990, 6, 15)) == age
    assert age_on(day, None) is None
