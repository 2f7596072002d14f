"""Gift cards and shop credit: every cent is an entry, nothing is spent twice, and one word answers all bad codes."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from personalization.campaigns import codes, coupons, giftcards, redemption
from personalization.exceptions import CouponRefused, GiftCardRefused, RefundRefused
from personalization.models import Coupon, GiftCard, GiftCardEntry, GiftCardHold, Shopper
from personalization.tracking import merging
from tests.personalization import builders

pytestmark = pytest.mark.django_db


@pytest.fixture
def card() -> GiftCard:
    return giftcards.issue(5000, "EUR", operation_id="one")


def code_of(card: GiftCard) -> str:
    return codes.reveal(card.code_ciphertext)


def spend(card: GiftCard, amount: int, order: str = "1001") -> GiftCardHold:
    held = giftcards.hold(amount_minor=amount, idempotency_key=f"k-{order}", code=code_of(card))
    with transaction.atomic():
        assert giftcards.spend(held.pk, order_label="shop.order", order_id=order) == amount
    return held


def figures(card: GiftCard) -> tuple[int, int]:
    card.refresh_from_db()
    assert giftcards.verify(card) == []
    return card.balance_minor, card.held_minor


def test_a_card_is_issued_once_for_an_operation(card: GiftCard) -> None:
    assert giftcards.issue(5000, "EUR", operation_id="one") == card
    assert figures(card) == (5000, 0)
    with pytest.raises(GiftCardRefused):
        giftcards.issue(0, "EUR", operation_id="two")


def test_what_is_held_and_spent_leaves_the_balance(card: GiftCard) -> None:
    held = giftcards.hold(amount_minor=2000, idempotency_key="k", code=code_of(card).lower())
    assert giftcards.hold(amount_minor=2000, idempotency_key="k", code=code_of(card)) == held
    assert figures(card) == (5000, 2000)
    with transaction.atomic():
        giftcards.spend(held.pk, order_label="shop.order", order_id="1001")
        giftcards.spend(held.pk, order_label="shop.order", order_id="1001")
    assert figures(card) == (3000, 0)
    assert not giftcards.release(held.pk)


def test_a_key_stands_for_one_card_and_one_amount(card: GiftCard) -> None:
    other = giftcards.issue(5000, "EUR", operation_id="other")
    giftcards.hold(amount_minor=2000, idempotency_key="k", code=code_of(card))
    for amount, code in ((2000, code_of(other)), (1999, code_of(card))):
        with pytest.raises(GiftCardRefused):
            giftcards.hold(amount_minor=amount, idempotency_key="k", code=code)
    assert (figures(card), figures(other)) == ((5000, 2000), (5000, 0))


def test_a_hold_pays_one_order_only(card: GiftCard) -> None:
    held = spend(card, 2000)
    with pytest.raises(GiftCardRefused), transaction.atomic():
        giftcards.spend(held.pk, order_label="shop.order", order_id="1002")
    assert figures(card) == (3000, 0)


def test_no_more_is_held_than_there_is(card: GiftCard) -> None:
    giftcards.hold(amount_minor=4000, idempotency_key="a", code=code_of(card))
    with pytest.raises(GiftCardRefused):
        giftcards.hold(amount_minor=1001, idempotency_key="b", code=code_of(card))
    assert giftcards.hold(amount_minor=1000, idempotency_key="c", code=code_of(card)).amount_minor == 1000
    assert figures(card) == (5000, 5000)
    assert not GiftCardHold.objects.filter(idempotency_key="b").exists()


def test_the_database_keeps_the_balance_from_going_below_what_is_held(card: GiftCard) -> None:
    giftcards.hold(amount_minor=4000, idempotency_key="a", code=code_of(card))
    with pytest.raises(IntegrityError), transaction.atomic():
        GiftCard.objects.filter(pk=card.pk).update(balance_minor=3999)


def test_a_declined_payment_gives_the_money_back(card: GiftCard) -> None:
    held = giftcards.hold(amount_minor=4000, idempotency_key="a", code=code_of(card))
    assert giftcards.release(held.pk)
    assert not giftcards.release(held.pk)
    assert figures(card) == (5000, 0)
    with pytest.raises(GiftCardRefused), transaction.atomic():
        giftcards.spend(held.pk, order_label="shop.order", order_id="1001")


def test_an_abandoned_hold_expires(card: GiftCard) -> None:
    giftcards.hold(amount_minor=4000, idempotency_key="a", code=code_of(card))
    assert giftcards.expire_holds() == 0
    assert giftcards.expire_holds(timezone.now() + timedelta(hours=1)) == 1
    assert figures(card) == (5000, 0)


def test_spending_belongs_inside_the_orders_transaction(transactional_db: None) -> None:
    held = giftcards.hold(
        amount_minor=1, idempotency_key="a", code=code_of(giftcards.issue(1, "EUR", operation_id="x"))
    )
    with pytest.raises(TransactionManagementError):
        giftcards.spend(held.pk, order_label="shop.order", order_id="1001")


def test_a_refund_goes_back_to_the_card_once(card: GiftCard) -> None:
    spend(card, 3000)
    for _ in range(2):
        assert giftcards.refund(order_label="shop.order", order_id="1001", operation_id="r1", amount_minor=1000) == 1000
    assert figures(card) == (3000, 0)
    with pytest.raises(RefundRefused):
        giftcards.refund(order_label="shop.order", order_id="1001", operation_id="r2", amount_minor=2001)
    assert giftcards.refund(order_label="shop.order", order_id="1001", operation_id="r3") == 2000
    assert figures(card) == (5000, 0)


@pytest.mark.parametrize("spoil", ["unknown", "expired", "blocked", "empty", "foreign"])
def test_every_bad_card_gets_the_same_answer(card: GiftCard, spoil: str) -> None:
    code, card_id, shopper = code_of(card), "", builders.make_shopper()
    if spoil == "unknown":
        code = codes.generate()
    elif spoil == "expired":
        GiftCard.objects.filter(pk=card.pk).update(expires_at=timezone.now())
    elif spoil == "blocked":
        GiftCard.objects.filter(pk=card.pk).update(blocked_at=timezone.now())
    elif spoil == "empty":
        spend(card, 5000)
    else:
        code, card_id = "", str(giftcards.issue(10, "EUR", operation_id="o", shopper=builders.make_shopper()).pk)
    with pytest.raises(GiftCardRefused) as refusal:
        giftcards.hold(amount_minor=1, idempotency_key="k", code=code, card_id=card_id, shopper=shopper)
    assert refusal.value.message == "This gift card cannot be used."


@pytest.mark.parametrize("card_id", ["", "nothing", str(uuid.UUID(int=7))])
def test_without_code_or_own_card_nothing_is_held(card_id: str) -> None:
    with pytest.raises(GiftCardRefused):
        giftcards.hold(amount_minor=1, idempotency_key="k", card_id=card_id)


def test_credit_is_one_account_a_currency_and_counts_an_operation_once() -> None:
    shopper = builders.make_shopper()
    first = giftcards.credit(shopper, 500, "EUR", operation_id="a")
    assert giftcards.credit(shopper, 500, "EUR", operation_id="a") == first
    second = giftcards.credit(shopper, 250, "EUR", operation_id="b")
    other = giftcards.credit(shopper, 70, "USD", operation_id="c")
    assert first == second != other
    assert figures(second) == (750, 0)
    assert [view.available_minor for view in giftcards.cards_of(shopper)] == [750, 70]
    assert all(not view.code for view in giftcards.cards_of(shopper))


def test_credit_is_spent_by_its_shopper_alone() -> None:
    owner, stranger = builders.make_shopper(), builders.make_shopper()
    account = giftcards.credit(owner, 500, "EUR", operation_id="a")
    secret = codes.reveal(account.code_ciphertext)
    for shopper, given in ((stranger, {"card_id": str(account.pk)}), (stranger, {"code": secret})):
        with pytest.raises(GiftCardRefused):
            giftcards.hold(amount_minor=1, idempotency_key="k", shopper=shopper, **given)
    assert giftcards.hold(amount_minor=500, idempotency_key="k", shopper=owner, card_id=str(account.pk)).pk


def test_verify_sees_a_counter_that_lies(card: GiftCard) -> None:
    GiftCard.objects.filter(pk=card.pk).update(balance_minor=6000)
    assert "6000" in giftcards.verify(card)[0]
    assert GiftCardEntry.objects.filter(card=card).count() == 1
    assert Shopper.objects.count() == 0


def test_a_visitors_money_and_limits_go_to_the_account() -> None:
    visitor, account = builders.make_shopper(), builders.make_shopper()
    giftcards.credit(visitor, 300, "EUR", operation_id="v")
    mine = giftcards.credit(account, 200, "EUR", operation_id="a")
    giftcards.credit(visitor, 50, "USD", operation_id="u")
    giftcards.issue(1000, "EUR", operation_id="card", shopper=visitor)
    merging.merge(visitor, account)
    assert figures(mine) == (500, 0)
    assert sorted(view.available_minor for view in giftcards.cards_of(account)) == [50, 500, 1000]
    assert giftcards.cards_of(visitor) == []
    assert [line for card in GiftCard.objects.all() for line in giftcards.verify(card)] == []


def test_a_code_used_before_signing_in_stays_used() -> None:
    visitor, account = builders.make_shopper(), builders.make_shopper()
    offer = builders.make_offer()
    coupons.issue(offer, origin=Coupon.Origin.VANITY, code="SPRING-TEA", max_uses=100)
    take: dict[str, Any] = {"basket": builders.make_basket(), "code": "SPRING-TEA"}
    redemption.reserve(shopper=visitor, idempotency_key="a", **take)
    merging.merge(visitor, account)
    with pytest.raises(CouponRefused):
        redemption.reserve(shopper=account, idempotency_key="b", **take)
