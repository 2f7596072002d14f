"""The interval of a launch's rate: what it holds, and what it refuses."""

from __future__ import annotations

from math import comb, exp, lgamma

import numpy as np
import pytest

from personalization.pure.launch_rate import ENOUGH, LEAST, MOST, interval


def chance(k: int, n: int, a: float, b: float) -> float:
    """Return the beta-binomial probability by its textbook formula."""
    together = lgamma(k + a) + lgamma(n - k + b) - lgamma(n + a + b)
    return comb(n, k) * exp(together - lgamma(a) - lgamma(b) + lgamma(a + b))


@pytest.mark.parametrize(("mean", "precision", "shown"), [(0.1, 30.0, 12), (0.5, 4.0, 40), (0.02, 200.0, 150)])
def test_it_is_the_shortest_whole_number_that_leaves_no_more_than_a_tenth_below_and_above(
    mean: float, precision: float, shown: int
) -> None:
    low, high = (round(bound * shown) for bound in interval(mean, precision, shown))
    p = [chance(k, shown, mean * precision, (1 - mean) * precision) for k in range(shown + 1)]
    assert sum(p) == pytest.approx(1)
    assert sum(p[:low]) < 0.1 <= sum(p[: low + 1])
    assert sum(p[:high]) < 0.9 <= sum(p[: high + 1])


def test_launches_drawn_from_it_lie_within_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rates = rng.binomial(300, rng.beta(6.0, 34.0, 4000)) / 300
    low, high = interval(6 / 40, 40.0, 300)
    assert np.mean((rates >= low) & (rates <= high)) == pytest.approx(0.8, abs=0.03)
    low, high = interval(6 / 40, 400.0, 300)  # the negative control: so sure, it would hold far too few
    assert np.mean((rates >= low) & (rates <= high)) < 0.5


def test_few_shoppers_make_it_wider_and_very_many_change_nothing() -> None:
    widths = [high - low for low, high in (interval(0.2, 50.0, shown) for shown in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert interval(0.2, 50.0, ENOUGH) == interval(0.2, 50.0, 50 * ENOUGH)


def binomial(p: float, n: int, tail: float) -> int:
    """Return the binomial quantile by its definition."""
    below = 0.0
    for k in range(n + 1):
        below += comb(n, k) * p**k * (1 - p) ** (n - k)
        if below >= tail:
            return k
    return n


@pytest.mark.parametrize("precision", [MOST, 1e12, 1e308, float("inf")])
def test_launches_that_all_have_the_same_rate_stray_as_chance_has_it(precision: float) -> None:
    assert interval(0.2, precision, 500) == (binomial(0.2, 500, 0.1) / 500, binomial(0.2, 500, 0.9) / 500)
    assert interval(0.2, 400.0, 500) != interval(0.2, precision, 500)


@pytest.mark.parametrize("precision", [5e-324, 1e-320, LEAST, 40.0, 1e308])
def test_the_most_extreme_means_and_precisions_are_computed(precision: float) -> None:
    assert interval(5e-324, precision, ENOUGH) == (0.0, 0.0)
    assert interval(1e-300, precision, 50) == (0.0, 0.0)
    assert interval(1 - 2**-53, precision, ENOUGH) == (1.0, 1.0)


@pytest.mark.parametrize(
    "given",
    [(0.0, 1.0, 5), (1.0, 1.0, 5), (0.5, 0.0, 5), (0.5, 1.0, 0), (float("nan"), 1.0, 5), (0.5, float("nan"), 5)],
)
def test_what_is_no_launch_is_refused(given: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="There is no launch"):
        interval(*given)
