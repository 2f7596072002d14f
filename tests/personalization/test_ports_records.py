"""What an adapter hands over wrongly is refused in a sentence that names it, before anything of it is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from personalization import api
from personalization.exceptions import InvalidRecord
from personalization.models import CatalogItem, Event
from personalization.ports import records
from personalization.types import BasketLine, ProfileData
from tests.personalization import host
from tests.personalization.builders import make_account, make_order, make_shopper

AMOUNT = "must be a whole number of minor units, 0 or more (27.01 is 2701), and is"
NAIVE = timezone.now().replace(tzinfo=None)


def line(**fields: Any) -> BasketLine:
    given: dict[str, Any] = {"item_id": "p-1", "quantity": 1, "unit_price_minor": 500, **fields}
    return BasketLine(**given)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("price_minor", Decimal("27.01"), f"price_minor {AMOUNT} Decimal('27.01')"),
        ("price_minor", 27.0, f"price_minor {AMOUNT} 27.0"),
        ("price_minor", True, f"price_minor {AMOUNT} True"),
        ("price_minor", -1, f"price_minor {AMOUNT} -1"),
        ("price_minor", None, f"price_minor {AMOUNT} None"),
        ("price_minor", 2**63, "price_minor"),
        ("cost_minor", 9.5, "cost_minor must be None or a whole number of minor units"),
        ("stock", True, "stock must be None or a whole number"),
        ("title", None, "title must be a text, empty where there is none, and is None"),
        ("category", 5, "category"),
        ("brand", None, "brand"),
        ("currency", "eur", "currency must be the ISO 4217 code of a currency, such as EUR, and is 'eur'"),
        ("currency", "ZZZ", "currency"),
        ("visible", 1, "visible must be True or False"),
        ("item_id", "", "item_id must be a text of 1 to 100 characters, and is ''"),
        ("item_id", 5, "item_id"),
        ("item_id", "x" * 101, "item_id"),
    ],
)
def test_a_product_is_refused_with_its_field(field: str, value: Any, told: str) -> None:
    item = replace(host.product("p-1"), **{field: value})
    with pytest.raises(InvalidRecord) as refused:
        records.check_product(item)
    assert str(refused.value).startswith(f"The shop's adapter hands over product {item.item_id!r} wrongly: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"price_minor": 0},
        {"cost_minor": 0, "stock": 0},
        {"stock": -3},  # a back-order
        {"title": "", "currency": "JPY"},
        {"price_minor": 2**63 - 1},
    ],
)
def test_what_a_shop_may_mean_is_taken(fields: dict[str, Any]) -> None:
    records.check_product(host.product("p-1", **fields))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"total_minor": Decimal("30.00")}, f"wrongly: total_minor {AMOUNT} Decimal('30.00')"),
        ({"total_minor": True}, "total_minor"),
        ({"discount_minor": -5}, f"discount_minor {AMOUNT} -5"),
        ({"placed_at": NAIVE}, "placed_at must be a moment with a time zone"),
        ({"placed_at": "2026-01-31"}, "placed_at"),
        ({"currency": "€"}, "currency must be the three capital letters of a currency"),
        ({"lines": ("p-1",)}, "lines must be a tuple of BasketLine, and is tuple"),
        ({"lines": (line(), line(unit_price_minor=Decimal("1.5")))}, ", line 2 wrongly: unit_price_minor"),
        ({"lines": (line(quantity=0),)}, "quantity must be a whole number from 1 on, and is 0"),
        ({"lines": (line(quantity=1.5),)}, "quantity"),
        ({"cancelled": None}, "cancelled"),
        ({"order_id": 1001}, "order_id"),
    ],
)
def test_an_order_is_refused_with_its_field(fields: dict[str, Any], told: str) -> None:
    order = replace(make_order(), **fields)
    with pytest.raises(InvalidRecord) as refused:
        records.check_order(order)
    assert f"hands over order {order.order_id!r}" in str(refused.value)
    assert told in str(refused.value)


def test_an_order_may_be_older_than_its_currency() -> None:
    records.check_order(make_order(currency="HRK"))


def test_whose_address_it_is_is_not_told() -> None:
    with pytest.raises(InvalidRecord, match=r"guest_ref must be a text, .* and is bytes") as refused:
        records.check_order(make_order(guest_ref=b"ada@example.org"))
    assert "ada@" not in str(refused.value)


@pytest.mark.parametrize("check", [records.check_product, records.check_order])
def test_what_is_no_record_at_all(check: Callable[[Any], None]) -> None:
    with pytest.raises(InvalidRecord, match=r"must be a (ProductData|OrderData), and is dict"):
        check({"price_minor": 5})


@pytest.mark.django_db
@pytest.mark.usefixtures("hosted")
class TestCommands:
    """The same sentences, where the host meets them."""

    def test_sync_catalog_stores_nothing_of_a_wrong_batch_and_hides_nothing(self) -> None:
        host.PRODUCTS.append(host.product("p-0"))
        api.sync_catalog()
        host.PRODUCTS[:] = [host.product("p-1"), host.product("p-2", price_minor=Decimal("27.01"))]
        with pytest.raises(CommandError, match="product 'p-2' wrongly: price_minor"):
            call_command("sync_catalog")
        assert list(CatalogItem.objects.values_list("item_id", "visible")) == [("p-0", True)]

    def test_sync_catalog_refuses_one_id_for_two_products(self) -> None:
        host.PRODUCTS += [host.product(f"p-{number}") for number in range(600)]
        host.PRODUCTS.append(host.product("p-3", title="another"))
        with pytest.raises(CommandError, match="hands over product 'p-3' twice: give each product an item_id"):
            call_command("sync_catalog")
        assert CatalogItem.objects.get(item_id="p-3").title == "P-3"

    def test_sync_catalog_refuses_a_profile_that_cannot_be_kept(self) -> None:
        account = make_account()
        make_shopper(user=account)
        attributes: dict[str, Any] = {"income": Decimal("1.5")}
        host.PROFILES[account.pk] = ProfileData(joined_at=timezone.now(), attributes=attributes)
        told = rf"profile of account {account.pk} wrongly: attributes\['income'\] must be a text, a number"
        with pytest.raises(CommandError, match=told) as no:
            call_command("sync_catalog")
        assert "1.5" not in str(no.value)

    def test_backfill_refuses_an_order_and_takes_it_once_it_is_mended(self) -> None:
        host.ORDERS += [make_order("1"), make_order("2", total_minor=Decimal("30.00"))]
        with pytest.raises(CommandError, match="order '2' wrongly: total_minor"):
            call_command("backfill")
        assert not Event.objects.exists()
        host.ORDERS[1] = make_order("2")
        assert api.backfill_orders() == 2
