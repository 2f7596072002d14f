"""A campaign sent to its whole audience once, when it starts: who gets it, how often, and what pages make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from personalization import api
from personalization.campaigns import outbox, templates, triggers, triggers_sql
from personalization.decisioning import decide
from personalization.learning import handlers, jobs
from personalization.models import Campaign, Decision, Job, Occurrence, OutboxMessage, Trigger
from personalization.types import JobKind
from tests.personalization import reach
from tests.personalization.builders import DAY, make_offer, make_shopper, running
from tests.personalization.occasions import HOUR, NOW, campaign, trigger
from tests.personalization.reach import loft, reachable

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS)
    yield
    reach.empty()


def launch(**fields: Any) -> Trigger:
    return trigger("launch", channels=["pigeon"], **fields)


def written_to() -> set[int]:
    return set(OutboxMessage.objects.values_list("shopper_id", flat=True))


def test_everybody_of_the_audience_gets_it_once() -> None:
    gold, _silver = make_shopper(), make_shopper(attributes={"tier": "silver"})
    make_shopper(consent_marketing=False)
    make_shopper(consent_personalisation=False)
    rule = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
    of = launch(campaign=campaign(audience=rule, delivery="sent"))
    assert triggers.evaluate(of, NOW) == 1
    assert triggers.evaluate(of, NOW + HOUR) == 0
    assert written_to() == {gold.pk}
    assert Occurrence.objects.get().key == "launch"


def test_whoever_comes_to_fit_after_the_launch_was_not_in_its_audience() -> None:
    of = launch()
    make_shopper()
    assert triggers.evaluate(of, NOW) == 1
    make_shopper()
    assert triggers.evaluate(of, NOW + HOUR) == 0
    assert triggers.evaluate_all("shop", NOW + HOUR) == {}


def test_a_snapshot_is_sent_as_it_was_taken(plain: None) -> None:
    member = reachable(attributes={"tier": "gold"})
    rule = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
    made = api.create_campaign(
        name="Mailing",
        delivery="sent",
        audience=rule,
        audience_mode="snapshot",
        starts_at=timezone.now() - HOUR,
        ends_at=timezone.now() + DAY,
        offers=[{"name": "Ten", "kind": "coupon", "percent": 10, "max_discount_minor": 1000}],
        triggers=[{"kind": "launch", "channels": ["pigeon"]}],
    )
    api.launch(made)
    reachable(attributes={"tier": "gold"})
    triggers.evaluate(Trigger.objects.get(), timezone.now())
    assert written_to() == {member.pk}
    assert outbox.send_due() == 1
    assert len(loft.sent) == 1


class Killed(BaseException):
    """What a ``kill -9`` looks like from inside."""


def test_a_killed_launch_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_shopper()
    of, write, calls = launch(), triggers_sql.insert_messages, 0

    def dies_in_the_second_range(*args: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        return write(*args)

    monkeypatch.setattr(triggers_sql, "insert_messages", dies_in_the_second_range)
    with pytest.raises(Killed):
        triggers.evaluate(of, NOW, size=2)
    assert OutboxMessage.objects.count() == 2
    assert triggers.evaluate(of, NOW + HOUR, size=2) == 3
    assert len(written_to()) == OutboxMessage.objects.count() == 5


def test_the_launch_queues_its_sending_at_once() -> None:
    make_shopper()
    made = templates.design("mailing", starts_at=timezone.now() - HOUR)
    assert (made.delivery, made.audience_mode) == (Campaign.Delivery.SENT, Campaign.AudienceMode.SNAPSHOT)
    api.launch(made)
    job = jobs.lease("test", Job.objects.get(kind=JobKind.TRIGGERS.value).pk)
    assert job is not None
    handler = handlers.get(JobKind.TRIGGERS)
    assert handler is not None
    handler(job, job.params, lambda what, share: None, None)
    assert OutboxMessage.objects.count() == 1
    assert triggers.queue_hourly(timezone.now() + 2 * HOUR) == 0, "nothing is left to evaluate"


def test_a_campaign_without_a_launch_queues_nothing(plain: None) -> None:
    make_shopper()
    api.launch(templates.design("welcome", starts_at=timezone.now() - HOUR))
    assert not Job.objects.filter(kind=JobKind.TRIGGERS.value).exists()


def test_a_launch_closes_no_page(plain: None) -> None:
    """It says when to send. Who sees the campaign is a question for its audience and its other triggers."""
    shopper = make_shopper(joined_at=timezone.now() - 90 * DAY)
    offer = make_offer(running())
    launch(campaign=offer.campaign)
    decide.decide("home_hero", shopper=shopper)
    assert [row["offer"] for row in Decision.objects.get().chosen] == [offer.pk]
    assert triggers.reason(offer, shopper, timezone.now()) == ""
    trigger("welcome", campaign=offer.campaign)
    assert triggers.reason(offer, shopper, timezone.now()) == "no_occasion"


def test_a_launch_needs_a_channel() -> None:
    with pytest.raises(ValidationError) as refused:
        trigger("launch")
    assert set(refused.value.error_dict) == {"channels"}
