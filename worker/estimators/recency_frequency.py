"""When somebody last bought and how often they do: the two numbers that customer-base analysis starts from.

Fader, Hardie & Lee (2005) show that recency and frequency carry what a purchase history says of the next purchase; here
a logistic regression on the logarithms of both weighs them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.frames import Floats
from personalization.features.specification import INDEX
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import Contributions
from worker.estimators.base import Progress
from worker.estimators.logistic import Logistic

COLUMNS = ("order_gap_hours", "orders_per_day")


class RecencyFrequency:
    """The logistic regression, shown two columns."""

    name: ClassVar[str] = "recency_frequency"

    def __init__(self, regression: Logistic | None = None) -> None:
        self.regression = regression or Logistic()

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        self.regression.fit(_two_columns(samples), seed=seed, progress=progress)

    def score(self, samples: Samples) -> Floats:
        return self.regression.score(_two_columns(samples))

    def explain(self, samples: Samples, head: int) -> Contributions:
        return self.regression.explain(_two_columns(samples), head)

    def importances(self) -> dict[str, float]:
        return {name: share for name, share in self.regression.importances().items() if share > 0}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        return self.regression.dump()

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        return cls(Logistic.restore(config, arrays))


def _two_columns(samples: Samples) -> Samples:
    """Return the rows with every other column missing: what never varies, the regression leaves out."""
    x = np.full_like(samples.x, np.nan)
    kept = [INDEX[name] for name in COLUMNS]
    x[:, kept] = samples.x[:, kept]
    return replace(samples, x=x)
