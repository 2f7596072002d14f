"""The facts that a model card tells about one estimator, gathered while it is trained."""

from __future__ import annotations

import resource
import sys
from typing import Any

import numpy as np

from personalization.features.frames import Floats
from personalization.types import HEADS
from worker import metrics, surrogate
from worker.data import Samples
from worker.response import Fitted

BINS = 10


def facts(item: Fitted, test: Samples, head: str, *, champion: bool) -> dict[str, Any]:
    """Return one estimator's part of the card: calibration, time and memory; the champion's rules."""
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
        "fit_seconds": round(item.seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    rules = surrogate.imitate(test.take(known), p) if champion else None
    return {**found, "rules": rules} if rules else found


def reliability(p: Floats, y: Floats) -> list[list[float]]:
    """Return [mean predicted, share that happened, rows] of ten groups of equal size, the lowest predictions first."""
    order = np.argsort(p, kind="stable")
    return [
        [round(float(p[part].mean()), 4), round(float(y[part].mean()), 4), len(part)]
        for part in np.array_split(order, BINS)
        if len(part)
    ]


def peak_memory_mb() -> int:
    """Return the most memory that this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20) if sys.platform == "darwin" else peak / 1024)
