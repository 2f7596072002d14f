"""Every kind of offer from coupon to order and back: what comes off, what the budget pays, what is granted later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from personalization.campaigns import coupons, giftcards, grants, liability, redemption
from personalization.campaigns.ledger import rebuild_counters, verify_ledger
from personalization.exceptions import BasketNotEligible, ClaimRefused, CouponRefused
from personalization.models import Campaign, Coupon, GiftCard, Grant, Offer, Shopper, UsageSlot
from personalization.types import Basket, BasketLine, Gift, Hold
from tests.personalization import builders

pytestmark = pytest.mark.django_db


def basket(*prices: int, shipping: int = 0) -> Basket:
    lines = tuple(BasketLine(f"p-{number}", 1, price) for number, price in enumerate(prices))
    return Basket(lines, "EUR", shipping_minor=shipping)


def order(offer: Offer, filled: Basket, number: str = "1001") -> tuple[Hold, int, Shopper]:
    shopper = builders.make_shopper()
    issued = coupons.claim(offer.pk, shopper=shopper)
    hold = redemption.reserve(shopper=shopper, basket=filled, idempotency_key=number, coupon_id=issued.coupon_id)
    with transaction.atomic():
        off = redemption.redeem(hold.reservation_id, order_label="shop.order", order_id=number)
    return hold, off, shopper


def spent(offer: Offer) -> int:
    campaign = Campaign.objects.get(pk=offer.campaign_id)
    assert verify_ledger(campaign) == []
    assert campaign.reserved_minor == 0
    return campaign.spent_minor


KINDS: list[tuple[dict[str, Any], Basket, int, int]] = [
    # the terms, the basket, what comes off the price, what the budget pays
    ({"kind": "coupon", "percent": 10}, basket(10_000, 5), 1001, 1001),
    (
        {
            "kind": "spend_threshold",
            "percent": 0,
            "steps": [{"threshold_minor": 5000, "amount_minor": 500}, {"threshold_minor": 9000, "percent": 20}],
        },
        basket(9000),
        1800,
        1800,
    ),
    ({"kind": "free_shipping", "percent": 0}, basket(1000, shipping=495), 495, 495),
    ({"kind": "free_shipping", "percent": 0, "max_discount_minor": 300}, basket(1000, shipping=495), 300, 300),
    ({"kind": "gift", "percent": 0, "gift_item_id": "mug", "gift_value_minor": 250}, basket(1000), 0, 250),
    ({"kind": "gift_card", "percent": 0, "amount_minor": 1500}, basket(1000), 0, 1500),
    ({"kind": "cash_back", "percent": 5}, basket(10_000), 0, 500),
    ({"kind": "points", "percent": 0, "points": 120}, basket(1000), 0, 120),
    ({"kind": "bundle", "percent": 50, "item_ids": ["p-0", "p-1"]}, basket(1000, 500, 700), 750, 750),
    ({"kind": "n_for_m", "percent": 0, "buy_quantity": 3, "pay_quantity": 2}, basket(900, 700, 800), 700, 700),
    ({"kind": "birthday", "percent": 0, "gift_item_id": "cake", "gift_value_minor": 90}, basket(1000), 0, 90),
    ({"kind": "welcome", "percent": 0, "amount_minor": 300}, basket(1000), 300, 300),
]


@pytest.mark.parametrize(
    ("terms", "filled", "off", "cost"), KINDS, ids=[f"{k[0]['kind']}-{i}" for i, k in enumerate(KINDS)]
)
def test_every_kind_from_claim_to_order_and_back(terms: dict[str, Any], filled: Basket, off: int, cost: int) -> None:
    offer = builders.make_offer(**terms)
    offer.full_clean()
    hold, redeemed, _ = order(offer, filled)
    assert redeemed == hold.discount.off_minor == off
    assert spent(offer) == hold.discount.cost_minor == cost
    assert redemption.refund(order_label="shop.order", order_id="1001", operation_id="all") == cost
    assert spent(offer) == 0
    assert not Grant.objects.exclude(state="cancelled").exists()


def test_a_gift_is_told_to_the_shop() -> None:
    hold, _, _ = order(builders.make_offer(kind="gift", percent=0, gift_item_id="mug", gift_value_minor=250), basket(1))
    assert hold.discount.gifts == (Gift("mug", 250),)


def test_cash_back_becomes_credit_when_it_is_due_and_only_once() -> None:
    offer = builders.make_offer(kind="cash_back", percent=5, delay_days=10)
    _, _, shopper = order(offer, basket(10_000))
    assert grants.grant_due() == 0
    later = timezone.now() + timedelta(days=11)
    assert grants.grant_due(later) == 1
    assert grants.grant_due(later) == 0
    assert [card.available_minor for card in giftcards.cards_of(shopper)] == [500]
    # What has been granted does not come back into the budget.
    assert redemption.refund(order_label="shop.order", order_id="1001", operation_id="late") == 0
    assert spent(offer) == 500


def test_a_gift_card_of_an_offer_belongs_to_the_shopper() -> None:
    _, _, shopper = order(builders.make_offer(kind="gift_card", percent=0, amount_minor=1500), basket(1000))
    grants.grant_due(timezone.now() + timedelta(days=15))
    card = GiftCard.objects.get()
    assert (card.shopper, card.balance_minor, card.kind) == (shopper, 1500, "card")


def test_points_without_an_adapter_wait_and_say_why() -> None:
    order(builders.make_offer(kind="points", percent=0, points=120), basket(1000))
    assert grants.grant_due(timezone.now() + timedelta(days=15)) == 0
    grant = Grant.objects.get()
    assert (grant.state, grant.attempts) == ("pending", 1)
    assert "adapter" in grant.problem


def test_a_partial_return_earns_the_terms_anew() -> None:
    steps = [{"threshold_minor": 5000, "amount_minor": 500}, {"threshold_minor": 9000, "amount_minor": 1800}]
    offer = builders.make_offer(kind="spend_threshold", percent=0, steps=steps)
    order(offer, basket(5000, 4000))
    taken = redemption.refund(order_label="shop.order", order_id="1001", operation_id="r", kept=basket(5000))
    assert (taken, spent(offer)) == (1300, 500)
    again = redemption.refund(order_label="shop.order", order_id="1001", operation_id="r", kept=basket(5000))
    assert (again, spent(offer)) == (1300, 500)


def test_a_partial_return_lowers_what_is_still_to_come() -> None:
    offer = builders.make_offer(kind="cash_back", percent=5)
    order(offer, basket(6000, 4000))
    redemption.refund(order_label="shop.order", order_id="1001", operation_id="r", kept=basket(6000))
    assert (Grant.objects.get().amount, spent(offer)) == (300, 300)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"kind": "n_for_m", "percent": 0, "buy_quantity": 2, "pay_quantity": 2}, "pay_quantity"),
        ({"kind": "gift", "percent": 0}, "gift_item_id"),
        ({"kind": "bundle", "percent": 5, "item_ids": ["a"]}, "item_ids"),
        ({"kind": "points", "percent": 0}, "points"),
        ({"kind": "free_shipping", "percent": 5}, "percent"),
        ({"kind": "gift_card", "percent": 5}, "amount_minor"),
        ({"kind": "coupon", "percent": 5, "steps": [{"threshold_minor": 1, "amount_minor": 1}]}, "steps"),
        ({"kind": "spend_threshold", "percent": 0, "steps": [{"threshold_minor": 1, "percent": "nan"}]}, "steps"),
        ({"kind": "spend_threshold", "percent": 0, "steps": [{"threshold_minor": True, "amount_minor": 1}]}, "steps"),
        ({"kind": "member_exclusive", "percent": 5}, "tiers"),
    ],
)
def test_terms_that_are_not_whole_name_the_field_to_mend(terms: dict[str, Any], field: str) -> None:
    offer = Offer(campaign=builders.running(), name="x", **terms)
    with pytest.raises(ValidationError) as refusal:
        offer.clean()
    assert field in refusal.value.message_dict


def test_points_open_a_member_exclusive() -> None:
    offer = builders.make_offer(kind="member_exclusive", percent=5, member_points=100)
    rich, poor = (builders.make_shopper(attributes={"points": points}) for points in (100, 99))
    assert coupons.claim(offer.pk, shopper=rich).new
    with pytest.raises(ClaimRefused):
        coupons.claim(offer.pk, shopper=poor)


def public(**terms: Any) -> Coupon:
    offer = builders.make_offer(**terms)
    return coupons.issue(offer, origin=Coupon.Origin.VANITY, code="SPRING-TEA", max_uses=100)


def use(shopper: Shopper, key: str) -> Hold:
    return redemption.reserve(shopper=shopper, basket=basket(10_000), idempotency_key=key, code="spring tea")


def test_a_public_code_is_used_once_by_each_shopper() -> None:
    coupon, shopper = public(), builders.make_shopper()
    hold = use(shopper, "a")
    with pytest.raises(CouponRefused) as refusal:
        use(shopper, "b")
    assert refusal.value.reason == "used_by_shopper"
    assert use(builders.make_shopper(), "c")
    redemption.release(hold.reservation_id)
    assert use(shopper, "d")
    assert UsageSlot.objects.filter(shopper=shopper).count() == 1
    assert verify_ledger(coupon.offer.campaign) == []


def test_a_public_code_may_allow_more() -> None:
    public(uses_per_shopper=2)
    shopper = builders.make_shopper()
    use(shopper, "a")
    use(shopper, "b")
    with pytest.raises(CouponRefused):
        use(shopper, "c")


def test_what_is_out_is_owed_until_it_is_used_or_over() -> None:
    offer = builders.make_offer(percent=0, amount_minor=700)
    shopper = builders.make_shopper()
    issued = coupons.claim(offer.pk, shopper=shopper)
    coupons.issue(offer, origin=Coupon.Origin.VANITY, code="AUTUMN", max_uses=3)

    def owed() -> int:
        campaign = Campaign.objects.get(pk=offer.campaign_id)
        assert verify_ledger(campaign) == []
        return campaign.liability_minor

    assert owed() == 2800
    hold = redemption.reserve(shopper=shopper, basket=basket(9000), idempotency_key="k", coupon_id=issued.coupon_id)
    assert owed() == 2100
    redemption.release(hold.reservation_id)
    assert owed() == 2800
    coupons.void(Coupon.objects.get(pk=issued.coupon_id))
    assert owed() == 2100
    Campaign.objects.filter(pk=offer.campaign_id).update(liability_minor=5)
    rebuild_counters(offer.campaign)
    assert owed() == 2100


def test_what_a_coupon_could_cost_ends_with_its_date() -> None:
    offer = builders.make_offer(percent=0, amount_minor=700, valid_hours=2)
    coupons.claim(offer.pk, shopper=builders.make_shopper())
    coupons.claim(builders.make_offer(percent=0, amount_minor=300).pk, shopper=builders.make_shopper())
    assert liability.drop_expired() == 0
    assert liability.drop_expired(timezone.now() + timedelta(hours=3)) == 1
    campaign = Campaign.objects.get(pk=offer.campaign_id)
    assert (campaign.liability_minor, verify_ledger(campaign)) == (0, [])
    assert sum(Campaign.objects.values_list("liability_minor", flat=True)) == 300


def test_a_gated_budget_covers_every_coupon_that_is_out() -> None:
    campaign = builders.running(budget_minor=1500, gate_liability=True)
    offer = builders.make_offer(campaign, percent=0, amount_minor=700)
    first = coupons.claim(offer.pk, shopper=builders.make_shopper())
    coupons.claim(offer.pk, shopper=builders.make_shopper())
    with pytest.raises(ClaimRefused) as refusal:
        coupons.claim(offer.pk, shopper=builders.make_shopper())
    assert refusal.value.reason == "liability"
    assert Coupon.objects.count() == 2
    coupons.void(Coupon.objects.get(pk=first.coupon_id))
    assert coupons.claim(offer.pk, shopper=builders.make_shopper()).new


def test_a_paced_budget_opens_day_by_day() -> None:
    now = timezone.now()
    campaign = builders.running(
        budget_minor=10_000,
        pacing="even",
        starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(days=10, hours=-1),
    )
    offer = builders.make_offer(campaign, percent=0, amount_minor=700)
    order(offer, basket(9000), "1")
    shopper = builders.make_shopper()
    issued = coupons.claim(offer.pk, shopper=shopper)
    with pytest.raises(CouponRefused) as refusal:
        redemption.reserve(shopper=shopper, basket=basket(9000), idempotency_key="k", coupon_id=issued.coupon_id)
    assert refusal.value.reason == "budget"


def test_nothing_is_sold_below_cost_unless_allowed() -> None:
    line = BasketLine("p", 2, 1000, unit_cost_minor=950)
    filled = Basket((line,), "EUR")
    hold, _, _ = order(builders.make_offer(percent=0, amount_minor=700), filled, "1")
    assert hold.discount.amount_minor == 100
    hold, _, _ = order(builders.make_offer(percent=0, amount_minor=700, below_cost=True), filled, "2")
    assert hold.discount.amount_minor == 700


def test_a_basket_without_delivery_costs_needs_no_free_delivery() -> None:
    offer = builders.make_offer(kind="free_shipping", percent=0)
    shopper = builders.make_shopper()
    issued = coupons.claim(offer.pk, shopper=shopper)
    with pytest.raises(BasketNotEligible):
        redemption.reserve(shopper=shopper, basket=basket(1), idempotency_key="k", coupon_id=issued.coupon_id)
