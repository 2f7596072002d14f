"""Attempts to pay less than the terms allow, or to spend what belongs to others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from personalization import api
from personalization.exceptions import CouponRefused
from personalization.models import Campaign, Reservation
from shop.models import Order, Product
from tests.personalization.builders import Browser as Visitor
from tests.personalization.builders import make_basket, make_offer, make_shopper
from tests.shop.conftest import Browser

pytestmark = pytest.mark.django_db


def post(browser: Browser, name: str, body: dict[str, Any]) -> Any:
    return browser.post(reverse(f"personalization:{name}"), json.dumps(body), content_type="application/json")


def test_a_reservation_for_an_invented_basket_does_not_pay_for_the_real_one(
    browser: Browser, product: Product, make_campaign: Callable[..., Campaign]
) -> None:
    """The checkout's idempotency key is made of a token that the shopper can read in the form."""
    campaign = make_campaign()
    browser.fill(product)
    coupon = browser.claim(campaign)
    form = browser.form()
    line = {"item_id": str(product.pk), "quantity": 10, "unit_price_minor": product.price_minor}
    given = {"coupon_id": str(coupon.pk), "basket": {"currency": "EUR", "lines": [line]}}
    post(browser, "api-reserve", {**given, "idempotency_key": f"checkout:{form['token']}"})
    browser.post(reverse("shop:checkout"), form | {"total_minor": "0", "discount_minor": "1000"})
    assert not Order.objects.filter(total_minor=0).exists()


def test_a_key_stands_for_one_basket(browser: Browser) -> None:
    shopper, offer = make_shopper(), make_offer()
    code = api.claim(offer.pk, shopper=shopper).code
    api.reserve(shopper=shopper, basket=make_basket(90_000), code=code, idempotency_key="order:7")
    with pytest.raises(CouponRefused):
        api.reserve(shopper=shopper, basket=make_basket(9_000), code=code, idempotency_key="order:7")


def test_a_stranger_cannot_take_the_key_of_a_checkout_or_of_another_visitor(db: None, settings: Any) -> None:
    """Keys that clients choose live in a space of their own, one a shopper."""
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "CATALOG": ""}
    offer = make_offer()
    basket = {"currency": "EUR", "lines": [{"item_id": "p-0", "quantity": 1, "unit_price_minor": 10_000}]}
    held = []
    for _person in range(2):
        visitor = Visitor()
        claimed = visitor.call("api-claim", {"offer_id": offer.pk}).json()
        given = {"coupon_id": claimed["coupon_id"], "basket": basket, "idempotency_key": "order:1001"}
        answer = visitor.call("api-reserve", given)
        assert answer.status_code == 200
        held.append(answer.json()["reservation_id"])
    assert len(set(held)) == 2
    assert not Reservation.objects.filter(idempotency_key="order:1001").exists()
