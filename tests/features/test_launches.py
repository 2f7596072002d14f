"""Launches: what counts as one, what came of it, and that its description knows nothing of what came later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from personalization.features import launches as features
from personalization.features.frames import Frames, milliseconds
from personalization.features.launches import AT, COLUMNS, KINDS, STEPS, TOPICS, Launches
from personalization.learning import frames as reading
from personalization.learning.launches import plans
from personalization.models import Campaign, CampaignRevision, Event, Exposure, Offer, Shopper
from tests.support import build

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, 12, tzinfo=UTC)
END = START + 60 * DAY


@pytest.fixture
def people() -> list[Shopper]:
    return [build.shopper(joined_at=START - 30 * DAY, consent_personalisation=True) for _ in range(24)]


def campaign(at: datetime = START, *, days: int = 20, **fields: Any) -> Campaign:
    given = {"status": "running", "delivery": "sent", "starts_at": at, "ends_at": at + days * DAY} | fields
    return Campaign.objects.create(name="One", population="shop", **given)


def offer(of: Campaign, **fields: Any) -> Offer:
    given = {"kind": "coupon", "name": "An offer", "amount_minor": 500} | fields
    return Offer.objects.create(campaign=of, **given)


def show(
    what: Offer, people: list[Shopper], at: datetime, *, redeem: int = 0, after: timedelta = DAY, days: int = 3
) -> None:
    Exposure.objects.bulk_create(
        Exposure(
            shopper=one, campaign=what.campaign, offer=what, arm="treatment", exposed_at=at,
            window_ends_at=at + days * DAY, redeemed_at=at + after if place < redeem else None,
        )
        for place, one in enumerate(people)
    )  # fmt: skip


def order(shopper: Shopper, at: datetime, value_minor: int) -> None:
    Event.objects.create(
        source="t", event_id=f"{shopper.pk}-{at}", shopper=shopper, occurred_at=at, type="order_placed",
        value_minor=value_minor,
    )  # fmt: skip


def frames(until: datetime = END) -> Frames:
    return reading.load("shop", until)


def past(until: datetime = END) -> Launches:
    found = frames(until)
    return features.past(found, plans(found))


def column(launches: Launches, name: str, row: int = 0) -> Any:
    return launches.x[row, :, AT[name]]


def test_every_wave_of_what_is_sent_is_a_launch(people: list[Shopper]) -> None:
    one = offer(campaign())
    show(one, people, START, redeem=6)
    show(one, people[:12], START + timedelta(hours=40), redeem=1)  # within two days: still the first
    show(one, people[:12], START + 7 * DAY, redeem=3)
    found = past()
    assert (found.shown.tolist(), found.responded.tolist()) == ([24, 12], [6, 3])
    assert found.start.tolist() == [milliseconds(START), milliseconds(START + 7 * DAY)]
    assert found.rate.tolist() == [0.25, 0.25]


def test_what_is_on_the_pages_is_launched_once(people: list[Shopper]) -> None:
    one = offer(campaign(delivery="on_page", days=50))
    for week in range(6):
        show(one, people[4 * week : 4 * week + 4], START + 7 * week * DAY, redeem=1)
    found = past()
    assert (found.shown.tolist(), found.responded.tolist()) == ([20], [5])  # the sixth week is beyond LONGEST
    assert found.known.tolist() == [milliseconds(START + 31 * DAY)]


def test_a_shopper_counts_once_and_late_redemptions_do_not(people: list[Shopper]) -> None:
    one = offer(campaign())
    show(one, people[:10], START, redeem=3)
    show(one, people[:10], START + 1.5 * DAY, redeem=2)
    show(one, people[10:], START, redeem=5, after=4 * DAY)  # the window is three days
    found = past()
    assert (found.shown.tolist(), found.responded.tolist()) == ([24], [3])


@pytest.mark.parametrize("reason", ["announcement", "few", "open", "no consent"])
def test_what_is_no_launch(people: list[Shopper], reason: str) -> None:
    one = offer(campaign(), kind="announcement" if reason == "announcement" else "coupon")
    show(one, people[:9] if reason == "few" else people, START, redeem=3)
    if reason == "no consent":
        Shopper.objects.update(consent_personalisation=False)
    assert len(past(START + 2 * DAY if reason == "open" else END)) == 0


def test_the_terms_are_told_in_usual_baskets(people: list[Shopper]) -> None:
    order(people[0], START - DAY, 4000)
    order(people[1], START - 2 * DAY, 6000)
    order(people[2], START + DAY, 900_000)  # later: says nothing about the launch
    one = offer(campaign(audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}), kind="spend_threshold",
                amount_minor=1000, threshold_minor=10_000, category="books", tiers=["gold"])  # fmt: skip
    show(one, people, START)
    found = past()
    assert column(found, "depth")[0] == pytest.approx(0.1)
    assert column(found, "reward")[0] == pytest.approx(np.log1p(10 / 50))
    assert column(found, "threshold")[0] == pytest.approx(np.log1p(100 / 50))
    assert [column(found, name)[0] for name in ("members_only", "targeted", "sent", "web")] == [1, 1, 1, 0]
    kinds = [column(found, f"kind_{kind}")[0] for kind in KINDS]
    assert kinds == [float(kind == "spend_threshold") for kind in KINDS]


def test_steps_run_from_the_start_to_the_planned_end(people: list[Shopper]) -> None:
    show(offer(campaign(days=14)), people, START)
    found = past()
    left = np.expm1(column(found, "time_left"))
    np.testing.assert_allclose(left, 14 - np.arange(14) - 0.5)
    np.testing.assert_allclose(column(found, "weekday_sin")[:7], column(found, "weekday_sin")[7:], atol=1e-9)
    assert np.expm1(column(found, "duration"))[0] == pytest.approx(14)


@pytest.mark.parametrize(("hours", "days"), [(48, 2), (-5, 1 / 24), (1e308, 14), (10**400, 14), ("48", 14)])
def test_an_offer_s_own_hours_end_a_launch_early(people: list[Shopper], hours: Any, days: float) -> None:
    show(offer(campaign(days=14), attributes={"duration_hours": hours}), people, START)
    assert np.expm1(column(past(), "duration"))[0] == pytest.approx(days)


def test_others_count_while_they_run(people: list[Shopper]) -> None:
    show(offer(campaign(START - 7 * DAY, days=14)), people, START - 7 * DAY)
    show(offer(campaign(days=14)), people, START)
    show(offer(campaign(START + DAY, days=14)), people, START + DAY)  # begins later
    found = past()
    assert np.expm1(column(found, "others", 1)).round(6).tolist() == [1.0] * 7 + [0.0] * 7
    assert not column(found, "others", 0).any()


@pytest.mark.parametrize("delivery", ["sent", "on_page"])
@pytest.mark.parametrize("days", [3, 20])
def test_others_count_alike_before_and_after(people: list[Shopper], delivery: str, days: int) -> None:
    """Asked for a launch to come, others count whose outcomes are open still: as for the launch that has been."""
    other = offer(campaign(days=20, delivery=delivery))
    for day in range(days):
        show(other, people, START + day * DAY)
    one = offer(campaign(START + 5 * DAY, days=10, delivery=delivery))
    begins = START + 5 * DAY
    show(one, people, begins)
    found = frames(begins)
    place = found.offers.ids.tolist().index(one.pk)
    asked = features.planned(found, plans(found), [place], milliseconds(begins))
    been = past()
    row = been.offer.tolist().index(frames().offers.ids.tolist().index(one.pk))
    assert np.expm1(column(asked, "others")).round(6).tolist() == [1.0] * STEPS
    np.testing.assert_array_equal(column(been, "others", row), column(asked, "others"))


def test_another_begins_when_enough_have_seen_it(people: list[Shopper]) -> None:
    """Eight had seen it when the first launch began, all the others by the second (the control)."""
    other = offer(campaign(START - DAY, delivery="on_page"))
    show(other, people[:8], START - DAY)
    first = offer(campaign())
    show(first, people, START)
    show(other, people[8:], START + DAY)
    show(offer(campaign(START + 2 * DAY)), people, START + 2 * DAY)
    found = past()
    asked = frames(START)
    place = asked.offers.ids.tolist().index(first.pk)
    planned = features.planned(asked, plans(asked), [place], milliseconds(START))
    assert [round(float(np.expm1(column(found, "others", row)[0])), 6) for row in (1, 2)] == [0.0, 2.0]
    assert not column(planned, "others").any()


def test_an_offer_on_the_pages_is_not_another_to_itself(people: list[Shopper]) -> None:
    one = offer(campaign(delivery="on_page"))
    show(one, people, START)
    found = frames(START + DAY)
    asked = features.planned(found, plans(found), [0], milliseconds(START + DAY))
    assert not column(asked, "others").any()


def meddle(people: list[Shopper], after: datetime) -> None:
    """Change what a moment cannot know: outcomes, orders, campaigns and ends that came later."""
    Exposure.objects.filter(exposed_at__gt=after).update(redeemed_at=None)
    order(people[3], after + DAY, 77_000)
    show(offer(campaign(after + DAY)), people, after + DAY, redeem=20)
    for one in Campaign.objects.filter(starts_at__lte=after):
        CampaignRevision.objects.get_or_create(
            campaign=one, number=0,
            defaults={"snapshot": {"campaign": {"ends_at": one.ends_at.isoformat()}}, "at": one.starts_at},
        )  # fmt: skip
        one.ends_at += 5 * DAY
        one.save()
        CampaignRevision.objects.create(
            campaign=one, number=1, snapshot={"campaign": {"ends_at": one.ends_at.isoformat()}}, at=after + DAY
        )


@pytest.mark.parametrize("moment", [START + 7 * DAY, START - DAY])
def test_nothing_later_than_a_launch_changes_its_description(people: list[Shopper], moment: datetime) -> None:
    """Meddled with after the second launch, nothing differs; before the first (the control), everybody's does."""
    order(people[0], START - 2 * DAY, 4000)
    for week in range(2):
        show(offer(campaign(START + 7 * week * DAY)), people, START + 7 * week * DAY, redeem=5)
    before = past()
    meddle(people, moment)
    after = past()
    same = [row for row, start in enumerate(after.start) if start in before.start and after.shown[row] == 24]
    kept = after.take(np.array(same[:2]))
    unchanged = np.array_equal(kept.x, before.x) and kept.end.tolist() == before.end.tolist()
    assert unchanged is (moment > START)


def test_the_end_is_the_one_planned_at_the_launch(people: list[Shopper]) -> None:
    one = campaign(days=10)
    show(offer(one), people, START)
    show(offer(one), people, START + 8 * DAY)
    CampaignRevision.objects.create(campaign=one, number=1, at=START - DAY,
                                    snapshot={"campaign": {"ends_at": one.ends_at.isoformat()}})  # fmt: skip
    CampaignRevision.objects.create(campaign=one, number=2, at=START + 5 * DAY,
                                    snapshot={"campaign": {"ends_at": (START + 30 * DAY).isoformat()}})  # fmt: skip
    assert past().end.tolist() == [milliseconds(START + 10 * DAY), milliseconds(START + 30 * DAY)]


def test_a_planned_launch_is_described_as_one_that_has_been(people: list[Shopper]) -> None:
    show(offer(campaign(START - 7 * DAY)), people, START - 7 * DAY)
    one = offer(campaign())
    found = frames(START)
    place = found.offers.ids.tolist().index(one.pk)
    planned = features.planned(found, plans(found), [place], milliseconds(START))
    assert (planned.shown.tolist(), planned.offer.tolist()) == ([0], [place])
    show(one, people, START, redeem=5)
    been = past()
    np.testing.assert_array_equal(planned.x[0], been.x[-1])
    assert planned.end[0] == been.end[-1]


def test_no_launch_is_described_without_a_row() -> None:
    campaign()
    found = past()
    assert (len(found), found.x.shape) == (0, (0, STEPS, len(COLUMNS)))


def test_every_column_belongs_to_one_topic() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS) == sum(len(topic.columns) for topic in TOPICS)
