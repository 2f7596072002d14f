"""Attractiveness as forecasts keep it: read whatever its shape, held against the launch, and scored in hindsight."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.campaigns import lifecycle
from personalization.learning import attractiveness, forecast_terms
from personalization.learning.attractiveness import Outcome
from personalization.models import Campaign, Exposure, Forecast, Job, Offer, Shopper
from tests.support import build

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def told(what: Offer, **given: Any) -> dict[str, Any]:
    row = {"offer": what.pk, "name": what.name, "mean": 0.2, "low": 0.1, "high": 0.3, "precision": 40.0,
           "parts": [["benefit", 0.05], ["channel", -0.02]]} | given  # fmt: skip
    return {"version": 1, "estimator": "cnn", "shoppers": 100, "offers": [row]}


def show(offer: Offer, people: list[Shopper], *, redeem: int, ago: timedelta, late: int = 0) -> None:
    at = timezone.now() - ago
    Exposure.objects.bulk_create(
        Exposure(
            shopper=one, campaign=offer.campaign, offer=offer, arm="treatment", exposed_at=at,
            window_ends_at=at + 3 * DAY,
            redeemed_at=at + DAY if place < redeem else at + 4 * DAY if place < redeem + late else None,
        )
        for place, one in enumerate(people)
    )  # fmt: skip


@pytest.fixture
def people() -> list[Shopper]:
    return [build.shopper() for _ in range(20)]


@pytest.fixture
def offer() -> Offer:
    now = timezone.now()
    made = build.campaign(delivery=Campaign.Delivery.SENT, starts_at=now - 20 * DAY, ends_at=now - 5 * DAY)
    return build.offer(made)


def test_offers_are_read_with_what_carries_them(offer: Offer) -> None:
    found = attractiveness.read(Forecast(attractiveness=told(offer)))
    assert found is not None
    (one,) = found.offers
    assert (one.offer, one.mean, one.low, one.high) == (offer.pk, 0.2, 0.1, 0.3)
    assert [(part.name, part.moved) for part in one.parts] == [("How much it gives", 0.05), ("How it is sent", -0.02)]


@pytest.mark.parametrize("odd", [{}, [], None, "x", {"launches": 3}, {"offers": None, "x": 1}, {"offers": [3, {}]},
                                 {"launches": "3", "needed": []}])  # fmt: skip
def test_what_is_of_another_shape_is_left_out(odd: Any) -> None:
    found = attractiveness.read(Forecast(attractiveness=odd))
    assert found is None or found.offers == []


@pytest.mark.parametrize(
    "change", [{"mean": 0.0}, {"mean": None}, {"precision": -1}, {"low": "a"}, {"offer": None}, {"high": True}]
)
def test_a_row_that_makes_no_sense_is_left_out(offer: Offer, change: dict[str, Any]) -> None:
    found = attractiveness.read(Forecast(attractiveness=told(offer, **change)))
    assert found is not None
    assert found.offers == []


@pytest.mark.parametrize("part", [[["benefit"], 0.1], [{}, 0.1], [None, 0.1], ["unheard", 0.1], ["benefit", "x"]])
def test_a_part_that_makes_no_sense_is_left_out(offer: Offer, part: Any) -> None:
    found = attractiveness.read(Forecast(attractiveness=told(offer, parts=[part, ["channel", 0.02]])))
    assert found is not None
    assert [part.name for part in found.offers[0].parts] == ["How it is sent"]


@pytest.mark.parametrize(
    ("change", "held"), [({"mean": 1e-300}, False), ({"precision": 1e308}, False), ({"precision": 1e-320}, True)]
)
def test_the_most_extreme_forecast_is_held_against_its_launch(offer: Offer, change: dict[str, Any], held: bool) -> None:
    found = attractiveness.read(Forecast(attractiveness=told(offer, **change)))
    assert found is not None
    assert found.offers[0].held(Outcome(1000, 900, True)) is held


def test_missing_launches_are_told() -> None:
    found = attractiveness.read(Forecast(attractiveness={"launches": 3, "needed": 12}))
    assert found is not None
    assert (found.launches, found.needed, found.offers) == (3, 12, [])
    assert attractiveness.read(None) is None


def test_an_outcome_is_of_the_first_wave_and_by_shopper(offer: Offer, people: list[Shopper]) -> None:
    show(offer, people, redeem=5, ago=15 * DAY, late=4)
    show(offer, people[:10], redeem=1, ago=14 * DAY)  # the same wave, the same shopper again
    show(offer, people, redeem=20, ago=8 * DAY)  # a later wave
    assert attractiveness.outcomes(offer.campaign) == {offer.pk: Outcome(20, 5, True)}
    Campaign.objects.filter(pk=offer.campaign.pk).update(delivery=Campaign.Delivery.ON_PAGE)
    whole = attractiveness.outcomes(Campaign.objects.get(pk=offer.campaign.pk))
    assert whole == {offer.pk: Outcome(20, 20, True)}


def test_a_launch_is_over_when_its_last_window_is(offer: Offer, people: list[Shopper]) -> None:
    show(offer, people, redeem=5, ago=2 * DAY)
    assert attractiveness.outcomes(offer.campaign)[offer.pk].over is False
    later = attractiveness.outcomes(offer.campaign, timezone.now() + 2 * DAY)
    assert later[offer.pk].over is True


@pytest.mark.parametrize(("responded", "held"), [(0, False), (5, True), (12, False)])
def test_an_interval_is_that_of_as_many_as_were_shown(offer: Offer, responded: int, held: bool) -> None:
    found = attractiveness.read(Forecast(attractiveness=told(offer)))
    assert found is not None
    (one,) = found.offers
    assert one.held(Outcome(20, responded, True)) is held
    assert one.held(Outcome(20, responded, False)) is None
    assert one.held(Outcome(9, responded, True)) is None


def test_what_was_frozen_is_scored(offer: Offer, people: list[Shopper]) -> None:
    assert attractiveness.hindsight("shop") is None
    show(offer, people, redeem=5, ago=15 * DAY)
    other = build.offer(offer.campaign)
    show(other, people, redeem=16, ago=15 * DAY)
    rows = told(offer)["offers"] + told(other)["offers"]
    row = Forecast.objects.create(campaign=offer.campaign, figures={}, attractiveness={"offers": rows})
    assert attractiveness.hindsight("shop") is None  # not frozen: it could have been made afterwards
    Forecast.objects.filter(pk=row.pk).update(frozen_at=timezone.now() - 15 * DAY)
    found = attractiveness.hindsight("shop")
    assert found is not None
    assert (found.launches, found.held) == (2, 1)
    assert found.error == pytest.approx((0.05 + 0.6) / 2)
    assert found.coverage.low < 0.5 < found.coverage.high
    assert attractiveness.hindsight("another") is None


def test_hindsight_asks_as_often_for_many_as_for_one(people: list[Shopper]) -> None:
    def freeze(delivery: str) -> None:
        now = timezone.now()
        made = build.campaign(delivery=delivery, starts_at=now - 90 * DAY, ends_at=now - 50 * DAY)
        offers = [build.offer(made) for _ in range(3)]
        for one in offers:
            show(one, people[:12], redeem=2, ago=80 * DAY)
        rows = [row for one in offers for row in told(one)["offers"]]
        Forecast.objects.create(campaign=made, figures={}, attractiveness={"offers": rows}, frozen_at=now - 80 * DAY)

    def asked() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            found = attractiveness.hindsight("shop")
        return len(queries), found.launches if found is not None else 0

    freeze("sent")
    alone = asked()
    for place in range(8):
        freeze(("sent", "on_page")[place % 2])
    assert (alone[1], asked()) == (3, (alone[0], 27))


@pytest.mark.parametrize("edited", ["", "offer", "offers", "audience", "dates", "budget", "words"])
def test_only_a_forecast_of_what_is_launched_is_frozen(edited: str) -> None:
    """The launch goes on without; words, which no forecast reads, change nothing (the control, as is no edit)."""
    now = timezone.now()
    campaign = build.campaign(status="draft", starts_at=now - DAY, ends_at=now + DAY)
    mine = build.offer(campaign)
    row = Forecast.objects.create(
        campaign=campaign, figures={}, attractiveness=told(mine), made_for=forecast_terms.digest(campaign.pk)
    )
    changes: dict[str, Any] = {
        "offer": lambda: Offer.objects.update(amount_minor=9000),
        "offers": lambda: build.offer(campaign),
        "audience": lambda: Campaign.objects.update(
            audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
        ),
        "dates": lambda: Campaign.objects.update(ends_at=now + 2 * DAY),
        "budget": lambda: Campaign.objects.update(budget_minor=100_000),
        "words": lambda: Offer.objects.update(headline="Another"),
    }
    if edited:
        changes[edited]()
    assert forecast_terms.fits(row) is (edited in {"", "words"})
    launched = lifecycle.launch(Campaign.objects.get(pk=campaign.pk))
    assert launched.status == "running"
    assert Forecast.objects.filter(frozen_at__isnull=False).exists() is (edited in {"", "words"})


def test_the_newest_that_fits_is_frozen_and_one_without_digest_never() -> None:
    now = timezone.now()
    campaign = build.campaign(status="draft", starts_at=now - DAY, ends_at=now + DAY)
    build.offer(campaign)
    fitting = forecast_terms.digest(campaign.pk)
    made = [
        Forecast.objects.create(campaign=campaign, figures={}, made_for=made_for, created_at=now - hours * DAY / 24)
        for hours, made_for in enumerate(["", "0" * 64, fitting, fitting])
    ]
    lifecycle.launch(campaign)
    assert list(Forecast.objects.filter(frozen_at__isnull=False)) == [made[2]]


def test_a_launch_freezes_what_was_told(offer: Offer) -> None:
    """A forecast that is computed afterwards stands beside it, and is not what is scored."""
    now = timezone.now()
    campaign = build.campaign(status="draft", starts_at=now - DAY, ends_at=now + DAY)
    mine = build.offer(campaign)
    first = Forecast.objects.create(
        campaign=campaign, figures={}, attractiveness=told(mine), made_for=forecast_terms.digest(campaign.pk)
    )
    lifecycle.launch(campaign)
    Forecast.objects.create(campaign=campaign, figures={}, attractiveness=told(mine, mean=0.9))
    (frozen,) = Forecast.objects.filter(campaign=campaign, frozen_at__isnull=False)
    assert frozen == first
    found = attractiveness.read(frozen)
    assert found is not None
    assert found.offers[0].mean == 0.2


def test_a_job_leads_to_what_it_stored(offer: Offer) -> None:
    row = Forecast.objects.create(campaign=offer.campaign, figures={}, attractiveness={"launches": 1, "needed": 12})
    found = attractiveness.of_job(Job(kind="forecast", result={"forecast": row.pk}))
    assert found is not None
    assert found.launches == 1
    assert attractiveness.of_job(Job(kind="forecast")) is None
