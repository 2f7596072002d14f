"""A decision: what was eligible, why the rest was not, what was chosen with which probability, and what is written."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from math import sqrt
from typing import Any

import pytest
from django.utils import timezone

from personalization import api, conf
from personalization.decisioning import candidates, eligibility
from personalization.decisioning import decide as deciding
from personalization.exceptions import UnknownSlot
from personalization.models import Campaign, Coupon, Decision, Exposure, Offer, Shopper
from personalization.pure import assignment, policy
from personalization.types import Arm
from tests.personalization.builders import (
    CRAWLER,
    DAY,
    make_account,
    make_alias,
    make_event,
    make_offer,
    make_request,
    make_scores,
    make_shopper,
    running,
    score,
)
from tests.personalization.conftest import Configure
from tests.support.scale import rounds

pytestmark = pytest.mark.django_db
SLOT = "home_hero"
WORTH = [0.5, 0.3, 0.01, 0.5]


def shown(result: Any) -> list[int]:
    return [offer.offer_id for offer in result.offers]


def reasons(shopper: Shopper | None, **kwargs: Any) -> dict[str, str]:
    result = api.decide(SLOT, shopper=shopper, limit=20, **kwargs)
    return dict(Decision.objects.get(pk=result.decision_id).excluded)


# --- Slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", ["", "cellar", "HOME_HERO", "x" * 5000, "\x00", "home_hero "])
def test_an_unknown_slot_is_refused(shopper: Shopper, slot: str) -> None:
    with pytest.raises(UnknownSlot) as refusal:
        api.decide(slot, shopper=shopper)
    assert len(refusal.value.message) < 400
    assert not Decision.objects.exists()


@pytest.mark.usefixtures("plain")
def test_an_offer_is_shown_in_its_slots_only(shopper: Shopper) -> None:
    offer = make_offer(slots=["basket", "product_page"])
    assert shown(api.decide(SLOT, shopper=shopper)) == []
    assert shown(api.decide("basket", shopper=shopper)) == [offer.pk]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("campaign", [{"delivery": "sent"}, {"population": "set"}, {"status": "paused"}])
def test_what_is_not_running_on_a_page_of_this_shop_is_no_candidate(shopper: Shopper, campaign: dict[str, Any]) -> None:
    make_offer(running(**campaign))
    assert shown(api.decide(SLOT, shopper=shopper)) == []
    assert reasons(shopper) == {}


# --- Eligibility ------------------------------------------------------------------------------------------------------

EXCLUDED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("outside_campaign_dates", {"starts_at": timezone.now() + DAY}, {}),
    ("outside_window", {}, {"ends_at": timezone.now() - DAY}),
    ("all_issued", {}, {"max_issued": 2, "issued_count": 2}),
    ("sold_out", {}, {"max_redemptions": 1, "redeemed_count": 1}),
    ("budget_used_up", {"budget_minor": 10, "spent_minor": 10}, {}),
    ("not_a_member", {}, {"tiers": ["platinum"]}),
    ("not_in_audience", {"audience": {"all": [{"field": "age", "op": "<=", "value": 20}]}}, {}),
]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(("reason", "campaign", "terms"), EXCLUDED)
def test_what_is_left_out_is_left_out_with_its_reason(
    shopper: Shopper, reason: str, campaign: dict[str, Any], terms: dict[str, Any]
) -> None:
    offer, fine = make_offer(running(**campaign), **terms), make_offer()
    assert reasons(shopper) == {str(offer.pk): reason}
    assert shown(api.decide(SLOT, shopper=shopper, limit=5)) == [fine.pk]
    assert reason in eligibility.REASONS


@pytest.mark.usefixtures("plain")
def test_a_stale_copy_of_a_campaign_is_asked_again_at_the_claim(shopper: Shopper, offer: Offer) -> None:
    """Another process pauses the campaign: for seconds a page may still show it, but nobody gets the coupon."""
    assert shown(api.decide(SLOT, shopper=shopper)) == [offer.pk]
    Campaign.objects.update(status="paused")
    with pytest.raises(api.ClaimRefused):
        api.claim(offer.pk, shopper=shopper)
    candidates.forget()
    assert shown(api.decide(SLOT, shopper=shopper)) == []


@pytest.mark.usefixtures("plain")
def test_what_changes_in_this_process_shows_at_once(shopper: Shopper, offer: Offer) -> None:
    assert shown(api.decide(SLOT, shopper=shopper)) == [offer.pk]
    api.transition(offer.campaign, "paused")
    assert shown(api.decide(SLOT, shopper=shopper)) == []


@pytest.mark.usefixtures("plain")
def test_a_spent_coupon_is_not_offered_again(shopper: Shopper) -> None:
    once, twice = make_offer(), make_offer(per_shopper=2)
    for offer in (once, twice):
        api.claim(offer.pk, shopper=shopper)
    assert set(shown(api.decide(SLOT, shopper=shopper, limit=5))) == {once.pk, twice.pk}  # held, not spent
    Coupon.objects.update(used_count=1)
    assert reasons(shopper) == {str(once.pk): "already_used"}
    assert reasons(make_shopper()) == {}


@pytest.mark.usefixtures("plain")
def test_a_coupon_that_waits_is_shown_even_after_the_last_was_issued(shopper: Shopper) -> None:
    """The claim gives it again; somebody else is told that all are gone."""
    offer = make_offer(max_issued=1, cta_label="Get 5 euros")
    assert api.decide(SLOT, shopper=shopper).offers[0].cta_label == "Get 5 euros"
    mine = api.claim(offer.pk, shopper=shopper)
    candidates.forget()
    (waiting,) = api.decide(SLOT, shopper=shopper).offers
    assert waiting.cta_label == "Show my coupon"
    assert "holds_coupon" in waiting.reasons
    assert api.claim(offer.pk, shopper=shopper).coupon_id == mine.coupon_id
    assert reasons(make_shopper()) == {str(offer.pk): "all_issued"}
    Coupon.objects.update(voided_at=timezone.now())
    assert reasons(shopper) == {str(offer.pk): "all_issued"}


@pytest.mark.usefixtures("plain")
def test_what_was_dismissed_stays_away(shopper: Shopper) -> None:
    one, other = make_offer(), make_offer()
    make_event(shopper, "offer_dismissed", offer=one)
    assert reasons(shopper) == {str(one.pk): "dismissed"}
    assert shown(api.decide(SLOT, shopper=shopper, limit=2)) == [other.pk]
    assert reasons(make_shopper()) == {}


@pytest.mark.usefixtures("plain")
def test_what_was_dismissed_stays_away_however_much_is_viewed_afterwards(shopper: Shopper, offer: Offer) -> None:
    make_event(shopper, "offer_dismissed", offer=offer)
    for _ in range(25):
        make_event(shopper, "page_viewed")
    assert reasons(shopper) == {str(offer.pk): "dismissed"}


@pytest.mark.usefixtures("plain")
def test_a_predicted_loss_is_withheld(shopper: Shopper) -> None:
    gain, loss, unknown = make_offer(), make_offer(percent=90), make_offer()
    scores = make_scores()
    score(scores, shopper, {gain.pk: WORTH, loss.pk: [0.9, 0.9, 0.9, 0.2]})
    assert reasons(shopper) == {str(loss.pk): "predicted_loss"}
    assert shown(api.decide(SLOT, shopper=shopper, limit=5)) == [gain.pk, unknown.pk]


@pytest.mark.usefixtures("plain")
def test_a_decision_keeps_the_reasons_for_what_it_chose(shopper: Shopper) -> None:
    """As the scoring told them: the next one may tell others. An offer without any has none."""
    told, untold = make_offer(), make_offer()
    parts = {"base": -1.0, "frequency": 0.4}
    reasons_of = {"head": "redeem", "offers": {str(told.pk): parts}}
    score(make_scores(), shopper, {told.pk: WORTH, untold.pk: WORTH}, reasons=reasons_of)
    row = Decision.objects.get(pk=api.decide(SLOT, shopper=shopper, limit=5).decision_id)
    assert {one["offer"]: one.get("why") for one in row.chosen} == {
        told.pk: {"head": "redeem", **parts},
        untold.pk: None,
    }


# --- Holdout ----------------------------------------------------------------------------------------------------------


def test_a_holdout_gets_nothing_and_is_counted(shopper: Shopper, configure: Configure) -> None:
    configure(HOLDOUT_PERCENT=100.0)
    make_offer(), make_offer()
    result = api.decide(SLOT, shopper=shopper, limit=2)
    assert (result.arm, result.offers) == (Arm.HOLDOUT, ())
    row = Decision.objects.get()
    assert (row.arm, row.chosen, len(row.eligible)) == ("holdout", [], 2)
    exposure = Exposure.objects.get()
    assert (exposure.arm, exposure.offer, exposure.shopper, exposure.propensity) == ("holdout", None, shopper, 1.0)
    assert exposure.window_ends_at - exposure.exposed_at == timedelta(hours=168)


def test_a_holdout_with_nothing_to_withhold_is_no_exposure(shopper: Shopper, configure: Configure) -> None:
    configure(HOLDOUT_PERCENT=100.0)
    make_offer(tiers=["platinum"])
    assert api.decide(SLOT, shopper=shopper).arm == Arm.HOLDOUT
    assert not Exposure.objects.exists()


def test_who_is_held_out_stays_so_in_every_slot(configure: Configure, db: None) -> None:
    configure(HOLDOUT_PERCENT=40.0)
    make_offer(slots=[SLOT, "basket"])
    arms: Counter[str] = Counter()
    for _ in range(60):
        shopper = make_shopper()
        answers = {api.decide(slot, shopper=shopper).arm for slot in (SLOT, "basket", SLOT)}
        assert len(answers) == 1
        assert answers == {Arm.HOLDOUT if assignment.in_holdout("1", shopper.key, 40.0) else Arm.TREATMENT}
        arms.update(answers)
    assert set(arms) == {Arm.HOLDOUT, Arm.TREATMENT}


# --- Consent ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_without_consent_an_answer_is_served_and_nobody_is_logged(configure: Configure) -> None:
    configure(HOLDOUT_PERCENT=100.0)  # nobody unknown is held out: nobody would be counted
    offer, audience = make_offer(), make_offer(running(audience={"all": [{"field": "age", "op": ">=", "value": 1}]}))
    shopper = make_shopper(consent_personalisation=False)
    score(
        make_scores(defaults={"kinds": {"coupon": WORTH}, "basket_minor": 5000}),
        shopper,
        {offer.pk: [0.9, 0.9, 0.0, 0.9]},
    )
    make_event(shopper, "product_viewed", item_id="p-1", category="tea")
    for given in ({"shopper": shopper}, {"request": make_request(visitor=make_alias(shopper))}):
        result = api.decide(SLOT, limit=3, **given)
        assert shown(result) == [offer.pk]
        assert (result.fallback, result.arm) == ("no_consent", Arm.TREATMENT)
        row = Decision.objects.get(pk=result.decision_id)
        assert row.shopper is None
        assert row.excluded == {str(audience.pk): "not_in_audience"}
        assert row.features["recent_interest"] == {}
        assert row.features["strategy"] == {}
        assert row.features["values"] == {}
        assert shopper.key.hex not in json.dumps(row.features).replace("-", "")
    assert not Exposure.objects.exists()


@pytest.mark.usefixtures("plain")
def test_nobody_known_gets_the_campaigns_order(offer: Offer) -> None:
    urgent = make_offer(running(priority=5))
    result = api.decide(SLOT, request=make_request(), limit=2)
    assert shown(result) == [urgent.pk, offer.pk]
    assert result.fallback == "no_scores"
    assert Decision.objects.get().shopper is None
    assert not Exposure.objects.exists()


@pytest.mark.usefixtures("plain")
def test_loyalty_is_part_of_the_offer_and_needs_no_consent(db: None) -> None:
    offer = make_offer(tiers=["gold"])
    assert shown(api.decide(SLOT, shopper=make_shopper(consent_personalisation=False))) == [offer.pk]
    assert shown(api.decide(SLOT, shopper=make_shopper(attributes={}))) == []
    assert shown(api.decide(SLOT)) == []


@pytest.mark.usefixtures("plain")
def test_global_privacy_control_makes_an_answer_impersonal(shopper: Shopper, offer: Offer) -> None:
    request = make_request(visitor=make_alias(shopper), headers={"sec-gpc": "1"})
    assert api.decide(SLOT, request=request).fallback == "no_consent"
    assert Decision.objects.get().shopper is None


@pytest.mark.usefixtures("plain")
def test_a_bot_is_served_and_not_logged(shopper: Shopper, offer: Offer) -> None:
    for agent in (CRAWLER, ""):
        request = make_request(visitor=make_alias(shopper), agent=agent)
        assert shown(api.decide(SLOT, request=request)) == [offer.pk]
    assert not Decision.objects.exists()
    assert not Exposure.objects.exists()


# --- What is written --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_exposures_are_written_with_the_decision(shopper: Shopper) -> None:
    offers = [make_offer(running(attribution_hours=24)), make_offer()]
    result = api.decide(SLOT, shopper=shopper, limit=2, context={"page": 1})
    row = Decision.objects.get(pk=result.decision_id)
    assert (row.shopper, row.slot, row.arm, row.policy) == (shopper, SLOT, "treatment", deciding.POLICY)
    assert row.features["context"] == {"page": 1}
    rows = list(Exposure.objects.order_by("position"))
    assert [(one.offer_id, one.position, one.decision_id) for one in rows] == [
        (offers[0].pk, 1, row.pk),
        (offers[1].pk, 2, row.pk),
    ]
    assert {one.exposed_at for one in rows} == {row.at}
    assert [one.window_ends_at - row.at for one in rows] == [timedelta(hours=24), timedelta(hours=168)]


@pytest.mark.parametrize(("limit", "expected"), [(-3, 1), (0, 1), (1, 1), (2, 2), (3, 3), (99, 3), (10**9, 3)])
def test_a_limit_is_kept(shopper: Shopper, limit: int, expected: int, plain: None) -> None:
    for _ in range(3):
        make_offer()
    assert len(api.decide(SLOT, shopper=shopper, limit=limit).offers) == expected


def test_no_page_shows_more_than_twenty(shopper: Shopper, plain: None) -> None:
    campaign = running()
    for _ in range(25):
        make_offer(campaign)
    assert len(api.decide(SLOT, shopper=shopper, limit=500).offers) == 20


def test_a_decision_is_reproducible_from_its_record(shopper: Shopper, configure: Configure) -> None:
    """Whatever the settings are by then."""
    configure(EXPLORATION=0.7, HOLDOUT_PERCENT=0.0, SALT="summer")
    for _ in range(6):
        make_offer()
    made = [api.decide(SLOT, shopper=shopper, limit=4).decision_id for _ in range(12)]
    configure(EXPLORATION=0.0, HOLDOUT_PERCENT=50.0, SALT="winter")
    orders = set()
    for row in Decision.objects.filter(pk__in=made):
        how = row.features["assignment"]
        uniforms = [assignment.unit(how["salt"], str(row.pk), place) for place in range(how["limit"])]
        drawn = policy.draw(row.eligible, how["limit"], how["exploration"], uniforms)
        assert row.chosen == [
            {"offer": row.eligible[item.index]["offer"], "position": place, "propensity": item.propensity}
            for place, item in enumerate(drawn, start=1)
        ]
        assert [one["offer"] for one in row.chosen] == list(
            row.exposures.order_by("position").values_list("offer_id", flat=True)
        )
        held = assignment.in_holdout(how["salt"], shopper.key, how["holdout_percent"])
        assert row.arm == ("holdout" if held else "treatment")
        orders.add(tuple(item.index for item in drawn))
    assert len(orders) > 1  # it did explore


def test_logged_propensities_are_the_frequencies(shopper: Shopper, configure: Configure) -> None:
    configure(EXPLORATION=0.3, HOLDOUT_PERCENT=0.0)
    offers = [make_offer(running(priority=-place)) for place in range(3)]
    counted: Counter[int] = Counter()
    many = rounds(300, 3000)
    for _ in range(many):
        counted.update(shown(api.decide(SLOT, shopper=shopper)))
    logged = {row.offer_id: row.propensity for row in Exposure.objects.all()}
    assert logged[offers[0].pk] == pytest.approx(0.8)
    for offer in offers:
        expected = logged[offer.pk] or 0.0
        assert counted[offer.pk] / many == pytest.approx(expected, abs=4.5 * sqrt(expected * (1 - expected) / many))
    assert sum(filter(None, logged.values())) == pytest.approx(1.0)


@pytest.mark.usefixtures("plain")
def test_an_offer_arrives_ready_for_a_page(shopper: Shopper) -> None:
    ends = timezone.now() + timedelta(hours=5)
    make_offer(kind="flash_sale", headline="Now!", body="Only today", ends_at=ends, cta_label="Take it")
    make_offer(kind="announcement", name="News", cta_url="/news/")
    sale, news = api.decide(SLOT, shopper=shopper, limit=2).offers
    assert (sale.headline, sale.body, sale.cta_label, sale.ends_at) == ("Now!", "Only today", "Take it", ends)
    assert (sale.needs_claim, news.needs_claim) == (True, False)
    assert (news.headline, news.cta_label, news.cta_url) == ("News", "Have a look", "/news/")
    assert news.reasons == ("by_priority",)


def test_a_decision_costs_few_queries(shopper: Shopper, offer: Offer, django_assert_max_num_queries: Any) -> None:
    score(make_scores(), shopper, {offer.pk: WORTH})
    request = make_request(user=make_account(), visitor=make_alias(shopper))
    api.decide(SLOT, request=request)
    with django_assert_max_num_queries(9):  # session, coupons, scores, savepoint, hold, decision, exposures, release
        api.decide(SLOT, shopper=shopper)


def test_the_settings_hold_what_the_tests_suppose() -> None:
    assert {SLOT, "basket", "product_page"} <= set(conf.get().slots)
    assert (conf.get().exploration, conf.get().holdout_percent) == (0.1, 5.0)
