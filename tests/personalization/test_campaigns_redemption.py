"""Preview, reserve, redeem, release, expire, refund: each moves money once, or says one and the same no."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from personalization import api
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import BasketNotEligible, CouponRefused, RefundRefused, ReservationGone
from personalization.models import Campaign, Coupon, Event, LedgerEntry, Offer, Redemption, Reservation, Shopper
from personalization.types import Hold
from tests.admin.builders import make_coupon
from tests.personalization.builders import DAY, make_basket, make_offer, make_shopper, running
from tests.personalization.conftest import Committing

pytestmark = pytest.mark.django_db
NOBODY = uuid.UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
ORDER = {"order_label": "shop.order", "order_id": "1001"}


@pytest.fixture
def code(offer: Offer, shopper: Shopper) -> str:
    """The code of a coupon that the shopper holds."""
    return api.claim(offer.pk, shopper=shopper).code


def hold(shopper: Shopper, code: str, key: str = "key", *prices: int) -> Hold:
    return api.reserve(shopper=shopper, basket=make_basket(*prices), code=code, idempotency_key=key)


def redeem(held: Hold, **changes: str) -> int:
    with transaction.atomic():
        return api.redeem(held.reservation_id, **(ORDER | changes))


def money(campaign: Campaign) -> tuple[int, int]:
    campaign.refresh_from_db()
    assert verify_ledger(campaign) == []
    return campaign.reserved_minor, campaign.spent_minor


# --- One and the same refusal -----------------------------------------------------------------------------------------


def unusable(kind: str, offer: Offer, shopper: Shopper) -> dict[str, Any]:
    """Return what a shopper presents who must be refused for this reason."""
    codes = {"unknown": "ABCD-EFGH-JKLM-NPQR", "malformed": "' OR 1=1 --", "empty": "", "huge": "A" * 9999}
    if kind in codes:
        return {"code": codes[kind]}
    if kind in ("unknown id", "malformed id"):
        return {"coupon_id": str(uuid.uuid4()) if kind == "unknown id" else "../1"}
    holder = make_shopper() if kind.startswith("foreign") else shopper
    coupon = make_coupon(offer, holder, code="ABCD-EFGH-JKLM-NPQR")
    changes: dict[str, dict[str, Any]] = {
        "expired": {"expires_at": timezone.now() - timedelta(seconds=1)},
        "voided": {"voided_at": timezone.now()},
        "used": {"used_count": 1},
        "reserved": {"reserved_count": 1},
    }
    Coupon.objects.filter(pk=coupon.pk).update(**changes.get(kind, {"max_uses": 1}))
    if kind in Campaign.Status.values:
        Campaign.objects.update(status=kind)
    if kind == "campaign over":
        Campaign.objects.update(ends_at=timezone.now())
    if kind == "other tier":
        Offer.objects.update(tiers=["platinum"])
    if kind == "other audience":
        Campaign.objects.update(audience={"all": [{"field": "city", "op": "in", "value": ["Paris"]}]})
    return {"coupon_id": str(coupon.pk)} if kind == "foreign id" else {"code": "ABCD-EFGH-JKLM-NPQR"}


KINDS = [
    *("unknown", "malformed", "empty", "huge", "unknown id", "malformed id", "foreign", "foreign id"),
    *("expired", "voided", "used", "reserved", "draft", "paused", "ended", "archived"),
    *("campaign over", "other tier", "other audience"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_is_the_same(offer: Offer, shopper: Shopper, kind: str) -> None:
    given = unusable(kind, offer, shopper)
    with pytest.raises(CouponRefused) as preview:
        api.preview(shopper=shopper, basket=make_basket(), **given)
    with pytest.raises(CouponRefused) as reserve:
        api.reserve(shopper=shopper, basket=make_basket(), idempotency_key="k", **given)
    for refusal in (preview.value, reserve.value):
        assert (refusal.message, str(refusal), refusal.code) == ("This code cannot be used.",) * 2 + ("coupon_refused",)
    assert preview.value.reason == reserve.value.reason != ""  # for staff and tests
    assert not Reservation.objects.exists()
    assert not LedgerEntry.objects.exists()


def test_nobody_known_cannot_use_somebodys_coupon(code: str) -> None:
    with pytest.raises(CouponRefused):
        api.preview(shopper=None, basket=make_basket(), code=code)


def test_a_coupon_for_everybody_is_anybodys(offer: Offer) -> None:
    make_coupon(offer, None, code="ABCD-EFGH-JKLM-NPQR")
    assert api.preview(shopper=None, basket=make_basket(), code="abcdefghjklmnpqr").discount.amount_minor == 1000
    assert api.preview(shopper=make_shopper(), basket=make_basket(), code="abcdefghjklmnpqr")


def test_a_basket_that_lacks_something_is_told_what(shopper: Shopper) -> None:
    offer = make_offer(kind="spend_threshold", amount_minor=500, threshold_minor=5000)
    code = api.claim(offer.pk, shopper=shopper).code
    with pytest.raises(BasketNotEligible, match=r"EUR 0\.01 more"):
        api.preview(shopper=shopper, basket=make_basket(4999), code=code)
    dollars = make_basket(9000, currency="USD")
    with pytest.raises(BasketNotEligible, match="currency"):
        api.reserve(shopper=shopper, basket=dollars, code=code, idempotency_key="k")
    assert money(offer.campaign) == (0, 0)


def test_a_preview_holds_nothing(shopper: Shopper, code: str, offer: Offer) -> None:
    for _ in range(3):
        shown = api.preview(shopper=shopper, basket=make_basket(995, 10_000), code=code)
        assert shown.discount.per_line_minor == (100, 1000)
        assert shown.offer_name == offer.name
    assert money(offer.campaign) == (0, 0)
    assert not Reservation.objects.exists()


# --- Reserve ----------------------------------------------------------------------------------------------------------


def test_a_reservation_sets_the_discount_aside(shopper: Shopper, code: str, offer: Offer) -> None:
    held = hold(shopper, code)
    assert held.discount.amount_minor == 1000
    assert timedelta(minutes=29) < held.expires_at - timezone.now() <= timedelta(minutes=30)
    assert money(offer.campaign) == (1000, 0)
    with pytest.raises(CouponRefused):
        hold(shopper, code, "another basket")


def test_the_same_key_is_the_same_reservation(shopper: Shopper, code: str, offer: Offer) -> None:
    first = hold(shopper, code)
    assert hold(shopper, code) == first
    with pytest.raises(CouponRefused):  # a key stands for one basket: it holds nothing else, before or afterwards
        hold(shopper, code, "key", 50_000)
    redeem(first)
    assert hold(shopper, code) == first
    assert money(offer.campaign) == (0, 1000)
    assert Reservation.objects.count() == 1


def test_a_key_of_somebody_else_is_refused(shopper: Shopper, code: str) -> None:
    hold(shopper, code)
    with pytest.raises(CouponRefused):
        hold(make_shopper(), code)


@pytest.mark.parametrize("state", ["released", "expired"])
def test_a_key_whose_reservation_is_gone_says_so(shopper: Shopper, code: str, state: str) -> None:
    held = hold(shopper, code)
    if state == "released":
        api.release(held.reservation_id)
    else:
        api.expire_reservations(timezone.now() + DAY)
    with pytest.raises(ReservationGone):
        hold(shopper, code)
    assert hold(shopper, code, "another").discount == held.discount


@pytest.mark.parametrize(
    ("campaign", "terms"), [({"budget_minor": 999}, {}), ({}, {"max_redemptions": 0}), ({"budget_minor": 0}, {})]
)
def test_a_limit_refuses_like_everything_else(
    shopper: Shopper, campaign: dict[str, Any], terms: dict[str, Any]
) -> None:
    offer = make_offer(running(**campaign), **terms)
    coupon = make_coupon(offer, shopper)
    Offer.objects.filter(pk=offer.pk).update(issued_count=1)
    with pytest.raises(CouponRefused, match=r"^This code cannot be used\.$"):
        api.reserve(shopper=shopper, basket=make_basket(), coupon_id=str(coupon.pk), idempotency_key="k")
    coupon.refresh_from_db()
    assert coupon.reserved_count == 0
    assert money(offer.campaign) == (0, 0)


def test_a_budget_is_spent_to_the_last_cent_and_not_beyond() -> None:
    offer = make_offer(running(budget_minor=2500))
    buyers = [make_shopper() for _ in range(4)]
    codes = [api.claim(offer.pk, shopper=buyer).code for buyer in buyers]
    for number in (0, 1):
        hold(buyers[number], codes[number], f"k{number}")
    with pytest.raises(CouponRefused) as refusal:
        hold(buyers[2], codes[2], "k2")
    assert refusal.value.reason == "budget"
    assert hold(buyers[3], codes[3], "k3", 5000).discount.amount_minor == 500
    assert money(offer.campaign) == (2500, 0)


# --- Redeem -----------------------------------------------------------------------------------------------------------


def test_a_redemption_moves_the_money_once(shopper: Shopper, code: str, offer: Offer, committing: Committing) -> None:
    held = hold(shopper, code)
    with committing():
        assert redeem(held) == redeem(held) == 1000
    assert money(offer.campaign) == (0, 1000)
    spent = Redemption.objects.get()
    assert (spent.order_label, spent.order_id, spent.amount_minor) == ("shop.order", "1001", 1000)
    assert Event.objects.get(type="coupon_redeemed").value_minor == 1000
    with pytest.raises(CouponRefused):
        hold(shopper, code, "again")


def test_a_reservation_pays_for_one_order(shopper: Shopper, code: str) -> None:
    held = hold(shopper, code)
    redeem(held)
    for changes in ({"order_id": "1002"}, {"order_label": "other.order"}):
        with pytest.raises(ReservationGone):
            redeem(held, **changes)
    assert Redemption.objects.count() == 1


@pytest.mark.parametrize("reservation_id", ["", "x", str(NOBODY), NOBODY])
def test_an_unknown_reservation_is_gone(db: None, reservation_id: Any) -> None:
    with pytest.raises(ReservationGone):
        api.redeem(reservation_id, **ORDER)
    with pytest.raises(ReservationGone):
        api.release(reservation_id)


def test_a_declined_order_takes_its_redemption_back(shopper: Shopper, code: str, offer: Offer) -> None:
    held = hold(shopper, code)

    def order_that_fails() -> None:
        with transaction.atomic():
            api.redeem(held.reservation_id, **ORDER)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        order_that_fails()
    assert money(offer.campaign) == (1000, 0)
    assert redeem(held) == 1000


def test_one_coupon_serves_one_order_once(shopper: Shopper, offer: Offer) -> None:
    """A coupon of two uses, held twice: the second hold cannot go into the same order, and says so."""
    coupon = make_coupon(offer, shopper)
    Coupon.objects.filter(pk=coupon.pk).update(max_uses=2)
    Offer.objects.filter(pk=offer.pk).update(issued_count=1)
    first, second = (
        api.reserve(shopper=shopper, basket=make_basket(), coupon_id=str(coupon.pk), idempotency_key=key)
        for key in "ab"
    )
    assert redeem(first) == 1000
    with pytest.raises(ReservationGone):
        redeem(second)
    assert money(offer.campaign) == (1000, 1000)
    assert redeem(second, order_id="1002") == 1000


@pytest.mark.django_db(transaction=True)
def test_redeeming_outside_a_transaction_is_refused() -> None:
    buyer = make_shopper()
    offer = make_offer()
    held = hold(buyer, api.claim(offer.pk, shopper=buyer).code)
    with pytest.raises(TransactionManagementError, match="atomic"):
        api.redeem(held.reservation_id, **ORDER)
    assert money(offer.campaign) == (1000, 0)
    assert redeem(held) == 1000


# --- Release and expiry -----------------------------------------------------------------------------------------------


def test_a_release_gives_everything_back_once(shopper: Shopper, code: str, offer: Offer) -> None:
    held = hold(shopper, code)
    assert api.release(held.reservation_id) is True
    assert api.release(held.reservation_id) is False
    assert money(offer.campaign) == (0, 0)
    with pytest.raises(ReservationGone):
        redeem(held)
    assert hold(shopper, code, "next").discount == held.discount


def test_what_is_redeemed_is_not_released(shopper: Shopper, code: str, offer: Offer) -> None:
    held = hold(shopper, code)
    redeem(held)
    assert api.release(held.reservation_id) is False
    assert api.expire_reservations(timezone.now() + DAY) == 0
    assert money(offer.campaign) == (0, 1000)


def test_reservations_expire_at_their_time(shopper: Shopper, code: str, offer: Offer) -> None:
    held = hold(shopper, code)
    assert api.expire_reservations() == 0
    assert api.expire_reservations(held.expires_at - timedelta(seconds=1)) == 0
    assert api.expire_reservations(held.expires_at) == 1
    assert api.expire_reservations(held.expires_at) == 0
    assert money(offer.campaign) == (0, 0)
    with pytest.raises(ReservationGone):
        redeem(held)


# --- Refund -----------------------------------------------------------------------------------------------------------


def refund(operation: str, amount: int | None = None, **changes: str) -> int:
    order: dict[str, Any] = ORDER | changes
    return api.refund(**order, operation_id=operation, amount_minor=amount)


def test_partial_refunds_add_up_and_never_exceed_the_redemption(shopper: Shopper, code: str, offer: Offer) -> None:
    redeem(hold(shopper, code))
    assert refund("a", 300) == 300
    assert refund("a", 300) == 300  # the same operation, answered again
    assert money(offer.campaign) == (0, 700)
    for too_much in (701, 10**12, -1):
        with pytest.raises(RefundRefused):
            refund("b", too_much)
    assert refund("c", 0) == 0
    assert refund("d") == 700
    assert refund("e") == 0
    assert money(offer.campaign) == (0, 0)
    with pytest.raises(RefundRefused):
        refund("f", 1)
    assert Redemption.objects.get().refunded_minor == 1000


def test_a_refund_spreads_over_the_orders_coupons(shopper: Shopper) -> None:
    offers = [make_offer(), make_offer()]
    for number, offer in enumerate(offers):
        redeem(hold(shopper, api.claim(offer.pk, shopper=shopper).code, f"k{number}"))
    assert refund("a", 1500) == 1500
    assert refund("a", 1500) == 1500
    assert sorted(Redemption.objects.values_list("refunded_minor", flat=True)) == [500, 1000]
    assert refund("b") == 500
    assert [money(offer.campaign) for offer in offers] == [(0, 0), (0, 0)]


def test_an_order_without_coupons_has_nothing_to_refund(db: None) -> None:
    assert refund("a") == 0
    with pytest.raises(RefundRefused):
        refund("b", 1)


def test_a_refund_leaves_the_coupon_spent(shopper: Shopper, code: str) -> None:
    redeem(hold(shopper, code))
    refund("a")
    with pytest.raises(CouponRefused):
        hold(shopper, code, "next")
