"""Topics of the catalogue's words: latent Dirichlet allocation on product titles, which no shopper has a part in.

A topic is a distribution over words, a title a mixture of topics (Blei, Ng and Jordan 2003). Fitted anew with every
training on the titles alone; words and counts travel with the version, so that serving divides a title as training did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy import sparse
from scipy.special import psi
from sklearn.decomposition import LatentDirichletAllocation
from sklearn.feature_extraction.text import CountVectorizer

from personalization.features.frames import Floats
from worker.rankers.catalogue import words

MOST_TITLES = 20_000
"""Titles that topics are fitted on, drawn at random from a larger catalogue."""
MOST_WORDS = 1000
COMMON = 0.5
"""A word in more than this share of the titles divides nothing."""
LEAST_TITLES = 50
ROUNDS = 20
SHOWN = 8
"""Words by which people are told what a topic is about."""


@dataclass(eq=False)
class TextTopics:
    """``words`` and, per topic, their pseudo-counts [topics, words]: the Dirichlet λ. The commonest topic first."""

    words: list[str]
    counts: Floats
    _last: tuple[Sequence[str], Floats] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, titles: Sequence[str], topics: int, *, seed: int = 0) -> Self | None:
        """Return topics of these titles; None if none are wanted or too few titles have words that recur."""
        told = [title for title in titles if title.strip()]
        if topics < 1 or len(told) < LEAST_TITLES:
            return None
        if len(told) > MOST_TITLES:
            drawn = np.random.default_rng(seed).choice(len(told), MOST_TITLES, replace=False)
            told = [told[at] for at in np.sort(drawn)]
        vocabulary = _vocabulary(told)
        if len(vocabulary) < topics:
            return None
        found = cls(vocabulary, np.ones((topics, len(vocabulary))))
        model = LatentDirichletAllocation(topics, max_iter=ROUNDS, random_state=seed)
        shares = model.fit_transform(found._counted(told))
        common_first = np.argsort(-shares.sum(axis=0), kind="stable")
        found.counts = np.asarray(model.components_[common_first], dtype=np.float64)
        return found

    def shares(self, titles: Sequence[str]) -> Floats:
        """Return [titles, topics], rows that add up to 1; of zeros where a title has no known word."""
        if self._last is None or self._last[0] is not titles:
            counted = self._counted(titles)
            known = np.asarray(counted.sum(axis=1)).ravel() > 0
            found = np.zeros((len(titles), len(self.counts)))
            if known.any():
                found[known] = self._model().transform(counted[known])
            self._last = titles, found
        return self._last[1]

    def top_words(self, most: int = SHOWN) -> list[list[str]]:
        """Return each topic's most probable words, best first."""
        return [[self.words[at] for at in np.argsort(-row, kind="stable")[:most]] for row in self.counts]

    def as_json(self) -> dict[str, Any]:
        return {"words": self.words, "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Self | None:
        """Return what :meth:`as_json` told; None of nothing."""
        return None if data is None else cls(list(data["words"]), np.array(data["counts"], dtype=np.float64))

    def _counted(self, titles: Sequence[str]) -> sparse.csr_matrix:
        return sparse.csr_matrix(CountVectorizer(analyzer=words, vocabulary=self.words).transform(titles))

    def _model(self) -> LatentDirichletAllocation:
        """Return scikit-learn's model as it was after fitting: what it infers from is λ and E[log β] alone."""
        topics, width = self.counts.shape
        model = LatentDirichletAllocation(topics)
        model.components_, model.doc_topic_prior_, model.n_features_in_ = self.counts, 1 / topics, width
        expected_log = psi(self.counts) - psi(self.counts.sum(axis=1, keepdims=True))
        model.exp_dirichlet_component_ = np.exp(expected_log)
        return model


def _vocabulary(titles: Sequence[str]) -> list[str]:
    """Return words of two signs or more that recur and are not everywhere, at most ``MOST_WORDS``, in order."""
    seen: dict[str, int] = {}
    for title in titles:
        for word in set(words(title)):
            seen[word] = seen.get(word, 0) + 1
    useful = [
        (-count, word)
        for word, count in seen.items()
        if 2 <= count <= COMMON * len(titles) and len(word) > 1 and not word.isdigit()
    ]
    return sorted(word for _count, word in sorted(useful)[:MOST_WORDS])
