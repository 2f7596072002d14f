"""The facts that a model card tells about one estimator, gathered while it is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from personalization.features.frames import Floats
from personalization.features.topics import shares
from personalization.types import HEADS
from worker import metrics, surrogate
from worker.data import Samples
from worker.estimators.attribution import TERMS
from worker.response import Fitted

BINS = 10
EXPLAINED = 200
"""Test rows, drawn at random, from which is told what an estimator looks at."""


def facts(item: Fitted, test: Samples, head: str, *, champion: bool) -> dict[str, Any]:
    """Return one estimator's part of the card: calibration and topics; the champion's rules."""
    column = HEADS.index(head)
    known = ~np.isnan(test.y[:, column])
    y, p = test.y[known, column], item.predicted[known, column]
    found: dict[str, Any] = {
        "test": {
            "rows": len(y),
            "positives": int(y.sum()),
            "shoppers": len(np.unique(test.rows.shopper[known])),
        },
        "calibration": {
            "bins": reliability(p, y),
            "ece": round(metrics.ece(p, y, np.ones(len(y))), 5),
            "ece_by_chance": round(metrics.ece_null(p), 5),
        },
        **moved(item, test.take(known), column),
    }
    mixture = getattr(item.estimator, "mixture", None)
    if mixture is not None:
        found["mixture"] = mixture(column)
    rules = surrogate.imitate(test.take(known), p) if champion else None
    return {**found, "rules": rules} if rules else found


def moved(item: Fitted, test: Samples, head: int) -> dict[str, dict[str, float]]:
    """Return each feature's share of what moves the predictions up and down, and each topic's, which is their sum.

    A feature's size is its mean |part| over a sample of the rows; all shares add up to 1.
    """
    drawn = np.random.default_rng(0).permutation(len(test))[:EXPLAINED]
    size = np.abs(item.estimator.explain(test.take(drawn), head).values).sum(axis=0)
    total = float(size.sum())
    if not total:
        return {"topics": {}, "features": {}}
    features = {TERMS[at]: float(size[at]) / total for at in np.argsort(-size, kind="stable") if size[at] > 0}
    told = {"topics": shares(features), "features": features}
    return {name: {code: round(share, 5) for code, share in found.items()} for name, found in told.items()}


def reliability(p: Floats, y: Floats) -> list[list[float]]:
    """Return [mean predicted, share that happened, rows] of ten groups of equal size, the lowest predictions first."""
    order = np.argsort(p, kind="stable")
    return [
        [round(float(p[part].mean()), 4), round(float(y[part].mean()), 4), len(part)]
        for part in np.array_split(order, BINS)
        if len(part)
    ]
