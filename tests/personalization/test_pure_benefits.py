"""What an offer takes off a basket: exact to the cent, never more than the terms or the lines allow."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import allocate, covers, discount_for
from personalization.pure.costs import benefit_on, expected_benefit
from personalization.types import Basket, BasketLine, OfferKind, Terms

CATEGORIES = ("", "tea", "coffee")
KINDS = [
    OfferKind.COUPON,
    OfferKind.SPEND_THRESHOLD,
    OfferKind.FLASH_SALE,
    OfferKind.MEMBER_EXCLUSIVE,
    OfferKind.BIRTHDAY,
    OfferKind.WELCOME,
]
"""The kinds that take money off the covered lines; ``tests/pure/test_benefit_kinds.py`` has the others."""
amounts = st.integers(0, 10**12)
percents = st.integers(1, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)
lines = st.builds(
    BasketLine, st.text(max_size=5), st.integers(1, 1000), st.integers(0, 10**7), st.sampled_from(CATEGORIES)
)
baskets = st.builds(Basket, st.lists(lines, max_size=8).map(tuple), st.just("EUR"))
benefits = st.one_of(
    st.fixed_dictionaries({"percent": percents}), st.fixed_dictionaries({"amount_minor": st.integers(1, 10**8)})
)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    return Terms(
        kind=draw(st.sampled_from(KINDS)),
        currency="EUR",
        threshold_minor=draw(st.one_of(st.just(0), st.integers(0, 10**8))),
        max_discount_minor=draw(st.one_of(st.none(), st.integers(1, 10**8))),
        category=draw(st.sampled_from(CATEGORIES)),
        **draw(benefits),
    )


def make(**fields: Any) -> Terms:
    return Terms(**({"kind": OfferKind.COUPON, "currency": "EUR"} | fields))


def basket(*items: tuple[int, str], currency: str = "EUR") -> Basket:
    return Basket(tuple(BasketLine(f"p{i}", 1, price, category) for i, (price, category) in enumerate(items)), currency)


@given(st.lists(amounts, min_size=1, max_size=12), st.data())
def test_shares_sum_to_the_amount_and_stay_within_their_weights(weights: list[int], data: st.DataObject) -> None:
    total = sum(weights)
    assume(total > 0)
    amount = data.draw(st.integers(0, total))
    shares = allocate(amount, weights)
    assert sum(shares) == amount
    assert all(0 <= share <= weight for share, weight in zip(shares, weights, strict=True))
    # Largest remainder: nobody is a whole unit away from their exact part.
    assert all(abs(Fraction(amount * weight, total) - share) < 1 for share, weight in zip(shares, weights, strict=True))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.integers(0, 100), st.randoms())
def test_equal_lines_get_equal_shares_but_for_one_unit(weights: list[int], amount: int, chance: Any) -> None:
    weight = max(weights)
    assume(weight > 0 and amount <= weight * len(weights))
    shares = allocate(amount, [weight] * len(weights))
    assert max(shares) - min(shares) <= 1
    assert list(shares) == sorted(shares, reverse=True)  # the odd cents go to the first lines, always the same ones


def test_no_weight_takes_no_share() -> None:
    assert allocate(100, []) == ()
    assert allocate(100, [0, 0]) == (0, 0)
    assert allocate(7, [0, 7, 0]) == (0, 7, 0)


@given(terms(), baskets)
def test_a_discount_adds_up_and_never_exceeds_lines_or_terms(rules: Terms, filled: Basket) -> None:
    weights = [line.total_minor if covers(rules, line) else 0 for line in filled.lines]
    lacks = "no_product" if sum(weights) <= 0 else "below_threshold" if sum(weights) < rules.threshold_minor else ""
    if lacks:
        with pytest.raises(BasketNotEligible) as refusal:
            discount_for(rules, filled)
        assert refusal.value.reason == lacks
        return
    discount = discount_for(rules, filled)
    assert sum(discount.per_line_minor) == discount.amount_minor
    assert len(discount.per_line_minor) == len(filled.lines)
    for share, line, weight in zip(discount.per_line_minor, filled.lines, weights, strict=True):
        assert 0 <= share <= weight <= line.total_minor
        assert share == 0 or not rules.category or line.category == rules.category
    if rules.max_discount_minor is not None:
        assert discount.amount_minor <= rules.max_discount_minor
    if not rules.percent:
        assert discount.amount_minor <= rules.amount_minor


@given(percents, st.integers(1, 10**13))
def test_a_percentage_is_rounded_half_up_once(percent: Decimal, covered: int) -> None:
    exact = Fraction(covered) * Fraction(percent) / 100
    assert benefit_on(make(percent=percent), covered) == (exact + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize(
    ("percent", "covered", "expected"),
    [
        ("10", 1005, 101),  # 100.5; rounding half to even would give 100
        ("2.5", 100, 3),  # 2.5; half to even would give 2
        ("10", 1004, 100),
        ("33.33", 999, 333),
        ("100", 999, 999),
        ("0.01", 49, 0),
        ("0.01", 5000, 1),
    ],
)
def test_half_a_cent_goes_to_the_shopper(percent: str, covered: int, expected: int) -> None:
    assert benefit_on(make(percent=Decimal(percent)), covered) == expected


def test_the_percentage_is_taken_of_the_total_not_of_each_line() -> None:
    # A tenth of 3 × 0.05 is 0.015: two cents. Line by line it would be 3 × 0.01.
    assert discount_for(make(percent=Decimal(10)), basket((5, ""), (5, ""), (5, ""))).amount_minor == 2


@pytest.mark.parametrize(("total", "allowed"), [(4999, False), (5000, True), (5001, True)])
def test_the_threshold_counts_from_its_exact_amount(total: int, allowed: bool) -> None:
    rules = make(kind=OfferKind.SPEND_THRESHOLD, amount_minor=1000, threshold_minor=5000)
    if allowed:
        assert discount_for(rules, basket((total, ""))).amount_minor == 1000
    else:
        with pytest.raises(BasketNotEligible) as refusal:
            discount_for(rules, basket((total, "")))
        assert refusal.value.reason == "below_threshold"


def test_only_covered_products_count_towards_the_threshold() -> None:
    rules = make(amount_minor=500, threshold_minor=3000, category="tea")
    with pytest.raises(BasketNotEligible, match=r"EUR 0\.01 more"):
        discount_for(rules, basket((2999, "tea"), (90_000, "coffee")))
    found = discount_for(rules, basket((1000, "tea"), (90_000, "coffee"), (2000, "tea")))
    assert found.per_line_minor == (167, 0, 333)


@pytest.mark.parametrize(
    ("rules", "filled", "reason"),
    [
        (make(amount_minor=100), basket((500, ""), currency="USD"), "currency"),
        (make(kind=OfferKind.ANNOUNCEMENT), basket((500, "")), "no_benefit"),
        (make(amount_minor=100), basket(), "no_product"),
        (make(amount_minor=100), basket((0, "")), "no_product"),
        (make(amount_minor=100, category="tea"), basket((500, "coffee"), (500, "")), "no_product"),
    ],
)
def test_what_a_basket_lacks_is_said(rules: Terms, filled: Basket, reason: str) -> None:
    with pytest.raises(BasketNotEligible) as refusal:
        discount_for(rules, filled)
    assert refusal.value.reason == reason
    assert refusal.value.message


def test_the_largest_discount_caps_a_percentage_and_an_amount() -> None:
    assert benefit_on(make(percent=Decimal(50), max_discount_minor=700), 10_000) == 700
    assert benefit_on(make(amount_minor=900, max_discount_minor=700), 10_000) == 700
    assert benefit_on(make(amount_minor=900), 500) == 500


@given(terms(), st.floats(0, 1e9))
def test_an_expected_benefit_supposes_that_the_threshold_is_reached(rules: Terms, usual: float) -> None:
    expected = expected_benefit(rules, usual)
    assert 0 <= expected <= max(usual + 1, rules.threshold_minor, 1)
    assert expected >= expected_benefit(rules, 0)
