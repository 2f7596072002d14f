"""Groups of buyers: every triple of scores has a name, and planted habits are found again."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import numpy as np
import pytest
from django.utils import timezone

from personalization.features import segments, summaries
from personalization.features.segment_names import PROSPECT, SEGMENTS, segment_of
from personalization.models import ShopperSummary
from tests.personalization.builders import make_event, make_shopper

NOW = timezone.now()
DAY = timedelta(days=1)


def test_every_buyer_has_exactly_one_segment() -> None:
    for recency, frequency, money in product(range(1, 6), repeat=3):
        fitting = [
            segment.code
            for segment in SEGMENTS
            if segment.recency[0] <= recency <= segment.recency[1]
            and segment.worth[0] <= frequency + money <= segment.worth[1]
        ]
        assert fitting == [segment_of(recency, frequency, money)]


@pytest.mark.parametrize(
    ("scores", "code"),
    [((5, 5, 5), "champions"), ((1, 1, 1), "lost"), ((5, 1, 1), "new"), ((1, 5, 5), "cannot_lose")],
)
def test_the_best_and_the_lost_are_where_one_looks_for_them(scores: tuple[int, int, int], code: str) -> None:
    assert segment_of(*scores) == code


def plant(orders: int, basket: int, days: int, count: int) -> None:
    ShopperSummary.objects.bulk_create(
        ShopperSummary(
            shopper=make_shopper(),
            as_of=NOW,
            orders=orders + number % 2,
            spent_minor=(orders + number % 2) * (basket + number),
            last_order_at=NOW - (days + number % 3) * DAY,
        )
        for number in range(count)
    )


@pytest.mark.django_db
def test_planted_habits_are_found_and_named() -> None:
    plant(30, 900, 2, 40)
    plant(1, 30_000, 200, 40)
    plant(6, 5_000, 30, 40)
    assert segments.cluster("shop", NOW) >= 3
    groups = segments.habits("shop")
    assert sum(group.shoppers for group in groups) == 120
    assert sum(group.spend_share for group in groups) == pytest.approx(1)
    frequent = ShopperSummary.objects.filter(orders__gte=30).values_list("cluster", flat=True).distinct()
    assert all(code.startswith("frequent_small_recent") for code in frequent)
    rare = ShopperSummary.objects.filter(orders__lte=2).values_list("cluster", flat=True).distinct()
    assert all(code.startswith("rare_large_quiet") for code in rare)
    assert segments.habit_name("frequent_small_recent") == "frequent small baskets, lately"


@pytest.mark.django_db
def test_the_database_finds_the_same_nearest_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for _number in range(60):
        plant(int(rng.integers(1, 40)), int(rng.integers(100, 90_000)), int(rng.integers(1, 300)), 1)
    seen: dict[str, list[str]] = {}
    monkeypatch.setattr(segments, "_code", lambda centre: str(seen.setdefault(str(list(centre)), [str(len(seen))])[0]))
    kept: list[np.ndarray] = []
    best = segments._best

    def watched(points: np.ndarray, seed: int) -> object:
        kept.append(points)
        return best(points, seed)

    monkeypatch.setattr(segments, "_best", watched)
    segments.cluster("shop", NOW)
    centres = np.array(
        [[float(value) for value in key.replace("np.float64(", "").replace(")", "")[1:-1].split(",")] for key in seen]
    )
    nearest = ((kept[0][:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    stored = ShopperSummary.objects.order_by("pk").values_list("cluster", flat=True)
    assert [int(code) for code in stored] == list(nearest)


@pytest.mark.django_db
def test_few_buyers_have_no_habits_and_a_second_run_finds_the_same() -> None:
    plant(5, 1000, 5, 10)
    assert segments.cluster("shop", NOW) == 0
    assert set(ShopperSummary.objects.values_list("cluster", flat=True)) == {""}
    plant(1, 9000, 90, 50)
    segments.cluster("shop", NOW)
    first = list(ShopperSummary.objects.order_by("pk").values_list("cluster", flat=True))
    segments.cluster("shop", NOW)
    assert list(ShopperSummary.objects.order_by("pk").values_list("cluster", flat=True)) == first


@pytest.mark.django_db
def test_the_overview_names_every_segment_with_its_share_of_the_money() -> None:
    buyer = make_shopper()
    make_event(buyer, "order_placed", occurred_at=NOW - DAY, value_minor=5000)
    make_shopper()
    summaries.refresh("shop", NOW)
    rows = {group.code: group for group in segments.overview("shop")}
    assert set(rows) == {segment.code for segment in SEGMENTS}
    assert (rows[PROSPECT].shoppers, rows[PROSPECT].share, rows[PROSPECT].spend_share) == (1, 0.5, 0.0)
    assert sum(group.spend_share for group in rows.values()) == pytest.approx(1)
    assert all(group.name and group.sentence for group in rows.values())
