"""The attractiveness of offers on the campaign's page and on the board."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from personalization.admin.attractiveness import table
from personalization.admin.display import number
from personalization.models import Exposure, Forecast
from tests.admin.builders import DAY, make_campaign, make_forecast, make_offer, make_shopper, make_user, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def marketer(client: Any) -> Any:
    user = make_user("view_campaign", "change_campaign", "view_offer", "view_modelversion")
    client.force_login(user)
    return user


def row(offer: Any, **given: Any) -> dict[str, Any]:
    return {"offer": offer.pk, "name": offer.name, "mean": 0.213, "low": 0.12, "high": 0.33, "precision": 30.0,
            "parts": [["benefit", 0.052], ["threshold", -0.031]]} | given  # fmt: skip


def words(client: Any, campaign: Any) -> str:
    page = client.get(reverse("admin:personalization_campaign_change", args=[campaign.pk])).content.decode()
    section = page[page.index('id="forecast"') :]
    return " ".join(re.sub(r"<[^>]+>", " ", section).split())


def test_it_stands_in_the_forecast(client: Any, marketer: Any) -> None:
    campaign = make_campaign()
    make_forecast(campaign, attractiveness={"offers": [row(make_offer(campaign, name="Ten <b>off</b>"))]})
    told = words(client, campaign)
    assert escape("Ten <b>off</b>") + " 21.3 % 12.0 % to 33.0 %" in told
    assert "How much it gives: 5.2 points more" in told
    assert "What it asks for: 3.1 points fewer" in told
    assert "Actual" not in told


def test_a_shop_with_few_launches_is_told_so(client: Any, marketer: Any) -> None:
    campaign = make_campaign()
    make_forecast(campaign, attractiveness={"launches": 3, "needed": 12})
    assert "Not enough launches yet (3 of 12): how attractive it is cannot be told." in words(client, campaign)


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({"problem": {"template": "There is no file."}}, "There is no file."),
        ({"offers": []}, "An announcement has nothing to redeem: its attractiveness is not told."),
    ],
)
def test_why_nothing_is_told(client: Any, marketer: Any, stored: dict[str, Any], sentence: str) -> None:
    campaign = make_campaign()
    make_forecast(campaign, attractiveness=stored)
    assert sentence in words(client, campaign)


def test_without_a_response_model_it_stands_alone(client: Any, marketer: Any) -> None:
    campaign = make_campaign()
    make_forecast(campaign, figures={}, attractiveness={"offers": [row(make_offer(campaign))]})
    told = words(client, campaign)
    assert "No response model is in service: only the attractiveness can be told" in told
    assert "holds no figures" not in told


def test_an_older_forecast_says_nothing_of_it(client: Any, marketer: Any) -> None:
    campaign = make_campaign()
    make_forecast(campaign)
    assert "Attractiveness" not in words(client, campaign)
    assert table(campaign, None, started=False) is None


@pytest.mark.parametrize(("redeemed", "verdict"), [(3, "inside"), (11, "outside")])
def test_after_the_launch_the_outcome_stands_beside_it(client: Any, marketer: Any, redeemed: int, verdict: str) -> None:
    now = timezone.now()
    campaign = make_campaign(status="ended", delivery="sent", starts_at=now - 20 * DAY, ends_at=now - 6 * DAY)
    offer = make_offer(campaign)
    make_forecast(campaign, frozen_at=campaign.starts_at, attractiveness={"offers": [row(offer)]})
    for place in range(12):
        Exposure.objects.create(
            shopper=make_shopper(), campaign=campaign, offer=offer, exposed_at=now - 19 * DAY,
            window_ends_at=now - 15 * DAY, source="elsewhere", source_row=str(place),
            redeemed_at=now - 18 * DAY if place < redeemed else None,
        )  # fmt: skip
    told = words(client, campaign)
    assert f"{100 * redeemed / 12:.1f} % of 12 {verdict}" in told
    make_version(task="attractiveness", estimator="cnn", metrics={"board": {"mae": [0.03, 0.02, 0.04]}})
    page = client.get(reverse("admin:personalization_modelversion_changelist")).content.decode()
    assert "Board: attractiveness of campaigns" in page
    error = 100 * abs(0.213 - redeemed / 12)
    held = int(verdict == "inside")
    assert f"scored afterwards: 1 launch, mean error {number(error, 1)} points; {held} of the" in page


def test_while_it_runs_the_outcome_is_open(client: Any, marketer: Any) -> None:
    now = timezone.now()
    campaign = make_campaign(status="running", starts_at=now - DAY, ends_at=now + 6 * DAY)
    offer = make_offer(campaign)
    make_forecast(campaign, frozen_at=campaign.starts_at, attractiveness={"offers": [row(offer)]})
    Exposure.objects.create(shopper=make_shopper(), campaign=campaign, offer=offer, exposed_at=now - timedelta(hours=2),
                            window_ends_at=now + DAY)  # fmt: skip
    told = words(client, campaign)
    assert "0.0 % of 1 so far" in told
    assert Forecast.objects.get().frozen_at is not None


def test_a_promotion_says_what_uses_it(client: Any) -> None:
    client.force_login(_superuser())
    version = make_version(task="attractiveness", estimator="cnn")
    url = reverse("admin:personalization_modelversion_promote", args=[version.pk])
    assert "It scores no shopper: the next forecast of a campaign uses it." in client.get(url).content.decode()
    page = client.post(url, follow=True).content.decode()
    assert "is champion now. The next forecast of a campaign uses it." in page


def _superuser() -> Any:
    user = make_user()
    user.is_superuser = True
    user.save()
    return user
