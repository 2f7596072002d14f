"""The report on the data before training: skew that is planted is told, and data that is even warns of nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Events, Frames, Items, Lines
from personalization.learning import diversity, diversity_words
from personalization.learning.diversity import Outcomes
from tests.features.shops import DAY, ORIGIN, OfferTerms, Person, Shop, ints

SHOPPERS, ITEMS, DAYS, OFFERS = 400, 120, 40, 4
END = ORIGIN + DAYS * DAY
TEST_FROM = END - 4 * DAY
PEOPLE = [Person({"age": 20 + at % 50, "income": 100.0, "gender": "fm"[at % 2], "city": "x", "tier": "a"}, ORIGIN - DAY)
          for at in range(SHOPPERS)]  # fmt: skip


def terms(position: int) -> OfferTerms:
    return OfferTerms(position, ("coupon", "flash_sale")[position % 2], hours=24.0, channels=(1.0, 0.0, 0.0))


def balanced(seed: int = 0, *, each: int = 30) -> Frames:
    """Return a shop where nobody and nothing stands out: as many events of each shopper, at random, over all days."""
    rng = np.random.default_rng(seed)
    shopper = np.repeat(np.arange(SHOPPERS), each)
    time = ORIGIN + rng.integers(0, DAYS * DAY, len(shopper))
    item = rng.integers(0, ITEMS, len(shopper))
    return with_events(shopper, time, item)


def with_events(shopper: Any, time: Any, item: Any) -> Frames:
    """Return frames with these product views and nothing else."""
    order = np.lexsort((time, shopper))
    shopper, time, item = (np.asarray(column)[order].astype(np.int64) for column in (shopper, time, item))
    none = np.full(len(shopper), -1)
    category = ints(at % 3 for at in range(ITEMS))
    viewed = np.full(len(shopper), TYPE_CODE["product_viewed"])
    return replace(
        Shop(PEOPLE, [terms(at) for at in range(OFFERS)], until=END).frames(),
        start=int(time.min()) if len(time) else END,
        events=Events(shopper, time, viewed, item, category[item], none, np.zeros(len(shopper))),
        lines=Lines(ints([]), ints([]), ints([]), np.zeros(0)),
        items=Items([str(at) for at in range(ITEMS)], category, np.ones(ITEMS), np.ones(ITEMS, dtype=bool)),
    )


def outcomes(seed: int = 0, rate: Callable[[Any, Any], Any] = lambda offer, time: 0.2) -> Outcomes:
    """Return rows of every shopper, offers at random over the days, with this rate of the outcome."""
    rng = np.random.default_rng(seed)
    shopper = np.repeat(np.arange(SHOPPERS), 10)
    offer = rng.integers(0, OFFERS, len(shopper))
    time = ORIGIN + rng.integers(0, DAYS * DAY, len(shopper))
    happened = rng.random(len(shopper)) < rate(offer, time)
    return Outcomes("redeem", Rows(shopper, offer, time, time + DAY), happened)


def told(frames: Frames, given: Outcomes | None = None, *, test_from: int = TEST_FROM) -> list[str]:
    report = diversity.describe(frames, test_from, given, FeatureBuilder(frames), protected=("age", "gender"))
    return diversity_words.warnings(json.loads(json.dumps(report)))


@pytest.mark.parametrize("seed", range(5))
def test_even_data_warns_of_nothing(seed: int) -> None:
    assert told(balanced(seed), outcomes(seed)) == []


def test_one_offer_that_gives_most_outcomes_is_named() -> None:
    assert told(balanced(), outcomes(rate=lambda offer, time: np.where(offer == 2, 0.6, 0.015))) == [
        "One offer, “offer 2”, gives 94 % of the outcomes: little is learnt about the others."
    ]


@pytest.mark.parametrize(("rate", "share"), [(0.004, "0.38 %"), (0.996, "99.52 %")])
def test_a_rare_outcome_is_told_whichever_side_is_rare(rate: float, share: str) -> None:
    assert told(balanced(), outcomes(rate=lambda offer, time: rate)) == [
        f"The outcome happens in {share} of the rows: there is little to tell apart."
    ]


def test_a_rate_that_changes_in_time_is_told_and_one_that_wavers_by_chance_is_not() -> None:
    half = ORIGIN + DAYS // 2 * DAY
    assert len(found := told(balanced(), outcomes(rate=lambda offer, time: np.where(time < half, 0.1, 0.3)))) == 1
    assert found[0].startswith("The outcome’s rate is 3")
    few = outcomes()
    some = np.random.default_rng(1).permutation(len(few.rows))[:60]
    thin = Outcomes("redeem", Rows(*(getattr(few.rows, name)[some] for name in Rows.__slots__)), few.happened[some])
    parts = diversity.describe(balanced(), TEST_FROM, thin)["outcome"]["over_time"]
    rates = [hits / rows for _from, rows, hits in parts]
    assert max(rates) > diversity_words.CHANGED * min(rates)
    assert told(balanced(), thin) == []


def test_a_robot_among_the_shoppers_is_told() -> None:
    frames, rng = balanced(), np.random.default_rng(3)
    loud = 8000
    shopper = np.append(frames.events.shopper, np.zeros(loud, dtype=np.int64))
    time = np.append(frames.events.time, ORIGIN + rng.integers(0, DAYS * DAY, loud))
    item = np.append(frames.events.item, rng.integers(0, ITEMS, loud))
    assert told(with_events(shopper, time, item)) == [
        "1 % of the shoppers give 41 % of the events: are robots or staff among them?"
    ]


def test_one_product_that_everybody_looks_at_is_told_with_its_category() -> None:
    frames, rng = balanced(), np.random.default_rng(3)
    item = np.where(rng.random(len(frames.events)) < 0.8, 1, frames.events.item)
    products, category = told(with_events(frames.events.shopper, frames.events.time, item))
    assert products == "1 % of the products get 80 % of the interest: the others are hardly learnt about."
    assert category == "One category, “shoes”, gets 87 % of the interest."


def test_what_is_known_of_a_few_is_told_and_what_is_known_of_nobody_is_not() -> None:
    frames = balanced()
    for place, attributes in enumerate(frames.shoppers.attributes):
        attributes.pop("city")
        if place % 20:
            attributes.pop("tier")
    assert told(frames, outcomes()) == ["“loyalty level” is missing in 95.0 % of the rows."]
    report = diversity.describe(frames, TEST_FROM, outcomes(), FeatureBuilder(frames))
    assert report["missing"]["city"] == 1
    assert "age" not in report["missing"]


def test_what_is_hidden_is_told_as_not_used_and_never_as_missing() -> None:
    """The control: an attribute that the shop lacks, and that nothing hides, stays missing."""
    frames = balanced()
    for attributes in frames.shoppers.attributes:
        for name in ("age", "gender", "city"):
            attributes.pop(name)
    report = diversity.describe(frames, TEST_FROM, outcomes(), FeatureBuilder(frames), hidden={"gender", "age"})
    assert report["not_used"] == ["age", "gender"]
    assert report["missing"]["city"] == 1
    assert not {"age", "gender"} & set(report["missing"])
    pairs = diversity_words.figures(json.loads(json.dumps(report)))
    assert pairs[-3:] == [
        ("Missing: town", "100.0 %"),
        ("Not used: age", "protected, and PROTECTED_USES does not allow it"),
        ("Not used: gender", "protected, and PROTECTED_USES does not allow it"),
    ]


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"head": "redeem", "offers": [["Ten off", 9, 3]]}, "Offers shown that were redeemed"),
        ({"head": "purchase", "offers": [["Ten off", 9, 3]]}, "Offers shown after which something was bought"),
        ({"head": "purchase"}, "Shoppers at moments of the past who bought within the days after"),
        ({"head": "odd", "offers": [["Ten off", 9, 3]]}, "Offers shown with the outcome"),
    ],
)
def test_the_first_rate_says_of_what(stored: dict[str, Any], told: str) -> None:
    assert diversity_words.rates({"outcome": {"rows": 9, "positives": 3, **stored}})[0] == (told, "33.3 % of 9")


def test_a_hole_in_the_log_is_told_with_its_dates() -> None:
    frames = balanced()
    hole = (frames.events.time > ORIGIN + 10 * DAY) & (frames.events.time < ORIGIN + 18 * DAY)
    kept = [getattr(frames.events, name)[~hole] for name in ("shopper", "time", "item")]
    (warning,) = told(with_events(*kept))
    assert warning.startswith("Nothing happened for 8.0 days, from Nov. 24, 2023 to Dec. 2, 2023")


def test_events_sent_twice_are_counted_whatever_lies_between_them() -> None:
    frames = balanced()
    at = np.arange(0, len(frames.events), 20)
    columns = [getattr(frames.events, name) for name in ("shopper", "time", "item")]
    other = [column[at] for column in columns]
    other[2] = (other[2] + 1) % ITEMS  # at the same moment, of another product
    twice = [np.concatenate([column, between, column[at]]) for column, between in zip(columns, other, strict=True)]
    changed = with_events(*twice)
    assert diversity.describe(changed, TEST_FROM)["duplicates"] == len(at)
    assert told(changed) == ["4.5 % of the events equal another one in everything: was something sent twice?"]
    assert diversity.describe(with_events(*[np.append(a, b) for a, b in zip(columns, other, strict=True)]), TEST_FROM)[
        "duplicates"
    ] == 0  # fmt: skip


def test_a_part_to_be_judged_on_that_is_full_of_new_shoppers_and_products_is_told() -> None:
    frames = balanced()
    early = frames.events.time < TEST_FROM
    old = early & (frames.events.shopper < 100) & (frames.events.item < 40)
    kept = [getattr(frames.events, name)[old | ~early] for name in ("shopper", "time", "item")]
    shoppers, products = told(with_events(*kept))
    assert "of the shoppers in the part judged on are new" in shoppers
    assert "of the products in the part judged on are new" in products
    assert diversity.new_from(ints([1, 1, 2, 3]), ints([1, 9, 9, 9]), 5) == pytest.approx(2 / 3, abs=1e-5)
    assert diversity.new_from(ints([1]), ints([1]), 5) is None


def test_groups_of_few_shoppers_are_not_told() -> None:
    frames = balanced()
    for attributes in frames.shoppers.attributes[:50]:
        attributes["gender"] = "x"
    groups = diversity.describe(frames, TEST_FROM, outcomes(), protected=("gender",))["outcome"]["groups"]["gender"]
    assert [name for name, _rows, _positives in groups] == ["f", "m"]


def test_an_attribute_with_a_value_a_shopper_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are gone through a fixed number of times, not once a value; of many groups the largest are told."""
    frames, given = balanced(), outcomes()
    for place, attributes in enumerate(frames.shoppers.attributes):
        attributes["birthday"] = f"day {place}"
        attributes["city"] = ("large", "middle", "middle", "large", "large", "small")[place % 6]
    compared: list[int] = []

    class Counting(np.ndarray):
        def __eq__(self, other: object) -> Any:
            compared.append(1)
            return super().__eq__(other)

        def __ne__(self, other: object) -> Any:
            compared.append(1)
            return super().__ne__(other)

    plain = np.array
    with monkeypatch.context() as patched:
        patched.setattr(diversity.np, "array", lambda *args, **kwargs: plain(*args, **kwargs).view(Counting))
        assert diversity._of_group(frames, given, "birthday") == []
    assert 1 <= len(compared) <= 3
    monkeypatch.setattr(diversity.fairness, "LEAST", 60)
    groups = diversity._of_group(frames, given, "city")
    assert [(name, rows) for name, rows, _hits in groups] == [("large", 2000), ("middle", 1340), ("small", 660)]
    mask = np.array([own["city"] == "middle" for own in frames.shoppers.attributes])[given.rows.shopper]
    assert groups[1][2] == int(given.happened[mask].sum())
    monkeypatch.setattr(diversity, "MOST_GROUPS", 2)
    assert [name for name, _rows, _hits in diversity._of_group(frames, given, "city")] == ["large", "middle"]


def test_the_rates_add_up() -> None:
    given = outcomes(rate=lambda offer, time: offer / 10)
    found = diversity.describe(balanced(), TEST_FROM, given)["outcome"]
    assert (found["rows"], found["positives"]) == (len(given.rows), int(given.happened.sum()))
    for division in ("offers", "kinds", "over_time"):
        assert [sum(column) for column in list(zip(*found[division], strict=True))[1:]] == [
            found["rows"],
            found["positives"],
        ]
    assert [name for name, _rows, _hits in found["channels"]] == ["web"]
    assert found["largest_offer"][0] == "offer 3"


def test_concentration_is_that_of_the_textbook() -> None:
    """Gini of 1, 2, 3, 4 is 1/4; a total that one of a hundred holds nearly whole is as uneven as can be."""
    assert diversity.concentration(ints([1, 2, 3, 4]))["gini"] == pytest.approx(0.25)
    even = diversity.concentration(ints([7] * 200))
    assert even == {"gini": 0, "evenness": 1, "top_1pct": 0.01}
    lopsided = diversity.concentration(ints([1] * 99 + [9901]))
    assert lopsided["top_1pct"] == pytest.approx(0.9901)
    assert lopsided["gini"] is not None
    assert lopsided["gini"] > 0.97
    assert diversity.concentration(ints([5])) == {"gini": None, "evenness": None, "top_1pct": None}


def test_a_shop_where_nothing_happened_has_a_report_without_warnings() -> None:
    empty = with_events([], [], [])
    assert told(empty) == []
    assert diversity_words.figures(diversity.describe(empty, TEST_FROM))


@pytest.mark.parametrize(
    ("begun", "gap", "told"),
    [
        ("2026-01-01T00:00:00+00:00", 1e308, "from Jan. 1, 2026 to –"),
        ("2026-01-01T00:00:00+00:00", 5e6, "from Jan. 1, 2026 to –"),
        ("9999-12-31T23:59:59+00:00", 50, "to –"),
        ("0001-01-01T00:00:00+14:00", 50, "from – to"),
        ("2026-01-01T00:00:00+00:00", 50, "from Jan. 1, 2026 to Feb. 20, 2026"),
    ],
)
def test_a_hole_that_leaves_the_calendar_is_told_without_that_date(begun: str, gap: float, told: str) -> None:
    (warning,) = diversity_words.warnings({"time": {"days": 100, "longest_gap_days": gap, "longest_gap_from": begun}})
    assert told in warning


@pytest.mark.parametrize("day", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_rate_beyond_the_calendar_is_told_without_its_day(day: str) -> None:
    stored = {"outcome": {"rows": 9, "positives": 3, "over_time": [[day, 9, 3]]}}
    with timezone.override("Asia/Tokyo" if day.startswith("9") else "America/New_York"):
        assert diversity_words.rates(stored)[-1] == ("From –", "33.3 % of 9")


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {"outcome": {"rows": "x"}, "counts": 3, "missing": {"age": "y"}},
        {"outcome": {"rows": 5, "positives": 1, "over_time": [[1], "x"], "offers": 7}},
    ],
)
def test_a_broken_report_is_read_as_far_as_it_goes(stored: Any) -> None:
    assert diversity_words.warnings(stored) == []
    assert isinstance(diversity_words.figures(stored), list)
    assert isinstance(diversity_words.rates(stored), list)
