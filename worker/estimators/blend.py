"""A blend of boosting and the four-part network: their logits, weighted by what the watched shoppers favour."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.frames import Floats
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import Contributions
from worker.estimators.base import Progress, ResponseEstimator, learnable, logit, sigmoid
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import FourPartEstimator
from worker.metrics import log_losses

GRID = np.linspace(0.0, 1.0, 11)


class Blend:
    """``weights[head]`` is the share of the first member. Members are fitted elsewhere and handed in."""

    name: ClassVar[str] = "blend"

    def __init__(self, members: list[ResponseEstimator] | None = None, weights: list[float] | None = None) -> None:
        self.members: list[ResponseEstimator] = members or [Boosting(), FourPartEstimator()]
        self.weights = weights or [0.5] * len(HEADS)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        """Fit both members with even weights; ``weigh`` then chooses the weights on held-out predictions."""
        for place, member in enumerate(self.members):
            member.fit(samples, seed=seed, progress=lambda done, at=place: progress((at + done) / 2))  # type: ignore[misc]

    def weigh(self, predictions: list[Floats], y: Floats) -> None:
        """Choose each head's weight by the log-loss of the members' held-out predictions."""
        for head in range(len(HEADS)):
            known = ~np.isnan(y[:, head])
            if not learnable(y[:, head]):
                continue
            first, second = (logit(p[known, head]) for p in predictions)
            losses = [log_losses(sigmoid(w * first + (1 - w) * second), y[known, head]).mean() for w in GRID]
            self.weights[head] = float(GRID[int(np.argmin(losses))])

    def combine(self, predictions: list[Floats]) -> Floats:
        """Return the blend of the members' predictions."""
        first, second = predictions
        mixed = sigmoid(np.array(self.weights) * logit(first) + (1 - np.array(self.weights)) * logit(second))
        return np.where((first <= 0) | (first >= 1), first, mixed)

    def score(self, samples: Samples) -> Floats:
        return self.combine([member.score(samples) for member in self.members])

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return the members' explanations, weighted as their logits are."""
        weights = (self.weights[head], 1 - self.weights[head])
        first, second = (m.explain(samples, head).scaled(w) for m, w in zip(self.members, weights, strict=True))
        both = first.plus(second)
        return Contributions.settled(both.base, both.values, self.score(samples)[:, head])

    def mixture(self, head: int) -> dict[str, float]:
        """Return each member's share of the logit of one effect."""
        first, second = (member.name for member in self.members)
        return {first: round(self.weights[head], 3), second: round(1 - self.weights[head], 3)}

    def importances(self) -> dict[str, float]:
        """Return the members' importances, each in the mean share that it has of the effects."""
        share = float(np.mean(self.weights))
        found: dict[str, float] = {}
        for member, weight in zip(self.members, (share, 1 - share), strict=True):
            for name, value in member.importances().items():
                found[name] = found.get(name, 0.0) + weight * value
        return found

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        parts = [member.dump() for member in self.members]
        arrays = {f"{place}/{key}": value for place, (_c, kept) in enumerate(parts) for key, value in kept.items()}
        return {"weights": self.weights, "members": [config for config, _arrays in parts]}, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        own: list[Arrays] = [{}, {}]
        for key, value in arrays.items():
            place, _slash, name = key.partition("/")
            own[int(place)][name] = value
        boosting, network = config["members"]
        members: list[ResponseEstimator] = [
            Boosting.restore(boosting, own[0]),
            FourPartEstimator.restore(network, own[1]),
        ]
        return cls(members, config["weights"])
