"""What somebody else wrote as a number, and what only looks like one."""

from __future__ import annotations

import math
from typing import Any

import pytest

from personalization.pure.numbers import is_number, number_or_nan


@pytest.mark.parametrize("value", [0, -3, 2.5, 1e15, -(10**15)])
def test_finite_numbers_count(value: Any) -> None:
    assert is_number(value)
    assert number_or_nan(value) == value


@pytest.mark.parametrize("value", [1e308, -1e308, 10**15 + 1])
def test_a_number_that_nobody_can_compute_with_is_missing(value: Any) -> None:
    assert is_number(value)
    assert math.isnan(number_or_nan(value))


@pytest.mark.parametrize("value", [None, True, "3", [3], {}, math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_everything_else_is_missing(value: Any) -> None:
    assert not is_number(value)
    assert math.isnan(number_or_nan(value))
