"""The calendar shows each campaign of a month on its days, whoever may look."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.urls import reverse

from personalization.admin.calendar import month_of, rows_of
from personalization.models import Campaign
from tests.admin.builders import make_campaign, make_user

pytestmark = pytest.mark.django_db
URL = "admin:personalization_campaign_calendar"
FIRST = date(2030, 3, 1)


def at(month: int, day: int) -> datetime:
    return datetime(2030, month, day, tzinfo=UTC)


def spans(**fields) -> list[tuple[int, int, int, bool, bool]]:
    make_campaign(**fields)
    rows = rows_of(Campaign.objects.all(), FIRST)
    return [(row.before, row.days, row.after, row.from_earlier, row.goes_on) for row in rows]


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        (at(3, 1), at(4, 1), (0, 31, 0, False, False)),
        (at(3, 5), at(3, 8), (4, 3, 24, False, False)),
        (at(2, 20), at(3, 3), (0, 2, 29, True, False)),
        (at(3, 31), at(4, 9), (30, 1, 0, False, True)),
        (at(2, 1), at(5, 1), (0, 31, 0, True, True)),
    ],
)
def test_a_campaign_takes_its_days(starts, ends, expected):
    assert spans(starts_at=starts, ends_at=ends) == [expected]


@pytest.mark.parametrize(("starts", "ends"), [(at(2, 1), at(3, 1)), (at(4, 1), at(4, 9))])
def test_the_neighbouring_months_are_not_shown(starts, ends):
    assert spans(starts_at=starts, ends_at=ends) == []


@pytest.mark.parametrize("given", ["", "nonsense", "2030-13", "0001-01", "2030-3-1"])
def test_an_address_that_names_no_month_means_this_one(given):
    assert month_of(given, date(2026, 11, 23)) == date(2026, 11, 1)


def test_the_page_links_each_campaign_and_its_neighbours(client, django_assert_num_queries):
    client.force_login(make_user("view_campaign"))
    one = make_campaign(name="<Spring>", starts_at=at(3, 5), ends_at=at(3, 8), status="running")
    client.get(reverse(URL))
    with django_assert_num_queries(5):  # session, user, two of permissions, campaigns
        page = client.get(reverse(URL), {"month": "2030-03"}).content.decode()
    for number in range(20):
        make_campaign(name=f"More {number}", starts_at=at(3, 5), ends_at=at(3, 8))
    with django_assert_num_queries(5):
        client.get(reverse(URL), {"month": "2030-03"})
    assert reverse("admin:personalization_campaign_change", args=[one.pk]) in page
    assert "&lt;Spring&gt;" in page
    assert "running" in page
    assert "?month=2030-02" in page
    assert "?month=2030-04" in page


def test_only_who_may_view_campaigns_sees_it(client):
    client.force_login(make_user("view_coupon"))
    assert client.get(reverse(URL)).status_code == 403
    client.force_login(make_user("view_campaign"))
    assert client.post(reverse(URL)).status_code == 405
