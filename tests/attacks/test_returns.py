"""Returns that nobody thought of: no benefit is paid twice, and none is taken back from somebody who kept all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from personalization.campaigns import coupons, giftcards, grants, quotes, redemption
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import RefundRefused
from personalization.models import Campaign, Grant, LedgerEntry, Offer, Redemption, Shopper
from personalization.types import Basket
from tests.personalization.builders import make_basket, make_offer, make_shopper

pytestmark = pytest.mark.django_db
NOTHING_MORE: list[dict[str, Any]] = [{}, {"amount_minor": 0}, {"kept": make_basket(1)}]


def buy(shopper: Shopper, basket: Basket, *offers: Offer) -> int:
    """Place an order that spends a coupon of each offer, each held on its own; return what comes off."""
    off = 0
    for offer in offers:
        coupon = coupons.claim(offer.pk, shopper=shopper).coupon_id
        held = redemption.reserve(shopper=shopper, basket=basket, idempotency_key=f"1001:{offer.pk}", coupon_id=coupon)
        with transaction.atomic():
            off += redemption.redeem(held.reservation_id, order_label="shop.order", order_id="1001")
    return off


def refund(operation: str, **given: Any) -> int:
    return redemption.refund(order_label="shop.order", order_id="1001", operation_id=operation, **given)


def spent() -> int:
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []
    return sum(Campaign.objects.values_list("spent_minor", flat=True))


def grant_all() -> int:
    return grants.grant_due(timezone.now() + timedelta(days=60))


@pytest.mark.parametrize(
    ("terms", "share"),
    [({"kind": "cash_back", "percent": 10}, 400), ({"kind": "gift_card", "percent": 0, "amount_minor": 1000}, 400)],
)
def test_a_refund_of_a_part_leaves_that_much_less_to_come(terms: dict[str, Any], share: int) -> None:
    shopper = make_shopper()
    buy(shopper, make_basket(10_000), make_offer(**terms))
    assert refund("a", amount_minor=share) == share
    assert grant_all() == 1
    assert sum(card.available_minor for card in giftcards.cards_of(shopper)) == 1000 - share == spent()
    # Nothing is left: what was handed out stays handed out, and no operation gives the budget a negative refund.
    for number, given in enumerate(NOTHING_MORE):
        assert refund(f"b{number}", **given) == 0
    with pytest.raises(RefundRefused):
        refund("c", amount_minor=1)
    assert spent() == 1000 - share
    assert not LedgerEntry.objects.filter(kind="refund", spent_delta__gt=0).exists()


def test_points_shrink_with_a_refund_of_a_part(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POINT_VALUE_MINOR": 10}
    buy(make_shopper(), make_basket(10_000), make_offer(kind="points", percent=0, points=101))
    assert refund("a", amount_minor=505) == 505
    assert (Grant.objects.get().amount, spent()) == (50, 505)


def test_coupons_that_were_held_apart_are_returned_apart() -> None:
    """Each was computed on the whole basket; to compute them one after the other takes money from whoever kept all."""
    basket = make_basket(10_000)
    off = buy(make_shopper(), basket, make_offer(percent=10), make_offer(percent=20))
    assert off == 3000 == spent()
    assert refund("nothing came back", kept=basket) == 0
    assert spent() == 3000
    assert refund("half", kept=make_basket(5000)) == 1500


def test_what_is_kept_is_told_in_the_orders_currency() -> None:
    buy(make_shopper(), make_basket(10_000), make_offer(percent=10))
    with pytest.raises(RefundRefused):
        refund("a", kept=make_basket(10_000, currency="USD"))
    assert (spent(), Redemption.objects.get().refunded_minor) == (1000, 0)


def test_points_of_no_value_are_not_booked_for_an_order_that_came_back(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POINT_VALUE_MINOR": 0}
    buy(make_shopper(), make_basket(10_000), make_offer(kind="points", percent=0, points=100))
    assert refund("a") == 0
    assert Grant.objects.get().state == "cancelled"


def test_a_priority_that_is_edited_after_the_order_takes_nothing_back() -> None:
    first, second = make_offer(application="automatic", percent=50), make_offer(application="automatic", percent=10)
    Campaign.objects.filter(pk=first.campaign_id).update(priority=9)
    shopper, basket = make_shopper(), make_basket(6500)
    token = quotes.quote(shopper=shopper, basket=basket).token
    held = quotes.reserve_quote(token, shopper=shopper, basket=basket, idempotency_key="1001")
    with transaction.atomic():
        assert quotes.redeem_basket(held.basket_key, order_label="shop.order", order_id="1001") == 3250 + 325
    Campaign.objects.filter(pk=second.campaign_id).update(priority=99)
    assert refund("nothing came back", kept=basket) == 0


def test_points_whose_value_is_changed_after_the_order_stay(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POINT_VALUE_MINOR": 10}
    basket = make_basket(10_000)
    buy(make_shopper(), basket, make_offer(kind="points", percent=0, points=100))
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POINT_VALUE_MINOR": 5}
    assert refund("nothing came back", kept=basket) == 0
    assert (Grant.objects.get().amount, spent()) == (100, 1000)
