"""Signs of abuse: what counts as one, what waits, what a decision does, and what rules learn from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.campaigns import coupons, risk
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import release, reserve
from personalization.exceptions import CouponRefused, UnderReview
from personalization.models import Coupon, Offer, Reservation, RiskFact, RiskReview, RiskRule, Shopper
from personalization.types import Facts, Hold
from tests.personalization.builders import make_account, make_basket, make_offer, make_shopper, make_user
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
ORIGIN = Facts(device="Phone 7", address="1 High Street", payment="card-1", network="192.0.2.7")


@pytest.fixture(autouse=True)
def _only_chosen_rules() -> None:
    RiskRule.objects.all().delete()


def rule(kind: str, threshold: int = 1, points: int = 100, **fields: Any) -> RiskRule:
    return RiskRule.objects.create(kind=kind, threshold=threshold, points=points, **fields)


def hold(offer: Offer, shopper: Shopper | None = None, facts: Facts | None = ORIGIN, key: str = "") -> Hold:
    """Reserve a coupon of the shopper's own, as a checkout does."""
    coupon = coupons.issue(offer, shopper=shopper, origin=Coupon.Origin.SUPPORT)
    return reserve(
        shopper=shopper, basket=make_basket(), coupon_id="" if shopper is None else str(coupon.pk),
        code=coupons.codes.reveal(coupon.code_ciphertext) if shopper is None else "",
        idempotency_key=key or uuid4().hex, facts=facts,
    )  # fmt: skip


def several(**fields: Any) -> Offer:
    return make_offer(per_shopper=50, uses_per_shopper=50, **fields)


def stopped(offer: Offer, shopper: Shopper, key: str = "stopped", **kwargs: Any) -> RiskReview:
    """Reserve something that waits, and return its review."""
    with pytest.raises(UnderReview):
        hold(offer, shopper, key=key, **kwargs)
    return RiskReview.objects.select_related("reservation").get(reservation__idempotency_key=key)


# --- What is a sign ---------------------------------------------------------------------------------------------------


def test_without_rules_nothing_waits_and_facts_are_kept_unreadably(offer: Offer, shopper: Shopper) -> None:
    hold(offer, shopper)
    rows = list(RiskFact.objects.values_list("kind", "digest"))
    assert {kind for kind, _digest in rows} == {"device", "address", "payment", "network"}
    assert not [value for _kind, value in rows if value in vars(Facts) or "phone" in value or len(value) != 64]


@pytest.mark.parametrize("kind", ["device", "address", "payment", "network"])
def test_others_that_share_something_count_once_each(kind: str, configure: Configure) -> None:
    rule(kind, threshold=2)
    offer = several()
    alike = Facts(**{kind: getattr(ORIGIN, kind)})
    written_otherwise = Facts(**{kind: f" {getattr(ORIGIN, kind).upper()} "})
    first, second = make_shopper(), make_shopper()
    hold(offer, first, alike)
    hold(offer, first, alike)
    hold(offer, second, written_otherwise)
    review = stopped(offer, make_shopper(), facts=alike)
    assert review.hits == [{"rule": kind, "figure": 2, "threshold": 2, "points": 100}]
    assert review.score == 100
    assert hold(offer, make_shopper(), Facts(**{kind: "another"}))
    configure(SECRET_KEYS=["new", "a-key-of-the-test-run-that-guards-nothing"])
    assert stopped(offer, make_shopper(), key="rotated", facts=alike)


def test_a_network_is_shared_for_a_day_and_a_device_for_longer() -> None:
    offer = several()
    rule("network")
    hold(offer, make_shopper())
    RiskFact.objects.update(at=timezone.now() - timedelta(days=2))
    assert hold(offer, make_shopper(), Facts(network=ORIGIN.network))
    rule("device")
    assert stopped(offer, make_shopper(), facts=Facts(device=ORIGIN.device))
    risk.lapse(timezone.now() + risk.MEMORY + timedelta(days=1))
    assert not RiskFact.objects.exists()


def test_one_person_is_not_many(offer: Offer) -> None:
    """A visitor who became an account, and others' visitors with theirs, are one each."""
    rule("device", threshold=2)
    account, visitor = make_shopper(), make_shopper()
    offer = several()
    hold(offer, visitor)
    Shopper.objects.filter(pk=visitor.pk).update(merged_into=account)
    hold(offer, account)
    other = make_shopper()
    assert hold(offer, other)  # one other person so far
    assert hold(offer, account)


def test_a_guest_is_compared_and_leaves_nothing() -> None:
    rule("device")
    offer = several()
    assert hold(offer, None)
    assert hold(offer, None)
    assert not RiskFact.objects.exists()
    hold(offer, make_shopper())
    with pytest.raises(UnderReview):
        hold(offer, None)


def test_velocity_counts_baskets_of_a_day() -> None:
    rule("velocity", threshold=3)
    offer, shopper = several(), make_shopper()
    hold(offer, shopper)
    hold(offer, shopper)
    Reservation.objects.update(basket_key="one basket")
    gone = hold(offer, shopper)
    release(gone.reservation_id)
    hold(offer, shopper)
    assert stopped(offer, shopper).hits[0]["figure"] == 3
    Reservation.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert hold(offer, shopper)


def test_a_young_account_and_not_a_visitor() -> None:
    rule("young_account", threshold=24)
    offer = several()
    assert hold(offer, make_shopper(joined_at=None))
    assert hold(offer, make_shopper(joined_at=timezone.now() - timedelta(hours=26)))
    assert stopped(offer, make_shopper(joined_at=timezone.now() - timedelta(hours=2)))
    assert stopped(offer, make_shopper(joined_at=None, user=make_account()), key="account")


@pytest.mark.parametrize("named_by", ["offer", "coupon"])
def test_who_refers_themself_is_noticed(named_by: str) -> None:
    rule("self_referral")
    referrer, friend = make_shopper(), make_shopper()
    referral = several(attributes={"referrer": str(referrer.key)} if named_by == "offer" else {})

    def take(shopper: Shopper, facts: Facts | None, key: str) -> Hold:
        claim_key = risk.referral_key(referrer, key) if named_by == "coupon" else ""
        coupon = coupons.issue(referral, shopper=shopper, origin=Coupon.Origin.TRIGGER, claim_key=claim_key)
        given: dict[str, Any] = {
            "shopper": shopper,
            "basket": make_basket(),
            "coupon_id": str(coupon.pk),
            "facts": facts,
        }
        return reserve(idempotency_key=key, **given)

    with pytest.raises(UnderReview):
        take(referrer, None, "own")
    hold(several(), referrer, ORIGIN)
    assert take(friend, None, "friend")
    assert take(make_shopper(), Facts(network=ORIGIN.network), "neighbour")
    with pytest.raises(UnderReview):
        take(make_shopper(), Facts(payment=ORIGIN.payment), "second account")


def test_points_add_up_and_inactive_rules_are_silent(configure: Configure) -> None:
    configure(RISK_THRESHOLD=100)
    rule("device", points=60)
    other = rule("payment", points=40, active=False)
    offer = several()
    hold(offer, make_shopper())
    assert hold(offer, make_shopper())
    RiskRule.objects.filter(pk=other.pk).update(active=True)
    assert stopped(offer, make_shopper()).score == 100


def test_the_reads_do_not_grow_with_the_rules_or_the_rows(offer: Offer) -> None:
    for kind in RiskRule.Kind.values:
        rule(kind, threshold=0 if kind == "young_account" else 99, points=1)
    offer = several()

    def asked() -> int:
        reservation = Reservation.objects.select_related("shopper", "coupon", "offer").get(
            pk=hold(offer, make_shopper(), None).reservation_id
        )
        with CaptureQueriesContext(connection) as queries:
            risk.judge(reservation, ORIGIN, timezone.now())
        return len(queries)

    few = asked()
    for _ in range(5):
        hold(offer, make_shopper())
    assert asked() == few <= 4


# --- What waits -------------------------------------------------------------------------------------------------------


@pytest.fixture
def review(shopper: Shopper) -> RiskReview:
    rule("device")
    offer = several()
    hold(offer, make_shopper())
    return stopped(offer, shopper)


def test_the_budget_stays_reserved_and_the_key_keeps_waiting(review: RiskReview) -> None:
    campaign = review.reservation.campaign
    assert campaign.reserved_minor == 2000
    assert review.reservation.state == Reservation.State.REVIEW
    assert verify_ledger(campaign) == []
    for _ in range(2):
        with pytest.raises(UnderReview):
            _again(review)
    assert list(risk.waiting()) == [review]
    assert RiskRule.objects.get().fired_count == 1


def _again(review: RiskReview) -> Hold:
    mine = review.reservation
    return reserve(
        shopper=mine.shopper, basket=make_basket(), coupon_id=str(mine.coupon_id), idempotency_key=mine.idempotency_key
    )


def test_approved_the_same_key_gets_its_hold(review: RiskReview) -> None:
    boss = make_user("decide_riskreview")
    assert risk.approve(review, boss, "known customer")
    held = _again(review)
    assert held.reservation_id == str(review.reservation_id)
    assert held.expires_at > timezone.now() + timedelta(minutes=20)
    assert held.expires_at < timezone.now() + timedelta(minutes=40)
    assert (review.state, review.decided_by, review.note) == ("approved", boss, "known customer")
    assert RiskRule.objects.get().dismissed_count == 1
    assert not risk.reject(review)
    assert RiskRule.objects.get().confirmed_count == 0


def test_what_was_approved_is_not_stopped_again(review: RiskReview) -> None:
    risk.approve(review)
    release(review.reservation_id)
    mine = review.reservation
    again: dict[str, Any] = {
        "shopper": mine.shopper,
        "basket": make_basket(),
        "coupon_id": str(mine.coupon_id),
        "facts": ORIGIN,
    }
    assert reserve(idempotency_key="next basket", **again)


def test_rejected_it_is_given_back_and_the_coupon_is_void(review: RiskReview) -> None:
    assert risk.reject(review)
    coupon = Coupon.objects.get(pk=review.reservation.coupon_id)
    campaign = review.reservation.campaign
    campaign.refresh_from_db()
    assert coupon.voided_at is not None
    assert campaign.reserved_minor == 1000
    assert verify_ledger(campaign) == []
    again: dict[str, Any] = {"shopper": coupon.shopper, "basket": make_basket(), "coupon_id": str(coupon.pk)}
    with pytest.raises(CouponRefused):
        reserve(idempotency_key="another", **again)
    assert RiskRule.objects.get().confirmed_count == 1
    assert not risk.approve(review)


def test_a_code_for_many_survives_one_of_them(shopper: Shopper) -> None:
    rule("young_account", threshold=24 * 365)
    coupon = coupons.issue(several(), origin=Coupon.Origin.VANITY, code="WELCOME-EVERYBODY", max_uses=10)
    with pytest.raises(UnderReview):
        reserve(shopper=shopper, basket=make_basket(), code="WELCOME-EVERYBODY", idempotency_key="key")
    assert risk.reject(RiskReview.objects.get())
    coupon.refresh_from_db()
    assert (coupon.voided_at, coupon.reserved_count) == (None, 0)


def test_nobody_decides_for_three_days(review: RiskReview) -> None:
    assert risk.lapse(timezone.now() + timedelta(hours=71)) == 0
    assert risk.lapse(timezone.now() + timedelta(hours=73)) == 1
    review.refresh_from_db()
    assert review.state == "lapsed"
    assert review.reservation.__class__.objects.get(pk=review.reservation_id).state == "released"
    assert verify_ledger(review.reservation.campaign) == []
    assert not risk.approve(review)
    assert not RiskRule.objects.filter(confirmed_count__gt=0).exists()


def test_a_shopper_who_gives_up_ends_the_review(review: RiskReview) -> None:
    assert release(review.reservation_id)
    assert not risk.waiting().exists()
    assert not risk.approve(review)
    review.refresh_from_db()
    assert review.state == "lapsed"
    assert RiskRule.objects.get().dismissed_count == 0


# --- What rules learn -------------------------------------------------------------------------------------------------


def test_decisions_become_a_proposal_and_change_nothing_by_themselves(configure: Configure) -> None:
    configure(RISK_THRESHOLD=100)
    wrong = rule("device", points=60, confirmed_count=1, dismissed_count=9)
    right = rule("payment", points=60, confirmed_count=10)
    new = rule("address", points=60, confirmed_count=5)
    assert risk.advice(wrong) == risk.Advice(10, 9, 0.1, 15, raise_threshold=True)
    assert risk.advice(right) == risk.Advice(10, 0, 1.0, 90, raise_threshold=False)
    assert risk.advice(new) == risk.Advice(5, 0, 1.0, None, raise_threshold=False)
    assert risk.advice(rule("network")).precision is None
    assert risk.suggest_points() == {wrong.pk: 15, right.pk: 90}
    assert set(RiskRule.objects.values_list("points", flat=True)) == {60, 100}


def test_the_default_rules_are_made_once_and_never_changed() -> None:
    assert risk.ensure_defaults() == len(RiskRule.Kind.values)
    RiskRule.objects.filter(kind="device").update(points=5, active=False)
    assert risk.ensure_defaults() == 0
    assert RiskRule.objects.get(kind="device").points == 5
