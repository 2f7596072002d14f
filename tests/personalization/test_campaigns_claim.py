"""Handing out coupons: who gets one, how many there are, and what a repeated request gets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization import api
from personalization.campaigns import codes, coupons
from personalization.exceptions import ClaimRefused, UnknownOffer
from personalization.models import Campaign, Coupon, Decision, Event, Offer, Shopper
from personalization.types import OfferKind
from tests.personalization.builders import DAY, make_basket, make_offer, make_shopper, running
from tests.personalization.conftest import Committing, Configure

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def refused(offer: Offer, shopper: Shopper, **kwargs: Any) -> str:
    with pytest.raises(ClaimRefused) as refusal:
        api.claim(offer.pk, shopper=shopper, **kwargs)
    assert refusal.value.message == ClaimRefused.__doc__
    return refusal.value.reason


# --- One coupon -------------------------------------------------------------------------------------------------------


def test_a_claim_issues_a_coupon_once(offer: Offer, shopper: Shopper, committing: Committing) -> None:
    with committing():
        first = api.claim(offer.pk, shopper=shopper)
        again = api.claim(offer.pk, shopper=shopper)
    assert (first.new, again.new) == (True, False)
    assert (again.code, again.coupon_id, again.expires_at) == (first.code, first.coupon_id, first.expires_at)
    offer.refresh_from_db()
    assert offer.issued_count == Coupon.objects.count() == 1
    recorded = Event.objects.get(type="coupon_claimed")
    assert (recorded.shopper, recorded.offer) == (shopper, offer)


def test_a_code_is_a_secret(offer: Offer, shopper: Shopper) -> None:
    issued = api.claim(offer.pk, shopper=shopper)
    letters = codes.normalise(issued.code)
    assert len(letters) >= 16
    assert set(letters) <= set(codes.ALPHABET)
    assert len(set(codes.ALPHABET)) == 31
    stored = Coupon.objects.values().get()
    assert letters not in str(stored)
    assert issued.code not in str(stored)
    assert stored["code_digest"] == codes.digest(issued.code)
    assert codes.reveal(stored["code_ciphertext"]) == issued.code


def test_codes_do_not_repeat() -> None:
    drawn = {codes.generate() for _ in range(2000)}
    assert len(drawn) == 2000
    counts = [sum(code.count(symbol) for code in drawn) for symbol in codes.ALPHABET]
    assert min(counts) > 0.8 * 2000 * 16 / 31
    assert max(counts) < 1.2 * 2000 * 16 / 31


@pytest.mark.parametrize("typed", ["{}", " {} ", "{lower}", "{bare}", "{spaced}\n"])
def test_a_code_may_be_typed_as_people_type(offer: Offer, shopper: Shopper, typed: str) -> None:
    code = api.claim(offer.pk, shopper=shopper).code
    forms = {"lower": code.lower(), "bare": code.replace("-", ""), "spaced": code.replace("-", " ")}
    assert api.preview(shopper=shopper, basket=make_basket(), code=typed.format(code, **forms)).discount.amount_minor


def test_a_coupon_lives_through_a_rotation_of_keys(configure: Configure, offer: Offer, shopper: Shopper) -> None:
    configure(SECRET_KEYS=["old"])
    issued = api.claim(offer.pk, shopper=shopper)
    configure(SECRET_KEYS=["new", "old"])
    assert api.preview(shopper=shopper, basket=make_basket(), code=issued.code).coupon_id == issued.coupon_id
    assert api.coupons_of(shopper)[0].code == issued.code
    configure(SECRET_KEYS=["new"])
    assert api.coupons_of(shopper)[0].code == ""


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer_id", [0, -1, 999_999_999])
def test_an_unknown_offer(shopper: Shopper, offer_id: int) -> None:
    with pytest.raises(UnknownOffer):
        api.claim(offer_id, shopper=shopper)


def test_an_announcement_has_no_coupon(shopper: Shopper) -> None:
    with pytest.raises(UnknownOffer):
        api.claim(make_offer(kind="announcement").pk, shopper=shopper)


CLOSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *(("campaign_not_running", {"status": s}, {}) for s in Campaign.Status.values if s != Campaign.Status.RUNNING),
    ("outside_campaign_dates", {"starts_at": timezone.now() + DAY, "ends_at": timezone.now() + 2 * DAY}, {}),
    ("outside_campaign_dates", {"starts_at": timezone.now() - 2 * DAY, "ends_at": timezone.now() - DAY}, {}),
    ("outside_window", {}, {"starts_at": timezone.now() + HOUR}),
    ("outside_window", {}, {"ends_at": timezone.now() - HOUR}),
    ("all_issued", {}, {"max_issued": 5, "issued_count": 5}),
    ("all_issued", {}, {"max_issued": 0}),
    ("sold_out", {}, {"max_redemptions": 4, "redeemed_count": 3, "reserved_count": 1}),
    ("budget_used_up", {"budget_minor": 500, "reserved_minor": 200, "spent_minor": 300}, {}),
    ("budget_used_up", {"budget_minor": 0}, {}),
    ("not_a_member", {}, {"tiers": ["platinum"]}),
    ("not_in_audience", {"audience": {"all": [{"field": "age", "op": ">=", "value": 60}]}}, {}),
]


@pytest.mark.parametrize(("reason", "campaign", "terms"), CLOSED)
def test_a_closed_offer_is_refused_with_its_reason(
    shopper: Shopper, reason: str, campaign: dict[str, Any], terms: dict[str, Any]
) -> None:
    offer = make_offer(running(**campaign), **terms)
    before = offer.issued_count
    assert refused(offer, shopper) == reason
    offer.refresh_from_db()
    assert offer.issued_count == before
    assert not Coupon.objects.exists()


def test_the_edges_of_the_dates(shopper: Shopper) -> None:
    now = timezone.now()
    offer = make_offer(running(starts_at=now - DAY, ends_at=now + DAY), starts_at=now, ends_at=now + HOUR)
    assert coupons.closed_reason(offer, now) == ""
    assert coupons.closed_reason(offer, now - timedelta(microseconds=1)) == "outside_window"
    assert coupons.closed_reason(offer, now + HOUR) == "outside_window"
    offer.starts_at = offer.ends_at = None
    assert coupons.closed_reason(offer, now + DAY) == "outside_campaign_dates"
    assert coupons.closed_reason(offer, now + DAY - timedelta(microseconds=1)) == ""
    assert coupons.closed_reason(offer, now - DAY) == ""


def test_a_coupon_issued_stays_issued_when_the_offer_closes(offer: Offer, shopper: Shopper) -> None:
    first = api.claim(offer.pk, shopper=shopper)
    Campaign.objects.update(status="paused")
    assert api.claim(offer.pk, shopper=shopper).coupon_id == first.coupon_id


# --- Limits -----------------------------------------------------------------------------------------------------------


def test_the_last_coupon_goes_to_one_shopper() -> None:
    offer = make_offer(max_issued=2)
    holders = [make_shopper() for _ in range(3)]
    assert [api.claim(offer.pk, shopper=holder).new for holder in holders[:2]] == [True, True]
    assert refused(offer, holders[2]) == "all_issued"
    assert api.claim(offer.pk, shopper=holders[0]).new is False
    offer.refresh_from_db()
    assert offer.issued_count == 2


def test_the_row_count_decides_where_the_check_came_too_early(
    monkeypatch: pytest.MonkeyPatch, offer: Offer, shopper: Shopper
) -> None:
    """Two claims that both saw one coupon left: the conditional UPDATE lets one through."""
    Offer.objects.filter(pk=offer.pk).update(max_issued=1, issued_count=1)
    monkeypatch.setattr(coupons, "closed_reason", lambda offer, now: "")
    assert refused(offer, shopper) == "all_issued"


def test_no_code_path_can_overrun_a_limit(offer: Offer) -> None:
    for changes in (
        {"max_issued": 1, "issued_count": 2},
        {"max_redemptions": 1, "reserved_count": 1, "redeemed_count": 1},
        {"percent": 101},
        {"percent": 10, "amount_minor": 5},
        {"threshold_minor": -1},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Offer.objects.filter(pk=offer.pk).update(**changes)
    for changes in ({"budget_minor": 5, "spent_minor": 6}, {"reserved_minor": -1}, {"spent_minor": -1}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Campaign.objects.update(**changes)


def test_a_shopper_gets_as_many_as_allowed_one_a_key(shopper: Shopper) -> None:
    offer = make_offer(per_shopper=3)
    by_key = {key: api.claim(offer.pk, shopper=shopper, idempotency_key=key) for key in ("a", "b", "c")}
    assert len({issued.coupon_id for issued in by_key.values()}) == 3
    for key, issued in by_key.items():
        again = api.claim(offer.pk, shopper=shopper, idempotency_key=key)
        assert (again.coupon_id, again.new) == (issued.coupon_id, False)
    fourth = api.claim(offer.pk, shopper=shopper, idempotency_key="d")
    assert (fourth.coupon_id, fourth.new) == (by_key["c"].coupon_id, False)
    assert Coupon.objects.count() == 3
    assert list(Coupon.objects.order_by("claim_no").values_list("claim_no", flat=True)) == [1, 2, 3]


def test_a_long_key_is_a_key_like_any_other(shopper: Shopper) -> None:
    offer = make_offer(per_shopper=2)
    keys = ["k" * 300, "k" * 300]
    assert len({api.claim(offer.pk, shopper=shopper, idempotency_key=key).coupon_id for key in keys}) == 1


def make_decision(shopper: Shopper | None) -> Decision:
    return Decision.objects.create(shopper=shopper, slot="home_hero", eligible=[], excluded={}, chosen=[], policy="p")


def test_a_claim_remembers_the_decision_that_showed_the_offer(shopper: Shopper) -> None:
    offer = make_offer(per_shopper=2)
    one, two = make_decision(shopper), make_decision(shopper)
    first = api.claim(offer.pk, shopper=shopper, decision_id=str(one.pk))
    assert api.claim(offer.pk, shopper=shopper, decision_id=str(one.pk)).coupon_id == first.coupon_id
    assert Coupon.objects.get(pk=first.coupon_id).decision == one
    assert api.claim(offer.pk, shopper=shopper, decision_id=str(two.pk)).new


@pytest.mark.parametrize("decision_id", ["x", "", "00000000-0000-0000-0000-000000000000", "1" * 500])
def test_a_decision_that_is_none_is_left_out(offer: Offer, shopper: Shopper, decision_id: str) -> None:
    issued = api.claim(offer.pk, shopper=shopper, decision_id=decision_id)
    assert Coupon.objects.get(pk=issued.coupon_id).decision is None


def test_somebody_elses_decision_is_left_out(offer: Offer, shopper: Shopper) -> None:
    issued = api.claim(offer.pk, shopper=shopper, decision_id=str(make_decision(make_shopper()).pk))
    assert Coupon.objects.get(pk=issued.coupon_id).decision is None


# --- How long and for what --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, 10 * DAY),
        ({"valid_hours": 5}, 5 * HOUR),
        ({"ends_after": 2 * DAY}, 2 * DAY),
        ({"valid_hours": 900}, 10 * DAY),
    ],
)
def test_a_coupon_expires_with_the_first_of_its_ends(
    shopper: Shopper, terms: dict[str, Any], expected: timedelta
) -> None:
    now = timezone.now()
    given = {"ends_at": now + terms["ends_after"]} if "ends_after" in terms else terms
    offer = make_offer(running(ends_at=now + 10 * DAY), **given)
    expires_at = api.claim(offer.pk, shopper=shopper).expires_at
    assert expires_at is not None
    assert abs(expires_at - (now + expected)) < timedelta(seconds=30)


def test_my_coupons_usable_ones_first(shopper: Shopper) -> None:
    spent, open_, foreign = make_offer(name="Spent"), make_offer(name="Open", headline="Ten off!"), make_offer()
    api.claim(open_.pk, shopper=shopper)
    api.claim(spent.pk, shopper=shopper)
    api.claim(foreign.pk, shopper=make_shopper())
    Coupon.objects.filter(offer=spent).update(used_count=1)
    assert [(view.offer_name, view.usable) for view in api.coupons_of(shopper)] == [
        ("Ten off!", True),
        ("Spent", False),
    ]
    assert api.coupons_of(make_shopper()) == []


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"percent": "12.50"}, "12.5% off"),
        ({"percent": "20"}, "20% off"),
        ({"percent": "100"}, "100% off"),
        ({"amount_minor": 123_456}, "€1,234.56 off"),
        ({"percent": 10, "category": "tea", "threshold_minor": 5000}, "10% off on tea from €50.00"),
        ({"kind": "announcement"}, ""),
    ],
)
def test_terms_in_words(terms: dict[str, Any], text: str) -> None:
    assert coupons.terms_text(make_offer(**terms)) == text


def test_terms_are_what_benefits_are_computed_from() -> None:
    terms = make_offer(kind="spend_threshold", amount_minor=500, threshold_minor=900, max_discount_minor=400).terms()
    assert (terms.kind, terms.currency, terms.amount_minor) == (OfferKind.SPEND_THRESHOLD, "EUR", 500)
    assert (terms.threshold_minor, terms.max_discount_minor, terms.percent) == (900, 400, 0)
