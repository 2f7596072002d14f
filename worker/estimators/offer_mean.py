"""The floor: every shopper gets the offer's mean response so far, or its kind's if the offer is new."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.compute import KINDS
from personalization.features.frames import Floats, Ints
from personalization.features.specification import INDEX
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import TERM, TERMS, Contributions
from worker.estimators.base import Progress, logit, prior

SMOOTHING = 20.0


class OfferMean:
    """Mean outcome per offer, shrunk towards the overall mean."""

    name: ClassVar[str] = "offer_mean"

    def __init__(self, table: Floats | None = None, kinds: Floats | None = None) -> None:
        self.table = table if table is not None else np.full((1, len(HEADS)), np.nan)
        self.kinds = kinds if kinds is not None else np.zeros((len(KINDS), len(HEADS)))

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        offers = samples.x[:, INDEX["offer"]].astype(np.int64)
        self.kinds = np.zeros((len(KINDS), len(HEADS)))
        self.table = np.full((samples.vocabularies.sizes()["offer"], len(HEADS)), np.nan)
        for head in range(len(HEADS)):
            y = samples.y[:, head]
            known = ~np.isnan(y)
            overall = np.full(len(KINDS), prior(y))
            self.kinds[:, head] = _shrunk(samples.kind[known], y[known], overall)
            kind_of = np.zeros(len(self.table), dtype=np.int64)
            kind_of[offers] = samples.kind
            self.table[:, head] = _shrunk(offers[known], y[known], self.kinds[kind_of, head])
        self.table[0] = np.nan  # an offer never seen before: its kind's mean
        progress(1.0)

    def score(self, samples: Samples) -> Floats:
        own = self.table[samples.x[:, INDEX["offer"]].astype(np.int64)]
        return np.where(np.isnan(own), self.kinds[samples.kind], own)

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return the offer's term, above or below the mean over the kinds."""
        p = self.score(samples)[:, head]
        base = np.full(len(p), logit(self.kinds[:, head]).mean())
        values = np.zeros((len(p), len(TERMS)))
        values[:, TERM["offer"]] = logit(p) - base
        return Contributions(base, values)

    def importances(self) -> dict[str, float]:
        return {"offer": 1.0}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        return {}, {"table": self.table, "kinds": self.kinds}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        return cls(arrays["table"], arrays["kinds"])


def _shrunk(codes: Ints, y: Floats, towards: Floats) -> Floats:
    """Return the mean of y per code, shrunk towards the given values by SMOOTHING pseudo-rows.

    Where all of y is the same, counts would be the only difference between codes: the given values stand.
    """
    if not len(y) or y.min() == y.max():
        return towards
    count = np.bincount(codes, minlength=len(towards))
    total = np.bincount(codes, weights=y, minlength=len(towards))
    return (total + SMOOTHING * towards) / (count + SMOOTHING)
