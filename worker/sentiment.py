"""What a review's words say of it, learnt from the shop's own stars: TF-IDF and a logistic regression.

No list of words is brought along, so any language is read in which the shop's shoppers write; Chinese, Japanese and
Korean as pairs of signs, others as words and pairs of neighbouring words ("not good"). Only words that many shoppers
used are ever kept: a name, an address or a turn of phrase that is somebody's own is in no version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from personalization.features.frames import Floats, Reviews
from worker.rankers.catalogue import words

LEAST_SHOPPERS = 20
"""Shoppers who must have used a word for it to be looked at."""
LEAST_REVIEWS = 100
"""Reviews with known words that each side, good and bad, needs."""
MOST_WORDS = 5000
BUCKETS = 2**21
"""Size of the table in which phrases are counted before any is held: 24 MB."""


@dataclass(eq=False)
class Sentiment:
    """``words`` with ``idf`` and ``weight`` [words], and ``bias``; without any words, stars alone are read."""

    words: list[str] = field(default_factory=list)
    idf: Floats = field(default_factory=lambda: np.zeros(0))
    weight: Floats = field(default_factory=lambda: np.zeros(0))
    bias: float = 0.0
    _last: tuple[Sequence[str], Floats] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, reviews: Reviews, until: int) -> Self:
        """Return what reviews before a moment (milliseconds) teach; stars alone where they are too few."""
        past = np.flatnonzero((reviews.time < until) & (reviews.stars != 0) & ~np.isnan(reviews.stars))
        texts, good = [reviews.text[at] for at in past], reviews.stars[past] > 0
        found = cls(_vocabulary(texts, reviews.shopper[past].tolist()))
        counted = found._counted(texts)
        known = np.asarray(counted.sum(axis=1)).ravel() > 0
        if min(int((good & known).sum()), int((~good & known).sum())) < LEAST_REVIEWS:
            return cls()
        used = np.asarray((counted > 0).sum(axis=0)).ravel()
        found.idf = np.log((1 + len(texts)) / (1 + used)) + 1
        model = LogisticRegression(class_weight="balanced", max_iter=500)
        model.fit(found._weighed(counted)[known], good[known])
        found.weight, found.bias = model.coef_[0], float(model.intercept_[0])
        return found

    def of(self, reviews: Reviews) -> Floats:
        """Return each review's sentiment, −1 to 1: the mean of what its stars and its text say; nan if neither does.

        A text is the host's to judge where the host does.
        """
        told = np.where(np.isnan(reviews.hosted), self.of_texts(reviews.text), reviews.hosted)
        both = np.stack([reviews.stars, told])
        count = (~np.isnan(both)).sum(axis=0)
        found: Floats = np.nansum(both, axis=0) / np.where(count > 0, count, np.nan)
        return found

    def of_texts(self, texts: Sequence[str]) -> Floats:
        """Return each text's sentiment, −1 to 1: 2p − 1, with p how likely it stands beside good stars; nan if no word
        of it is known."""
        if self._last is None or self._last[0] is not texts:
            found = np.full(len(texts), np.nan)
            if self.words and len(texts):
                counted = self._counted(texts)
                known = np.asarray(counted.sum(axis=1)).ravel() > 0
                logit = np.asarray(self._weighed(counted) @ self.weight).ravel() + self.bias
                found[known] = np.tanh(logit[known] / 2)
            self._last = texts, found
        return self._last[1]

    def as_json(self) -> dict[str, Any]:
        return {"words": self.words, "idf": self.idf.tolist(), "weight": self.weight.tolist(), "bias": self.bias}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Self | None:
        """Return what :meth:`as_json` told; None of nothing."""
        if data is None:
            return None
        return cls(list(data["words"]), np.array(data["idf"]), np.array(data["weight"]), float(data["bias"]))

    def _counted(self, texts: Sequence[str]) -> sparse.csr_matrix:
        if not self.words or not texts:
            return sparse.csr_matrix((len(texts), len(self.words)))
        return sparse.csr_matrix(CountVectorizer(analyzer=phrases, vocabulary=self.words).transform(texts), dtype=float)

    def _weighed(self, counted: sparse.csr_matrix) -> sparse.csr_matrix:
        weighed = sparse.csr_matrix(counted.multiply(self.idf))
        length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.maximum(length, 1e-9)) @ weighed)


def phrases(text: str) -> list[str]:
    """Return a text's words and each two that follow one another."""
    found = words(text)
    return [*found, *(f"{one} {after}" for one, after in pairwise(found))]


def _vocabulary(texts: Sequence[str], shoppers: Sequence[int]) -> list[str]:
    """Return the words and pairs that at least LEAST_SHOPPERS shoppers used, the MOST_WORDS commonest, in order.

    What few use is nearly all there is, and one shopper can write as much of it as they please. So phrases are counted
    twice: first by the bucket that they fall into, in a table of fixed size, then by themselves where enough shoppers
    used the bucket. A bucket's count is never below that of a phrase in it: the result is exact.
    """
    order = np.argsort(np.array(shoppers, dtype=np.int64), kind="stable").tolist()
    by_shopper = [(texts[at], shoppers[at]) for at in order]
    users = _users(by_shopper, _full_buckets(by_shopper))
    common = sorted((-count, phrase) for phrase, count in users.items() if count >= LEAST_SHOPPERS)
    return sorted(phrase for _count, phrase in common[:MOST_WORDS])


def _full_buckets(by_shopper: Sequence[tuple[str, int]]) -> NDArray[np.bool_]:
    """Return which of BUCKETS at least LEAST_SHOPPERS shoppers used; texts and shoppers, one shopper's in a row."""
    count, last = np.zeros(BUCKETS, dtype=np.int32), np.full(BUCKETS, -1, dtype=np.int64)
    for text, shopper in by_shopper:
        used = np.unique(np.array([_bucket(phrase) for phrase in phrases(text)], dtype=np.int64))
        used = used[last[used] != shopper]
        count[used] += 1
        last[used] = shopper
    return count >= LEAST_SHOPPERS


def _users(by_shopper: Sequence[tuple[str, int]], full: NDArray[np.bool_]) -> dict[str, int]:
    """Return phrase → how many shoppers used it, of phrases in full buckets; one shopper's texts in a row."""
    users: dict[str, int] = {}
    last: dict[str, int] = {}
    for text, shopper in by_shopper if full.any() else ():
        for phrase in phrases(text):
            if full[_bucket(phrase)] and last.get(phrase) != shopper:
                users[phrase] = users.get(phrase, 0) + 1
                last[phrase] = shopper
    return users


def _bucket(phrase: str) -> int:
    # Python's own hash differs from process to process: nobody can aim at a bucket, and the result does not hang on it.
    return hash(phrase) % BUCKETS
