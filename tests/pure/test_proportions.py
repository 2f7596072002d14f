"""Shares and their differences: published examples, coverage, and the edges."""

from __future__ import annotations

import numpy as np
import pytest

from personalization.pure.proportions import Estimate, difference, wilson


def test_the_interval_of_a_share_is_wilsons() -> None:
    """81 of 263: .3080, .2553 to .3662 (Newcombe, Statistics in Medicine 17, 857–872, table I, method 3)."""
    found = wilson(81, 263)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)
    none = wilson(0, 20)
    assert none is not None
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=5e-5)
    every = wilson(20, 20)
    assert every is not None
    assert (every.low, every.high) == pytest.approx((0.8389, 1.0), abs=5e-5)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """56/70 − 48/80: .2000, .0524 to .3339 (Newcombe, Statistics in Medicine 17, 873–890, table II, method 10)."""
    found = difference(wilson(56, 70), wilson(48, 80))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert found.excludes_zero


def test_without_rows_there_is_no_share() -> None:
    assert wilson(0, 0) is None
    assert difference(wilson(1, 2), None) is None
    with pytest.raises(ValueError, match="3 of 2 is no share"):
        wilson(3, 2)


def test_a_difference_of_differences_covers_the_truth() -> None:
    """Square-and-add once more: the uplift of two groups differs by .05; 95 % intervals hold it about as often."""
    rng = np.random.default_rng(0)
    shares, sizes = (0.20, 0.10, 0.15, 0.10), (400, 200, 600, 300)
    held = 0
    for _ in range(1000):
        counts = [wilson(int(rng.binomial(n, p)), n) for p, n in zip(shares, sizes, strict=True)]
        found = difference(difference(counts[0], counts[1]), difference(counts[2], counts[3]))
        assert found is not None
        held += found.low <= 0.05 <= found.high
    assert held / 1000 == pytest.approx(0.95, abs=0.025)


def test_an_interval_on_one_side_excludes_zero() -> None:
    assert Estimate(-0.2, -0.3, -0.1).excludes_zero
    assert not Estimate(-0.2, -0.5, 0.1).excludes_zero
