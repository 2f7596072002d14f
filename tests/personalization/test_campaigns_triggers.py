"""For whom an occasion comes, when, and that it comes once: whatever runs twice, stops half-way or starts again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from personalization.campaigns import occasions, triggers
from personalization.exceptions import InvalidTrigger
from personalization.models import (
    Occurrence,
    PricePoint,
    ShopperSummary,
    Trigger,
)
from personalization.models.trigger_rules import parse_params
from personalization.tracking.catalog import upsert_items
from personalization.types import ProductData
from tests.personalization.builders import DAY, make_shopper
from tests.personalization.occasions import HOUR, NOW, campaign, event, keys, trigger

pytestmark = pytest.mark.django_db


# -- the kinds


def test_welcome_comes_once_for_whoever_joined_lately() -> None:
    new = make_shopper(joined_at=NOW - 2 * DAY)
    make_shopper(joined_at=NOW - 20 * DAY)
    make_shopper(joined_at=None)
    of = trigger("welcome", {"days": 7})
    assert keys(of) == ["welcome"]
    assert keys(of, NOW + DAY) == ["welcome"]
    assert Occurrence.objects.get().shopper == new


@pytest.mark.parametrize(
    ("born", "now", "before", "expected"),
    [
        ("03-10", NOW, 0, ["birthday:2026"]),
        ("1990-03-10", NOW, 0, ["birthday:2026"]),
        ("03-15", NOW, 5, ["birthday:2026"]),
        ("03-16", NOW, 5, []),
        ("03-09", NOW, 5, []),
        ("01-02", datetime(2026, 12, 30, 12, tzinfo=UTC), 5, ["birthday:2027"]),
        ("02-29", datetime(2026, 2, 28, 12, tzinfo=UTC), 0, ["birthday:2026"]),
        ("02-29", datetime(2028, 2, 28, 12, tzinfo=UTC), 0, []),
        ("02-29", datetime(2028, 2, 29, 12, tzinfo=UTC), 0, ["birthday:2028"]),
        ("02-28", datetime(2028, 2, 28, 12, tzinfo=UTC), 0, ["birthday:2028"]),
        (None, NOW, 5, []),
        (17, NOW, 5, []),
    ],
)
def test_birthday(born: Any, now: datetime, before: int, expected: list[str]) -> None:
    make_shopper(attributes={"birthday": born} if born is not None else {})
    assert keys(trigger("birthday", {"days_before": before}), now) == expected


def test_a_birthday_is_meant_in_the_campaigns_time_zone() -> None:
    make_shopper(attributes={"birthday": "03-11"})
    late = datetime(2026, 3, 10, 20, tzinfo=UTC)
    assert keys(trigger("birthday"), late) == []
    assert keys(trigger("birthday", campaign=campaign(time_zone="Asia/Tokyo")), late) == ["birthday:2026"]


@pytest.mark.parametrize(
    ("first", "last", "today", "year"),
    [
        ("03-01", "03-31", date(2026, 3, 10), 2026),
        ("03-01", "03-31", date(2026, 4, 1), None),
        ("12-20", "01-06", date(2026, 12, 20), 2026),
        ("12-20", "01-06", date(2027, 1, 6), 2026),
        ("12-20", "01-06", date(2027, 1, 7), None),
    ],
)
def test_a_season_may_cross_new_year(first: str, last: str, today: date, year: int | None) -> None:
    assert occasions.season_year(first, last, today) == year


def test_a_season_is_for_the_whole_audience_once_a_year() -> None:
    gold = make_shopper(attributes={"tier": "gold"})
    make_shopper(attributes={"tier": "silver"})
    audience = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
    of = trigger("season", {"from": "03-01", "to": "03-31"}, campaign=campaign(audience=audience))
    assert keys(of) == ["season:2026"]
    assert keys(of, NOW + 365 * DAY) == ["season:2026", "season:2027"]
    assert set(Occurrence.objects.values_list("shopper", flat=True)) == {gold.pk}


@pytest.mark.parametrize(
    ("today", "before", "name", "expected"),
    [
        (date(2026, 12, 25), 0, "", date(2026, 12, 25)),
        (date(2026, 12, 26), 0, "", date(2026, 12, 25)),
        (date(2026, 12, 20), 5, "", date(2026, 12, 25)),
        (date(2026, 12, 19), 5, "", None),
        (date(2026, 12, 30), 5, "", date(2027, 1, 1)),
        (date(2026, 12, 20), 30, "easter", None),
    ],
)
def test_holidays_next_to_each_other_are_one_occasion(
    today: date, before: int, name: str, expected: date | None
) -> None:
    given = {"country": "DE", "subdivision": "", "name": name, "days_before": before}
    assert occasions.holiday_begins(given, today) == expected


def test_a_holiday_of_the_settings_country(configure: Any) -> None:
    configure(COUNTRY="FR")
    make_shopper()
    bastille = datetime(2026, 7, 13, 12, tzinfo=UTC)
    assert keys(trigger("holiday", {"days_before": 2}), bastille) == ["holiday:2026-07-14"]


def test_win_back_comes_once_for_each_lapse() -> None:
    lapsed, active, _visitor = make_shopper(), make_shopper(), make_shopper()
    event(lapsed, "order_placed", NOW - 200 * DAY)
    event(lapsed, "order_placed", NOW - 100 * DAY)
    event(active, "order_placed", NOW - 100 * DAY)
    event(active, "order_placed", NOW - DAY)
    of = trigger("win_back", {"days": 60})
    assert keys(of) == [f"win_back:{NOW - 100 * DAY:%Y-%m-%d}"]
    assert keys(of, NOW + DAY) == [f"win_back:{NOW - 100 * DAY:%Y-%m-%d}"]
    assert Occurrence.objects.get().shopper == lapsed


@pytest.mark.parametrize(
    ("changes", "order", "expected"),
    [
        ([(6, 4000)], None, 1),
        ([(1, 4000)], None, 0),
        ([(100, 4000)], None, 0),
        ([(6, 4000), (5, 0)], None, 0),
        ([(6, 4000), (1, 5000)], None, 0),
        ([(6, 4000)], 3, 0),
        ([(6, 4000)], 9, 1),
    ],
    ids=["left", "too fresh", "too old", "emptied", "still busy", "bought", "bought before"],
)
def test_a_basket_left_behind(changes: list[tuple[int, int]], order: int | None, expected: int) -> None:
    shopper = make_shopper()
    for hours, total in changes:
        event(shopper, "basket_changed", NOW - hours * HOUR, properties={"basket_total_minor": total}, item_id="a")
    if order is not None:
        event(shopper, "order_placed", NOW - order * HOUR)
    assert len(keys(trigger("basket", {"hours": 4, "within_days": 3}))) == expected


@pytest.mark.parametrize(
    ("days_ago", "cycle", "later_order", "expected"),
    [(30, 30.0, False, 1), (28, 30.5, False, 1), (20, 30.0, False, 0), (60, 30.0, False, 0), (30, 30.0, True, 0)],
    ids=["due", "due soon", "not yet", "long over", "bought since the summary"],
)
def test_replenishment(days_ago: int, cycle: float, later_order: bool, expected: int) -> None:
    shopper = make_shopper()
    last = NOW - days_ago * DAY
    ShopperSummary.objects.create(shopper=shopper, as_of=NOW - DAY, last_order_at=last, cycle_days=cycle, orders=4)
    make_shopper()
    if later_order:
        event(shopper, "order_placed", NOW - HOUR)
    of = trigger("replenishment", {"days_before": 3, "late_days": 14})
    assert keys(of) == [f"replenishment:{last:%Y-%m-%d}"] * expected


def price(amount: int, since: datetime, until: datetime | None = None, item: str = "a", currency: str = "EUR") -> None:
    PricePoint.objects.create(item_id=item, price_minor=amount, currency=currency, since=since, until=until)


@pytest.mark.parametrize(
    ("viewed_days_ago", "now_minor", "currency", "expected"),
    [(8, 900, "EUR", 1), (8, 960, "EUR", 0), (2, 900, "EUR", 0), (8, 900, "USD", 0), (80, 900, "EUR", 0)],
    ids=["fell", "too little", "seen at the new price", "another currency", "seen long ago"],
)
def test_price_drop(viewed_days_ago: int, now_minor: int, currency: str, expected: int) -> None:
    price(1000, NOW - 100 * DAY, NOW - 5 * DAY)
    price(now_minor, NOW - 5 * DAY, currency=currency)
    shopper = make_shopper()
    event(shopper, "product_viewed", NOW - viewed_days_ago * DAY, item_id="a")
    event(make_shopper(), "product_viewed", NOW - 8 * DAY, item_id="b")
    of = trigger("price_drop", {"percent": 10, "within_days": 30})
    assert keys(of) == [f"price_drop:{NOW - 5 * DAY:%Y-%m-%d}"] * expected


def test_the_catalogue_copy_keeps_what_prices_were() -> None:
    def copy(amount: int) -> None:
        upsert_items([ProductData("a", "Tea", amount, "EUR"), ProductData("b", "Cup", 500, "EUR")], label="test")

    for amount in (1000, 1000, 900):
        copy(amount)
    points = PricePoint.objects.filter(item_id="a").order_by("since")
    assert [(point.price_minor, point.until is None) for point in points] == [(1000, False), (900, True)]
    assert points[0].until == points[1].since
    assert PricePoint.objects.filter(item_id="b").count() == 1


def test_a_custom_event_with_a_property() -> None:
    meant, other = make_shopper(), make_shopper()
    event(meant, "search_performed", NOW - DAY, properties={"query": "tea", "results": 0})
    event(other, "search_performed", NOW - DAY, properties={"query": "tea", "results": 7})
    event(other, "search_performed", NOW - 20 * DAY, properties={"query": "tea", "results": 0})
    of = trigger("event", {"type": "search_performed", "property": "results", "value": 0, "days": 3})
    assert keys(of) == [f"event:{NOW - DAY:%Y-%m-%d}"]
    assert Occurrence.objects.get().shopper == meant


# -- details


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("welcome", {"days": 0}),
        ("welcome", {"days": "7"}),
        ("welcome", {"days": True}),
        ("welcome", {"day": 7}),
        ("welcome", []),
        ("birthday", {"days_before": 61}),
        ("season", {"from": "02-30", "to": "03-01"}),
        ("season", {"from": "12-24"}),
        ("holiday", {"country": "QQ"}),
        ("holiday", {"country": "DE", "subdivision": "QQ"}),
        ("holiday", {}),
        ("win_back", {}),
        ("price_drop", {"percent": 100}),
        ("event", {}),
        ("event", {"type": "x", "property": "a__gt", "value": 1}),
        ("event", {"type": "x", "property": "a"}),
        ("event", {"type": "x", "property": "a", "value": [1]}),
        ("party", {}),
    ],
)
def test_details_that_make_no_sense_are_refused(kind: str, params: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        parse_params(kind, params)
    assert "%(" not in " ".join(refused.value.messages)
    with pytest.raises(InvalidTrigger):
        triggers.parse_params(kind, params)


def test_the_unknown_country_is_named() -> None:
    with pytest.raises(InvalidTrigger, match="“QQ” are not known"):
        triggers.parse_params("holiday", {"country": "qq"})


def test_a_trigger_names_the_field_to_mend() -> None:
    with pytest.raises(ValidationError) as refused:
        Trigger(campaign=campaign(), kind="win_back", channels=["pigeon"]).full_clean()
    assert set(refused.value.message_dict) == {"params", "channels"}
