"""The floor: the mean of the same offer's earlier launches, drawn towards its kind's, and that towards everybody's.

Empirical Bayes: how far launches stray, and how strongly means are drawn together, are chosen so that each launch is
the likeliest under what the others say. So a kind of one launch keeps near the mean of all, and one of fifty its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np

from personalization.features.frames import Floats, Ints
from personalization.features.launches import EARLIER_KIND, EARLIER_OFFER, KINDS, TOPICS, Launches
from worker.artifacts import Arrays
from worker.attractiveness.base import Explanation, Prediction, log_prior, log_probability
from worker.estimators.base import logit

STRAYING = np.geomspace(4.0, 4096.0, 11)
"""Precisions of a launch around its mean, in shoppers."""
DRAWING = np.array([4.0, 16.0, 64.0, 256.0, 1024.0, 1e9])
"""Strengths by which a mean is drawn towards the next wider one, in shoppers; the last lets it say nothing.

Where nothing tells which is right (every offer has been launched once), the first is taken.
"""
CODES = [topic.code for topic in TOPICS]


@dataclass(slots=True)
class Standing:
    """What is known of launches: their kind's mean, and the weighted hits of the same offer's other launches."""

    kind: Floats
    hits: Floats
    weight: Floats
    to_kind: float

    @classmethod
    def unknown(cls, rows: int) -> Standing:
        return cls(np.full(rows, 0.5), np.zeros(rows), np.zeros(rows), 1.0)

    def mean(self) -> Floats:
        """Return the offers' means, drawn towards their kinds'."""
        mean: Floats = drawn(self.hits, self.weight, self.kind, self.to_kind)
        return mean


@dataclass(slots=True)
class Own:
    """The weighted hits of every offer that has been launched; ``offers`` ascending."""

    offers: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hits: Floats = field(default_factory=lambda: np.zeros(0))
    weight: Floats = field(default_factory=lambda: np.zeros(0))
    to_kind: float = 1.0

    def of(self, offer: Ints) -> tuple[Floats, Floats]:
        """Return hits and weight of offers; of one that has never been launched, none."""
        if not len(self.offers):
            return np.zeros(len(offer)), np.zeros(len(offer))
        at = np.minimum(np.searchsorted(self.offers, offer), len(self.offers) - 1)
        known = self.offers[at] == offer
        return np.where(known, self.hits[at], 0.0), np.where(known, self.weight[at], 0.0)


class ShrunkMean:
    """Means per kind and per offer, by launches that count the less per shopper the more were shown them."""

    name: ClassVar[str] = "shrunk_mean"

    def __init__(
        self,
        overall: float = 0.5,
        kinds: Floats | None = None,
        own: Own | None = None,
        precision: float = 2.0,
    ) -> None:
        self.overall, self.precision = overall, precision
        self.kinds = np.full(len(KINDS), overall) if kinds is None else kinds
        self.own = Own() if own is None else own

    def fit(self, launches: Launches, *, seed: int) -> None:
        self.fit_leaving_out(launches)

    def fit_leaving_out(self, launches: Launches) -> Standing:
        """Fit, and return what the others say of each launch: what would have been known of it beforehand."""
        best, told = -np.inf, Standing.unknown(len(launches))
        for straying, to_all, to_kind in product(STRAYING, DRAWING, DRAWING):
            table = _Table(launches, straying, to_all, to_kind)
            standing = table.without_itself()
            mean = standing.mean()
            likely = log_probability(launches.responded, launches.shown, mean, straying).sum() + log_prior(straying)
            if likely > best:
                best, told, self.precision = likely, standing, float(straying)
                self.overall, self.kinds, self.own = table.means()
        return told

    def standing(self, launches: Launches) -> Standing:
        """Return what the training says of launches that are not in it."""
        return Standing(self.kinds[launches.kind], *self.own.of(launches.offer), self.own.to_kind)

    def predict(self, launches: Launches) -> Prediction:
        standing = self.standing(launches)
        return Prediction(standing.mean(), np.full(len(launches), self.precision))

    def explain(self, launches: Launches) -> Explanation:
        """Return the kind's share and the offer's own, as steps away from the overall mean."""
        kind, own = logit(self.kinds[launches.kind]), logit(self.predict(launches).mean)
        base = np.full(len(launches), logit(np.array([self.overall]))[0])
        values = np.zeros((len(launches), len(TOPICS)))
        values[:, CODES.index(EARLIER_KIND)] = kind - base
        values[:, CODES.index(EARLIER_OFFER)] = own - kind
        return Explanation(base, values)

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        own = self.own
        arrays = {"kinds": self.kinds, "offers": own.offers, "hits": own.hits, "weight": own.weight}
        return {"overall": self.overall, "precision": self.precision, "to_kind": own.to_kind}, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        own = Own(arrays["offers"], arrays["hits"], arrays["weight"], config["to_kind"])
        return cls(config["overall"], arrays["kinds"], own, config["precision"])


class _Table:
    """Weighted sums per offer, kind and overall, for one choice of strengths."""

    def __init__(self, launches: Launches, straying: float, to_all: float, to_kind: float) -> None:
        self.to_all, self.to_kind = to_all, to_kind
        self.kind = launches.kind
        self.offers, self.of = np.unique(launches.offer, return_inverse=True)
        # A launch of n shoppers says as much about the mean as this many shoppers drawn from launches at random.
        self.weight = launches.shown * straying / (launches.shown + straying)
        self.hits = self.weight * launches.rate

    def means(self) -> tuple[float, Floats, Own]:
        """Return the overall mean, those of the kinds, and what each offer's own launches say."""
        overall = (self.hits.sum() + 0.5) / (self.weight.sum() + 1.0)
        hits, weight = (_sums(self.kind, values, len(KINDS)) for values in (self.hits, self.weight))
        own = Own(self.offers, _sums(self.of, self.hits), _sums(self.of, self.weight), float(self.to_kind))
        return float(overall), drawn(hits, weight, overall, self.to_all), own

    def without_itself(self) -> Standing:
        """Return what the other launches say of each launch."""
        hits, weight = self.hits, self.weight
        overall = (hits.sum() - hits + 0.5) / (weight.sum() - weight + 1.0)
        kind = drawn(*self._others(self.kind), overall, self.to_all)
        return Standing(kind, *self._others(self.of), float(self.to_kind))

    def _others(self, groups: Ints) -> tuple[Floats, Floats]:
        """Return hits and weight of each launch's group without the launch itself."""
        found = [np.maximum(_sums(groups, values)[groups] - values, 0.0) for values in (self.hits, self.weight)]
        return found[0], found[1]


def _sums(groups: Ints, values: Floats, count: int = 0) -> Floats:
    """Return the sum of the values of each group."""
    return np.bincount(groups, values, count).astype(np.float64)


def drawn(hits: Any, weight: Any, towards: Any, strength: float) -> Any:
    """Return means drawn towards others, arrays or tensors; where nothing is known, those."""
    return (hits + strength * towards) / (weight + strength)
