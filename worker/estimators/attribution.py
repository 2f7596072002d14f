"""Why an estimator says what it says: each feature's part of a row's logit, above or below what is usual.

Additive: a row's base plus its values is the logit of what ``score`` returns. How the values are found is the
estimator's matter: exactly where a closed form or the tree algorithm allows it, by integrated gradients in a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from personalization.features.frames import Floats
from personalization.features.specification import INDEX, NAMES
from personalization.features.topics import OF_FEATURE, REMAINDER, SEQUENCE, TOPICS
from worker.estimators.base import logit

TERMS = (*NAMES, SEQUENCE, REMAINDER)
"""What a logit is divided among: every feature, the latest events in their order, and what no feature accounts for."""
TERM = {name: position for position, name in enumerate(TERMS)}


@dataclass(frozen=True, slots=True)
class Contributions:
    """``base`` [rows] and ``values`` [rows, TERMS], in logits of one head."""

    base: Floats
    values: Floats

    @classmethod
    def nothing(cls, p: Floats) -> Self:
        """Return the explanation of a constant: a base without values. ``p`` [rows] are probabilities."""
        return cls(logit(p), np.zeros((len(p), len(TERMS))))

    @classmethod
    def settled(cls, base: Floats, values: Floats, p: Floats) -> Self:
        """Return base and values with the remainder set so that they add up to the logit of ``p`` [rows]."""
        values = values.copy()
        values[:, TERM[REMAINDER]] = 0.0
        values[:, TERM[REMAINDER]] = logit(p) - base - values.sum(axis=1)
        return cls(base, values)

    def logits(self) -> Floats:
        """Return the sums [rows]."""
        total: Floats = self.base + self.values.sum(axis=1)
        return total

    def scaled(self, slope: float, offset: float = 0.0) -> Contributions:
        """Return slope · logit + offset, divided in the same proportions: what a calibrator does to them."""
        return Contributions(self.base * slope + offset, self.values * slope)

    def plus(self, other: Contributions) -> Contributions:
        """Return the sum of two explanations of the same rows."""
        return Contributions(self.base + other.base, self.values + other.values)


def by_topic(told: Contributions) -> Floats:
    """Return [rows, TOPICS]: the values added up by what the features are about."""
    place = {topic.code: position for position, topic in enumerate(TOPICS)}
    found = np.zeros((len(told.values), len(TOPICS)))
    for term, name in enumerate(TERMS):
        found[:, place[OF_FEATURE[name]]] += told.values[:, term]
    return found


def owners(columns: list[str]) -> list[int]:
    """Return the feature that each prepared column belongs to: a missing flag to the feature that is missing."""
    return [INDEX[column if column in INDEX else column.removesuffix("_missing")] for column in columns]


def gathered(parts: Floats, columns: list[int]) -> Floats:
    """Return [rows, TERMS]: parts [rows, columns] added up by the term that each column belongs to."""
    values = np.zeros((len(parts), len(TERMS)))
    for column, term in enumerate(columns):
        values[:, term] += parts[:, column]
    return values
