"""One price for page, basket and order: what a quote says is what the order pays, or the order is refused."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from time_machine import travel

from personalization.campaigns import coupons, quotes, redemption, risk
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import CouponRefused, QuoteChanged, ReservationGone, UnderReview
from personalization.models import (
    Campaign,
    Coupon,
    Occurrence,
    Offer,
    Redemption,
    Reservation,
    RiskReview,
    RiskRule,
    Shopper,
    Trigger,
    UsageSlot,
)
from personalization.types import Basket, BasketLine
from tests.personalization import builders

pytestmark = pytest.mark.django_db
BASKET = Basket((BasketLine("tea", 2, 2500, "tea"), BasketLine("mug", 1, 1500, "mugs")), "EUR")


@pytest.fixture
def shopper() -> Shopper:
    return builders.make_shopper()


def owned(shopper: Shopper, **terms: Any) -> str:
    return coupons.claim(builders.make_offer(**terms).pk, shopper=shopper).coupon_id


def automatic(**terms: Any) -> Offer:
    return builders.make_offer(application="automatic", **terms)


def order(hold: quotes.BasketHold, number: str = "1001") -> int:
    with transaction.atomic():
        return quotes.redeem_basket(hold.basket_key, order_label="shop.order", order_id=number)


def take(quote: quotes.Quote, shopper: Shopper, basket: Basket = BASKET, key: str = "k") -> quotes.BasketHold:
    return quotes.reserve_quote(quote.token, shopper=shopper, basket=basket, idempotency_key=key)


def test_the_order_pays_what_the_page_said(shopper: Shopper) -> None:
    offer = automatic(percent=10)
    coupon = owned(shopper, percent=0, amount_minor=500)
    quote = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[coupon])
    assert {item.offer_id for item in quote.applied} == {offer.pk, Coupon.objects.get(pk=coupon).offer_id}
    assert quote.total_minor == BASKET.total_minor - quote.off_minor
    assert sum(quote.per_line_minor) == quote.off_minor >= 1100
    hold = take(quote, shopper)
    assert hold.off_minor == quote.off_minor == order(hold)
    assert hold.per_line_minor == quote.per_line_minor
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []


def test_a_quote_holds_nothing(shopper: Shopper) -> None:
    automatic(percent=10)
    quotes.quote(shopper=shopper, basket=BASKET)
    assert not Coupon.objects.exists()
    assert not Reservation.objects.exists()


def test_the_same_key_returns_the_same_reservations(shopper: Shopper) -> None:
    automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    assert take(quote, shopper) == take(quote, shopper)
    assert Reservation.objects.count() == 1
    stranger = builders.make_shopper()
    with pytest.raises(CouponRefused):
        take(quotes.quote(shopper=stranger, basket=BASKET), stranger)


def test_a_key_does_not_pay_for_another_quote(shopper: Shopper) -> None:
    automatic(percent=10)
    take(quotes.quote(shopper=shopper, basket=BASKET), shopper)
    smaller = replace(BASKET, lines=BASKET.lines[:1])
    with pytest.raises(CouponRefused):
        take(quotes.quote(shopper=shopper, basket=smaller), shopper, smaller)


@pytest.mark.parametrize(
    "changed",
    [
        replace(BASKET, lines=BASKET.lines[:1]),
        replace(BASKET, lines=(replace(BASKET.lines[0], unit_price_minor=2400), BASKET.lines[1])),
        replace(BASKET, lines=(replace(BASKET.lines[0], quantity=3), BASKET.lines[1])),
        replace(BASKET, lines=(replace(BASKET.lines[0], host_discount_minor=1), BASKET.lines[1])),
        replace(BASKET, shipping_minor=1),
        replace(BASKET, currency="USD"),
    ],
)
def test_another_basket_is_asked_again(shopper: Shopper, changed: Basket) -> None:
    automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    with pytest.raises(QuoteChanged):
        take(quote, shopper, changed)


def test_a_quote_is_its_shoppers_own(shopper: Shopper) -> None:
    automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    with pytest.raises(QuoteChanged):
        take(quote, builders.make_shopper())


@pytest.mark.parametrize(
    "token",
    ["", "x", "a:b:c", signing.dumps({"b": 1}, salt=quotes.SALT), signing.dumps([1])],
    ids=["empty", "one letter", "three parts", "too little is said", "another salt"],  # a signature carries the time
)
def test_an_invented_token_is_refused(shopper: Shopper, token: str) -> None:
    with pytest.raises(QuoteChanged):
        quotes.reserve_quote(token, shopper=shopper, basket=BASKET, idempotency_key="k")


def test_an_altered_token_is_refused(shopper: Shopper) -> None:
    automatic(percent=10)
    token = quotes.quote(shopper=shopper, basket=BASKET).token
    told = signing.loads(token, salt=quotes.SALT)
    told["o"][0][2][0] += 1000
    forged = signing.dumps(told, salt=quotes.SALT, key="another key", compress=True)
    with pytest.raises(QuoteChanged):
        quotes.reserve_quote(forged, shopper=shopper, basket=BASKET, idempotency_key="k")


def test_an_old_quote_is_asked_again(shopper: Shopper) -> None:
    automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    with travel(timezone.now() + timedelta(minutes=31)), pytest.raises(QuoteChanged):
        take(quote, shopper)


def test_what_expires_between_page_and_order_still_counts(shopper: Shopper) -> None:
    coupon = owned(shopper, percent=0, amount_minor=500)
    quote = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[coupon])
    Coupon.objects.filter(pk=coupon).update(expires_at=timezone.now() + timedelta(seconds=1))
    with travel(timezone.now() + timedelta(minutes=5)):
        assert take(quote, shopper).off_minor == 500


def test_terms_edited_meanwhile_do_not_change_the_price(shopper: Shopper) -> None:
    offer = automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    Offer.objects.filter(pk=offer.pk).update(percent=50)
    assert take(quote, shopper).off_minor == quote.off_minor == 650


def test_a_stopped_campaign_gives_nothing_whatever_was_quoted(shopper: Shopper) -> None:
    offer = automatic(percent=10)
    quote = quotes.quote(shopper=shopper, basket=BASKET)
    Campaign.objects.filter(pk=offer.campaign_id).update(status="paused")
    with pytest.raises(CouponRefused):
        take(quote, shopper)
    assert not Coupon.objects.exists()


def test_all_or_nothing_is_reserved(shopper: Shopper) -> None:
    first = automatic(percent=10)
    coupon = owned(shopper, percent=0, amount_minor=500)
    quote = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[coupon])
    Campaign.objects.filter(pk=first.campaign_id).update(budget_minor=1)
    with pytest.raises(CouponRefused) as refusal:
        take(quote, shopper)
    assert refusal.value.reason == "budget"
    assert not Reservation.objects.exists()
    assert Coupon.objects.get(pk=coupon).reserved_count == 0


def test_a_declined_payment_frees_everything(shopper: Shopper) -> None:
    automatic(percent=10)
    coupon = owned(shopper, percent=0, amount_minor=500)
    hold = take(quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[coupon]), shopper)
    assert quotes.release_basket(hold.basket_key) == 2
    assert quotes.release_basket(hold.basket_key) == 0
    again = take(quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[coupon]), shopper, key="next")
    assert order(again) == hold.off_minor
    assert Coupon.objects.count() == 2  # the coupon that applied by itself was used again, not made anew


def test_an_offer_that_applies_by_itself_is_used_so_often(shopper: Shopper) -> None:
    automatic(percent=10, per_shopper=2)
    for number in ("1", "2"):
        order(take(quotes.quote(shopper=shopper, basket=BASKET), shopper, key=number), number)
    assert quotes.quote(shopper=shopper, basket=BASKET).applied == ()
    assert Redemption.objects.count() == 2


def test_refusals_say_why_and_bad_codes_say_nothing(shopper: Shopper) -> None:
    small = owned(shopper, percent=0, amount_minor=100, exclusion_group="tea")
    big = owned(shopper, percent=0, amount_minor=500, exclusion_group="tea")
    high = owned(shopper, kind="spend_threshold", percent=0, amount_minor=100, threshold_minor=10_000)
    quote = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[small, big, high], codes=["WRONG-CODE"])
    assert [item.coupon_id for item in quote.applied] == [big]
    told = {item.coupon_id: (item.reason, item.message) for item in quote.refused}
    assert told[small][0] == "same_group"
    assert told[high] == ("below_threshold", "Spend €35.00 more to use this offer.")
    assert told[""] == ("coupon_refused", "This code cannot be used.")


def test_who_is_not_known_yet_sees_what_applies_by_itself() -> None:
    automatic(percent=10)
    quote = quotes.quote(shopper=None, basket=BASKET)
    assert quote.off_minor == 650
    assert take(quote, builders.make_shopper()).off_minor == 650


def test_a_quote_asks_a_constant_number_of_questions(shopper: Shopper, django_assert_max_num_queries: Any) -> None:
    for _ in range(12):
        automatic(percent=1)
    with django_assert_max_num_queries(6):
        quotes.quote(shopper=shopper, basket=BASKET)


def test_redeeming_again_counts_once(shopper: Shopper) -> None:
    automatic(percent=10)
    hold = take(quotes.quote(shopper=shopper, basket=BASKET), shopper)
    assert order(hold) == order(hold) == 650
    assert redemption.refund(order_label="shop.order", order_id="1001", operation_id="all") == 650


def test_an_offer_that_waits_for_a_review_holds_up_no_other(shopper: Shopper) -> None:
    """The suspicious coupon waits; the rest of the basket is free for an order without it, and it for one after."""
    plain = automatic(percent=10)
    code = owned(shopper, percent=0, amount_minor=500)
    Offer.objects.filter(coupons__pk=code).update(attributes={"referrer": shopper.key.hex})
    risk.ensure_defaults()
    both = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[code])
    for _attempt in range(2):
        with pytest.raises(UnderReview):
            take(both, shopper)
    assert sorted(Reservation.objects.values_list("state", flat=True)) == ["released", "review"]

    without = quotes.quote(shopper=shopper, basket=BASKET)
    assert [item.offer_id for item in without.applied] == [plain.pk]
    assert order(take(without, shopper, key="without")) == 650
    review = RiskReview.objects.get()
    assert str(review.reservation.coupon_id) == code
    assert risk.approve(review)
    with pytest.raises(QuoteChanged):
        take(both, shopper)

    later = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[code])
    assert order(take(later, shopper, key="later"), "1002") == 500
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []


def test_a_return_is_computed_for_all_offers_of_the_order_together(shopper: Shopper) -> None:
    """Half price, then a tenth of that half: of what is kept, a tenth of its own half stays."""
    half = automatic(percent=50)
    Campaign.objects.filter(pk=half.campaign_id).update(priority=9)
    automatic(percent=10)
    hold = take(quotes.quote(shopper=shopper, basket=BASKET), shopper)
    assert order(hold) == hold.off_minor == 3250 + 325
    kept = replace(BASKET, lines=BASKET.lines[1:])
    with transaction.atomic():
        given_back = redemption.refund(order_label="shop.order", order_id="1001", operation_id="r1", kept=kept)
    assert given_back == hold.off_minor - (750 + 75)
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []


def test_a_basket_of_which_one_hold_is_gone_spends_none_even_where_the_order_goes_on(shopper: Shopper) -> None:
    """A host that catches the refusal inside its order's transaction commits what was done until then."""
    automatic(percent=10)
    hold = take(quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[owned(shopper, amount_minor=500)]), shopper)
    last = max(hold.holds, key=lambda held: held.coupon_id)
    assert redemption.release(last.reservation_id)
    with transaction.atomic(), contextlib.suppress(ReservationGone):
        quotes.redeem_basket(hold.basket_key, order_label="shop.order", order_id="1001")
    assert sorted(Reservation.objects.values_list("state", flat=True)) == ["held", "released"]
    assert not Redemption.objects.exists()
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []


def test_a_reservation_that_is_named_twice_is_spent_once(shopper: Shopper) -> None:
    automatic(percent=10)
    (held,) = take(quotes.quote(shopper=shopper, basket=BASKET), shopper).holds
    with transaction.atomic():
        twice = redemption.redeem_all([held.reservation_id] * 2, order_label="shop.order", order_id="1001")
    assert twice == held.discount.off_minor == 650


def test_usage_slots_are_taken_by_offer_whatever_their_codes_are(shopper: Shopper) -> None:
    """Two baskets of one shopper, with other codes of the same two offers, would else wait for each other."""
    offers = [builders.make_offer(percent=0, amount_minor=100) for _ in range(2)]
    keys = sorted(uuid.uuid4() for _ in offers)
    for key, offer in zip(keys, reversed(offers), strict=True):
        Coupon.objects.create(pk=key, offer=offer, code_digest=key.hex, code_ciphertext="", max_uses=9)
    take(quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[str(key) for key in keys]), shopper)
    assert list(UsageSlot.objects.order_by("pk").values_list("offer_id", flat=True)) == [offer.pk for offer in offers]


def test_rules_that_stop_several_offers_of_a_basket_are_counted_in_one_order(shopper: Shopper) -> None:
    risk.ensure_defaults()
    RiskRule.objects.filter(kind="velocity").update(threshold=1, points=100)
    own, referred = (owned(shopper, percent=0, amount_minor=100) for _ in range(2))
    Offer.objects.filter(coupons__pk=referred).update(attributes={"referrer": shopper.key.hex})
    both = quotes.quote(shopper=shopper, basket=BASKET, coupon_ids=[own, referred])
    with CaptureQueriesContext(connection) as asked, pytest.raises(UnderReview):
        take(both, shopper)
    counted = [query["sql"] for query in asked if query["sql"].startswith('UPDATE "personalization_riskrule"')]
    assert ["self_referral" in sql for sql in counted] == [True, False]
    fired = RiskRule.objects.filter(fired_count__gt=0)
    assert dict(fired.values_list("kind", "fired_count")) == {"self_referral": 1, "velocity": 2}


def test_an_offer_that_applies_by_itself_does_so_on_its_campaigns_sites(shopper: Shopper) -> None:
    automatic(percent=10, campaign=builders.running(sites=["a.example"]))

    def off(host: str) -> int:
        request = builders.make_request(headers={"host": host}) if host else None
        return quotes.quote(shopper=shopper, basket=BASKET, request=request).off_minor

    assert [off(host) for host in ("a.example", "b.example", "")] == [650, 0, 650]  # a program names no site


@pytest.mark.parametrize(
    ("kind", "came", "off"), [("birthday", False, 0), ("birthday", True, 650), ("launch", False, 650)]
)
def test_an_offer_that_applies_by_itself_waits_for_its_occasion(
    shopper: Shopper, kind: str, came: bool, off: int
) -> None:
    offer = automatic(percent=10)
    trigger = Trigger.objects.create(campaign=offer.campaign, kind=kind)
    if came:
        until = timezone.now() + timedelta(days=1)
        Occurrence.objects.create(trigger=trigger, shopper=shopper, key="2026", open_until=until)
    assert quotes.quote(shopper=shopper, basket=BASKET).off_minor == off
    assert quotes.quote(shopper=None, basket=BASKET).off_minor == (650 if kind == "launch" else 0)


def test_a_stopped_offer_that_applies_by_itself_stops_no_later_order(shopper: Shopper) -> None:
    """It is left out while it waits and after it was rejected; approved, it is there again."""
    plain, stopped = automatic(percent=10), automatic(percent=0, amount_minor=500)
    Offer.objects.filter(pk=stopped.pk).update(attributes={"referrer": shopper.key.hex})
    risk.ensure_defaults()

    def buy(number: str) -> list[int]:
        quote = quotes.quote(shopper=shopper, basket=BASKET)
        order(take(quote, shopper, key=number), number)
        return [item.offer_id for item in quote.applied]

    with pytest.raises(UnderReview):
        buy("1001")
    assert buy("1002") == [plain.pk]
    Offer.objects.filter(pk=plain.pk).update(per_shopper=9)
    assert risk.reject(RiskReview.objects.get())
    assert buy("1003") == [plain.pk]
