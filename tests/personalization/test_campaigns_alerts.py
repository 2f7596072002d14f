"""Alerts: raised once an occasion, mailed once, in a constant number of queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from personalization.campaigns import alerts
from personalization.models import (
    Alert,
    Campaign,
    CampaignTransition,
    Exposure,
    Occurrence,
    OutboxMessage,
    Reservation,
    RiskReview,
    Trigger,
)
from tests.admin.builders import make_coupon
from tests.personalization.builders import DAY, make_offer, make_shopper, make_user, running

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _managers(settings: Settings) -> None:
    settings.MANAGERS = [("Ops", "ops@example.org")]


def kinds() -> list[str]:
    return list(Alert.objects.order_by("pk").values_list("kind", flat=True))


def exposed(campaign: Campaign, at: Any) -> None:
    Exposure.objects.create(
        campaign=campaign, shopper=make_shopper(), propensity=1, exposed_at=at, window_ends_at=at + DAY
    )


def test_a_budget_is_told_of_once_and_again_when_it_was_raised() -> None:
    quiet = running(budget_minor=1000, spent_minor=500, reserved_minor=299)
    loud = running(budget_minor=1000, spent_minor=500, reserved_minor=300)
    running(budget_minor=None, spent_minor=500)
    running(budget_minor=1000, spent_minor=1000, status="ended")
    assert alerts.check() == 1
    assert alerts.check() == 0
    (raised,) = Alert.objects.all()
    assert (raised.kind, raised.campaign) == ("budget", loud)
    assert alerts.text(raised) == "€8.00 of the budget of €10.00 are used."
    Campaign.objects.filter(pk=loud.pk).update(budget_minor=2000, spent_minor=1600)
    assert alerts.check() == 1
    assert not quiet.alerts.exists()


def test_a_campaign_that_shows_nothing_for_a_day() -> None:
    now = timezone.now()
    silent, shown = running(starts_at=now - 3 * DAY), running(starts_at=now - 3 * DAY)
    codes_only, fresh = running(starts_at=now - 3 * DAY), running(starts_at=now - timedelta(hours=23))
    resumed, sent = running(starts_at=now - 3 * DAY), running(starts_at=now - 3 * DAY, delivery="sent")
    for campaign in (silent, shown, fresh, resumed, sent):
        make_offer(campaign)
    make_offer(codes_only, slots=[])
    exposed(silent, now - 2 * DAY)
    exposed(shown, now - timedelta(hours=1))
    CampaignTransition.objects.create(campaign=resumed, from_status="paused", to_status="running", at=now)
    assert alerts.check(now) == 1
    assert (Alert.objects.get().campaign, kinds()) == (silent, ["silent"])
    assert alerts.check(now + timedelta(minutes=30)) == 0
    exposed(silent, now)
    later = now + 2 * DAY
    assert Alert.objects.filter(campaign=silent).count() == 1
    alerts.check(later)
    assert Alert.objects.filter(campaign=silent).count() == 2  # fell silent once more


def test_coupons_that_could_cost_more_than_the_budget() -> None:
    running(budget_minor=1000, spent_minor=200, liability_minor=800)
    over = running(budget_minor=1000, spent_minor=200, liability_minor=801, status="scheduled")
    assert alerts.check() == 1
    assert (kinds(), Alert.objects.get().campaign) == (["liability"], over)


def test_what_waits_and_what_failed_is_told_of_daily() -> None:
    now, offer, shopper = timezone.now(), make_offer(), make_shopper()
    held = Reservation.objects.create(
        coupon=make_coupon(offer, shopper), offer=offer, campaign=offer.campaign, shopper=shopper,
        idempotency_key="k", amount_minor=1, state="review", expires_at=now + DAY,
    )  # fmt: skip
    RiskReview.objects.create(reservation=held, score=100)
    trigger = Trigger.objects.create(campaign=offer.campaign, kind="welcome")
    went_off = Occurrence.objects.create(trigger=trigger, shopper=shopper, key="1", open_until=now)
    OutboxMessage.objects.create(
        occurrence=went_off, campaign=offer.campaign, shopper=shopper, channel="email", dedupe_key="1", state="failed"
    )
    assert alerts.check(now) == 2
    assert alerts.check(now) == 0
    assert kinds() == ["review", "push"]
    assert [alerts.text(alert) for alert in Alert.objects.order_by("pk")] == [
        "1 redemption waits.",
        "1 message failed.",
    ]


def test_a_channel_that_is_not_set_up_is_told_of_once(settings: Settings) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "CONTACTS": "", "PUBLIC_URL": ""}
    mute, drafted = running(delivery="sent"), running(delivery="sent", status="draft")
    for campaign in (mute, drafted):
        Trigger.objects.create(campaign=campaign, kind="launch", channels=["email"])
    Trigger.objects.create(campaign=running(), kind="launch", channels=["email"], active=False)
    assert alerts.check() == 1
    assert alerts.check() == 0
    (raised,) = Alert.objects.all()
    assert (raised.kind, raised.campaign) == ("push", mute)
    assert alerts.text(raised) == "These settings are empty, so nobody is reached. email: CONTACTS, PUBLIC_URL."
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "PUBLIC_URL": "https://shop.example"}
    assert alerts.check() == 1


def test_one_mail_tells_of_all_once(settings: Settings) -> None:
    running(name="Autumn", budget_minor=1000, spent_minor=900)
    running(name="Winter", budget_minor=1000, spent_minor=900)
    alerts.check()
    alerts.check()
    (message,) = mail.outbox
    assert message.to == ["ops@example.org"]
    assert "2 alerts" in message.subject
    assert "Autumn: " in message.body
    assert "Winter: " in message.body
    assert not Alert.objects.filter(mailed_at=None).exists()


def test_a_mail_server_that_is_away_is_tried_again_and_harms_nothing() -> None:
    running(budget_minor=1000, spent_minor=900)
    with mock.patch("django.core.mail.backends.locmem.EmailBackend.send_messages", side_effect=OSError):
        assert alerts.check() == 1
    assert not mail.outbox
    assert Alert.objects.get().mailed_at is None
    assert alerts.check() == 0
    assert len(mail.outbox) == 1


def test_without_managers_nothing_is_mailed_and_old_alerts_stay_unmailed(settings: Settings) -> None:
    settings.MANAGERS = []
    running(budget_minor=1000, spent_minor=900)
    alerts.check()
    settings.MANAGERS = [("Ops", "ops@example.org")]
    assert alerts.mail_waiting(timezone.now() + 2 * DAY) == 0
    assert not mail.outbox


def test_the_queries_do_not_grow_with_the_campaigns() -> None:
    def asked(number: int) -> int:
        for _ in range(number):
            make_offer(
                running(starts_at=timezone.now() - 3 * DAY, budget_minor=1000, spent_minor=900, liability_minor=500)
            )
        with CaptureQueriesContext(connection) as queries:
            alerts.check()
        return len([query for query in queries if "UPDATE" not in query["sql"]])

    asked(1)
    assert asked(1) == asked(7)


def test_seen_by_its_first_reader() -> None:
    running(budget_minor=1000, spent_minor=900)
    alerts.check()
    first, second = make_user(), make_user()
    assert alerts.unseen().count() == 1
    assert alerts.mark_seen(Alert.objects.all(), first) == 1
    assert alerts.mark_seen(Alert.objects.all(), second) == 0
    assert Alert.objects.get().seen_by == first
    assert not alerts.unseen().exists()
