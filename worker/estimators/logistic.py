"""Logistic regression on the prepared features and one-hot offers: the linear yardstick."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from personalization.features.frames import Floats
from personalization.features.preparation import Preparation
from personalization.features.specification import CATEGORICAL, FEATURES
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import Contributions, gathered, owners
from worker.estimators.base import Progress, learnable, prior, sigmoid
from worker.space import Range, Space, check


class Logistic:
    """L2-penalised; categorical features enter one-hot by their fitted codes.

    ``looseness`` is the inverse of the penalty's weight: the larger, the further weights may go.
    """

    name: ClassVar[str] = "logistic"

    space: ClassVar[Space] = {"looseness": Range(1e-4, 1e2, log=True)}

    def __init__(self, looseness: float = 0.1) -> None:
        self.settings: dict[str, Any] = {"looseness": looseness}
        """The hyper-parameters in force."""
        check(self.name, self.space, self.settings)
        self.preparation = Preparation(())
        self.sizes: list[int] = []
        self.coefficients: Floats = np.zeros((len(HEADS), 1))
        self.intercepts: Floats = np.zeros(len(HEADS))
        self.usual: Floats = np.zeros(1)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        self.preparation = Preparation.fit(samples.x)
        sizes = samples.vocabularies.sizes()
        self.sizes = [sizes[FEATURES[position].name] for position in CATEGORICAL]
        design = self._design(samples.x)
        self.usual = design.mean(axis=0) if len(design) else np.zeros(design.shape[1])
        self.coefficients = np.zeros((len(HEADS), design.shape[1]))
        self.intercepts = np.zeros(len(HEADS))
        for head in range(len(HEADS)):
            y = samples.y[:, head]
            known = ~np.isnan(y)
            base = np.clip(prior(y), 1e-6, 1 - 1e-6)
            self.intercepts[head] = np.log(base / (1 - base))
            if learnable(y):
                model = LogisticRegression(C=self.settings["looseness"], max_iter=300, random_state=seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(design[known], y[known])
                self.coefficients[head], self.intercepts[head] = model.coef_[0], model.intercept_[0]
            progress((head + 1) / len(HEADS))

    def _design(self, x: Floats) -> Floats:
        parts = [self.preparation.transform(x)]
        for position, size in zip(CATEGORICAL, self.sizes, strict=True):
            codes = np.clip(np.nan_to_num(x[:, position]).astype(np.int64), 0, size - 1)
            parts.append(np.eye(size)[codes])
        return np.concatenate(parts, axis=1)

    def score(self, samples: Samples) -> Floats:
        return sigmoid(self._design(samples.x) @ self.coefficients.T + self.intercepts)

    def _columns(self) -> list[str]:
        names = self.preparation.names()
        for position, width in zip(CATEGORICAL, self.sizes, strict=True):
            names += [FEATURES[position].name] * width
        return names

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return w · (x − mean of the training rows): exact, and the Shapley values of a linear model."""
        weight = self.coefficients[head]
        parts = (self._design(samples.x) - self.usual) * weight
        base = np.full(len(parts), self.intercepts[head] + self.usual @ weight)
        return Contributions.settled(base, gathered(parts, owners(self._columns())), self.score(samples)[:, head])

    def importances(self) -> dict[str, float]:
        size = np.abs(self.coefficients).sum(axis=0)
        names = self._columns()
        found: dict[str, float] = {}
        for name, value in zip(names, size, strict=True):
            found[name] = found.get(name, 0.0) + float(value)
        total = sum(found.values()) or 1.0
        return {name: value / total for name, value in found.items()}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        config = {"settings": self.settings, "preparation": self.preparation.as_json(), "sizes": self.sizes}
        return config, {"coefficients": self.coefficients, "intercepts": self.intercepts, "usual": self.usual}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = cls(**config.get("settings", {}))  # versions of before had the shipped ones
        made.preparation, made.sizes = Preparation.from_json(config["preparation"]), config["sizes"]
        made.coefficients, made.intercepts = arrays["coefficients"], arrays["intercepts"]
        made.usual = arrays.get("usual", np.zeros(made.coefficients.shape[1]))  # versions of before had none
        return made
