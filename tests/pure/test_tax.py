"""Tax after discounts: every line reconciles to the cent, and so do the sums."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import discount_for
from personalization.pure.tax import Taxed, after_discounts, taxed
from personalization.types import Basket, BasketLine, OfferKind, Terms

rates = st.integers(0, 3000).map(lambda hundredths: Decimal(hundredths) / 100)
lines = st.builds(BasketLine, st.just("p"), st.integers(1, 50), st.integers(0, 10**6), tax_rate=rates)
baskets = st.builds(
    Basket,
    st.lists(lines, min_size=1, max_size=6).map(tuple),
    st.just("EUR"),
    shipping_minor=st.integers(0, 5000),
    prices_include_tax=st.booleans(),
)


@pytest.mark.parametrize(
    ("amount", "rate", "included", "expected"),
    [
        (1190, "19", True, Taxed(1190, 1000, 190)),
        (1000, "19", False, Taxed(1190, 1000, 190)),
        (50, "5", False, Taxed(53, 50, 3)),  # 2.5 is rounded up, not to even
        (1, "19", True, Taxed(1, 1, 0)),
        (999, "0", True, Taxed(999, 999, 0)),
        (0, "20", False, Taxed(0, 0, 0)),
    ],
)
def test_an_amount_is_split_or_added_to(amount: int, rate: str, included: bool, expected: Taxed) -> None:
    assert taxed(amount, Decimal(rate), included=included) == expected


@pytest.mark.parametrize(("amount", "rate"), [(-1, 19), (1, -19)])
def test_what_is_negative_is_refused(amount: int, rate: int) -> None:
    with pytest.raises(ValueError, match="not negative"):
        taxed(amount, Decimal(rate), included=True)


@given(st.integers(0, 10**12), rates, st.booleans())
def test_tax_is_within_half_a_unit_of_exact(amount: int, rate: Decimal, included: bool) -> None:
    found = taxed(amount, rate, included=included)
    assert found.gross_minor == found.net_minor + found.tax_minor
    assert (found.gross_minor if included else found.net_minor) == amount
    exact = Fraction(amount) * Fraction(rate) / (100 + Fraction(rate) if included else 100)
    assert abs(found.tax_minor - exact) <= Fraction(1, 2) + Fraction(1, 10**9)


@given(baskets, st.integers(1, 10_000), rates)
def test_lines_and_delivery_sum_up_after_a_discount(basket: Basket, hundredths: int, rate: Decimal) -> None:
    terms = Terms(OfferKind.COUPON, "EUR", percent=Decimal(hundredths) / 100)
    try:
        discounts = [discount_for(terms, basket)]
    except BasketNotEligible:
        discounts = []
    found = after_discounts(basket, discounts, rate)
    parts = [*found.lines, found.shipping]
    for name in ("gross_minor", "net_minor", "tax_minor"):
        assert getattr(found.total, name) == sum(getattr(part, name) for part in parts)
    stated = found.total.gross_minor if basket.prices_include_tax else found.total.net_minor
    assert stated == basket.total_minor + basket.shipping_minor - sum(each.off_minor for each in discounts)


def test_delivery_is_untaxed_unless_a_rate_is_given() -> None:
    basket = Basket((BasketLine("p", 1, 1000, tax_rate=Decimal(20)),), "EUR", shipping_minor=500)
    assert after_discounts(basket, []).shipping == Taxed(500, 500, 0)
    assert after_discounts(basket, [], Decimal(25)).shipping == Taxed(500, 400, 100)
    free = discount_for(Terms(OfferKind.FREE_SHIPPING, "EUR"), basket)
    assert after_discounts(basket, [free], Decimal(25)).shipping == Taxed(0, 0, 0)
    with pytest.raises(ValueError, match="not negative"):
        after_discounts(basket, [free, free])
