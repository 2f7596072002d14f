"""The population stability index: its value, its noise, and that chance alone does not look like drift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from personalization.pure.stability import chi_squared_quantile, compare, psi


def test_the_index_is_the_formula() -> None:
    """Large counts, so that the half row a bin does not show: (.5 − .4)·ln(.5/.4) + (.5 − .6)·ln(.5/.6)."""
    expected = 0.1 * math.log(0.5 / 0.4) - 0.1 * math.log(0.5 / 0.6)
    assert psi([400_000, 600_000], [500_000, 500_000]) == pytest.approx(expected, rel=1e-4)
    assert psi([500_000, 500_000], [400_000, 600_000]) == pytest.approx(expected, rel=1e-4)  # it is symmetric
    assert psi([30, 70], [30, 70]) == 0


def test_an_empty_bin_is_finite() -> None:
    assert 0 < psi([100, 0], [0, 100]) < 20


@pytest.mark.parametrize("degrees", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("share", [0.95, 0.99, 0.9998])
def test_the_quantile_is_near(degrees: int, share: float) -> None:
    exact = chi2.ppf(share, degrees)
    assert exact * 0.97 <= chi_squared_quantile(share, degrees) <= exact * 1.06
    assert degrees < 5 or chi_squared_quantile(share, degrees) == pytest.approx(exact, rel=0.02)


def test_a_wrong_question_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one degree"):
        chi_squared_quantile(0.95, 0)
    with pytest.raises(ValueError, match="2 bins of the reference against 3"):
        compare([1, 2], [1, 2, 3], share=0.95)


@pytest.mark.parametrize(("before", "now"), [([], []), ([0, 0], [3, 4]), ([3, 4], [0, 0]), ([9, 0], [7, 0])])
def test_what_cannot_be_compared_is_none(before: list[int], now: list[int]) -> None:
    assert compare(before, now, share=0.95) is None


@pytest.mark.parametrize(("rows", "now"), [(60, 60), (400, 400), (4000, 150)])
def test_without_drift_the_index_is_chi_squared(rows: int, now: int) -> None:
    """PSI · nm/(n + m) has the mean and the upper quantile of chi-squared, whatever the sizes."""
    rng = np.random.default_rng(0)
    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    scaled = [
        psi(rng.multinomial(rows, shares).tolist(), rng.multinomial(now, shares).tolist()) * rows * now / (rows + now)
        for _ in range(3000)
    ]
    assert np.mean(scaled) == pytest.approx(4, rel=0.1)
    assert np.mean(np.array(scaled) > chi2.ppf(0.95, 4)) == pytest.approx(0.05, abs=0.015)


def test_both_the_threshold_and_the_noise_have_to_be_passed() -> None:
    small, large = compare([10, 10], [13, 7], share=0.99), compare([5000, 5000], [5300, 4700], share=0.99)
    assert small is not None
    assert large is not None
    assert not small.beyond(0.05)  # 0.08, but of twenty rows
    assert small.value > 0.05
    assert large.value > large.noise  # beyond doubt, and too small to matter
    assert not large.beyond(0.1)
    shifted = compare([500, 500], [700, 300], share=0.99)
    assert shifted is not None
    assert shifted.beyond(0.1)
