"""What goes out, to whom, when, and how often; and what is written down about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from personalization.campaigns import channels, choices, outbox, unsubscribe
from personalization.models import (
    Campaign,
    Coupon,
    Event,
    Exposure,
    Occurrence,
    Offer,
    OutboxMessage,
    Shopper,
    Suppression,
    Switch,
    Trigger,
)
from personalization.tracking import consent
from personalization.types import Purpose
from tests.personalization import reach
from tests.personalization.builders import make_offer, running
from tests.personalization.reach import DAY, loft, only, queue, reachable

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS)
    yield
    reach.empty()


def state() -> tuple[str, str]:
    message = only()
    return message.state, message.reason


# -- it goes out once, and is an exposure


def test_a_message_goes_out_once_and_is_an_exposure() -> None:
    shopper = reachable()
    offer = queue(shopper)
    assert outbox.send_due() == 1
    assert outbox.send_due() == 0
    sent = only()
    assert [(given.message_id, given.address) for given in loft.sent] == [
        (str(sent.pk), f"user{shopper.user_id}@shop.example")
    ]
    assert (sent.state, sent.attempts, sent.lease_expires_at) == ("sent", 1, None)
    exposure = Exposure.objects.get()
    assert (exposure.offer, exposure.campaign, exposure.arm, exposure.propensity) == (
        offer,
        offer.campaign,
        "treatment",
        1.0,
    )
    assert exposure.window_ends_at == exposure.exposed_at + timedelta(hours=168)
    decision = exposure.decision
    assert decision is not None
    assert (decision.slot, decision.shopper, decision.chosen) == (
        "push:pigeon",
        shopper,
        [{"offer": offer.pk, "position": 1, "propensity": 1.0}],
    )


def test_the_holdout_gets_nothing_and_the_books_say_so(configure: Any) -> None:
    configure(HOLDOUT_PERCENT=100.0)
    queue(reachable())
    assert outbox.send_due() == 0
    assert (state(), loft.sent) == (("suppressed", "holdout"), [])
    exposure = Exposure.objects.get()
    assert (exposure.arm, exposure.offer, exposure.campaign, exposure.propensity) == ("holdout", None, None, 1.0)
    assert Coupon.objects.count() == 0


def test_the_coupon_is_made_at_sending_and_its_code_travels_in_the_body() -> None:
    shopper = reachable()
    offer = queue(shopper)
    assert Coupon.objects.count() == 0
    outbox.send_due()
    coupon = Coupon.objects.get()
    assert (coupon.shopper, coupon.offer, coupon.origin) == (shopper, offer, "trigger")
    given = loft.sent[0]
    assert given.code
    assert given.code in given.text
    assert given.code in given.html
    assert given.code not in given.link + given.unsubscribe_url + given.subject
    assert given.link.startswith("https://shop.example/personalization/m/")


def test_a_failed_attempt_makes_no_second_coupon() -> None:
    queue(reachable())
    loft.failures = [reach.failure()]
    outbox.send_due()
    outbox.send_due(timezone.now() + HOUR)
    assert len(loft.sent) == 1
    assert Coupon.objects.count() == 1
    assert Offer.objects.get().issued_count == 1


def test_an_announcement_needs_no_coupon() -> None:
    queue(reachable(), offer=make_offer(kind="announcement", headline="Spring is here"))
    assert outbox.send_due() == 1
    assert (loft.sent[0].code, Coupon.objects.count()) == ("", 0)


def test_markup_is_cleaned_on_the_way_out() -> None:
    offer = make_offer(headline="<Half>")
    Offer.objects.filter(pk=offer.pk).update(body_html='<p onclick="x()">Tea</p><script>x()</script>')
    offer.refresh_from_db()
    queue(reachable(), offer=offer)
    outbox.send_due()
    html = loft.sent[0].html
    assert "<p>Tea</p>" in html
    assert "script" not in html
    assert "onclick" not in html
    assert "&lt;Half&gt;" in html
    assert loft.sent[0].text.startswith("<Half>")


# -- what is asked at sending


def _campaign(**fields: Any) -> None:
    Campaign.objects.update(**fields)


def _withdraw() -> None:
    consent.record(Shopper.objects.get(), {Purpose.PERSONALISATION}, source="test")


def _no_personalisation() -> None:
    consent.record(Shopper.objects.get(), {Purpose.MARKETING}, source="test")


def _order() -> None:
    Event.objects.create(
        source="t", event_id="1", type="order_placed", shopper=Shopper.objects.get(), occurred_at=timezone.now()
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: _campaign(status="ended"), "campaign_not_running"),
        (lambda: _campaign(ends_at=timezone.now() - HOUR), "campaign_not_running"),
        (lambda: Occurrence.objects.update(open_until=timezone.now() - HOUR), "occasion_over"),
        (lambda: Trigger.objects.update(active=False), "trigger_inactive"),
        (_withdraw, "no_consent"),
        (_no_personalisation, "no_consent"),
        (lambda: Shopper.objects.update(is_bot=True), "not_a_person"),
        (lambda: Shopper.objects.update(user=None), "no_address"),
        (lambda: reach.GONE.add(Shopper.objects.get().user_id), "no_address"),
        (
            lambda: unsubscribe.record_bounce("pigeon", f"USER{Shopper.objects.get().user_id}@shop.example ", "hard"),
            "suppressed_address",
        ),
        (lambda: Offer.objects.update(max_issued=0), "all_issued"),
        (lambda: Offer.objects.update(tiers=["platinum"]), "not_a_member"),
        (lambda: _campaign(audience={"all": [{"field": "tier", "op": "in", "value": ["x"]}]}), "not_in_audience"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_changed_meanwhile_is_seen_at_sending(change: Any, reason: str) -> None:
    queue(reachable())
    change()
    assert outbox.send_due() == 0
    assert (state(), loft.sent, Exposure.objects.count()) == (("suppressed", reason), [], 0)


def test_whoever_has_bought_is_not_won_back() -> None:
    shopper = reachable()
    Event.objects.create(
        source="t", event_id="0", type="order_placed", shopper=shopper, occurred_at=timezone.now() - 60 * DAY
    )
    queue(shopper, kind="win_back")
    _order()
    outbox.send_due()
    assert state() == ("suppressed", "bought_meanwhile")


@pytest.mark.parametrize("stop", ["paused", "switch"])
def test_a_stopped_campaign_waits(stop: str) -> None:
    queue(reachable())
    if stop == "paused":
        _campaign(status="paused")
    else:
        Switch.objects.create(population="shop", engaged=True, reason="test")
    assert outbox.send_due() == 0
    assert state() == ("waiting", "stopped")
    _campaign(status="running")
    Switch.objects.all().delete()
    assert outbox.send_due(timezone.now() + 2 * HOUR) == 1
    assert only().attempts == 1


def test_an_erased_shopper_gets_nothing() -> None:
    shopper = reachable()
    queue(shopper)
    shopper.delete()
    assert outbox.send_due() == 0
    assert OutboxMessage.objects.count() == 0


@pytest.mark.parametrize(
    ("zone", "hours", "now", "until"),
    [
        ("UTC", [21, 8], "2026-03-10T22:30", "2026-03-11T08:00"),
        ("UTC", [21, 8], "2026-03-10T03:00", "2026-03-10T08:00"),
        ("UTC", [21, 8], "2026-03-10T08:00", None),
        ("UTC", [21, 8], "2026-03-10T20:59", None),
        ("Asia/Tokyo", [21, 8], "2026-03-10T13:00", "2026-03-10T23:00"),
        ("Europe/Berlin", [21, 8], "2026-03-28T22:00", "2026-03-29T06:00"),
        ("UTC", [1, 5], "2026-03-10T02:00", "2026-03-10T05:00"),
        ("UTC", [0, 0], "2026-03-10T02:00", None),
        ("UTC", [], "2026-03-10T02:00", None),
    ],
)
def test_quiet_hours_are_those_of_the_campaign(
    configure: Any, zone: str, hours: list[int], now: str, until: str | None
) -> None:
    configure(QUIET_HOURS=hours)
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = outbox.end_of_quiet(Campaign(time_zone=zone), moment)
    assert found == (datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None)


def test_a_message_waits_for_the_morning(configure: Any) -> None:
    queue(reachable(), offer=make_offer(running(time_zone="UTC")))
    here = timezone.now()
    configure(QUIET_HOURS=[here.hour, (here.hour + 2) % 24])
    assert outbox.send_due(here) == 0
    assert state() == ("waiting", "quiet_hours")
    configure(QUIET_HOURS=[])
    assert outbox.send_due(here) == 0
    assert outbox.send_due(here + 3 * HOUR) == 1


# -- how often


def test_a_shopper_gets_so_many_a_week_over_all_campaigns(configure: Any) -> None:
    configure(PUSH_PER_WEEK=2)
    shopper = reachable()
    for _ in range(4):
        queue(shopper, offer=make_offer(running(ends_at=timezone.now() + 60 * DAY)))
    assert outbox.send_due() == 2
    waiting = OutboxMessage.objects.filter(state="waiting")
    assert set(waiting.values_list("reason", flat=True)) == {"frequency_cap"}
    assert outbox.send_due(timezone.now() + 6 * DAY) == 0
    assert outbox.send_due(timezone.now() + 7 * DAY + HOUR) == 2


def test_what_would_come_too_late_is_not_sent(configure: Any) -> None:
    configure(PUSH_PER_WEEK=0)
    queue(reachable(), offer=make_offer(running(ends_at=timezone.now() + 3 * DAY)))
    outbox.send_due()
    assert state() == ("suppressed", "frequency_cap")


def test_a_failure_takes_no_place_of_the_week(configure: Any) -> None:
    configure(PUSH_PER_WEEK=1)
    shopper = reachable()
    queue(shopper)
    queue(shopper)
    loft.failures = [reach.failure()]
    assert outbox.send_due() == 1


# -- what fails


def test_a_failure_is_tried_again_later_and_five_times_at_most() -> None:
    queue(reachable())
    loft.failures = [reach.failure() for _ in range(9)]
    now, waits = timezone.now(), []
    for _ in range(9):
        outbox.send_due(now)
        message = only()
        if message.state == "failed":
            break
        waits.append(message.not_before - now)
        assert outbox.send_due(message.not_before - timedelta(seconds=1)) == 0
        now = message.not_before
    assert (only().state, only().attempts, only().reason) == ("failed", 5, "busy")
    assert waits == sorted(waits)
    assert len(loft.failures) == 4
    assert Exposure.objects.count() == 0


def test_an_unforeseen_failure_says_its_class_only_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    queue(reachable(), reachable())
    loft.failures = [RuntimeError("user1@shop.example is a secret")]
    assert outbox.send_due() == 1
    assert OutboxMessage.objects.filter(state="waiting", reason="RuntimeError").count() == 1
    assert "shop.example" not in caplog.text


def test_an_address_that_does_not_exist_is_not_tried_again() -> None:
    queue(reachable())
    loft.failures = [reach.failure(channels.BOUNCED)]
    outbox.send_due()
    assert only().state == "bounced"
    assert Suppression.objects.get().reason == "bounce"


def test_a_lease_that_ran_out_is_taken_over_and_the_first_sender_writes_nothing() -> None:
    queue(reachable())
    pk, fence = OutboxMessage.objects.values_list("pk", "fence").get()
    now = timezone.now()
    first = outbox._lease(pk, fence, now)
    assert first is not None
    assert outbox._lease(pk, fence, now) is None
    assert outbox.send_due(now + timedelta(minutes=1)) == 0
    assert outbox.send_due(now + timedelta(minutes=6)) == 1
    assert outbox._sent(first, choices.choose(first, now)) == 0
    assert Exposure.objects.count() == 1


def test_a_message_that_kills_its_senders_is_given_up() -> None:
    queue(reachable())
    now = timezone.now()
    for _ in range(5):
        pk, fence = OutboxMessage.objects.values_list("pk", "fence").get()
        assert outbox._lease(pk, fence, now) is not None
        now += timedelta(minutes=6)
    outbox.send_due(now)
    assert state() == ("failed", "sender_died")
    assert loft.sent == []
