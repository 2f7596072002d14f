"""The contract of attractiveness estimators, and the distribution in which they speak.

A launch's own rate is drawn from a beta distribution with the predicted mean and a precision; of n shoppers, a
beta-binomial number responds. The precision counts in shoppers: the smaller, the further launches stray from what is
predicted, however many are shown them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from scipy.special import betaln, gammaln

from personalization.features.frames import Floats
from personalization.features.launches import Launches
from worker.artifacts import Arrays

PRECISIONS = np.geomspace(2.0, 20_000.0, 33)
"""Among which a precision is chosen."""
USUAL, APART = 50.0, 4.0
"""What precisions are before any launch is known: log-normal, ``USUAL`` shoppers and a factor ``APART`` either way."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A mean and a precision per launch."""

    mean: Floats
    precision: Floats

    def log_score(self, launches: Launches) -> Floats:
        """Return the log-probability of what came of each launch (natural logarithm; higher is better)."""
        return log_probability(launches.responded, launches.shown, self.mean, self.precision)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The log-odds of the mean, divided: ``base`` and a column a topic of ``features.launches``, adding up to it."""

    base: Floats
    values: Floats


class Attractiveness(Protocol):
    """Predicts the rate of launches.

    Identical seeds give identical results. ``fit`` needs two launches at least and reads nothing but what it is given.
    ``dump`` and ``restore`` carry everything as JSON and arrays.
    """

    name: ClassVar[str]

    def fit(self, launches: Launches, *, seed: int) -> None: ...

    def predict(self, launches: Launches) -> Prediction: ...

    def explain(self, launches: Launches) -> Explanation: ...

    def dump(self) -> tuple[dict[str, Any], Arrays]: ...

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self: ...


def log_probability(responded: Any, shown: Any, mean: Any, precision: Any) -> Floats:
    """Return the beta-binomial log-probability of ``responded`` out of ``shown``, element by element."""
    a, b = mean * precision, (1 - mean) * precision
    choose = gammaln(shown + 1) - gammaln(responded + 1) - gammaln(shown - responded + 1)
    told: Floats = choose + betaln(responded + a, shown - responded + b) - betaln(a, b)
    return told


def log_prior(precision: Any) -> Any:
    """Return the log-density of precisions before any launch is known, without its constant."""
    return -0.5 * (np.log(precision / USUAL) / np.log(APART)) ** 2


def likeliest_precision(launches: Launches, mean: Floats) -> float:
    """Return the likeliest precision, given launches that the means were not fitted to.

    A handful of launches that happen to lie near their means do not make it endless: the prior counts with them.
    """
    told = log_probability(launches.responded, launches.shown, mean, PRECISIONS[:, None]).sum(axis=1)
    return float(PRECISIONS[np.argmax(told + log_prior(PRECISIONS))])
