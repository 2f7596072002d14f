"""The floor: every shopper gets the offer's mean response so far."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.frames import Floats
from personalization.features.specification import INDEX
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.base import Progress, prior

SMOOTHING = 20.0


class OfferMean:
    """Mean outcome per offer, shrunk towards the overall mean."""

    name: ClassVar[str] = "offer_mean"
    note: ClassVar[str] = "mean response of each offer, nothing personal"

    def __init__(self, table: Floats | None = None) -> None:
        self.table = table if table is not None else np.zeros((1, len(HEADS)))

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        codes = samples.x[:, INDEX["offer"]].astype(np.int64)
        size = samples.vocabularies.sizes()["offer"]
        self.table = np.zeros((size, len(HEADS)))
        for head in range(len(HEADS)):
            y = samples.y[:, head]
            overall = prior(y)
            known = ~np.isnan(y)
            if len(np.unique(y[known])) < 2:  # one class only: shrinking by an offer's count would say nothing
                self.table[:, head] = overall
                continue
            count = np.bincount(codes[known], minlength=size)
            total = np.bincount(codes[known], weights=y[known], minlength=size)
            self.table[:, head] = (total + SMOOTHING * overall) / (count + SMOOTHING)
        progress(1.0)

    def score(self, samples: Samples) -> Floats:
        codes = samples.x[:, INDEX["offer"]].astype(np.int64)
        found: Floats = self.table[codes]
        return found

    def importances(self) -> dict[str, float]:
        return {"offer": 1.0}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        return {}, {"table": self.table}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        return cls(arrays["table"])
