"""The fast features equal the reference on random small shops, and the future changes none of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.features import reference
from personalization.features.compute import FeatureBuilder, effective_benefit
from personalization.features.series import Series
from personalization.features.specification import FEATURES, INDEX, NAMES
from tests.features import shops
from tests.features.shops import DAY, HOUR, ORIGIN, Happening, OfferTerms, Person, Shop, Shown

NUMERIC = [feature.name for feature in FEATURES if not feature.categorical and feature.group != "taste"]
"""Columns of taste are filled in by the worker: tests/worker/test_tastes.py."""
OF_AN_OFFER = {feature.name for feature in FEATURES if feature.group in {"offer", "cross"}} | {"category_share"}


def build(shop: Shop, pairs: list[tuple[int, int, int, int]]) -> np.ndarray:
    return FeatureBuilder(shop.frames()).build(shops.rows_of(pairs))


def expected(shop: Shop, pair: tuple[int, int, int, int]) -> dict[str, float]:
    shopper, offer, time, window_end = pair
    asked = shop.offers[offer] if shop.offers else OfferTerms(offer=0, kind=shops.KINDS[0])
    pace = shop.pace(time, asked.threshold)
    return reference.reduce(shop.history(shopper), asked, time, window_end, shop.start(), pace)


def test_the_reference_knows_every_numeric_feature() -> None:
    shop = Shop([Person()], [OfferTerms(0, "coupon", amount=5)])
    assert set(expected(shop, (0, 0, ORIGIN, ORIGIN + DAY))) == set(NUMERIC)


@given(data=st.data())
def test_every_feature_equals_the_reference(data: st.DataObject) -> None:
    shop = data.draw(shops.shops())
    pairs = data.draw(shops.questions(shop))
    builder, rows = FeatureBuilder(shop.frames()), shops.rows_of(pairs)
    matrix = builder.build(rows)
    assert matrix.shape == (len(pairs), len(NAMES))
    profiles = [reference.profile_at(shop.history(shopper), time) for shopper, _offer, time, _end in pairs]
    assert builder.text("tier", rows).tolist() == [profile.get("tier", "") for profile in profiles]
    for row, pair in zip(matrix, pairs, strict=True):
        wanted = expected(shop, pair)
        # Without any offer there is none to describe; everything about the shopper is computed all the same.
        for name in NUMERIC if shop.offers else set(NUMERIC) - OF_AN_OFFER:
            np.testing.assert_allclose(row[INDEX[name]], wanted[name], rtol=1e-9, atol=1e-6, err_msg=f"{name} {pair}")
        if shop.offers:
            kind = shops.KINDS.index(shop.offers[pair[1]].kind)
            assert (row[INDEX["offer_kind"]], row[INDEX["offer"]]) == (kind, pair[1])
        else:
            assert np.isnan(row[[INDEX[name] for name in ("offer_kind", "offer", "amount", "reach")]]).all()


@pytest.mark.parametrize("value", [10**400, 1e308, float("inf"), float("nan"), True, "40", None, [40]])
def test_a_profile_s_number_that_is_none_is_missing(value: Any) -> None:
    """A host's value stops nobody's training: the shopper's is missing, and everybody else's is read."""
    people = [Person({"age": value, "income": value}), Person({"age": 40, "income": 2.5})]
    shop = Shop(people, [OfferTerms(0, "coupon", amount=5)])
    pairs = [(shopper, 0, ORIGIN, ORIGIN + DAY) for shopper in range(2)]
    found = build(shop, pairs)[:, [INDEX["age"], INDEX["income"]]]
    np.testing.assert_array_equal(found, [[np.nan, np.nan], [40, 2.5]])
    assert np.isnan([expected(shop, pairs[0])[name] for name in ("age", "income")]).all()


@given(data=st.data())
def test_the_future_changes_no_value(data: st.DataObject) -> None:
    """Everything at the moment itself or later, of whatever sort and whomever, is invisible."""
    shop = data.draw(shops.shops())
    moment = data.draw(shops.times)
    pairs = [
        (shopper, offer, moment, moment + 7 * DAY)
        for shopper in range(len(shop.people))
        for offer in range(max(len(shop.offers), 1))
    ]
    later = st.builds(lambda step, jitter: moment + step * HOUR + jitter, st.integers(0, 900), st.integers(0, 1))
    happenings = data.draw(shops.happenings(len(shop.people), len(shop.offers), later))
    shown = data.draw(shops.exposures(len(shop.people), len(shop.offers), later))
    before, after = build(shop, pairs), build(shop.with_more(happenings, shown), pairs)
    np.testing.assert_array_equal(after, before)


def test_that_somebody_will_join_is_not_known_before() -> None:
    """A visitor's exposures go along to the account that they open later: its age is no feature of them."""
    joined = ORIGIN + DAY
    people = [Person(joined=joined), Person()]
    pairs = [(who, 0, ORIGIN, ORIGIN + DAY) for who in (0, 1)] + [
        (0, 0, moment, moment + DAY) for moment in (joined, joined + DAY)
    ]
    matrix = build(Shop(people, [OfferTerms(0, "coupon", amount=5)]), pairs)
    np.testing.assert_array_equal(matrix[:, INDEX["tenure_days"]], [np.nan, np.nan, 0, 1])
    np.testing.assert_array_equal(matrix[0], matrix[1])


def test_the_leakage_test_can_fail() -> None:
    """The negative control: one event a millisecond before the moment does change the row."""
    shop = Shop([Person()], [OfferTerms(0, "coupon", amount=5)])
    pair = (0, 0, ORIGIN, ORIGIN + DAY)
    late = Happening(0, ORIGIN - 1, "order_placed", value=10)
    changed = ~np.isclose(build(shop, [pair]), build(shop.with_more([late], []), [pair]), equal_nan=True)[0]
    assert {"orders_7d", "spend_7d", "spend_mean", "order_gap_hours", "reach"} <= set(np.array(NAMES)[changed])


def test_a_textual_profile_is_read_as_text_and_its_columns_stay_open() -> None:
    shop = Shop([Person({"city": "Riga", "tier": None}), Person()], [])
    builder = FeatureBuilder(shop.frames())
    rows = shops.rows_of([(0, 0, ORIGIN, ORIGIN + DAY), (1, 0, ORIGIN, ORIGIN + DAY)])
    assert builder.text("city", rows).tolist() == ["Riga", ""]
    assert builder.text("tier", rows).tolist() == ["", ""]
    assert np.isnan(builder.build(rows)[:, [INDEX["city"], INDEX["tier"], INDEX["gender"]]]).all()


def test_open_offers_close_at_their_windows_end() -> None:
    shop = Shop([Person()], [OfferTerms(0, "coupon", amount=5)], shown=[Shown(0, ORIGIN, 0, ORIGIN + DAY)])
    moments = [ORIGIN, ORIGIN + 1, ORIGIN + DAY, ORIGIN + DAY + 1]
    matrix = build(shop, [(0, 0, moment, moment + DAY) for moment in moments])
    assert matrix[:, INDEX["open_offers"]].tolist() == [0, 1, 1, 0]


def test_an_offer_that_is_valid_for_longer_than_its_outcomes_count_stays_open() -> None:
    shop = Shop([Person()], [OfferTerms(0, "coupon", amount=5, hours=48)], shown=[Shown(0, ORIGIN, 0, ORIGIN + DAY)])
    moments = [ORIGIN + DAY + 1, ORIGIN + 2 * DAY, ORIGIN + 2 * DAY + 1]
    matrix = build(shop, [(0, 0, moment, moment + DAY) for moment in moments])
    assert matrix[:, INDEX["open_offers"]].tolist() == [1, 1, 0]


@pytest.mark.parametrize(("hours", "still_open"), [(-5.0, 0), (1e300, 1), (0.0, 0)])
def test_hours_beyond_reason_neither_overflow_nor_close_an_offer_before_it_is_shown(
    hours: float, still_open: int
) -> None:
    shop = Shop([Person()], [OfferTerms(0, "coupon", hours=hours)], shown=[Shown(0, ORIGIN, 0, ORIGIN + DAY)])
    matrix = build(shop, [(0, 0, moment, moment + DAY) for moment in (ORIGIN, ORIGIN + 2 * DAY)])
    assert matrix[:, INDEX["open_offers"]].tolist() == [0, still_open]


def test_what_can_be_spent_in_time_counts_the_offer_s_own_hours() -> None:
    events = [Happening(0, ORIGIN, "order_placed", value=40.0)]
    offers = [OfferTerms(0, "coupon", threshold=20), OfferTerms(1, "coupon", threshold=20, hours=12)]
    moment = ORIGIN + 4 * DAY
    matrix = build(Shop([Person()], offers, events), [(0, place, moment, moment + DAY) for place in (0, 1)])
    whole, half = matrix[:, INDEX["reach"]].tolist()
    assert whole == pytest.approx(2 * half)
    assert half > 0


def test_a_basket_of_just_the_threshold_reaches_it_and_a_cent_less_does_not() -> None:
    events = [Happening(0, ORIGIN, "order_placed", value=20.0), Happening(0, ORIGIN + DAY, "order_placed", value=19.99)]
    shop = Shop([Person()], [OfferTerms(0, "coupon", threshold=20), OfferTerms(1, "coupon")], events)
    moment = ORIGIN + 4 * DAY
    matrix = build(shop, [(0, place, moment, moment + 2 * DAY) for place in (0, 1)])
    assert matrix[:, INDEX["threshold_rate"]].tolist() == [(1 + 1) / (2 + 2), (2 + 1) / (2 + 2)]
    # One shopper is the whole shop: what they do a day is what to expect of them.
    assert matrix[:, INDEX["threshold_orders"]].tolist() == pytest.approx([1 / 4 * 2, 2 / 4 * 2])


def test_the_longer_a_shopper_is_known_the_less_the_shop_s_pace_says_of_them() -> None:
    """Two who spend 10 a day and nothing; the shop's pace is 5. A day of the first counts as a day of fifteen."""
    events = [Happening(0, ORIGIN + day * DAY, "order_placed", value=10.0) for day in range(60)]
    shop = Shop([Person(joined=ORIGIN), Person(joined=ORIGIN)], [OfferTerms(0, "coupon", threshold=10)], events)
    moments = [ORIGIN + DAY, ORIGIN + 14 * DAY, ORIGIN + 56 * DAY]
    matrix = build(shop, [(who, 0, moment, moment + DAY) for who in (0, 1) for moment in moments])
    spender, other = np.split(matrix[:, INDEX["reach"]] * 10, 2)
    assert spender.tolist() == pytest.approx([5 + 5 * share for share in (1 / 15, 1 / 2, 4 / 5)])
    assert other.tolist() == pytest.approx([5 - 5 * share for share in (1 / 15, 1 / 2, 4 / 5)])


def test_one_absurd_order_is_not_what_to_expect_of_everybody() -> None:
    """A till's mistake of 10,000 million among orders of 40 says much of its own shopper, little of the others."""
    orders = [Happening(who, ORIGIN + day * DAY, "order_placed", value=40.0) for who in range(20) for day in range(10)]
    mistake = Happening(0, ORIGIN + 5 * DAY + 1, "order_placed", value=1e10)
    shop = Shop([Person(joined=ORIGIN) for _ in range(21)], [OfferTerms(0, "coupon", threshold=40)], orders)
    moment = ORIGIN + 10 * DAY
    pairs = [(who, 0, moment, moment + DAY) for who in (0, 1, 20)]
    before, after = (build(each, pairs)[:, INDEX["reach"]] for each in (shop, shop.with_more([mistake], [])))
    assert (after[1:] < 2 * before[1:]).all()
    assert (after[1:] > before[1:]).all(), "it counts, as the hundred orders that it may stand for"
    assert after[0] > 1e6 * before[0], "the negative control: their own reach tells of it"


def test_who_was_back_filled_has_been_a_shopper_since_their_first_order() -> None:
    """Their row is as old as the installation. Two years of orders in the three days since would be an absurd pace."""
    installed = ORIGIN + 700 * DAY
    orders = [Happening(who, ORIGIN + day * DAY, "order_placed", value=10.0) for who in (0, 1) for day in range(700)]
    people = [Person(joined=installed), Person(joined=installed), Person(joined=installed + 2 * DAY)]
    moment = installed + 3 * DAY
    row = build(Shop(people, [OfferTerms(0, "coupon", threshold=10)], orders), [(2, 0, moment, moment + DAY)])[0]
    assert row[INDEX["reach"]] == pytest.approx(14 * (1400 / (703 * 2 + 1)) / (1 + 14))


def test_the_rates_of_who_was_back_filled_are_those_of_their_own_days() -> None:
    """The same orders, of somebody who was known all along and of somebody whose row came three days ago."""
    installed, moment = ORIGIN + 700 * DAY, ORIGIN + 703 * DAY
    orders = [Happening(who, ORIGIN + day * DAY, "order_placed", value=10.0) for who in (0, 1) for day in range(700)]
    shop = Shop([Person(joined=ORIGIN), Person(joined=installed)], [OfferTerms(0, "coupon", threshold=10)], orders)
    known, filled = build(shop, [(who, 0, moment, moment + DAY) for who in (0, 1)])
    rates = [INDEX[name] for name in ("spend_per_day", "orders_per_day", "reach", "threshold_orders")]
    assert filled[rates].tolist() == known[rates].tolist()
    assert filled[rates[:2]].tolist() == pytest.approx([7000 / 703, 700 / 703])
    # Nothing is known of them before their row and their first order: a day, as of anybody new.
    early = build(shop, [(1, 0, ORIGIN - DAY, ORIGIN)])[0]
    assert early[rates[:2]].tolist() == [0, 0]


def test_block_after_block_of_one_moment_counts_everybody_s_orders_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As scoring asks: the second block of shoppers costs no pass over the shop's orders, and says the same."""
    events = [Happening(who, ORIGIN + who * HOUR, "order_placed", value=10.0 * who) for who in range(6)]
    offers = [OfferTerms(place, "coupon", threshold=20.0 * place) for place in range(3)]
    shop = Shop([Person(joined=ORIGIN) for _ in range(6)], offers, events)
    moments = (ORIGIN + 4 * HOUR, ORIGIN + 6 * DAY)
    pairs = [(who, place, moment, moment + DAY) for moment in moments for who in range(6) for place in range(3)]
    whole, builder = build(shop, pairs), FeatureBuilder(shop.frames())
    passes: list[int] = []
    at_least = Series.at_least

    def counted(series: Series, group: Any, time: Any, floor: Any) -> Any:
        if series is builder._pace._orders:
            passes.append(len(np.unique(floor)))
        return at_least(series, group, time, floor)

    monkeypatch.setattr(Series, "at_least", counted)
    blocks = [builder.build(shops.rows_of(pairs[at : at + 9])) for at in range(0, len(pairs), 9)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert sum(passes) == 2 * len(offers), "once a moment and threshold"


def test_a_benefit_is_capped_by_its_limit_and_by_the_spend() -> None:
    offers = [
        OfferTerms(0, "coupon", percent=50, max_discount=8),
        OfferTerms(1, "coupon", percent=50),
        OfferTerms(2, "spend_threshold", amount=5, threshold=30),
        OfferTerms(3, "coupon", amount=5),
    ]
    spend, offer = np.array([40.0, 40.0, 10.0, 2.0]), np.arange(4)
    assert effective_benefit(shops.offers_frame(offers), spend, offer).tolist() == [8, 20, 5, 5]


def test_large_values_of_others_leave_small_ones_exact() -> None:
    """Thousands of shoppers before this one, one of them rich: the sums and maxima of the last stay exact."""
    people = [Person() for _ in range(3000)]
    events = [Happening(number, ORIGIN, "order_placed", value=9.99) for number in range(3000)]
    events.append(Happening(0, ORIGIN, "order_placed", value=1e9))
    row = build(Shop(people, [], events), [(2999, 0, ORIGIN + 1, ORIGIN + DAY)])[0]
    assert row[INDEX["spend_max"]] == 9.99
    assert row[INDEX["spend_7d"]] == 9.99
