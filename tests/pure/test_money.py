"""Money is exact in both directions, whatever the currency's decimals."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.pure.money import Amount, exponent, from_minor, to_minor


@pytest.mark.parametrize(
    ("currency", "minor", "major", "text"),
    [
        ("EUR", 1250, Decimal("12.50"), "EUR 12.50"),
        ("EUR", 0, Decimal("0.00"), "EUR 0.00"),
        ("EUR", 123450, Decimal("1234.50"), "EUR 1,234.50"),
        ("EUR", -5, Decimal("-0.05"), "EUR -0.05"),
        ("JPY", 1250, Decimal("1250"), "JPY 1,250"),
        ("KRW", 100, Decimal("100"), "KRW 100"),
        ("KWD", 1250, Decimal("1.250"), "KWD 1.250"),
        ("CLF", 1, Decimal("0.0001"), "CLF 0.0001"),
        ("XYZ", 1250, Decimal("12.50"), "XYZ 12.50"),
    ],
)
def test_an_amount_in_both_units(currency, minor, major, text):
    assert to_minor(major, currency) == minor
    assert str(from_minor(minor, currency)) == str(major)
    assert str(Amount(minor, currency)) == text


@given(st.integers(min_value=-(10**15), max_value=10**15), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_the_round_trip_loses_nothing(minor, currency):
    assert to_minor(from_minor(minor, currency), currency) == minor


@pytest.mark.parametrize(("amount", "currency"), [("12.505", "EUR"), ("0.5", "JPY"), ("1e-9", "EUR")])
def test_more_decimals_than_the_currency_has_are_refused(amount, currency):
    with pytest.raises(ValueError, match="decimals"):
        to_minor(Decimal(amount), currency)


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_what_is_no_number_is_refused(amount):
    with pytest.raises(ValueError, match="not an amount"):
        to_minor(Decimal(amount), "EUR")


def test_the_case_of_the_code_does_not_matter():
    assert exponent("jpy") == 0
