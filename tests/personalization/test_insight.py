"""What came of what was shown: outcomes joined once, forecasts held against them, and the board of estimators."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization import api
from personalization.insight import feedback, forecast
from personalization.learning import metric_names
from personalization.learning.board import board
from personalization.models import Campaign, Exposure, Forecast, Job, Offer, Shopper
from personalization.types import Arm, ExposureData
from tests.admin.builders import make_forecast, make_version
from tests.personalization.builders import DAY, make_basket, make_event, make_offer, make_shopper, running

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
NOW = timezone.now()


def expose(shopper: Shopper, offer: Offer | None, **fields: Any) -> Exposure:
    """Return an exposure of two hours ago whose window is a week."""
    given = {
        "arm": "treatment" if offer else "holdout",
        "campaign": offer.campaign if offer else None,
        "exposed_at": timezone.now() - 2 * HOUR,
        "window_ends_at": timezone.now() + 7 * DAY,
        **fields,
    }
    return Exposure.objects.create(shopper=shopper, offer=offer, **given)


def joined(exposure: Exposure, **kwargs: Any) -> Exposure:
    api.join_outcomes(**kwargs)
    exposure.refresh_from_db()
    return exposure


def ago(hours: float) -> dict[str, Any]:
    return {"occurred_at": timezone.now() - hours * HOUR}


def redeem(shopper: Shopper, offer: Offer, order_id: str = "1") -> None:
    code = api.claim(offer.pk, shopper=shopper).code
    held = api.reserve(shopper=shopper, basket=make_basket(), code=code, idempotency_key=f"{shopper.pk}:{order_id}")
    with transaction.atomic():
        api.redeem(held.reservation_id, order_label="o", order_id=order_id)


# --- Outcomes ---------------------------------------------------------------------------------------------------------


def test_each_outcome_is_the_first_of_its_sort(shopper: Shopper, offer: Offer) -> None:
    exposure = expose(shopper, offer)
    first = make_event(shopper, "offer_viewed", offer=offer, **ago(1.5))
    make_event(shopper, "offer_viewed", offer=offer, **ago(1.0))
    click = make_event(shopper, "offer_clicked", offer=offer, **ago(0.9))
    orders = [
        make_event(shopper, "order_placed", value_minor=value, **ago(hours)) for value, hours in ((500, 0.5), (70, 0.2))
    ]
    found = joined(exposure)
    assert (found.viewed_at, found.clicked_at) == (first.occurred_at, click.occurred_at)
    assert (found.purchased_at, found.revenue_minor) == (orders[0].occurred_at, 570)
    assert (found.claimed_at, found.redeemed_at, found.cost_minor) == (None, None, 0)


def test_what_is_redeemed_is_taken_part_in_and_seen(shopper: Shopper, offer: Offer) -> None:
    exposure = expose(shopper, offer)
    redeem(shopper, offer)
    found = joined(exposure)
    assert found.redeemed_at
    assert found.claimed_at
    assert found.clicked_at == found.viewed_at == found.claimed_at
    assert found.cost_minor == 1000
    api.refund(order_label="o", order_id="1", operation_id="r", amount_minor=400)
    assert joined(exposure).cost_minor == 600


@pytest.mark.parametrize("hours", [2.5, -8 * 24])
@pytest.mark.parametrize("kind", ["offer_viewed", "order_placed"])
def test_what_lies_outside_the_window_does_not_count(shopper: Shopper, offer: Offer, hours: float, kind: str) -> None:
    exposure = expose(shopper, offer)
    make_event(shopper, kind, offer=offer, value_minor=5, **ago(hours))
    found = joined(exposure)
    assert (found.viewed_at, found.purchased_at, found.revenue_minor) == (None, None, 0)


def test_other_peoples_other_offers_and_bots_do_not_count(shopper: Shopper, offer: Offer) -> None:
    exposure = expose(shopper, offer)
    make_event(make_shopper(), "offer_viewed", offer=offer)
    make_event(shopper, "offer_viewed", offer=make_offer())
    make_event(shopper, "offer_viewed", offer=offer, is_bot=True)
    make_event(shopper, "offer_viewed", offer=offer, properties={"decision_id": "another decision"})
    assert joined(exposure).viewed_at is None
    redeem(shopper, make_offer())
    assert joined(exposure).redeemed_at is None


def test_a_holdout_has_purchases_and_nothing_else(shopper: Shopper) -> None:
    exposure = expose(shopper, None)
    make_event(shopper, "offer_viewed", offer=make_offer())
    make_event(shopper, "order_placed", value_minor=900)
    found = joined(exposure)
    assert (found.revenue_minor, found.viewed_at, found.redeemed_at) == (900, None, None)


def test_joining_again_changes_nothing_and_late_events_are_joined(shopper: Shopper, offer: Offer) -> None:
    closed = expose(shopper, offer, exposed_at=NOW - 9 * DAY, window_ends_at=NOW - DAY)
    old = expose(shopper, offer, exposed_at=NOW - 20 * DAY, window_ends_at=NOW - 13 * DAY)
    make_event(shopper, "order_placed", value_minor=5, occurred_at=NOW - 2 * DAY)
    make_event(shopper, "order_placed", value_minor=7, occurred_at=NOW - 14 * DAY)
    assert api.join_outcomes() == 1
    assert api.join_outcomes() == 0
    assert joined(closed).revenue_minor == 5
    assert joined(old).revenue_minor == 0  # its window closed long ago: it is joined on demand only
    assert joined(old, campaign_id=offer.campaign_id).revenue_minor == 7


def test_what_was_imported_carries_its_own_outcome(shopper: Shopper, offer: Offer) -> None:
    exposure = expose(shopper, offer, source="set", source_row="1", revenue_minor=3)
    make_event(shopper, "order_placed", value_minor=900)
    assert joined(exposure, campaign_id=offer.campaign_id).revenue_minor == 3


# --- Exposures from elsewhere -----------------------------------------------------------------------------------------


def test_exposures_are_recorded_once(shopper: Shopper, offer: Offer) -> None:
    rows = [
        ExposureData("set", str(n), shopper.pk, NOW, NOW + DAY, offer_id=offer.pk, propensity=0.25) for n in range(600)
    ]
    assert api.record_exposures([*rows, rows[0]]) == 600
    assert api.record_exposures(rows) == 0
    assert api.record_exposures([]) == 0
    control = ExposureData("set", "c", shopper.pk, NOW, NOW + DAY, arm=Arm.CONTROL, propensity=0.5)
    assert api.record_exposures([control, rows[3]]) == 1
    assert Exposure.objects.get(source_row="c").arm == "control"
    assert Exposure.objects.count() == 601


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.01])
def test_a_propensity_is_a_probability(shopper: Shopper, propensity: float) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        expose(shopper, None, propensity=propensity)


# --- Forecasts --------------------------------------------------------------------------------------------------------


def figures(campaign: Campaign) -> dict[str, Any]:
    return {line.metric: line for line in api.compare_forecast(campaign)}


def test_a_forecast_is_asked_for_once(offer: Offer) -> None:
    job, new = forecast.request_forecast(offer.campaign)
    assert new
    assert forecast.request_forecast(offer.campaign) == (job, False)
    assert Job.objects.get().params == {"campaign": offer.campaign_id}


def test_a_forecast_is_held_against_what_happened() -> None:
    offer = make_offer()
    campaign = offer.campaign
    people = [make_shopper() for _ in range(4)]
    for person in people[:3]:
        expose(person, offer)
        expose(person, offer)
    expose(people[3], None)
    make_event(people[0], "offer_viewed", offer=offer)
    redeem(people[1], offer)
    make_event(people[1], "order_placed", value_minor=5000)
    api.refund(order_label="o", order_id="1", operation_id="r", amount_minor=200)
    make_forecast(campaign, figures={name: [2, 1.0, 2.0] for name in forecast.METRICS} | {"cost": [900, 700, 850]})
    found = figures(campaign)
    actual = {name: line.actual for name, line in found.items()}
    assert actual == {"audience": 3.0, "views": 2.0, "redemptions": 1.0, "orders": 1.0, "cost": 800.0}
    assert {line.inside for line in found.values()} == {None}  # it still runs
    Campaign.objects.update(status="ended")
    campaign.refresh_from_db()
    inside = {name: line.inside for name, line in figures(campaign).items()}
    assert inside == {"audience": False, "views": True, "redemptions": True, "orders": True, "cost": True}


def test_the_frozen_forecast_is_the_one_that_counts(offer: Offer) -> None:
    frozen = make_forecast(offer.campaign, frozen_at=NOW, created_at=NOW - DAY)
    make_forecast(offer.campaign)
    assert forecast.latest(offer.campaign) == frozen
    with pytest.raises(IntegrityError), transaction.atomic():
        make_forecast(offer.campaign, frozen_at=NOW)


def test_before_the_start_nothing_has_happened() -> None:
    campaign = running(status="draft", starts_at=NOW + DAY)
    assert api.compare_forecast(campaign) == []
    make_forecast(campaign)
    assert {line.actual for line in api.compare_forecast(campaign)} == {None}


@pytest.mark.parametrize(
    "damaged", [[], "x", {}, {"audience": 5}, {"audience": [1, 2]}, {"audience": None, "views": [1, 0, 2]}]
)
def test_figures_that_cannot_be_read_are_left_out(offer: Offer, damaged: Any) -> None:
    Forecast.objects.create(campaign=offer.campaign, figures=damaged)
    assert set(figures(offer.campaign)) <= {"views"}


# --- The board --------------------------------------------------------------------------------------------------------


def test_metrics_stand_in_one_order() -> None:
    """PostgreSQL sorts the keys of what it stores as JSON by their length."""
    stored = ["auc", "ece", "auc_view", "log_loss", "odd", "auc_click", "recall@10", "ndcg@10"]
    ordered = ["log_loss", "auc", "ece", "ndcg@10", "recall@10", "odd", "auc_view", "auc_click"]
    assert metric_names.ordered(stored) == metric_names.ordered(reversed(stored)) == ordered
    assert metric_names.ordered(["mae", "width_80", "log_score"]) == ["log_score", "mae", "width_80"]


def test_the_board_shows_the_latest_training_and_the_champion() -> None:
    first, second = Job.objects.create(kind="train"), Job.objects.create(kind="train")
    make_version(estimator="old-champion", job=first, state="champion", created_at=NOW - DAY)
    make_version(estimator="old-loser", job=first, created_at=NOW - DAY)
    make_version(estimator="b", job=second, metrics={"board": {"auc": [0.7, 0.6, 0.8], "odd": "x"}})
    make_version(estimator="a", job=second, metrics=[], card={"note": "simulated"})
    make_version(estimator="elsewhere", job=second, population="set")
    rows = board()
    told = [(row.estimator, row.champion, row.earlier) for row in rows]
    assert told == [("old-champion", True, True), ("a", False, False), ("b", False, False)]
    assert rows[2].metrics == {"auc": (0.7, 0.6, 0.8)}
    assert (rows[1].metrics, rows[1].note) == ({}, "simulated")
    assert [row.estimator for row in board("set")] == ["elsewhere"]
    assert board("nothing") == []


def test_the_room_names_what_it_joins() -> None:
    assert {field.name for field in Exposure._meta.fields} >= set(feedback.OUTCOMES)
