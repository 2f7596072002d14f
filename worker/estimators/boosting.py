"""Gradient boosting (LightGBM) on the raw features, one booster a head: below millions of rows the one to beat."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import lightgbm as lgb
import numpy as np

from personalization.features.frames import Floats
from personalization.features.specification import CATEGORICAL, NAMES
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.base import Progress, learnable, prior, shopper_split

PARAMS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "lambda_l2": 5.0,
    "cat_smooth": 20.0,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # small data: a second thread costs more in waiting than it saves
}
MAX_ROUNDS = 800
PATIENCE = 40


class Boosting:
    """Rounds are chosen by early stopping on 15 % of the shoppers, then the booster is refitted on all."""

    name: ClassVar[str] = "boosting"
    note: ClassVar[str] = "gradient boosting (LightGBM) on the tabular features"

    def __init__(self) -> None:
        self.boosters: list[lgb.Booster | None] = [None] * len(HEADS)
        self.priors: list[float] = [0.0] * len(HEADS)
        self.rounds: list[int] = [0] * len(HEADS)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        watched = shopper_split(samples.rows.shopper, 0.15, seed)
        for head in range(len(HEADS)):
            y = samples.y[:, head]
            self.priors[head] = prior(y)
            known = ~np.isnan(y)
            if learnable(y[~watched]) and learnable(y[watched]):
                self.rounds[head] = self._best_rounds(samples.x, y, known & ~watched, known & watched, seed)
                self.boosters[head] = lgb.train(
                    {**PARAMS, "seed": seed},
                    _dataset(samples.x[known], y[known]),
                    num_boost_round=self.rounds[head],
                )
            progress((head + 1) / len(HEADS))

    @staticmethod
    def _best_rounds(x: Floats, y: Floats, train: Any, watch: Any, seed: int) -> int:
        booster = lgb.train(
            {**PARAMS, "seed": seed},
            _dataset(x[train], y[train]),
            num_boost_round=MAX_ROUNDS,
            valid_sets=[_dataset(x[watch], y[watch])],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )
        return max(booster.best_iteration, 10)

    def score(self, samples: Samples) -> Floats:
        out = np.tile(np.array(self.priors), (len(samples), 1))
        for head, booster in enumerate(self.boosters):
            if booster is not None:
                out[:, head] = booster.predict(samples.x, num_threads=1)
        return out

    def importances(self) -> dict[str, float]:
        total = np.zeros(len(NAMES))
        for booster in self.boosters:
            if booster is not None:
                gain = booster.feature_importance("gain")
                total += gain / max(gain.sum(), 1e-12)
        share = total / max(total.sum(), 1e-12)
        return {name: float(value) for name, value in zip(NAMES, share, strict=True)}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        texts = {
            f"booster_{head}": np.frombuffer(booster.model_to_string().encode(), dtype=np.uint8)
            for head, booster in enumerate(self.boosters)
            if booster is not None
        }
        return {"priors": self.priors, "rounds": self.rounds}, dict(texts)

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = cls()
        made.priors, made.rounds = config["priors"], config["rounds"]
        for head in range(len(HEADS)):
            text = arrays.get(f"booster_{head}")
            if text is not None:
                made.boosters[head] = lgb.Booster(model_str=text.tobytes().decode())
        return made


def _dataset(x: Floats, y: Floats) -> lgb.Dataset:
    return lgb.Dataset(x, label=y, feature_name=list(NAMES), categorical_feature=list(CATEGORICAL), free_raw_data=False)
