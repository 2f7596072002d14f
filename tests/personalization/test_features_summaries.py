"""Summaries: what the database computes in one pass equals what a few plain lines compute one shopper at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.features import summaries
from personalization.learning import handlers, jobs, summarise
from personalization.models import CatalogItem, Job, Shopper, ShopperInterest, ShopperSummary
from personalization.types import JobKind
from tests.personalization.builders import make_event, make_shopper

pytestmark = pytest.mark.django_db
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = timezone.now()


def order(shopper: Shopper, days_ago: float, value: int = 1000, **fields: Any) -> None:
    make_event(shopper, "order_placed", occurred_at=NOW - days_ago * DAY, value_minor=value, **fields)


def view(shopper: Shopper, days_ago: float, **fields: Any) -> None:
    make_event(shopper, "product_viewed", occurred_at=NOW - days_ago * DAY, **fields)


def summary(shopper: Shopper) -> ShopperSummary:
    return ShopperSummary.objects.get(shopper=shopper)


def test_a_shoppers_past_stands_in_one_row() -> None:
    mara = make_shopper()
    for days, value in ((50, 1000), (30, 2000), (10, 4500)):
        order(mara, days, value)
    view(mara, 40)
    view(mara, 2)
    view(mara, 1)
    assert summaries.refresh("shop", NOW) == 1
    row = summary(mara)
    assert (row.orders, row.spent_minor, row.views_30d, row.as_of) == (3, 7500, 2, NOW)
    assert (row.first_order_at, row.last_order_at) == (NOW - 50 * DAY, NOW - 10 * DAY)
    assert row.last_seen_at == NOW - DAY
    assert row.cycle_days == pytest.approx(20, abs=1e-3)
    # The population's mean gap is hers: 20 days. ((20 + 40) / (20 + 40 + 10)) ** 3 still buy after so long.
    assert row.churn_risk == pytest.approx(1 - (60 / 70) ** 3, abs=1e-4)


def test_what_happens_at_the_moment_or_later_is_not_known_yet() -> None:
    mara = make_shopper()
    order(mara, 5)
    order(mara, 0)
    order(mara, -1)
    summaries.refresh("shop", NOW)
    assert summary(mara).orders == 1


def test_robots_and_refusals_are_left_out() -> None:
    mara = make_shopper()
    view(mara, 1, is_bot=True)
    others = [make_shopper(is_bot=True), make_shopper(consent_personalisation=False), make_shopper(merged_into=mara)]
    other_shop = make_shopper(population="elsewhere")
    for somebody in (*others, other_shop):
        order(somebody, 3)
    assert summaries.refresh("shop", NOW) == 1
    assert (summary(mara).orders, summary(mara).views_30d, summary(mara).last_seen_at) == (0, 0, None)
    assert ShopperSummary.objects.count() == 1


def test_whoever_withdraws_loses_the_row_and_interests() -> None:
    mara = make_shopper()
    view(mara, 1, category="tea")
    summaries.refresh("shop", NOW)
    assert ShopperInterest.objects.filter(shopper=mara).exists()
    Shopper.objects.filter(pk=mara.pk).update(consent_personalisation=False)
    assert summaries.refresh("shop", NOW + DAY) == 0
    assert not ShopperSummary.objects.exists()
    assert not ShopperInterest.objects.exists()


def test_erasing_a_shopper_erases_the_row() -> None:
    mara = make_shopper()
    view(mara, 1, category="tea")
    summaries.refresh("shop", NOW)
    mara.delete()
    assert not ShopperSummary.objects.exists()
    assert not ShopperInterest.objects.exists()


def test_interests_are_shares_of_attention_from_two_per_cent() -> None:
    mara = make_shopper()
    CatalogItem.objects.create(item_id="pot-1", label="x", title="Pot", category="pots")
    for _number in range(73):
        view(mara, 3, category="tea", item_id="pot-1")  # the event's own category goes first
    for _number in range(26):
        view(mara, 3, item_id="pot-1")
    view(mara, 3, category="socks")  # one per cent
    view(mara, 100, category="winter")  # long ago
    view(mara, 3, item_id="unknown")
    summaries.refresh("shop", NOW)
    shares = dict(ShopperInterest.objects.values_list("category", "share"))
    assert shares == {"tea": pytest.approx(0.73), "pots": pytest.approx(0.26)}
    assert summary(mara).top_category == "tea"


def test_interests_follow_the_shopper() -> None:
    mara = make_shopper()
    view(mara, 80, category="tea")
    summaries.refresh("shop", NOW)
    view(mara, -5, category="pots")
    summaries.refresh("shop", NOW + 30 * DAY)
    assert dict(ShopperInterest.objects.values_list("category", "share")) == {"pots": 1.0}
    assert summary(mara).top_category == "pots"


def test_the_device_is_the_last_pages() -> None:
    mara = make_shopper()
    make_event(mara, "page_viewed", occurred_at=NOW - 2 * DAY, properties={"device": "desktop"})
    make_event(mara, "page_viewed", occurred_at=NOW - DAY, properties={"device": "phone"})
    make_event(mara, "product_viewed", occurred_at=NOW - HOUR, properties={"device": 7})
    make_event(mara, "search_performed", occurred_at=NOW - HOUR)
    make_event(mara, "page_viewed", occurred_at=NOW - HOUR, properties={"device": "robot"}, is_bot=True)
    summaries.refresh("shop", NOW)
    assert summary(mara).device == "phone"


def test_scores_are_quintiles_and_equals_are_scored_alike() -> None:
    people = [make_shopper() for _number in range(10)]
    for place, shopper in enumerate(people):
        order(shopper, 1 + place, 1000 * (1 + place))
    visitor = make_shopper()
    summaries.refresh("shop", NOW)
    rows = [summary(shopper) for shopper in people]
    assert [row.recency_score for row in rows] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert [row.monetary_score for row in rows] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {row.frequency_score for row in rows} == {1}
    assert (summary(visitor).recency_score, summary(visitor).churn_risk) == (None, None)
    assert summary(visitor).segment == "prospect"


@pytest.mark.parametrize(
    ("days", "stage"),
    [
        ((), "visitor"),
        ((5,), "new"),
        ((90,), "lost"),
        ((50,), "at_risk"),
        ((25, 5), "active"),
        ((80, 60, 40, 20, 5), "loyal"),
        ((125, 105, 85, 65, 45), "at_risk"),
        ((300, 280, 260, 240), "lost"),
    ],
    ids=str,
)
def test_the_stage_is_told_by_the_shoppers_own_rhythm(days: tuple[int, ...], stage: str) -> None:
    for _number in range(40):  # a shop whose customers come back after twenty days
        regular = make_shopper()
        order(regular, 30)
        order(regular, 10)
    mara = make_shopper()
    for ago in days:
        order(mara, ago)
    summaries.refresh("shop", NOW)
    assert summary(mara).stage == stage


def test_churn_risk_grows_with_silence_and_sooner_for_the_frequent() -> None:
    def risk(*days: int) -> float:
        mara = make_shopper()
        for ago in days:
            order(mara, ago)
        summaries.refresh("shop", NOW)
        found = summary(mara).churn_risk
        assert found is not None
        assert 0 <= found < 1
        return float(found)

    assert risk(40, 30, 20, 10) < risk(60, 50, 40, 30) < risk(90, 80, 70, 60)
    assert risk(120, 80, 40) < risk(60, 50, 40)


def test_a_second_run_changes_nothing() -> None:
    for place in range(8):
        shopper = make_shopper()
        for number in range(place):
            order(shopper, 3 + 9 * number, 500 + place)
        view(shopper, 2, category=f"c{place % 3}")

    def everything() -> tuple[Any, ...]:
        rows = ShopperSummary.objects.order_by("pk").values()
        return list(rows), list(ShopperInterest.objects.order_by("shopper", "category").values("category", "share"))

    summaries.refresh("shop", NOW)
    first = everything()
    assert summaries.refresh("shop", NOW) == 8
    assert everything() == first


def test_a_killed_run_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "SPAN", 2)
    people = [make_shopper() for _number in range(7)]
    seen: list[str] = []

    def power_cut(what: object, done: float) -> None:
        seen.append(str(what))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        summaries.refresh("shop", NOW, power_cut)
    before = ShopperSummary.objects.count()
    assert 0 < before < len(people)
    again: list[str] = []
    assert summaries.refresh("shop", NOW, lambda what, done: again.append(what)) == len(people)
    assert again.count("summarising shoppers") == 2, "the first spans are not read again"
    assert all(summary(shopper).segment for shopper in people)


def test_the_number_of_queries_does_not_grow_with_the_shoppers() -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            summaries.refresh("shop", timezone.now())
        return len(captured)

    for number in range(60):
        order(make_shopper(), 1 + number)
    queries()  # the first time, the row that says how far the counts have come is made
    for number in range(60):
        order(make_shopper(), 1 + number)
    first = queries()
    for number in range(60):
        order(make_shopper(), 1 + number)
    assert queries() == first


def test_the_job_finishes_with_its_count_and_is_queued_once_a_day() -> None:
    make_shopper()
    assert summarise.queue_daily() == 1
    assert summarise.queue_daily() == 0
    job = jobs.lease("test", Job.objects.get(kind=JobKind.SUMMARY.value).pk)
    assert job is not None
    handler = handlers.get(JobKind.SUMMARY.value)
    assert handler is not None
    handler(job, job.params, lambda what, done: None, None)
    job.refresh_from_db()
    assert (job.state, job.result) == ("succeeded", {"population": "shop", "shoppers": 1})
    assert ShopperSummary.objects.get().as_of == job.created_at
