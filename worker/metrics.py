"""Figures of merit with bootstrap intervals over shoppers. Everything takes weights, so that a resample is a weight.

An undefined figure (one class only, no rows) is nan, never 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import Floats
from personalization.learning.calibration import BINS as BINS
from personalization.learning.calibration import allowed as allowed
from personalization.learning.calibration import ece as ece
from personalization.learning.calibration import ece_null as ece_null

Metric = Callable[[Floats, Floats, Floats], float]
RESAMPLES = 200
EPSILON = 1e-7


def log_losses(p: Floats, y: Floats) -> Floats:
    """Return −[y·log p + (1 − y)·log(1 − p)] per row."""
    p = np.clip(p, EPSILON, 1 - EPSILON)
    losses: Floats = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    return losses


def log_loss(p: Floats, y: Floats, w: Floats) -> float:
    """Return the weighted mean log-loss."""
    return float(np.average(log_losses(p, y), weights=w)) if w.sum() else float("nan")


def auc(p: Floats, y: Floats, w: Floats) -> float:
    """Return the weighted area under the ROC curve; tied scores count one half."""
    positive, negative = w * (y == 1), w * (y == 0)
    if not positive.sum() or not negative.sum():
        return float("nan")
    _values, group = np.unique(p, return_inverse=True)
    pos = np.bincount(group, weights=positive)
    neg = np.bincount(group, weights=negative)
    below = np.cumsum(neg) - neg
    return float((pos * (below + neg / 2)).sum() / (pos.sum() * neg.sum()))


def average_precision(p: Floats, y: Floats, w: Floats) -> float:
    """Return Σ precision · Δrecall over falling scores; tied scores enter together."""
    _values, group = np.unique(-p, return_inverse=True)
    gain = np.bincount(group, weights=w * (y == 1))
    hits, seen = np.cumsum(gain), np.cumsum(np.bincount(group, weights=w))
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    return float((hits / np.maximum(seen, EPSILON) * gain).sum() / hits[-1])


def mean_squared_error(p: Floats, y: Floats, w: Floats) -> float:
    """Return the Brier score."""
    return float(np.average((p - y) ** 2, weights=w)) if w.sum() else float("nan")


def mean_absolute_error(p: Floats, y: Floats, w: Floats) -> float:
    """Return the weighted mean of |p − y|."""
    return float(np.average(np.abs(p - y), weights=w)) if w.sum() else float("nan")


METRICS: dict[str, Metric] = {
    "log_loss": log_loss,
    "auc": auc,
    "average_precision": average_precision,
    "ece": ece,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
}


class Resampler:
    """Poisson bootstrap over shoppers: each resample gives every row its shopper's weight; the same for all models."""

    def __init__(self, shopper: NDArray[np.int64], *, seed: int = 0, resamples: int = RESAMPLES) -> None:
        unique, self._of_row = np.unique(shopper, return_inverse=True)
        self._draws = np.random.default_rng(seed).poisson(1.0, size=(resamples, len(unique)))

    def __iter__(self):  # type: ignore[no-untyped-def]
        for draw in self._draws:
            yield draw[self._of_row].astype(np.float64)


def interval(metric: Metric, p: Floats, y: Floats, resampler: Resampler) -> tuple[float, float, float]:
    """Return the figure and the bounds of its 95 % interval."""
    value = metric(p, y, np.ones(len(y)))
    draws = np.array([metric(p, y, w) for w in resampler])
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return value, float("nan"), float("nan")
    low, high = np.quantile(draws, [0.025, 0.975])
    return value, float(low), float(high)


def paired_gain(p: Floats, other: Floats, y: Floats, resampler: Resampler) -> tuple[float, float, float]:
    """Return by how much ``p`` lowers the log-loss of ``other``, with its 95 % interval over paired resamples."""
    gain = log_losses(other, y) - log_losses(p, y)
    draws = np.array([np.average(gain, weights=w) for w in resampler if w.sum()])
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
    return float(gain.mean()), float(low), float(high)
