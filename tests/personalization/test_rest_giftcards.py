"""Gift cards over HTTP: the way from the hold to the order and back, and that nobody reaches another's card or hold."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.urls import reverse

from personalization.campaigns import giftcards
from personalization.models import GiftCard, GiftCardHold, Shopper
from tests.personalization.builders import Browser, make_shopper
from tests.personalization.test_rest_api import NOBODY, problem
from tests.personalization.test_rest_quotes import ORDER, another

pytestmark = pytest.mark.django_db


def card(amount: int = 5000, shopper: Shopper | None = None, **fields: Any) -> tuple[GiftCard, str]:
    made = giftcards.issue(amount, "EUR", operation_id=uuid.uuid4().hex, shopper=shopper)
    if fields:
        GiftCard.objects.filter(pk=made.pk).update(**fields)
    return made, giftcards.codes.reveal(made.code_ciphertext)


def holding(code: str, amount: int = 3000, key: str = "k") -> dict[str, Any]:
    return {"code": code, "amount_minor": amount, "idempotency_key": key}


def test_a_gift_cards_way_over_http(visitor: Browser, staff: Browser) -> None:
    made, code = card()
    held = visitor.call("api-card-hold", holding(code)).json()
    assert visitor.call("api-card-hold", holding(code)).json() == held
    assert (held["amount_minor"], held["currency"]) == (3000, "EUR")
    spend = {"hold_id": held["hold_id"], **ORDER}
    for _ in range(2):
        assert staff.call("api-card-spend", spend).json() == {"amount_minor": 3000}
    problem(staff.call("api-card-spend", spend | {"order_id": "8"}), 400, "gift_card_refused")
    back = {**ORDER, "operation_id": "r", "amount_minor": 1000}
    for _ in range(2):
        assert staff.call("api-card-refund", back).json() == {"amount_minor": 1000}
    problem(staff.call("api-card-refund", back | {"operation_id": "s", "amount_minor": 2001}), 400, "refund_refused")
    made.refresh_from_db()
    assert (made.balance_minor, made.held_minor, giftcards.verify(made)) == (3000, 0, [])


def test_a_hold_on_a_card_is_released_by_its_key(visitor: Browser) -> None:
    made, code = card()
    visitor.call("api-card-hold", holding(code))
    stranger = another()
    for caller in (stranger, Browser()):
        problem(caller.call("api-card-release", {"idempotency_key": "k"}), 400, "gift_card_refused")
    assert visitor.call("api-card-release", {"idempotency_key": "k"}).json() == {"released": True}
    assert visitor.call("api-card-release", {"idempotency_key": "k"}).json() == {"released": False}
    problem(visitor.call("api-card-hold", holding(code)), 400, "gift_card_refused")
    made.refresh_from_db()
    assert made.held_minor == 0


def test_ones_own_cards_are_held_by_their_id(visitor: Browser) -> None:
    made, _ = card(shopper=visitor.shopper())
    (shown,) = visitor.get(reverse("personalization:api-cards")).json()["cards"]
    assert (shown["card_id"], shown["available_minor"], "code" in shown) == (str(made.pk), 5000, False)
    given = {"card_id": str(made.pk), "amount_minor": 10, "idempotency_key": "k"}
    problem(another().call("api-card-hold", given), 400, "gift_card_refused")
    assert visitor.call("api-card-hold", given).status_code == 200
    assert Browser().get(reverse("personalization:api-cards")).json() == {"cards": []}


def test_every_card_that_cannot_be_used_gets_the_same_answer(visitor: Browser) -> None:
    tried = [
        holding("NNNN-NNNN-NNNN-NNNN"),
        holding("x"),
        holding(card(2000)[1]),
        holding(card(expires_at="2020-01-01T00:00:00Z")[1]),
        holding(card(blocked_at="2020-01-01T00:00:00Z")[1]),
        holding(card(balance_minor=0)[1]),
        {"card_id": str(card(shopper=make_shopper())[0].pk), "amount_minor": 10, "idempotency_key": "k"},
        {"card_id": NOBODY, "amount_minor": 10, "idempotency_key": "k"},
    ]
    answers = {(answer.status_code, answer.content) for answer in (visitor.call("api-card-hold", it) for it in tried)}
    assert len(answers) == 1
    assert not GiftCardHold.objects.exists()


def test_a_key_stands_for_one_amount_of_one_card(visitor: Browser) -> None:
    code, other = card()[1], card()[1]
    visitor.call("api-card-hold", holding(code))
    problem(visitor.call("api-card-hold", holding(code, 2999)), 400, "gift_card_refused")
    problem(visitor.call("api-card-hold", holding(other)), 400, "gift_card_refused")
    problem(visitor.call("api-card-hold", holding("NNNN-NNNN-NNNN-NNNN")), 400, "gift_card_refused")
    assert another().call("api-card-hold", holding(other)).status_code == 200
    assert GiftCardHold.objects.count() == 2


def test_a_refused_card_makes_nobody(browser: Browser) -> None:
    problem(browser.call("api-card-hold", holding("NNNN-NNNN-NNNN-NNNN")), 400, "gift_card_refused")
    assert not Shopper.objects.exists()
    assert browser.call("api-card-hold", holding(card()[1])).status_code == 200
    assert Shopper.objects.count() == 1
