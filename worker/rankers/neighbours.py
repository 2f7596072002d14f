"""Neighbours: what is turned to after an item, what is bought by the same people, and who shops alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from personalization.features.frames import Floats, Ints
from worker.rankers.base import (
    Interactions,
    Needs,
    Progress,
    Ranker,
    Reason,
    Scores,
    packed,
    silent,
    strongest,
    unpacked,
)  # fmt: skip
from worker.rankers.popularity import Frequency
from worker.space import Choice, Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

HISTORY = 50
MOST_PRODUCTS = 20_000_000
"""Similarities held at once: 240 MB, if every row is like every other."""


def recent(past: Interactions, decay: float, history: int = HISTORY) -> sparse.csr_matrix:
    """Return [shoppers, items]: each one's last ``history`` interactions, the newest 1, the one before ``decay``, …"""
    end = np.searchsorted(past.shopper, np.arange(past.shoppers), side="right")
    back = end[past.shopper] - 1 - np.arange(len(past.shopper))
    late = back < history
    weight = np.power(decay, back[late]).astype(np.float32)
    return sparse.csr_matrix((weight, (past.shopper[late], past.item[late])), shape=(past.shoppers, past.items))


@dataclass(kw_only=True, eq=False)
class Transitions(Frequency):
    """Decayed item-to-item transitions: what is turned to after an item, within the next five steps.

    A pair (i → j), d steps apart, counts 0.6^(d−1); rows are normalised by the square root of the targets' totals.
    A shopper's score is the sum over their last fifty items, the newest most, added to their own frequency, both
    scaled to their largest value; ``share`` is the transitions' weight.
    """

    name: ClassVar[str] = "transitions"
    needs: ClassVar[Needs] = Needs(order=True)
    space: ClassVar[Space] = {
        **Frequency.space,
        "steps": Range(1, 20, whole=True),
        "step_decay": Range(0.1, 1.0),
        "recency_decay": Range(0.3, 1.0),
        "share": Range(0.0, 1.0),
    }

    steps: int = 5
    step_decay: float = 0.6
    recency_decay: float = 0.85
    share: float = 0.3
    matrix: sparse.csr_matrix = field(init=False, repr=False)
    profile: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        matrix = sparse.csr_matrix((past.items, past.items), dtype=np.float32)
        for step in range(1, self.steps + 1):
            same = past.shopper[step:] == past.shopper[:-step]
            source, target = past.item[:-step][same], past.item[step:][same]
            moved = source != target
            weight = np.full(int(moved.sum()), self.step_decay ** (step - 1), dtype=np.float32)
            weight *= past.weight[step:][same][moved].astype(np.float32)
            matrix = matrix + sparse.csr_matrix((weight, (source[moved], target[moved])), shape=matrix.shape)
            progress(step / self.steps)
        totals = np.asarray(matrix.sum(axis=0)).ravel()
        self.matrix = sparse.csr_matrix(matrix @ sparse.diags(1 / np.sqrt(np.maximum(totals, 1.0)))).astype(np.float32)

    def _observe(self, past: Interactions, now: int) -> None:
        super()._observe(past, now)
        self.profile = recent(past, self.recency_decay)

    def score(self, shoppers: Ints) -> Scores:
        moved = np.asarray((self.profile[shoppers] @ self.matrix).todense(), dtype=np.float32)
        own = np.asarray(self.own[shoppers].todense(), dtype=np.float32)
        found: Scores = self.share * moved / np.maximum(moved.max(axis=1, keepdims=True, initial=0.0), 1e-9)
        found += (1 - self.share) * own / np.maximum(own.max(axis=1, keepdims=True, initial=0.0), 1e-9)
        found += self.points * np.float32(1e-5 / max(float(self.points.max(initial=0.0)), 1e-9))
        return found

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        return pulls(self.profile, self.matrix, shopper, item, most) or super().explain(shopper, item)

    def neighbours(self, width: int = 20) -> list[tuple[int, list[tuple[int, float]]]]:
        """Return every item's strongest successors."""
        found: list[tuple[int, list[tuple[int, float]]]] = []
        for item in np.flatnonzero(np.diff(self.matrix.indptr)):
            start, end = self.matrix.indptr[item], self.matrix.indptr[item + 1]
            targets, weights = self.matrix.indices[start:end], self.matrix.data[start:end]
            best = np.argsort(-weights, kind="stable")[:width]
            found.append((int(item), [(int(targets[at]), float(weights[at])) for at in best]))
        return found

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), **packed("matrix", self.matrix), **packed("profile", self.profile)}

    def _load(self, arrays: Arrays) -> None:
        super()._load(arrays)
        self.matrix = unpacked("matrix", arrays, (self.items, self.items))
        self.profile = unpacked("profile", arrays, (self.shoppers, self.items))


@dataclass(kw_only=True, eq=False)
class ItemKNN(Ranker):
    """Items that the same shoppers turned to: cosine, shrunk where few did, the nearest of each item kept.

    A shopper's score is the sum over what they turned to, the newest most.
    """

    name: ClassVar[str] = "item_knn"
    space: ClassVar[Space] = {
        "neighbours": Range(5, 500, log=True, whole=True),
        "shrink": Range(0, 200),
        "recency_decay": Range(0.5, 1.0),
    }

    neighbours: int = 100
    shrink: float = 10.0
    recency_decay: float = 0.9
    matrix: sparse.csr_matrix = field(init=False, repr=False)
    profile: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        turned = past.matrix()
        self.matrix = nearest(turned.T.tocsr(), self.neighbours, self.shrink, progress).T.tocsr()

    def _observe(self, past: Interactions, now: int) -> None:
        self.profile = recent(past, self.recency_decay)

    def score(self, shoppers: Ints) -> Scores:
        found: Scores = np.asarray((self.profile[shoppers] @ self.matrix).todense(), dtype=np.float32)
        return found + fashion(self.points)

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        return pulls(self.profile, self.matrix, shopper, item, most)

    def _arrays(self) -> Arrays:
        return {**packed("matrix", self.matrix), **packed("profile", self.profile)}

    def _load(self, arrays: Arrays) -> None:
        self.matrix = unpacked("matrix", arrays, (self.items, self.items))
        self.profile = unpacked("profile", arrays, (self.shoppers, self.items))


def neighbours_mean(similarity: Floats, rating: Floats, *, divide_by: str = "count") -> float:
    """Return Σ sim·rating / |N|, the user-based prediction of the source article; 0 without neighbours.

    ``divide_by="similarity"`` divides by Σ|sim| instead, as is usual: a mean on the ratings' own scale.
    """
    total = len(similarity) if divide_by == "count" else float(np.abs(similarity).sum())
    return float(similarity @ rating) / total if total else 0.0


@dataclass(kw_only=True, eq=False)
class UserKNN(Ranker):
    """User-based collaborative filtering: what the shoppers most alike turned to.

    r(u, i) = Σ sim(u, j)·r(j, i) / |N(u)| over the nearest shoppers j, the article's form; ``divide_by="similarity"``
    is the usual one. A shopper's own ranking is the same under both. Similarity is the cosine of who turned to what.
    """

    name: ClassVar[str] = "user_knn"
    space: ClassVar[Space] = {
        "neighbours": Range(5, 500, log=True, whole=True),
        "shrink": Range(0, 200),
        "divide_by": Choice(("count", "similarity")),
    }

    neighbours: int = 100
    shrink: float = 3.0
    divide_by: str = "count"
    taught: sparse.csr_matrix = field(init=False, repr=False)
    alike: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        """Who is alike is observed, not learnt."""

    def _observe(self, past: Interactions, now: int) -> None:
        turned = past.matrix()
        alike = nearest(turned, self.neighbours, self.shrink)
        totals = np.diff(alike.indptr) if self.divide_by == "count" else np.asarray(alike.sum(axis=1)).ravel()
        self.alike = sparse.csr_matrix(sparse.diags(1 / np.maximum(totals, 1e-9)) @ alike).astype(np.float32)
        self.taught = turned

    def score(self, shoppers: Ints) -> Scores:
        found: Scores = np.asarray((self.alike[shoppers] @ self.taught).todense(), dtype=np.float32)
        return found + fashion(self.points)

    def _arrays(self) -> Arrays:
        return {**packed("taught", self.taught), **packed("alike", self.alike)}

    def _load(self, arrays: Arrays) -> None:
        self.taught = unpacked("taught", arrays, (self.shoppers, self.items))
        self.alike = unpacked("alike", arrays, (self.shoppers, self.shoppers))


def nearest(rows: sparse.csr_matrix, most: int, shrink: float, progress: Progress = silent) -> sparse.csr_matrix:
    """Return each row's most similar rows [rows, rows]: dot / (|a|·|b| + shrink), itself left out, ties by position."""
    norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    turned = rows.T.tocsr()
    count = np.zeros(rows.shape[0], dtype=np.int64)
    indices: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    data: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)]
    block = int(np.clip(MOST_PRODUCTS // max(rows.shape[0], 1), 16, 2048))
    for start in range(0, rows.shape[0], block):
        products = sparse.csr_matrix(rows[start : start + block] @ turned)
        products.sort_indices()
        for row in np.flatnonzero(np.diff(products.indptr)):
            at, end = products.indptr[row], products.indptr[row + 1]
            others, dot = products.indices[at:end], products.data[at:end]
            own = start + row
            value = np.where(others == own, 0.0, dot / (norms[own] * norms[others] + shrink))
            if len(value) > most:
                kept = np.sort(np.argpartition(-value, most - 1)[:most])
                others, value = others[kept], value[kept]
            kept = np.flatnonzero(value > 0)
            indices.append(others[kept])
            data.append(value[kept])
            count[own] = len(kept)
        progress(min((start + block) / rows.shape[0], 1.0))
    indptr = np.concatenate([[0], np.cumsum(count)])
    parts = (np.concatenate(data).astype(np.float32), np.concatenate(indices), indptr)
    return sparse.csr_matrix(parts, shape=(rows.shape[0], rows.shape[0]))


def fashion(points: Scores, height: float = 1e-4) -> Scores:
    """Return popularity scaled to at most ``height``: it decides only where nothing else does."""
    return points * np.float32(height / max(float(points.max(initial=0.0)), 1e-9))


def pulls(profile: sparse.csr_matrix, matrix: sparse.csr_matrix, shopper: int, item: int, most: int) -> list[Reason]:
    """Return by how much each item of a profile raised one score of profile · matrix."""
    own = profile[shopper].tocsr()
    own.sum_duplicates()
    pull = own.data * np.asarray(matrix[own.indices, item].todense()).ravel()
    return strongest(own.indices, pull, most)
