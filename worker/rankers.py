"""Preference rankers: which products a shopper turns to next. No offers needed, only views and orders.

Each ranker scores products for one shopper from what they did before a moment; they are judged on what the shopper
bought after it, over the whole catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from personalization.features.frames import Floats, Frames, Ints
from worker.artifacts import Arrays

DAY = 86_400_000
HISTORY = 50


@dataclass(slots=True)
class Interactions:
    """Views and purchases as (shopper, item, time, weight), sorted by (shopper, time); a purchase weighs 3 views."""

    shopper: Ints
    item: Ints
    time: Ints
    weight: Floats
    items: int
    shoppers: int

    def before(self, moment: int) -> Interactions:
        """Return what happened strictly before a moment."""
        keep = self.time < moment
        return Interactions(
            self.shopper[keep], self.item[keep], self.time[keep], self.weight[keep], self.items, self.shoppers
        )


def interactions(frames: Frames) -> Interactions:
    """Collect product views, basket changes and order lines."""
    seen = frames.events.item >= 0
    lines = frames.lines
    shopper = np.concatenate([frames.events.shopper[seen], lines.shopper])
    item = np.concatenate([frames.events.item[seen], lines.item])
    time = np.concatenate([frames.events.time[seen], lines.time])
    weight = np.concatenate([np.ones(int(seen.sum())), np.full(len(lines.shopper), 3.0)])
    order = np.lexsort((time, shopper))
    return Interactions(
        shopper[order], item[order], time[order], weight[order], len(frames.items.ids), len(frames.shoppers)
    )


class Ranker(Protocol):
    """Contract: ``fit`` on interactions, ``score`` [shoppers, items] at a moment (−inf = never), dump and restore."""

    name: ClassVar[str]
    note: ClassVar[str]

    def fit(self, data: Interactions, now: int) -> None: ...

    def score(self, shoppers: Ints) -> NDArray[np.float32]: ...

    def arrays(self) -> Arrays: ...


class Popularity:
    """What sold and was looked at lately, the same for everybody: weights halve every 14 days."""

    name: ClassVar[str] = "popularity"
    note: ClassVar[str] = "recent popularity, nothing personal"
    half_life_days: ClassVar[float] = 14.0

    def fit(self, data: Interactions, now: int) -> None:
        age = (now - data.time) / DAY
        weight = data.weight * np.power(0.5, age / self.half_life_days)
        self.points = np.bincount(data.item, weights=weight, minlength=data.items).astype(np.float32)

    def score(self, shoppers: Ints) -> NDArray[np.float32]:
        return np.broadcast_to(self.points, (len(shoppers), len(self.points))).copy()

    def arrays(self) -> Arrays:
        return {"points": self.points}


class Frequency(Popularity):
    """What this shopper bought and looked at most, popularity breaking ties."""

    name: ClassVar[str] = "frequency"
    note: ClassVar[str] = "personal frequency, popularity where there is none"
    half_life_days: ClassVar[float] = 60.0

    def fit(self, data: Interactions, now: int) -> None:
        super().fit(data, now)
        weight = data.weight * np.power(0.5, (now - data.time) / DAY / self.half_life_days)
        self.own = sparse.csr_matrix(
            (weight.astype(np.float32), (data.shopper, data.item)), shape=(data.shoppers, data.items)
        )
        self.scale = np.float32(0.1 / max(float(self.points.max(initial=0.0)), 1e-9))

    def score(self, shoppers: Ints) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.asarray(self.own[shoppers].todense()) + self.points * self.scale
        return found

    def arrays(self) -> Arrays:
        return {"points": self.points}


class Transitions(Frequency):
    """Decayed item-to-item transitions: what is turned to after an item, within the next five steps.

    A pair (i → j), d steps apart, counts 0.6^(d−1); rows are normalised by the square root of the targets' totals.
    A shopper's score is the sum over their last fifty items, the newest most, added to their own frequency, both
    scaled to their largest value; ``share`` is the transitions' weight.
    """

    name: ClassVar[str] = "transitions"
    note: ClassVar[str] = "decayed item-to-item transitions from the latest items"
    steps: ClassVar[int] = 5
    step_decay: ClassVar[float] = 0.6
    recency_decay: ClassVar[float] = 0.85
    share: ClassVar[float] = 0.3

    def fit(self, data: Interactions, now: int) -> None:
        super().fit(data, now)
        matrix = sparse.csr_matrix((data.items, data.items), dtype=np.float32)
        for step in range(1, self.steps + 1):
            same = data.shopper[step:] == data.shopper[:-step]
            source, target = data.item[:-step][same], data.item[step:][same]
            moved = source != target
            weight = np.full(int(moved.sum()), self.step_decay ** (step - 1), dtype=np.float32)
            weight *= data.weight[step:][same][moved].astype(np.float32)
            matrix = matrix + sparse.csr_matrix((weight, (source[moved], target[moved])), shape=matrix.shape)
        totals = np.asarray(matrix.sum(axis=0)).ravel()
        self.matrix = sparse.csr_matrix(matrix @ sparse.diags(1 / np.sqrt(np.maximum(totals, 1.0)))).astype(np.float32)
        self.profile = self._profiles(data)
        self.scale = np.float32(1e-3 / max(float(self.points.max(initial=0.0)), 1e-9))

    def _profiles(self, data: Interactions) -> sparse.csr_matrix:
        first = np.searchsorted(data.shopper, np.arange(data.shoppers))
        end = np.searchsorted(data.shopper, np.arange(data.shoppers), side="right")
        back = end[data.shopper] - 1 - np.arange(len(data.shopper))
        recent = (back < HISTORY) & (first[data.shopper] <= np.arange(len(data.shopper)))
        weight = np.power(self.recency_decay, back[recent]).astype(np.float32)
        return sparse.csr_matrix((weight, (data.shopper[recent], data.item[recent])), shape=(data.shoppers, data.items))

    def score(self, shoppers: Ints) -> NDArray[np.float32]:
        moved = np.asarray((self.profile[shoppers] @ self.matrix).todense(), dtype=np.float32)
        own = np.asarray(self.own[shoppers].todense(), dtype=np.float32)
        found: NDArray[np.float32] = self.share * moved / np.maximum(moved.max(axis=1, keepdims=True), 1e-9)
        found += (1 - self.share) * own / np.maximum(own.max(axis=1, keepdims=True), 1e-9)
        found += self.points * self.scale * np.float32(1e-2)
        return found

    def neighbours(self, width: int = 20) -> list[tuple[int, list[tuple[int, float]]]]:
        """Return every item's strongest successors."""
        found: list[tuple[int, list[tuple[int, float]]]] = []
        for item in np.flatnonzero(np.diff(self.matrix.indptr)):
            start, end = self.matrix.indptr[item], self.matrix.indptr[item + 1]
            targets, weights = self.matrix.indices[start:end], self.matrix.data[start:end]
            best = np.argsort(-weights, kind="stable")[:width]
            found.append((int(item), [(int(targets[at]), float(weights[at])) for at in best]))
        return found

    def arrays(self) -> Arrays:
        return {
            "points": self.points,
            "data": self.matrix.data,
            "indices": self.matrix.indices,
            "indptr": self.matrix.indptr,
        }


RANKERS: dict[str, type[Popularity]] = {kind.name: kind for kind in (Popularity, Frequency, Transitions)}
"""All rankers, the simplest first."""


def top_items(scores: NDArray[np.float32], k: int) -> Ints:
    """Return each row's k best columns, best first (ties among them by column)."""
    k = min(k, scores.shape[1])
    if not k:
        return np.zeros((len(scores), 0), dtype=np.int64)
    best = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    found: Ints = np.take_along_axis(best, order, axis=1)
    return found
