"""Has a distribution moved? The population stability index of two histograms, and how large chance alone makes it.

PSI = Σ (pᵢ − qᵢ) · ln(pᵢ / qᵢ) over the bins, p the current shares and q those of the reference: the symmetric
divergence of Kullback and Leibler (Jeffreys). To second order it is Σ (pᵢ − qᵢ)² / πᵢ. If both histograms, of n and m
independent rows, come from the same π, then p − q has the covariance (1/n + 1/m)(diag π − ππᵀ), so
PSI · nm / (n + m) is about chi-squared with (bins − 1) degrees of freedom (Kullback 1959, ch. 6; Yurdakul and Naranjo,
Journal of Risk Model Validation 14(4), 2020). A fixed threshold such as 0.1 is far below that noise for small samples
and far above it for large ones: both are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

HALF = 0.5
"""Added to every bin: an empty one would make the logarithm infinite."""


@dataclass(frozen=True, slots=True)
class Stability:
    """A PSI, and the value that chance alone stays below with the asked probability; ``degrees``: bins − 1."""

    value: float
    noise: float
    degrees: int

    def beyond(self, threshold: float) -> bool:
        """Return whether it is above a threshold and above what chance explains."""
        return self.value > max(threshold, self.noise)


def chi_squared_quantile(share: float, degrees: int) -> float:
    """Return the quantile of the chi-squared distribution (Wilson and Hilferty 1931; from 3 % below to 6 % above).

    The cube root of χ²/k is about normal with mean 1 − 2/(9k) and variance 2/(9k). From five degrees on it errs by 2 %.
    """
    if not 0 < share < 1 or degrees < 1:
        raise ValueError("A share lies between 0 and 1, and there is at least one degree of freedom.")
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + NormalDist().inv_cdf(share) * sqrt(spread)) ** 3)


def compare(reference: Sequence[int], current: Sequence[int], *, share: float) -> Stability | None:
    """Compare two histograms over the same bins; None where one is empty or only one bin is used at all.

    ``share``: the probability with which undrifted histograms stay below ``noise``.
    """
    if len(reference) != len(current):
        raise ValueError(f"{len(reference)} bins of the reference against {len(current)}.")
    used = [(q, p) for q, p in zip(reference, current, strict=True) if q or p]
    rows, now = sum(q for q, _p in used), sum(p for _q, p in used)
    if len(used) < 2 or not rows or not now:
        return None
    degrees = len(used) - 1
    noise = chi_squared_quantile(share, degrees) * (rows + now) / (rows * now)
    return Stability(psi([q for q, _p in used], [p for _q, p in used]), noise, degrees)


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Return the population stability index of two histograms, each bin with half a row more."""
    rows, now = sum(reference) + HALF * len(reference), sum(current) + HALF * len(current)
    shares = [((q + HALF) / rows, (p + HALF) / now) for q, p in zip(reference, current, strict=True)]
    return sum((p - q) * log(p / q) for q, p in shares)
