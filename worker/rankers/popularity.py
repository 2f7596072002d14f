"""The floor: what is popular of late, and what the shopper keeps coming back to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import sparse

from personalization.features.frames import Ints
from worker.rankers.base import Interactions, Progress, Ranker, Reason, Scores, Vectors, packed, unpacked
from worker.space import Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays


@dataclass(kw_only=True, eq=False)
class Popularity(Ranker):
    """What sold and was looked at lately, the same for everybody: weights halve by default every 14 days."""

    name: ClassVar[str] = "popularity"
    space: ClassVar[Space] = {"half_life_days": Range(1, 730, log=True)}

    half_life_days: float = 14.0

    def _fashion_days(self) -> float:
        return self.half_life_days

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        """Nothing beyond the points that every ranker has."""

    def _observe(self, past: Interactions, now: int) -> None:
        """Nothing personal."""

    def score(self, shoppers: Ints) -> Scores:
        return np.broadcast_to(self.points, (len(shoppers), len(self.points))).copy()

    def vectors(self) -> Vectors | None:
        users = np.ones((self.shoppers, 1), dtype=np.float32)
        return Vectors(users, self.points[:, None], np.zeros(self.items, dtype=bool))

    def _arrays(self) -> Arrays:
        return {}

    def _load(self, arrays: Arrays) -> None:
        """The points are all there is."""


@dataclass(kw_only=True, eq=False)
class Frequency(Ranker):
    """What this shopper bought and looked at most, weights halving by default every 60 days; popularity breaks ties."""

    name: ClassVar[str] = "frequency"
    space: ClassVar[Space] = {"half_life_days": Range(1, 730, log=True)}

    half_life_days: float = 60.0
    own: sparse.csr_matrix = field(init=False, repr=False)

    def _fashion_days(self) -> float:
        return self.half_life_days

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        """Habits are observed, not learnt."""

    def _observe(self, past: Interactions, now: int) -> None:
        self.own = past.matrix(past.decayed(now, self.half_life_days))

    def score(self, shoppers: Ints) -> Scores:
        scale = np.float32(0.1 / max(float(self.points.max(initial=0.0)), 1e-9))
        found: Scores = np.asarray(self.own[shoppers].todense()) + self.points * scale
        return found

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        return [Reason(item, 1.0)] if self.own[shopper, item] > 0 else []

    def _arrays(self) -> Arrays:
        return packed("own", self.own)

    def _load(self, arrays: Arrays) -> None:
        self.own = unpacked("own", arrays, (self.shoppers, self.items))
