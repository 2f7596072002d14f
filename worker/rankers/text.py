"""Text: products whose titles read like those a shopper turned to, and what shoppers taught about such titles.

An item nobody has bought has a title, and so a score. Vectors come from TF-IDF and a truncated SVD, or, where
``PERSONALIZATION_TEXT_MODEL`` names a folder that holds one, from a BERT-family model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from worker.rankers.base import Interactions, Needs, Progress, Reason, Scores, packed, strongest, unpacked
from worker.rankers.catalogue import tf_idf
from worker.rankers.lesson import Lesson, configured_lesson
from worker.rankers.neighbours import recent
from worker.rankers.ridge import learnt
from worker.rankers.vectors import DotRanker, unit
from worker.space import Range, Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.artifacts import Arrays

TRACE = 1e-4


def configured_model() -> str:
    """Return the folder of the text model, from ``PERSONALIZATION_TEXT_MODEL``; "" if none is configured."""
    return os.environ.get("PERSONALIZATION_TEXT_MODEL", "")


@dataclass(kw_only=True, eq=False)
class Text(DotRanker):
    """score = p·M·v, with v a title's vector of length 1, p the recency-weighted sum of the shopper's, M = c·I + Δ.

    Titles alone (Δ = 0) say what reads alike; Δ is what is learnt from shoppers about which titles go together, by a
    ridge regression in closed form (see :mod:`worker.rankers.ridge`), and holds for titles nobody has turned to. A
    trace of popularity decides ties. ``model`` is the folder of a text model, loaded offline; without it, TF-IDF and
    SVD. ``lesson`` is a file of what another catalogue's shoppers taught (:mod:`worker.rankers.lesson`): its vectors
    stand beside the shop's own, and what it knows is where learning starts.
    Memory: items · (words of a title + factors). Time: items · factors², and the model's own.
    """

    name: ClassVar[str] = "text"
    needs: ClassVar[Needs] = Needs(attributes=True)
    space: ClassVar[Space] = {
        "factors": Range(2, 1024, log=True, whole=True),
        "regularisation": Range(1e-4, 1e4, log=True),
        "recency_decay": Range(0.5, 1.0),
    }

    factors: int = 128
    regularisation: float = 0.3
    recency_decay: float = 0.9
    model: str = field(default_factory=configured_model)
    lesson: str = field(default_factory=configured_lesson)
    read: Scores = field(init=False, repr=False)
    """Titles' vectors as they are read [known, d]."""
    profile: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        texts = past.described.text
        turned_to = np.bincount(past.item, minlength=past.items) > 0
        self.known = np.flatnonzero(turned_to | np.array([bool(text.strip()) for text in texts], dtype=bool))
        known = [texts[item] for item in self.known.tolist()]
        self.read, prior = self._vectors_of(known, seed, progress), None
        if self.lesson:
            self.read, prior = Lesson.load(self.lesson).beside(self.read, known)
        matrix = learnt(past.matrix()[:, self.known], self.read, self.regularisation, prior)
        self.table = (self.read @ matrix.T).astype(np.float32)

    def _vectors_of(self, texts: Sequence[str], seed: int, progress: Progress) -> Scores:
        if not self.model:
            return svd_vectors(tf_idf(texts), self.factors, seed)
        from worker.networks.bert import Reader

        return centred(Reader(self.model).vectors(texts, progress=progress))

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        self.profile = recent(past, self.recency_decay)[:, self.known]
        fashion = self.points[self.known]
        fashion = fashion * np.float32(TRACE / max(float(fashion.max(initial=0.0)), 1e-9))
        width = self.read.shape[1]
        self.table = np.concatenate([self.table[:, :width], fashion[:, None]], axis=1)
        users = np.asarray(self.profile @ self.read, dtype=np.float32)
        self.users = np.concatenate([users, np.ones((len(users), 1), dtype=np.float32)], axis=1)

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        at = int(np.searchsorted(self.known, item))
        own = self.profile[shopper].tocsr()
        if not own.nnz or at == len(self.known) or self.known[at] != item:
            return []
        own.sum_duplicates()
        pull = own.data * (self.read[own.indices] @ self.table[at, :-1])
        return strongest(self.known[own.indices], pull.astype(np.float64), most)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), "read": self.read, **packed("profile", self.profile)}

    def _load(self, arrays: Arrays) -> None:
        super()._load(arrays)
        self.read = arrays["read"]
        self.profile = unpacked("profile", arrays, (self.shoppers, len(self.known)))


def svd_vectors(matrix: sparse.csr_matrix, factors: int, seed: int) -> Scores:
    """Return U·Σ of the truncated singular value decomposition, rows of length 1 [rows, at most ``factors``]."""
    if not min(matrix.shape):
        return np.zeros((matrix.shape[0], 1), dtype=np.float32)
    left, size, _right = randomized_svd(matrix, min(factors, *matrix.shape), random_state=seed)
    return unit(left * size)


def centred(vectors: Scores) -> Scores:
    """Return the rows less their mean, of length 1 again; rows of zeros stay so.

    Sentence vectors share one large direction, which makes everything look alike (Mu and Viswanath 2018, arXiv
    1702.01417).
    """
    real = np.any(vectors != 0, axis=1)
    found = np.zeros_like(vectors)
    if real.any():
        found[real] = vectors[real] - vectors[real].mean(axis=0)
    return unit(found)
