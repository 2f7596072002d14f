"""The audit of groups: planted gaps are found with their size, others are not, and small groups are silent."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from personalization.insight import fairness, monitoring
from personalization.insight.fairness import Gap, audit
from personalization.insight.findings import BAD, GOOD
from personalization.learning import handlers, jobs
from personalization.models import (
    Alert,
    Decision,
    Event,
    Exposure,
    MonitoringReport,
    Offer,
    Redemption,
    Reservation,
    Shopper,
)
from personalization.types import JobKind
from tests.admin.builders import make_coupon
from tests.personalization.builders import DAY, make_offer, make_user

pytestmark = pytest.mark.django_db
NOW = timezone.now()
AT = NOW - 10 * DAY


def people(count: int, **attributes: Any) -> list[Shopper]:
    return Shopper.objects.bulk_create(
        Shopper(consent_personalisation=True, attributes=attributes) for _ in range(count)
    )


def treat(
    shoppers: list[Shopper],
    offer: Offer,
    *,
    shown: float = 1.0,
    redeem: float = 0.2,
    buy: float = 0.3,
    held: float = 0.0,
) -> None:
    """Decide about everybody; show, redeem and buy with these probabilities, hold some out, in fixed proportions."""
    chance = random.Random(0)
    decisions, exposures = [], []
    for shopper in shoppers:
        kept_out = chance.random() < held
        arm = "holdout" if kept_out else "treatment"
        given = not kept_out and chance.random() < shown
        decision = Decision(shopper=shopper, slot="s", at=AT, arm=arm, eligible=[], excluded={}, chosen=[], policy="p")
        decisions.append(decision)
        if given or kept_out:
            bought = chance.random() < (0.2 if kept_out else buy)
            exposures.append(
                Exposure(
                    decision=decision, shopper=shopper, campaign=offer.campaign if given else None,
                    offer=offer if given else None, arm=arm, propensity=0.5, exposed_at=AT, window_ends_at=AT + DAY,
                    redeemed_at=AT if given and chance.random() < redeem else None, purchased_at=AT if bought else None,
                )
            )  # fmt: skip
    Decision.objects.bulk_create(decisions)
    Exposure.objects.bulk_create(exposures)


def orders(shoppers: list[Shopper], offer: Offer, paid: int, discount: int) -> None:
    """Let everybody order once; every order has its own size, the discount is a share of it."""
    chance = random.Random(1)
    for number, shopper in enumerate(shoppers):
        factor = chance.uniform(0.5, 1.5)
        Event.objects.create(
            source="t", event_id=f"{shopper.pk}", type="order_placed", shopper=shopper, occurred_at=AT,
            value_minor=round(paid * factor),
        )  # fmt: skip
        if discount and number % 2 == 0:
            amount = round(2 * discount * factor)
            row = {
                "coupon": make_coupon(offer, shopper, f"C{shopper.pk}"), "offer": offer, "campaign": offer.campaign,
                "shopper": shopper, "amount_minor": amount,
            }  # fmt: skip
            held = Reservation.objects.create(idempotency_key=f"k{shopper.pk}", expires_at=NOW, **row)
            Redemption.objects.create(
                reservation=held, redeemed_at=AT, order_label="o", order_id=str(shopper.pk), **row
            )


def found(now: datetime = NOW) -> dict[tuple[str, str, str], Gap]:
    compared = [each for each in audit("shop", now) if isinstance(each, Gap)]
    return {(gap.measure, gap.attribute, gap.group): gap for gap in compared}


def test_groups_that_are_treated_alike_have_no_gap() -> None:
    offer = make_offer()
    treat(people(400, gender="f"), offer)
    treat(people(400, gender="m"), offer)
    gaps = found()
    assert set(gaps) == {(measure, "gender", group) for measure in ("exposure", "response") for group in ("f", "m")}
    assert all(gap.level == GOOD for gap in gaps.values())
    response = gaps["response", "gender", "f"]
    assert response.own.low < 0.2 < response.own.high
    (told,) = monitoring.observations(fairness.report("shop", NOW))
    assert told.level == GOOD
    assert told.text.startswith("4 comparisons between groups: in none is the difference both larger than 5.0 perc")
    assert told.text.count("percentage points") == 2, "of the tolerance, and of the largest difference"


def test_a_group_that_is_shown_less_is_found_with_the_size_of_the_gap() -> None:
    offer = make_offer()
    treat(people(400, gender="f"), offer, shown=0.5)
    treat(people(400, gender="m"), offer, shown=0.9)
    gap = found()["exposure", "gender", "f"]
    assert gap.level == BAD
    assert gap.gap.value == pytest.approx(-0.4, abs=0.06)
    assert gap.gap.low < -0.4 < gap.gap.high < -0.2
    texts = [told.text for told in monitoring.observations(fairness.report("shop", NOW))]
    assert any(text.startswith("Exposure, gender f: −4") and " percentage points against" in text for text in texts)
    assert (gap.shoppers, gap.others) == (400, 400)
    assert found()["response", "gender", "f"].level == GOOD


def test_uplift_is_compared_where_there_is_a_holdout() -> None:
    """Treated men buy .3 more than those held out, women as much as they."""
    offer = make_offer()
    treat(people(1200, gender="f"), offer, buy=0.2, held=0.4)
    treat(people(1200, gender="m"), offer, buy=0.5, held=0.4)
    gap = found()["uplift", "gender", "m"]
    assert gap.own.value == pytest.approx(0.3, abs=0.06)
    assert gap.rest.value == pytest.approx(0.0, abs=0.06)
    assert gap.gap.value == pytest.approx(gap.own.value - gap.rest.value)
    assert gap.level == BAD


def test_prices_are_compared_by_the_discount_in_what_was_paid() -> None:
    offer = make_offer()
    women, men = people(120, gender="f"), people(120, gender="m")
    for group in (women, men):
        treat(group, offer)
    orders(women, offer, 8000, 2000)
    orders(men, offer, 10_000, 0)
    gap = found()["price", "gender", "f"]
    assert gap.own.value == pytest.approx(0.2, abs=0.03)
    assert gap.rest.value == 0
    assert gap.level == BAD


def test_where_nobody_got_a_discount_there_are_no_prices_to_compare(client: Any) -> None:
    """The control: with one discount on one side there are."""
    offer = make_offer()
    women, men = people(120, gender="f"), people(120, gender="m")
    for group in (women, men):
        treat(group, offer)
        orders(group, offer, 8000, 0)
    assert ("price", "gender", "f") not in found()
    report = fairness.report("shop", NOW)
    assert report.figures["nothing"] == [
        {"measure": "price", "attribute": "gender", "group": group, "shoppers": 120} for group in ("f", "m")
    ]
    report.save()
    client.force_login(make_user("view_monitoringreport"))
    html = client.get(reverse("admin:personalization_monitoringreport_change", args=[report.pk])).content.decode()
    assert html.count("nothing to compare: it happened to nobody") == 2
    held = Reservation.objects.create(
        idempotency_key="one", expires_at=NOW, coupon=make_coupon(offer, women[0], "ONE"), offer=offer,
        campaign=offer.campaign, shopper=women[0], amount_minor=500,
    )  # fmt: skip
    Redemption.objects.create(
        reservation=held, redeemed_at=AT, order_label="o", order_id="one", coupon=held.coupon, offer=offer,
        campaign=offer.campaign, shopper=women[0], amount_minor=500,
    )  # fmt: skip
    assert found()["price", "gender", "f"].own.value > 0
    assert fairness.report("shop", NOW).figures["nothing"] == []


def test_small_groups_are_not_told_of(settings: Settings) -> None:
    offer = make_offer()
    treat(people(300, gender="f"), offer)
    treat(people(99, gender="m"), offer, shown=0.1)
    assert found() == {}
    report = fairness.report("shop", NOW)
    assert report.figures["gaps"] == []
    assert [seen.code for seen in monitoring.observations(report)] == ["no_groups"]
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MONITORING": {"group": 50}}
    assert found()["exposure", "gender", "m"].level == BAD


def test_who_did_not_agree_and_what_is_long_past_does_not_count() -> None:
    offer = make_offer()
    women = people(200, gender="f")
    treat(women, offer)
    treat(people(200, gender="m"), offer)
    Shopper.objects.filter(pk__in=[woman.pk for woman in women]).update(consent_personalisation=False)
    assert found() == {}
    Shopper.objects.update(consent_personalisation=True)
    assert found()
    assert found(NOW + timedelta(days=90)) == {}


def test_a_report_is_stored_once_a_week_and_told_once_a_month(client: Any) -> None:
    offer = make_offer()
    treat(people(300, gender="f"), offer, shown=0.4)
    treat(people(300, gender="m"), offer, shown=0.9)
    for _time in range(2):
        handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
    report = MonitoringReport.objects.get(kind="fairness")
    assert len(report.figures["gaps"]) == 4
    assert {alert.kind for alert in Alert.objects.all()} == {"fairness"}
    assert Alert.objects.count() == 2  # women against the others, and men
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop", "audit": True}))
    assert MonitoringReport.objects.filter(kind="fairness").count() == 2
    assert Alert.objects.count() == 2
    client.force_login(make_user("view_monitoringreport"))
    html = client.get(reverse("admin:personalization_monitoringreport_change", args=[report.pk])).content.decode()
    assert "Groups against everybody else" in html
    assert "gender: f" in html
    seen = next(iter(monitoring.observations(report)))
    assert seen.text.startswith("Exposure, gender f: −4")


def test_the_audit_asks_no_more_for_more_shoppers(django_assert_max_num_queries: Any) -> None:
    offer = make_offer()
    treat(people(300, gender="f"), offer)
    treat(people(300, gender="m"), offer)
    with django_assert_max_num_queries(6):
        audit("shop", NOW)
