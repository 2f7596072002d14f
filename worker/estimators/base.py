"""The contract of response estimators, and the registry in order of simplicity: a tie keeps the simpler one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import Floats
from worker.artifacts import Arrays
from worker.data import Samples

if TYPE_CHECKING:
    from worker.estimators.attribution import Contributions

Progress = Callable[[float], None]
EPSILON = 1e-6


class ResponseEstimator(Protocol):
    """Predicts the four effects of an exposure.

    ``fit`` may hold out part of the shoppers for early stopping; identical seeds give identical results. ``score``
    returns [rows, heads] probabilities; a head that could not be learnt (no or only one class) gets a constant.
    ``explain`` divides the logit of one head's score among the features, additively.
    ``dump`` and ``restore`` carry everything as JSON and arrays.

    One with hyper-parameters takes them as keyword arguments, tells them as ``settings``, and declares in ``space``
    what they may be; ``identity`` names those that make it what it is, which no search touches.
    """

    name: ClassVar[str]

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None: ...

    def score(self, samples: Samples) -> Floats: ...

    def explain(self, samples: Samples, head: int) -> Contributions: ...

    def importances(self) -> dict[str, float]: ...

    def dump(self) -> tuple[dict[str, Any], Arrays]: ...

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self: ...


def settings_of(estimator: object) -> dict[str, Any]:
    """Return an estimator's hyper-parameters in force; none of one that declares none."""
    found: dict[str, Any] = getattr(estimator, "settings", {})
    return found


def logit(p: Floats) -> Floats:
    """Return log(p / (1 - p)), clipped away from infinity."""
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return np.log(p) - np.log1p(-p)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def shopper_split(shopper: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask holding ``share`` of the shoppers (all rows of each), drawn with a seed."""
    unique = np.unique(shopper)
    chosen = np.random.default_rng(seed).random(len(unique)) < share
    mask: NDArray[np.bool_] = chosen[np.searchsorted(unique, shopper)]
    return mask


def learnable(y: Floats) -> bool:
    """Return whether a label column holds both classes, at least ten times each."""
    known = y[~np.isnan(y)]
    return bool(min((known == 1).sum(), (known == 0).sum()) >= 10)


def prior(y: Floats) -> float:
    """Return the share of positives, smoothed; 0 where nothing is known."""
    known = y[~np.isnan(y)]
    return float((known.sum() + 0.5) / (len(known) + 1)) if len(known) else 0.0
