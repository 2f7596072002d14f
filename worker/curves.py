"""Curves of a classifier: points for a drawing, from the same counts as the figures beside them.

ROC and precision–recall change at distinct scores only, so that tied rows enter together: the area under the ROC's
straight lines is the AUC, and the steps of precision over recall add up to the average precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.features.frames import Floats


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows by what was said and what was so, at one threshold: said 1 if p ≥ threshold."""

    threshold: float
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def rows(self) -> int:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @classmethod
    def at(cls, p: Floats, y: Floats, threshold: float) -> Confusion:
        """Count the rows."""
        said, so = p >= threshold, y == 1
        counts = (int((said == s).astype(bool)[so == t].sum()) for s, t in ((1, 1), (1, 0), (0, 1), (0, 0)))
        return cls(threshold, *counts)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points x, y of a line."""

    x: Floats
    y: Floats


def _cumulated(p: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return hits and false alarms among the highest scores, after each distinct score; (0, 0) first."""
    _values, group = np.unique(-p, return_inverse=True)
    hits = np.cumsum(np.bincount(group, weights=(y == 1).astype(np.float64)))
    alarms = np.cumsum(np.bincount(group, weights=(y != 1).astype(np.float64)))
    return np.concatenate(([0.0], hits)), np.concatenate(([0.0], alarms))


def roc(p: Floats, y: Floats) -> Curve | None:
    """Return the true positive rate over the false positive rate; None where there is one class only."""
    hits, alarms = _cumulated(p, y)
    if not hits[-1] or not alarms[-1]:
        return None
    return Curve(alarms / alarms[-1], hits / hits[-1])


def precision_recall(p: Floats, y: Floats) -> Curve | None:
    """Return precision over recall, as steps; None without a positive."""
    hits, alarms = _cumulated(p, y)
    if not hits[-1]:
        return None
    return Curve(hits[1:] / hits[-1], hits[1:] / (hits[1:] + alarms[1:]))


def steps(curve: Curve) -> Curve:
    """Return the corners of a step function that holds each y back to the x before: what average precision adds up."""
    before = np.concatenate(([0.0], curve.x[:-1]))
    return Curve(np.stack([before, curve.x], axis=1).ravel(), np.repeat(curve.y, 2))


def thinned(curve: Curve, most: int = 400) -> Curve:
    """Return a curve with fewer points, its ends kept: a drawing has no more pixels."""
    if len(curve.x) <= most:
        return curve
    kept = np.unique(np.linspace(0, len(curve.x) - 1, most).round().astype(np.int64))
    return Curve(curve.x[kept], curve.y[kept])
