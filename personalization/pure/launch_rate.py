"""The rate that a launch may show: beta-binomial intervals, by their definition and without anything but arithmetic."""

from __future__ import annotations

from math import exp, lgamma

ENOUGH = 2000
"""With more shoppers than this, chance adds next to nothing to how far launches stray: they count as so many."""
LEAST, MOST = 1e-6, 1e7
"""Precisions between which the interval is computed. Beyond them a launch's rate is as good as 0 or 1, or all launches
have the same, while the logarithms of gamma lose their digits or leave the numbers.
"""
SELDOM = 1e-12
"""A mean nearer than this to 0 or 1 counts as this: nobody of ``ENOUGH``, or everybody, responds either way."""


def interval(mean: float, precision: float, shown: int, *, confidence: float = 0.8) -> tuple[float, float]:
    """Return between which rates a launch shown to so many lies: the equal-tailed interval of responded / shown.

    Of a launch's own rate the beta distribution has this mean and precision (in shoppers). Raises ValueError for a
    mean that is no probability strictly between 0 and 1, and for a precision or a number of shoppers not above 0.
    """
    if not 0 < mean < 1 or not precision > 0 or shown <= 0:
        raise ValueError(f"There is no launch of {shown} shoppers with mean {mean} and precision {precision}.")
    n, precision = min(shown, ENOUGH), min(max(precision, LEAST), MOST)
    mean = min(max(mean, SELDOM), 1 - SELDOM)
    a, b = mean * precision, (1 - mean) * precision
    tail = (1 - confidence) / 2
    below, low = 0.0, None
    start = lgamma(a + b) - lgamma(a) - lgamma(b) - lgamma(n + a + b) + lgamma(n + 1)
    for k in range(n + 1):
        below += exp(start + lgamma(k + a) + lgamma(n - k + b) - lgamma(k + 1) - lgamma(n - k + 1))
        if low is None and below >= tail:
            low = k
        if below >= 1 - tail:
            return (low or 0) / n, k / n
    return (low or 0) / n, 1.0
