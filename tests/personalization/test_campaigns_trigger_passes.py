"""Who is meant, how often an occasion comes, what a killed pass leaves, and what pages and jobs make of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization import conf
from personalization.campaigns import triggers, triggers_sql
from personalization.decisioning import decide
from personalization.learning import handlers, jobs
from personalization.models import (
    Decision,
    Job,
    Occurrence,
    OutboxMessage,
    Shopper,
    Trigger,
)
from personalization.types import JobKind
from tests.personalization.builders import DAY, make_offer, make_shopper
from tests.personalization.occasions import HOUR, NOW, campaign, trigger

pytestmark = pytest.mark.django_db


# -- who, when, how often


def test_only_shoppers_who_agreed_and_are_people() -> None:
    meant = make_shopper(joined_at=NOW - DAY)
    make_shopper(joined_at=NOW - DAY, consent_personalisation=False)
    make_shopper(joined_at=NOW - DAY, is_bot=True)
    make_shopper(joined_at=NOW - DAY, merged_into=meant)
    make_shopper(joined_at=NOW - DAY, population="elsewhere")
    triggers.evaluate(trigger("welcome"), NOW)
    assert Occurrence.objects.get().shopper == meant


@pytest.mark.parametrize(
    "fields", [{"status": "paused"}, {"status": "draft"}, {"starts_at": NOW + DAY}, {"ends_at": NOW - DAY}]
)
def test_nothing_happens_unless_the_campaign_runs(fields: dict[str, Any]) -> None:
    make_shopper(joined_at=NOW - DAY)
    assert triggers.evaluate(trigger("welcome", campaign=campaign(**fields)), NOW) == 0


def test_an_occasion_is_open_for_some_days_and_never_beyond_the_campaign() -> None:
    make_shopper(joined_at=NOW - DAY)
    triggers.evaluate(trigger("welcome", open_days=5), NOW)
    triggers.evaluate(trigger("welcome", open_days=5, campaign=campaign(ends_at=NOW + DAY)), NOW)
    assert list(Occurrence.objects.order_by("pk").values_list("open_until", flat=True)) == [NOW + 5 * DAY, NOW + DAY]


def test_messages_are_written_with_the_occasion_for_those_who_agreed_to_messages() -> None:
    agreed = make_shopper(joined_at=NOW - DAY)
    make_shopper(joined_at=NOW - DAY, consent_marketing=False)
    of = trigger("welcome", channels=["email", "webhook"])
    assert triggers.evaluate(of, NOW) == 2
    rows = OutboxMessage.objects.order_by("channel").values_list("shopper", "channel", "state", "campaign")
    assert list(rows) == [(agreed.pk, name, "waiting", of.campaign_id) for name in ("email", "webhook")]
    assert triggers.evaluate(of, NOW + DAY) == 0
    assert OutboxMessage.objects.count() == 2


def test_a_channel_added_later_is_for_later_occasions() -> None:
    make_shopper(joined_at=NOW - DAY)
    of = trigger("welcome")
    triggers.evaluate(of, NOW)
    of.channels = ["email"]
    of.save()
    make_shopper(joined_at=NOW - HOUR)
    triggers.evaluate(of, NOW + HOUR)
    assert OutboxMessage.objects.count() == 1


class Killed(BaseException):
    """What the test throws in place of a kill."""


def test_a_killed_pass_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    shoppers = [make_shopper(joined_at=NOW - DAY) for _ in range(7)]
    of, write, calls = trigger("welcome", channels=["email"]), triggers_sql.insert_messages, []

    def dies_in_the_third_range(*args: Any) -> int:
        calls.append(args[1:3])
        if len(calls) == 3:
            raise Killed
        return write(*args)

    monkeypatch.setattr(triggers_sql, "insert_messages", dies_in_the_third_range)
    with pytest.raises(Killed):
        triggers.evaluate(of, NOW, size=2)
    of.refresh_from_db()
    assert (Occurrence.objects.count(), OutboxMessage.objects.count(), of.cursor) == (4, 4, shoppers[3].pk)
    assert triggers.evaluate(of, NOW + HOUR, size=2) == 3
    assert calls[3][0] == shoppers[3].pk, "the ranges that were done are not done again"
    of.refresh_from_db()
    assert (Occurrence.objects.count(), OutboxMessage.objects.count(), of.cursor) == (7, 7, 0)
    assert of.evaluated_at == NOW + HOUR


@pytest.mark.parametrize("kind", Trigger.Kind.values)
def test_a_range_takes_the_same_number_of_statements_whatever_its_size(kind: str) -> None:
    params: dict[str, dict[str, Any]] = {
        "season": {"from": "01-01", "to": "12-31"},
        "holiday": {"country": "DE", "days_before": 60},
        "win_back": {"days": 30},
        "event": {"type": "product_viewed"},
    }
    of = trigger(kind, params.get(kind, {}), channels=["email"])

    def statements(shoppers: int) -> int:
        for _ in range(shoppers):
            make_shopper(joined_at=NOW - DAY, attributes={"birthday": "03-10"})
        Occurrence.objects.all().delete()
        Trigger.objects.update(evaluated_at=None)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            triggers.evaluate(of, NOW)
        return len(queries)

    assert statements(2) == statements(20) <= 12


def test_one_broken_trigger_does_not_hold_up_the_others() -> None:
    make_shopper(joined_at=NOW - DAY)
    broken, fine = trigger("welcome"), trigger("welcome")
    Trigger.objects.filter(pk=broken.pk).update(params={"days": "soon"})
    assert triggers.evaluate_all("shop", NOW) == {broken.pk: -1, fine.pk: 1}


# -- the job


def test_the_job_is_queued_once_an_hour_and_does_the_work() -> None:
    assert triggers.queue_hourly() == 0
    make_shopper(joined_at=timezone.now() - DAY)
    of = trigger("welcome", campaign=campaign(ends_at=timezone.now() + DAY))
    assert triggers.queue_hourly() == 1
    assert triggers.queue_hourly() == 0
    job = jobs.lease("test")
    assert job is not None
    handler = handlers.get(JobKind.TRIGGERS)
    assert handler is not None
    handler(job, job.params, lambda what, share: None, None)
    job.refresh_from_db()
    assert (job.state, job.result) == ("succeeded", {"triggers": {str(of.pk): 1}})
    assert Job.objects.count() == 1


# -- on the page


def decision(shopper: Shopper | None) -> Decision:
    decide.decide("home_hero", shopper=shopper)
    return Decision.objects.latest("at")


def test_an_offer_shows_only_to_whom_its_occasion_has_come(plain: None) -> None:
    here = timezone.now()
    new, old = make_shopper(joined_at=here - DAY), make_shopper(joined_at=here - 90 * DAY)
    offer = make_offer()
    of = trigger("welcome", campaign=offer.campaign, open_days=1)
    triggers.evaluate(of, here)
    assert [row["offer"] for row in decision(new).chosen] == [offer.pk]
    assert decision(old).excluded == {str(offer.pk): "no_occasion"}
    assert triggers.reason(offer, new, here) == ""
    assert triggers.reason(offer, new, here + 2 * DAY) == "no_occasion"
    assert triggers.reason(offer, old, here) == "no_occasion"
    assert triggers.reason(offer, None, here) == "no_occasion"
    Trigger.objects.update(active=False)
    assert triggers.reason(offer, old, here) == ""


def test_a_page_asks_once_and_only_where_a_campaign_waits_for_an_occasion(plain: None) -> None:
    shopper = make_shopper()
    offers = [make_offer() for _ in range(3)]

    def asked() -> int:
        decision(shopper)
        with CaptureQueriesContext(connection) as queries:
            decide.decide("home_hero", shopper=shopper)
        return sum("personalization_occurrence" in query["sql"] for query in queries)

    assert asked() == 0
    for offer in offers:
        trigger("welcome", campaign=offer.campaign)
    assert asked() == 1
    assert conf.get().population == "shop"
