"""The same probability for everybody: what a model of purchase intent has to beat to say anything."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.frames import Floats
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import Contributions
from worker.estimators.base import Progress, prior


class BaseRate:
    """The share of rows with the outcome."""

    name: ClassVar[str] = "base_rate"

    def __init__(self, priors: list[float] | None = None) -> None:
        self.priors = priors or [0.0] * len(HEADS)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        self.priors = [prior(samples.y[:, head]) for head in range(len(HEADS))]
        progress(1.0)

    def score(self, samples: Samples) -> Floats:
        return np.tile(np.array(self.priors), (len(samples), 1))

    def explain(self, samples: Samples, head: int) -> Contributions:
        return Contributions.nothing(self.score(samples)[:, head])

    def importances(self) -> dict[str, float]:
        return {}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        return {"priors": self.priors}, {}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        return cls(config["priors"])
