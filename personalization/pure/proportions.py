"""Shares with intervals, their differences, and differences of differences; sound for small shares and few rows too.

Sources: Wilson, JASA 22 (1927) for one share; Newcombe, Statistics in Medicine 17 (1998), method 10, for a difference;
Zou and Donner, Statistics in Medicine 27 (2008), who show that the same square-and-add rule holds for any two
independent estimates with intervals of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the bounds of its interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Return whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def wilson(hits: int, rows: int, *, confidence: float = 0.95) -> Estimate | None:
    """Return a share with its score interval; None without rows."""
    if not 0 <= hits <= rows:
        raise ValueError(f"{hits} of {rows} is no share.")
    if not rows:
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = hits / rows, z * z / rows
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(share * (1 - share) / rows + square / (4 * rows))
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def difference(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    """Return first − second by square-and-add; with Wilson's intervals that is Newcombe's. None without either."""
    if first is None or second is None:
        return None
    value = first.value - second.value
    below = sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    above = sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Estimate(value, value - below, value + above)
