"""Forecasts: sums of calibrated predictions, with intervals that hold the mean and grow with what is not known."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.learning import attractiveness, forecast_terms, jobs
from personalization.learning import frames as reading
from personalization.learning.attractiveness import Attractiveness
from personalization.models import Campaign, Exposure, Forecast, ModelVersion, Shopper
from personalization.types import HEADS, JobKind
from tests.support import build
from tests.worker import population
from tests.worker.population import Population
from worker import forecast, train
from worker.forecast import METRICS, backtest_bias


def silent(what: object, done: float) -> None:
    """Say nothing."""


def run(campaign: Campaign, **kwargs: Any) -> Forecast:
    return forecast.run(kwargs.pop("job", None), {"campaign": campaign.pk}, silent, until=population.END)


@pytest.fixture
def trained(shop: Population) -> Population:
    train.run(None, population.QUICK, silent, until=population.END)
    return shop


@pytest.fixture
def campaign(trained: Population) -> Campaign:
    """A campaign that is sent to everybody: 5.00 off."""
    made = build.campaign(delivery=Campaign.Delivery.SENT)
    build.offer(made)
    return made


def spread(
    biases: dict[str, float], sums: dict[str, tuple[float, float]], monkeypatch: Any, budget: int | None = None
) -> dict[str, list[float]]:
    monkeypatch.setattr(forecast, "backtest_bias", lambda backtest: biases)
    scorer: Any = SimpleNamespace(response=SimpleNamespace(backtest={}))
    return forecast._with_intervals(sums, scorer, forecast.CostModel(50.0, 1.0, 0.05), budget)[0]


def width(figure: list[float]) -> float:
    return figure[2] - figure[1]


BIAS = {"view": 0.05, "click": 0.05, "redeem": 0.05, "purchase": 0.05}
SUMS = {"audience": (1000.0, 0.0), "views": (600.0, 240.0), "redemptions": (80.0, 70.0), "orders": (120.0, 100.0),
        "cost": (40000.0, 9e6)}  # fmt: skip


def test_an_interval_holds_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = spread(BIAS, SUMS, monkeypatch)
    assert set(figures) == set(METRICS)
    for name, (mean, low, high) in figures.items():
        assert low <= mean <= high, name
        assert mean == SUMS[name][0]
    assert figures["audience"] == [1000, 1000, 1000]  # who is addressed is counted, not predicted
    assert figures["views"][1] < 600 < figures["views"][2]


def test_a_budget_ends_cost_and_redemptions_where_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    free, bound = (spread(BIAS, SUMS, monkeypatch, budget) for budget in (None, 20_000))
    assert bound["cost"][0] == bound["cost"][2] == 20_000
    assert bound["redemptions"][0] == pytest.approx(free["redemptions"][0] / 2)
    assert bound["redemptions"][2] < free["redemptions"][1]
    assert bound["views"] == free["views"]


def test_an_interval_grows_with_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = spread(BIAS, SUMS, monkeypatch)
    biased = spread(dict.fromkeys(BIAS, 0.2), SUMS, monkeypatch)
    noisy = spread(BIAS, {name: (mean, 9 * variance) for name, (mean, variance) in SUMS.items()}, monkeypatch)
    for name in ("views", "redemptions", "orders", "cost"):
        assert width(biased[name]) > 1.5 * width(plain[name])
        assert width(noisy[name]) > 1.2 * width(plain[name])


def test_an_interval_is_ninety_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bias: mean ± 1.645 deviations of chance."""
    figures = spread(dict.fromkeys(BIAS, 0.0), SUMS, monkeypatch)
    _mean, low, high = figures["redemptions"]
    assert (high - low) / 2 == pytest.approx(1.645 * np.sqrt(70), rel=0.08)


def test_nothing_is_forecast_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spread(BIAS, {**SUMS, "orders": (0.5, 4.0)}, monkeypatch)["orders"][1] == 0


def backtested(share: float, rows: int = 4000) -> dict[str, np.ndarray]:
    """Return a backtest whose predictions are ``share`` of what happened."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.4, (rows, len(HEADS)))
    return {"label": (rng.random(p.shape) < p).astype(np.float32), "probability": (p * share).astype(np.float32)}


def test_the_models_bias_is_read_off_its_backtest() -> None:
    fair, low = backtest_bias(backtested(1.0)), backtest_bias(backtested(0.7))
    for head in HEADS:
        assert 0.02 <= fair[head] < 0.1
        assert low[head] == pytest.approx(1 / 0.7 - 1, abs=0.1)


def test_without_a_backtest_much_is_unknown() -> None:
    assert backtest_bias({}) == dict.fromkeys(HEADS, 0.25)
    assert backtest_bias(backtested(1.0, rows=300)) == dict.fromkeys(HEADS, 0.25)
    unknown = backtested(1.0)
    unknown["label"][:, HEADS.index("click")] = np.nan
    assert backtest_bias(unknown)["click"] == 0.25


def test_a_campaign_is_forecast(campaign: Campaign, trained: Population) -> None:
    jobs.enqueue(JobKind.FORECAST, {"campaign": campaign.pk})
    job = jobs.lease("one")
    made = run(campaign, job=job)
    figures = made.figures
    assert set(figures) == set(METRICS)
    people = len(trained.shoppers)
    assert figures["audience"] == [people] * 3
    for mean, low, high in figures.values():
        assert 0 <= low <= mean <= high
    assert figures["redemptions"][0] < figures["views"][0] < people
    assert figures["redemptions"][2] < people
    # Every redemption takes 5.00 off, times what redemptions did cost over what their terms said.
    factor = made.assumptions["cost_factor"][0]
    assert figures["cost"][0] == pytest.approx(500 * factor * figures["redemptions"][0], rel=1e-3)
    assert made.model_version is not None
    assert made.model_version.state == "champion"
    assert made.assumptions["interval"] == "90 %"
    assert made.assumptions["offers_chosen"] == "the one offer"
    assert job is not None
    job.refresh_from_db()
    assert (job.state, job.result["forecast"]) == ("succeeded", made.pk)


def test_it_is_about_what_happened_before(trained: Population) -> None:
    """The same offers sent to the same people: redemptions about as in the last wave."""
    Campaign.objects.update(ends_at=population.END + timedelta(days=7))
    made = run(trained.campaign)
    last = trained.campaign.exposures.filter(exposed_at=population.wave(6), offer__isnull=False)
    share = last.filter(redeemed_at__isnull=False).count() / last.count()
    mean, low, high = made.figures["redemptions"]
    assert mean / len(trained.shoppers) == pytest.approx(share, abs=0.08)
    assert low < share * len(trained.shoppers) * 1.1
    assert high > share * len(trained.shoppers) * 0.9


def test_a_page_reaches_who_visits(campaign: Campaign) -> None:
    """Shown on the pages: fewer than if it were sent, and more the longer it runs."""
    sent = run(campaign).figures
    Campaign.objects.filter(pk=campaign.pk).update(delivery=Campaign.Delivery.ON_PAGE)
    short = run(campaign).figures
    Campaign.objects.filter(pk=campaign.pk).update(ends_at=campaign.ends_at + timedelta(days=30))
    long = run(campaign).figures
    for name in ("audience", "views", "redemptions", "orders", "cost"):
        assert short[name][0] < long[name][0] < sent[name][0] + 1e-6


def test_tiers_limit_who_may_have_it(campaign: Campaign, trained: Population) -> None:
    campaign.offers.update(tiers=["gold"])
    gold = sum(person.attributes["tier"] == "gold" for person in trained.shoppers)
    assert run(campaign).figures["audience"][0] == gold


def test_an_announcement_costs_nothing(campaign: Campaign) -> None:
    campaign.offers.update(kind="announcement", amount_minor=0)
    figures = run(campaign).figures
    assert figures["redemptions"] == figures["cost"] == [0, 0, 0]
    assert figures["views"][0] > 0


def test_several_offers_share_the_audience(campaign: Campaign) -> None:
    one = run(campaign).figures["cost"][0]
    build.offer(campaign, amount_minor=500)
    two = run(campaign)
    assert two.figures["cost"][0] == pytest.approx(one, rel=0.5)
    assert two.assumptions["offers_chosen"] == "uniformly among the eligible"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda campaign: campaign.delete(), "no longer exists"),
        (lambda campaign: campaign.offers.all().delete(), "has no offer yet"),
        (lambda campaign: Shopper.objects.update(consent_marketing=False), "audience is empty"),
    ],
)
def test_what_is_missing_is_said(spoil: Any, sentence: str, campaign: Campaign) -> None:
    key = campaign.pk
    spoil(campaign)
    with pytest.raises(NotEnoughData, match=sentence):
        forecast.run(None, {"campaign": key}, silent, until=population.END)


def test_without_a_model_it_is_said(shop: Population) -> None:
    Campaign.objects.update(ends_at=population.END + timedelta(days=7))
    with pytest.raises(NotEnoughData, match="No response model has been trained yet"):
        run(shop.campaign)


def test_a_cancelled_forecast_is_not_kept(campaign: Campaign) -> None:
    jobs.enqueue(JobKind.FORECAST, {"campaign": campaign.pk})
    job = jobs.lease("one")
    assert job is not None
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        run(campaign, job=job)
    assert not Forecast.objects.exists()


def test_a_forecast_keeps_what_it_was_made_for(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forecast_terms.fits(run(campaign))
    load = reading.load

    def edited_meanwhile(*given: Any) -> Any:
        campaign.offers.update(amount_minor=700)
        return load(*given)

    monkeypatch.setattr(reading, "load", edited_meanwhile)
    assert not forecast_terms.fits(run(campaign))


def told(campaign: Campaign) -> Attractiveness:
    found = attractiveness.read(run(campaign))
    assert found is not None
    return found


@pytest.fixture
def with_launches(trained: Population) -> Population:
    """The same shop, whose launches were learnt from too."""
    train.run(None, {"parts": ["attractiveness"]}, silent, until=population.END)
    return trained


def test_a_forecast_tells_how_attractive_each_offer_is(with_launches: Population) -> None:
    made = build.campaign(delivery=Campaign.Delivery.SENT)
    coupon = build.offer(made)
    build.offer(made, kind="announcement", percent=0, amount_minor=0)
    (one,) = told(made).offers
    assert one.offer == coupon.pk
    assert 0 < one.low < one.mean < one.high < 1
    version = ModelVersion.objects.get(task="attractiveness", state="champion")
    assert Forecast.objects.get().attractiveness["version"] == version.pk
    # What happened so far in this shop, over all launches:
    shown = Exposure.objects.exclude(offer=None)
    assert one.mean == pytest.approx(shown.exclude(redeemed_at=None).count() / shown.count(), abs=0.15)


def test_few_to_address_make_the_interval_wider(with_launches: Population) -> None:
    made = build.campaign(delivery=Campaign.Delivery.SENT)
    build.offer(made)
    (many,) = told(made).offers
    Shopper.objects.filter(pk__in=[one.pk for one in with_launches.shoppers[12:]]).update(consent_personalisation=False)
    (few,) = told(made).offers
    assert few.high - few.low > many.high - many.low


def test_without_a_model_of_it_the_launches_are_counted(campaign: Campaign) -> None:
    found = told(campaign)
    assert (found.launches, found.needed, found.offers) == (18, 12, [])


def test_a_model_that_cannot_be_read_is_no_end_of_the_forecast(with_launches: Population, models: Path) -> None:
    version = ModelVersion.objects.get(task="attractiveness", state="champion")
    (models / version.path / "model.json").write_text("{}")
    made = build.campaign(delivery=Campaign.Delivery.SENT)
    build.offer(made)
    found = told(made)
    assert found.problem
    assert Forecast.objects.get().figures["redemptions"][0] > 0


def test_without_a_response_model_it_is_all_that_is_told(shop: Population) -> None:
    made = build.campaign(delivery=Campaign.Delivery.SENT)
    build.offer(made)
    with pytest.raises(NotEnoughData, match="No response model"):
        run(made)
    train.run(None, {"parts": ["attractiveness"]}, silent, until=population.END)
    assert len(told(made).offers) == 1
    row = Forecast.objects.get()
    assert (row.figures, row.model_version) == ({}, None)
