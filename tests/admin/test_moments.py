"""Dates and states in words: the same on the list, the campaign's page, the calendar and before a launch."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization.admin import moments
from personalization.admin.calendar import rows_of
from personalization.admin.lifecycle import consequence
from personalization.models import Campaign, Offer
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.admin.test_campaigns import MARKETER, new_campaign_data

pytestmark = pytest.mark.django_db
LIST, ADD = "admin:personalization_campaign_changelist", "admin:personalization_campaign_add"
DAY = timedelta(days=1)
AHEAD = {"starts_at": datetime(2030, 11, 28, tzinfo=UTC), "ends_at": datetime(2030, 12, 11, tzinfo=UTC)}
FROM, UNTIL = "Nov. 28, 2030, 00:00", "Dec. 11, 2030, 00:00"


def pages(client: Client, campaign: Campaign) -> dict[str, str]:
    """Return every page that tells a campaign's dates and state."""
    addresses = {
        "list": reverse(LIST),
        "page": reverse("admin:personalization_campaign_change", args=[campaign.pk]),
        "calendar": reverse("admin:personalization_campaign_calendar") + "?month=2030-12",
    }
    return {name: client.get(address).content.decode() for name, address in addresses.items()}


@pytest.fixture
def launcher(client: Client) -> Any:
    user = make_user("view_campaign", "change_campaign", "launch_campaign")
    client.force_login(user)
    return user


@pytest.fixture
def marketer(client: Client) -> Any:
    user = make_user(*MARKETER)
    client.force_login(user)
    return user


def test_every_page_tells_the_same_dates(client: Client, launcher: Any) -> None:
    for name, html in pages(client, make_campaign(**AHEAD)).items():
        assert FROM in html, name
        assert UNTIL in html, name


def test_both_ends_of_a_span_are_written_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2030, 11, 1, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    around = make_campaign(starts_at=AHEAD["starts_at"], ends_at=datetime(2031, 1, 27, tzinfo=UTC))
    assert moments.span(around) == (FROM, "Jan. 27, 2031, 00:00")
    assert moments.span(make_campaign(**AHEAD)) == ("November 28, 00:00", "December 11, 00:00")
    (row, _other) = rows_of(Campaign.objects.all(), date(2030, 12, 1))
    assert row.words == f"{FROM} to Jan. 27, 2031, 00:00"


def test_a_launched_campaign_says_from_when_on_every_page(client: Client, launcher: Any) -> None:
    for name, html in pages(client, make_campaign(status="running", **AHEAD)).items():
        assert f"running, from {FROM}" in html, name


def test_once_it_has_begun_it_just_runs() -> None:
    campaign = make_campaign(status="running", starts_at=timezone.now() - DAY)
    assert moments.state_words(campaign) == "running"
    assert moments.tone(campaign) == "good"
    assert moments.tone(make_campaign(status="running", **AHEAD)) == moments.tone(make_campaign(status="scheduled"))


def test_before_the_launch_it_is_told_that_nothing_shows_yet(client: Client, launcher: Any) -> None:
    campaign = make_campaign(**AHEAD)
    make_offer(campaign)
    address = reverse("admin:personalization_campaign_state", args=[campaign.pk, "running"])
    asked = client.get(address).content.decode()
    assert f"From {FROM} on shoppers see the offers" in asked
    assert "Shoppers will see" not in asked
    answer = client.post(address, follow=True)
    assert f"is now running, from {FROM}." in " ".join(map(str, answer.context["messages"]))
    assert "Shoppers will see" in consequence(make_campaign(starts_at=timezone.now() - DAY), "running")


def test_the_calendar_draws_no_day_that_an_end_at_midnight_leaves_out() -> None:
    make_campaign(**AHEAD)
    (row,) = rows_of(Campaign.objects.all(), date(2030, 12, 1))
    assert (row.days, row.after) == (10, 21)
    assert UNTIL in row.words


def test_a_clock_that_is_not_the_pages_own_is_named() -> None:
    at = datetime(2030, 12, 10, 15, tzinfo=UTC)
    assert moments.moment(at) == "Dec. 10, 2030, 15:00"
    assert moments.moment(at, "Asia/Tokyo") == f"{UNTIL} (Asia/Tokyo)"
    with timezone.override("Asia/Tokyo"):
        assert moments.moment(at, "Asia/Tokyo") == UNTIL


def test_a_day_without_a_time_is_its_midnight(client: Client, marketer: Any) -> None:
    day_only = {"starts_at_1": "", "ends_at_1": "", "offers-0-ends_at_0": "2030-03-08", "offers-0-ends_at_1": ""}
    page = client.get(reverse(ADD)).content.decode()
    assert "Without a time: at midnight." in page
    response = client.post(reverse(ADD), {**new_campaign_data(), **day_only})
    assert response.status_code == 302, response.context["errors"]
    campaign, offer = Campaign.objects.get(), Offer.objects.get()
    shown = [timezone.localtime(moment) for moment in (campaign.starts_at, campaign.ends_at, offer.ends_at)]
    assert [(at.month, at.day, at.hour, at.minute) for at in shown] == [(3, 1, 0, 0), (4, 1, 0, 0), (3, 8, 0, 0)]


def test_a_time_without_a_day_is_no_moment(client: Client, marketer: Any) -> None:
    data = {**new_campaign_data(), "starts_at_0": "", "starts_at_1": "09:00"}
    response = client.post(reverse(ADD), data)
    assert response.status_code == 200
    assert "starts_at" in response.context["adminform"].form.errors
