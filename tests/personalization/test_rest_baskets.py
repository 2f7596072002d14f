"""Baskets over HTTP: the catalogue prices them, and a hold pays only for what it was made on."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.models import Redemption, Reservation
from tests.personalization import host
from tests.personalization.builders import Browser, make_offer
from tests.personalization.conftest import Configure
from tests.personalization.test_rest_api import BASKET, LINE, problem

pytestmark = pytest.mark.django_db


def claimed_code(visitor: Browser) -> str:
    offer = make_offer(percent=10, amount_minor=0)
    return str(visitor.call("api-claim", {"offer_id": offer.pk}).json()["code"])


@pytest.mark.usefixtures("hosted")
def test_the_catalogue_prices_the_basket_not_the_browser(visitor: Browser) -> None:
    host.PRODUCTS.append(host.product("p-1", price_minor=2000))
    invented = {"currency": "EUR", "lines": [{"item_id": "p-1", "quantity": 2, "unit_price_minor": 9_000_000}]}
    shown = visitor.call("api-preview", {"code": claimed_code(visitor), "basket": invented}).json()
    assert shown["discount_minor"] == 400


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize("line", [{"item_id": "p-9"}, {"item_id": "p-1", "quantity": 6}, {"item_id": "p-2"}])
def test_a_basket_that_cannot_be_sold_holds_nothing(visitor: Browser, line: dict[str, Any]) -> None:
    host.PRODUCTS += [host.product("p-1", price_minor=2000, stock=5), host.product("p-2", visible=False)]
    basket = {"currency": "EUR", "lines": [{"quantity": 1, "unit_price_minor": 2000, **line}]}
    given = {"code": claimed_code(visitor), "basket": basket, "idempotency_key": "k"}
    problem(visitor.call("api-reserve", given), 400)
    assert not Reservation.objects.exists()


def test_a_hold_on_one_basket_does_not_pay_for_another(visitor: Browser, staff: Browser, configure: Configure) -> None:
    configure(CATALOG="")
    given = {"code": claimed_code(visitor), "basket": BASKET, "idempotency_key": "k"}
    held = visitor.call("api-reserve", given).json()
    smaller = {"currency": "EUR", "lines": [LINE | {"quantity": 1}]}
    spend = {"reservation_id": held["reservation_id"], "order_label": "erp.order", "order_id": "7"}
    problem(staff.call("api-redeem", {**spend, "basket": smaller}), 400, "basket_not_eligible")
    assert not Redemption.objects.exists()
    assert staff.call("api-redeem", {**spend, "basket": BASKET}).json() == {"amount_minor": 1000}
