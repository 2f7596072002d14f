"""Calibration: predicted probabilities that mean what they say, fitted on shoppers the model was not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from personalization.features.frames import Floats
from personalization.types import HEADS
from worker.estimators.base import learnable, logit, sigmoid


class Calibrator:
    """Platt scaling a head: σ(a · logit(p) + b), with a > 0 so that the ranking stays."""

    def __init__(self, slopes: list[float] | None = None, offsets: list[float] | None = None) -> None:
        self.slopes = slopes or [1.0] * len(HEADS)
        self.offsets = offsets or [0.0] * len(HEADS)

    @classmethod
    def fit(cls, p: Floats, y: Floats) -> Calibrator:
        """Fit on held-out predictions [rows, heads] and labels (nan = not defined)."""
        made = cls()
        for head in range(len(HEADS)):
            known = ~np.isnan(y[:, head])
            if known.sum() < 200 or not learnable(y[:, head]) or np.ptp(p[known, head]) < 1e-6:
                continue
            model = LogisticRegression(C=1e6).fit(logit(p[known, head])[:, None], y[known, head])
            if model.coef_[0, 0] > 0:
                made.slopes[head] = float(model.coef_[0, 0])
                made.offsets[head] = float(model.intercept_[0])
        return made

    def apply(self, p: Floats) -> Floats:
        """Return calibrated probabilities; an exact 0 or 1 (an impossible effect) stays."""
        out = sigmoid(logit(p) * np.array(self.slopes) + np.array(self.offsets))
        return np.where((p <= 0) | (p >= 1), p, out)

    def as_json(self) -> dict[str, Any]:
        return {"slopes": self.slopes, "offsets": self.offsets}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Calibrator:
        return cls(data["slopes"], data["offsets"])
