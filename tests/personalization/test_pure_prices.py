"""Interest, promotion effect and personal price: the articles' worked numbers, and what of theirs is refused."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.pure.prices import interest, personal_price, promotion_effect, sigmoid

SHOPPER = (0.8, 0.2, 0.1)
PRODUCT = (0.9, 0.1, 0.2)
unit_interval = st.floats(0, 1)


def test_the_worked_numbers() -> None:
    wanted = interest(SHOPPER, PRODUCT)
    assert wanted == pytest.approx(0.68135, abs=5e-6)
    assert wanted == sigmoid(0.76)
    assert promotion_effect(wanted, PRODUCT) == pytest.approx(0.86777, abs=5e-6)
    assert personal_price(100, wanted, k=-20) == pytest.approx(93.63, abs=5e-3)


def test_a_price_above_list_is_refused() -> None:
    """With k = +20 the article arrives at 106.37."""
    with pytest.raises(ValueError, match="never above the list price"):
        personal_price(100, interest(SHOPPER, PRODUCT), k=20)


@pytest.mark.parametrize("k", [5e-324, 0.01, inf, nan])
def test_no_k_leads_above_list(k: float) -> None:
    with pytest.raises(ValueError, match="k must"):
        personal_price(100, 0.5, k=k)


@pytest.mark.parametrize("k", [-100.01, -1e9, -inf])
def test_no_k_leads_below_nothing(k: float) -> None:
    with pytest.raises(ValueError, match="k must"):
        personal_price(100, 0.0, k=k)


@pytest.mark.parametrize(("value", "most"), [(-0.01, 1.0), (1.01, 1.0), (0.6, 0.5), (nan, 1.0), (0.0, 0.0), (0.5, nan)])
def test_an_interest_outside_its_range_is_refused(value: float, most: float) -> None:
    with pytest.raises(ValueError, match="interest"):
        personal_price(100, value, k=-20, max_interest=most)


@given(st.floats(0, 1e6), st.floats(0, 1), unit_interval, unit_interval)
def test_a_price_lies_between_its_floor_and_list_and_rises_with_interest(
    price: float, share: float, one: float, other: float
) -> None:
    k = -price * share
    low, high = sorted((one, other))
    asked = personal_price(price, low, k)
    assert price + k - 1e-6 <= asked <= price
    assert asked <= personal_price(price, high, k) <= price
    assert personal_price(price, 1.0, k) == price


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_sigmoid_never_overflows_and_is_symmetric(x: float) -> None:
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0)


def test_weights_and_bias_enter_linearly() -> None:
    assert interest(SHOPPER, PRODUCT, weights=(1, 0, 0), bias=-0.72) == pytest.approx(0.5)
    assert promotion_effect(0.5, (1.0,), weights=(2, -1)) == pytest.approx(0.5)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0, 1.0)])
def test_lengths_that_differ_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights for"):
        interest(SHOPPER, PRODUCT, weights=weights)
    with pytest.raises(ValueError, match="argument"):
        interest(SHOPPER, PRODUCT[:2])
