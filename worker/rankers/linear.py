"""EASE: a linear item-to-item model with a closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import linalg, sparse

from personalization.features.frames import Ints
from worker.rankers.base import Interactions, Progress, Ranker, Reason, Scores, packed, strongest, unpacked
from worker.rankers.neighbours import fashion
from worker.space import Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

MOST_ITEMS = 8000
"""Its square in float32 is 256 MB, its inverse some 20 s on a core."""
TRACE = 1e-6
"""The most that popularity adds: small beside scores that strong regularisation has shrunk to thousandths."""


@dataclass(kw_only=True, eq=False)
class EASE(Ranker):
    """Scores X·B, with B the ridge regression of each item on all others: B = I − P·diag(1/P), P = (XᵀX + λI)⁻¹.

    Steck 2019, arXiv 1905.03375. In a larger catalogue the ``most_items`` most frequent items are modelled; the
    others are scored by a trace of their popularity alone.
    """

    name: ClassVar[str] = "ease"
    space: ClassVar[Space] = {
        "regularisation": Range(1, 10_000, log=True),
        "most_items": Range(2, 50_000, log=True, whole=True),
    }

    regularisation: float = 200.0
    most_items: int = MOST_ITEMS
    known: Ints = field(init=False, repr=False)
    matrix: Scores = field(init=False, repr=False)
    turned: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        count = np.bincount(past.item, minlength=past.items)
        often = np.argsort(-count, kind="stable")[: self.most_items]
        self.known = np.sort(often[count[often] > 0]).astype(np.int64)
        turned = past.matrix()[:, self.known]
        gram = np.asarray((turned.T @ turned).todense(), dtype=np.float32)
        gram[np.diag_indices_from(gram)] += np.float32(self.regularisation)
        progress(0.1)
        inverse = _inverse(gram)
        self.matrix = np.asarray(-inverse / np.diag(inverse) if len(inverse) else inverse, dtype=np.float32)
        np.fill_diagonal(self.matrix, 0.0)

    def _observe(self, past: Interactions, now: int) -> None:
        self.turned = past.matrix()[:, self.known]

    def score(self, shoppers: Ints) -> Scores:
        found: Scores = np.tile(fashion(self.points, TRACE), (len(shoppers), 1))
        found[:, self.known] += self.turned[shoppers] @ self.matrix
        return found

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        at = int(np.searchsorted(self.known, item))
        if at == len(self.known) or self.known[at] != item:
            return []
        own = self.turned[shopper]
        return strongest(self.known[own.indices], own.data * self.matrix[own.indices, at], most)

    def _arrays(self) -> Arrays:
        return {"known": self.known, "matrix": self.matrix, **packed("turned", self.turned)}

    def _load(self, arrays: Arrays) -> None:
        self.known, self.matrix = arrays["known"], arrays["matrix"]
        self.turned = unpacked("turned", arrays, (self.shoppers, len(self.known)))


def _inverse(gram: Scores) -> Scores:
    """Return the inverse of a positive definite matrix, through its Cholesky factor, in place."""
    if not len(gram):
        return gram
    factor, info = linalg.lapack.spotrf(gram, lower=True, overwrite_a=True)
    if info:
        raise FloatingPointError("The item-to-item matrix is not positive definite: raise EASE's regularisation.")
    inverse, _info = linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    found: Scores = np.tril(inverse) + np.tril(inverse, -1).T
    return found
