"""A currency is what prices are in; metals, funds and codes for tests are none."""

from __future__ import annotations

import pytest

from personalization.pure import currencies, money


@pytest.mark.parametrize("code", ["EUR", "USD", "JPY", "CNY", "KWD", "CLF", "XOF"])
def test_a_currency(code: str) -> None:
    assert currencies.is_currency(code)


@pytest.mark.parametrize("code", ["eur", "XX" + "X", "XTS", "XAU", "XXZ", "EU", "EURO", "", " EUR", None, 978, ["EUR"]])
def test_no_currency(code: object) -> None:
    assert not currencies.is_currency(code)


def test_every_currency_whose_decimals_are_known_is_one() -> None:
    assert {code for code in currencies.CODES if money.exponent(code) != 2} == set(money._EXPONENTS)
