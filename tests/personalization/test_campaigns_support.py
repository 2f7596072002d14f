"""The support desk's verbs: who is found, what is re-issued, how much may be given, and what is written down."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from personalization import api
from personalization.campaigns import codes, coupons, giftcards, support
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import AllowanceUsedUp, ClaimRefused, CouponRefused, GiftCardRefused
from personalization.models import Allowance, Campaign, Coupon, GiftCard, Offer, Shopper, ShopperAlias, SupportAction
from personalization.tracking import identity
from personalization.types import Hold
from tests.personalization.builders import make_account, make_basket, make_offer, make_shopper, make_user
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent() -> Any:
    return make_user("grant_coupon")


@pytest.fixture
def customer() -> Shopper:
    account = make_account("ada")
    account.email = "Ada@Example.org"
    account.save()
    return make_shopper(user=account)


def issued(offer: Offer, shopper: Shopper | None, **fields: Any) -> Coupon:
    return coupons.issue(offer, shopper=shopper, origin=Coupon.Origin.CLAIMED, **fields)


def reserve(coupon: Coupon, key: str = "key") -> Hold:
    return api.reserve(shopper=coupon.shopper, basket=make_basket(), coupon_id=str(coupon.pk), idempotency_key=key)


def redeem(coupon: Coupon, order_id: str = "1001") -> None:
    with transaction.atomic():
        api.redeem(reserve(coupon).reservation_id, order_label="shop.order", order_id=order_id)


# --- Finding ----------------------------------------------------------------------------------------------------------


def test_a_shopper_is_found_by_whatever_support_is_told(customer: Shopper, offer: Offer) -> None:
    make_shopper(user=make_account("eve"))
    coupon = issued(offer, customer)
    redeem(coupon)
    card = giftcards.issue(500, "EUR", operation_id="1", shopper=customer)
    guest = identity.shopper_for_guest("grace@example.org")
    ShopperAlias.objects.create(shopper=guest, kind="external", value="crm-1")
    code = codes.reveal(coupon.code_ciphertext)
    told = ["ada", "ada@example.org", "1001", str(customer.key), str(customer), f" {code.lower()} ",
            codes.reveal(card.code_ciphertext)]  # fmt: skip
    for text in told[:4] + told[5:]:
        assert support.find(text).shoppers == [customer], text
    assert support.find(code).coupons == [coupon]
    assert support.find(told[-1]).cards == [card]
    for text in ("Grace@example.org", "crm-1"):
        assert support.find(text).shoppers == [guest], text
    for text in ("", "ad", "example.org", "%", "1001' OR 1=1"):
        assert not support.find(text), text


def test_a_merged_visitors_coupon_leads_to_the_account(customer: Shopper, offer: Offer) -> None:
    visitor = make_shopper(merged_into=customer)
    coupon = issued(offer, visitor)
    assert support.find(codes.reveal(coupon.code_ciphertext)).shoppers == [customer]
    assert identity.people_of(customer.pk) == [customer.pk, visitor.pk]


# --- Re-issue ---------------------------------------------------------------------------------------------------------


def test_a_new_coupon_takes_the_old_ones_place(customer: Shopper, agent: Any) -> None:
    offer = make_offer(amount_minor=500, campaign=None)
    old = issued(offer, customer)
    new = support.reissue(old, by=agent, reason="lost the mail")
    old.refresh_from_db()
    assert old.voided_at is not None
    assert (new.replaces, new.shopper, new.origin) == (old, customer, Coupon.Origin.SUPPORT)
    assert new.code_digest != old.code_digest
    with pytest.raises(CouponRefused):
        reserve(old)
    redeem(new)
    campaign = Campaign.objects.get(pk=offer.campaign_id)
    assert verify_ledger(campaign) == []
    assert campaign.liability_minor == 0
    deed = SupportAction.objects.get()
    assert (deed.kind, deed.by, deed.shopper, deed.coupon, deed.reason) == (
        "reissue", agent, customer, new, "lost the mail"
    )  # fmt: skip


def test_asked_again_it_returns_the_one_issued(customer: Shopper, agent: Any, offer: Offer) -> None:
    old = issued(offer, customer)
    new = support.reissue(old, by=agent, reason="lost")
    assert support.reissue(Coupon.objects.get(pk=old.pk), by=agent, reason="lost") == new
    assert Coupon.objects.count() == 2
    assert SupportAction.objects.count() == 1


def test_the_offers_limits_count_the_new_one(customer: Shopper, agent: Any) -> None:
    offer = make_offer(max_issued=1)
    old = issued(offer, customer)
    with pytest.raises(ClaimRefused) as refused:
        support.reissue(old, by=agent, reason="lost")
    old.refresh_from_db()
    assert (refused.value.reason, old.voided_at) == ("all_issued", None)
    Offer.objects.filter(pk=offer.pk).update(max_issued=2)
    assert support.reissue(Coupon.objects.get(pk=old.pk), by=agent, reason="lost")


def test_a_budget_that_covers_all_coupons_covers_the_replacement(customer: Shopper, agent: Any) -> None:
    """The old one's worst case is free before the new one's is taken."""
    offer = make_offer(amount_minor=500)
    Campaign.objects.filter(pk=offer.campaign_id).update(gate_liability=True, budget_minor=500)
    old = issued(Offer.objects.select_related("campaign").get(pk=offer.pk), customer)
    assert support.reissue(old, by=agent, reason="lost")
    assert Campaign.objects.get(pk=offer.campaign_id).liability_minor == 500


@pytest.mark.parametrize("kind", ["in_basket", "void", "shared", "over", "used_up"])
def test_what_cannot_be_reissued_stays_as_it_is(kind: str, customer: Shopper, agent: Any, offer: Offer) -> None:
    shared = {"code": "FOR-EVERYBODY", "max_uses": 9} if kind == "shared" else {}
    old = issued(offer, None if shared else customer, **shared)
    if kind == "in_basket":
        reserve(old)
    elif kind == "void":
        coupons.void(old)
    elif kind == "used_up":
        redeem(old)
    elif kind == "over":
        Campaign.objects.update(status="ended")
    old = Coupon.objects.select_related("offer__campaign").get(pk=old.pk)
    with pytest.raises(ClaimRefused):
        support.reissue(old, by=agent, reason="lost")
    assert Coupon.objects.get().voided_at == old.voided_at
    assert not SupportAction.objects.exists()


def test_a_coupon_of_several_uses_keeps_what_is_left(customer: Shopper, agent: Any, offer: Offer) -> None:
    old = issued(offer, customer, max_uses=3)
    redeem(old)
    assert support.reissue(Coupon.objects.get(pk=old.pk), by=agent, reason="lost").max_uses == 2


# --- Goodwill ---------------------------------------------------------------------------------------------------------


def give(shopper: Shopper, amount: int, agent: Any, key: str = "1", currency: str = "EUR") -> GiftCard:
    return support.give_goodwill(shopper, amount, currency, by=agent, reason="late parcel", idempotency_key=key)


def test_an_account_gets_credit_and_a_guest_a_card(customer: Shopper, agent: Any) -> None:
    credit = give(customer, 500, agent)
    assert (credit.kind, credit.shopper, credit.balance_minor, credit.created_by) == ("credit", customer, 500, agent)
    assert give(customer, 300, agent, key="2") == credit
    credit.refresh_from_db()
    assert credit.balance_minor == 800
    card = give(make_shopper(), 200, agent, key="3")
    assert (card.kind, card.balance_minor) == ("card", 200)
    assert Allowance.objects.get().granted_minor == 1000
    assert giftcards.verify(credit) == giftcards.verify(card) == []


def test_the_same_key_gives_once_and_stands_for_one_gift(customer: Shopper, agent: Any) -> None:
    assert give(customer, 500, agent) == give(customer, 500, agent)
    assert GiftCard.objects.get().balance_minor == 500
    assert Allowance.objects.get().granted_minor == 500
    for other in ((customer, 600), (make_shopper(), 500)):
        with pytest.raises(ClaimRefused):
            give(*other, agent)
    assert give(customer, 500, make_user("grant_coupon"))  # another member of staff, another gift
    assert GiftCard.objects.get().balance_minor == 1000


def test_a_month_has_a_limit_and_the_next_one_its_own(customer: Shopper, agent: Any, configure: Configure) -> None:
    configure(GOODWILL_LIMIT_MINOR=1000)
    give(customer, 700, agent)
    with pytest.raises(AllowanceUsedUp):
        give(customer, 301, agent, key="2")
    assert GiftCard.objects.get().balance_minor == 700
    give(customer, 300, agent, key="3")
    give(customer, 1000, agent, key="4", currency="CHF")
    last_month = timezone.localdate().replace(day=1) - timedelta(days=1)
    Allowance.objects.filter(currency="EUR").update(month=last_month.replace(day=1))
    give(customer, 1000, agent, key="5")
    months = set(Allowance.objects.filter(currency="EUR").values_list("month", flat=True))
    assert months == {last_month.replace(day=1), timezone.localdate().replace(day=1)}


@pytest.mark.parametrize("amount", [0, -5])
def test_nothing_and_less_is_refused(customer: Shopper, agent: Any, amount: int) -> None:
    with pytest.raises(GiftCardRefused):
        give(customer, amount, agent)
    assert not SupportAction.objects.exists()
    assert not Allowance.objects.exists()


# --- Codes ------------------------------------------------------------------------------------------------------------


def test_a_code_is_masked_and_showing_it_is_written_down(customer: Shopper, agent: Any, offer: Offer) -> None:
    coupon = issued(offer, customer)
    code = codes.reveal(coupon.code_ciphertext)
    assert support.masked(coupon.code_ciphertext) == f"…{code[-4:]}"
    assert support.masked(codes.seal("SUMMER-25")) == "…"
    assert not SupportAction.objects.exists()
    assert support.reveal(coupon, by=agent, reason="on the phone") == code
    card = giftcards.issue(500, "EUR", operation_id="1", shopper=customer)
    assert support.reveal(card, by=agent) == codes.reveal(card.code_ciphertext)
    deeds = SupportAction.objects.order_by("pk").values_list("kind", "by", "shopper", "coupon", "card", "reason")
    assert list(deeds) == [
        ("reveal", agent.pk, customer.pk, coupon.pk, None, "on the phone"),
        ("reveal", agent.pk, customer.pk, None, card.pk, ""),
    ]
