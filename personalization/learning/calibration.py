"""Whether probabilities mean what they say: the calibration error, and how large chance alone makes it.

Here and not in the worker, because monitoring asks the same question of decisions that training asks of its test block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.features.frames import Floats

BINS = 15
ALLOWED = 2.0
"""Up to how many times the error that chance alone shows is allowed: by the gate, the card and monitoring."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins of equal mass, ascending by score: the mass of each, the mean prediction and the share that happened."""

    mass: Floats
    predicted: Floats
    happened: Floats


def reliability(p: Floats, y: Floats, w: Floats, bins: int = BINS) -> Reliability:
    """Return what was predicted and what happened over bins of equal mass; no bins without any mass.

    Rows with the same score are one mass: where it crosses the edge of a bin it is divided in proportion, so that the
    order of the rows does not count.
    """
    if not w.sum():
        return Reliability(np.zeros(0), np.zeros(0), np.zeros(0))
    _values, group = np.unique(p, return_inverse=True)
    mass = np.concatenate(([0.0], np.cumsum(np.bincount(group, weights=w))))
    edges = np.linspace(0.0, mass[-1], bins + 1)
    sums = [
        np.diff(np.interp(edges, mass, np.concatenate(([0.0], np.cumsum(np.bincount(group, weights=w * of))))))
        for of in (p, y)
    ]
    each = np.diff(edges)
    return Reliability(each, sums[0] / each, sums[1] / each)


def ece(p: Floats, y: Floats, w: Floats) -> float:
    """Return the expected calibration error: Σ mass·|predicted − happened| / Σ mass, over 15 bins of equal mass."""
    found = reliability(p, y, w)
    if not len(found.mass):
        return float("nan")
    return float((found.mass * np.abs(found.predicted - found.happened)).sum() / found.mass.sum())


def ece_null(p: Floats, *, seed: int = 0, draws: int = 100) -> float:
    """Return the 95 % quantile of the ECE that perfectly calibrated predictions of this size would show."""
    rng = np.random.default_rng(seed)
    ones = np.ones(len(p))
    found = [ece(p, (rng.random(len(p)) < p).astype(np.float64), ones) for _ in range(draws)]
    return float(np.quantile(found, 0.95)) if len(p) else float("nan")


def allowed(null: float) -> float:
    """Return up to which error predictions count as calibrated, from what chance alone shows (:func:`ece_null`)."""
    return ALLOWED * null
