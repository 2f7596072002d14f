"""Gradient boosting (LightGBM) on the raw features, a few boosters a head: below millions of rows the one to beat."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, ClassVar, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import Floats
from personalization.features.specification import CATEGORICAL, NAMES
from personalization.types import HEADS
from worker.artifacts import Arrays
from worker.data import Samples
from worker.device import cores
from worker.estimators.attribution import TERMS, Contributions
from worker.estimators.base import Progress, learnable, prior
from worker.space import Range, Space, check

PARAMS: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
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
    "num_threads": 1,  # small data: a second thread within costs more in waiting than it saves
}
MAX_ROUNDS = 800
PATIENCE = 40
FOLDS = 4
FULL_DATA = 1.15
"""Rounds grow a little when the boosters are fitted on all rows instead of three quarters."""
BAG = 3


class Boosting:
    """Rounds are chosen by cross-validation over shoppers; then ``BAG`` boosters with different seeds are averaged."""

    name: ClassVar[str] = "boosting"

    space: ClassVar[Space] = {
        "learning_rate": Range(0.003, 0.5, log=True),
        "num_leaves": Range(2, 255, log=True, whole=True),
        "min_data_in_leaf": Range(1, 5000, log=True, whole=True),
        "bagging_fraction": Range(0.2, 1.0),
        "feature_fraction": Range(0.1, 1.0),
        "lambda_l2": Range(1e-3, 1e3, log=True),
        "cat_smooth": Range(0.1, 1e3, log=True),
    }

    def __init__(self, **settings: Any) -> None:
        if strange := settings.keys() - self.space.keys():
            raise ValueError(f"boosting: there is no setting {', '.join(sorted(strange))}.")
        self.settings: dict[str, Any] = {name: PARAMS[name] for name in self.space} | settings
        """The hyper-parameters in force."""
        check(self.name, self.space, self.settings)
        self.boosters: list[list[lgb.Booster]] = [[] for _ in HEADS]
        self.priors: list[float] = [0.0] * len(HEADS)
        self.rounds: list[int] = [0] * len(HEADS)

    def reuse(self, other: Boosting) -> None:
        """Take over the rounds that another fit has chosen by cross-validation on nearly the same rows."""
        self.rounds = list(other.rounds)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        """Fit the heads, as many at a time as there are cores: each has boosters of its own, of one thread."""
        self.priors = [prior(samples.y[:, head]) for head in range(len(HEADS))]
        self.boosters = [[] for _ in HEADS]
        heads = [head for head in range(len(HEADS)) if learnable(samples.y[:, head])]
        with ThreadPoolExecutor(min(cores(), len(HEADS)), "boosting") as pool:
            try:
                fits = [pool.submit(self._fit_head, head, samples, seed) for head in heads]
                for done, fit in enumerate(as_completed(fits), 1):
                    fit.result()
                    progress(done / len(fits))
            finally:
                pool.shutdown(cancel_futures=True)
        progress(1.0)

    def _fit_head(self, head: int, samples: Samples, seed: int) -> None:
        known = ~np.isnan(samples.y[:, head])
        x, y, shopper = samples.x[known], samples.y[known, head], samples.rows.shopper[known]
        if not self.rounds[head]:
            self.rounds[head] = _choose_rounds(self._params(seed), x, y, shopper)
        data = _dataset(x, y)
        for member in range(BAG):
            params = self._params(seed * 100 + member)
            self.boosters[head].append(lgb.train(params, data, num_boost_round=self.rounds[head]))

    def _params(self, seed: int) -> dict[str, Any]:
        return {**PARAMS, **self.settings, "seed": seed}

    def score(self, samples: Samples) -> Floats:
        out = np.tile(np.array(self.priors), (len(samples), 1))
        for head, bag in enumerate(self.boosters):
            if bag:
                out[:, head] = np.mean([booster.predict(samples.x, num_threads=1) for booster in bag], axis=0)
        return out

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return the mean of the boosters' exact Shapley values (TreeSHAP, path-dependent).

        They explain the mean of the boosters' logits. ``score`` takes the mean of their probabilities: what the two
        differ by is the remainder.
        """
        p = self.score(samples)[:, head]
        bag = self.boosters[head]
        if not bag or not len(samples):
            return Contributions.nothing(p)
        # [rows, features + 1], the last column being what the booster expects of a row it knows nothing about
        found = np.mean([booster.predict(samples.x, pred_contrib=True, num_threads=1) for booster in bag], axis=0)
        values = np.zeros((len(p), len(TERMS)))
        values[:, : len(NAMES)] = found[:, :-1]
        return Contributions.settled(found[:, -1], values, p)

    def importances(self) -> dict[str, float]:
        total = np.zeros(len(NAMES))
        for bag in self.boosters:
            for booster in bag:
                gain = booster.feature_importance("gain")
                total += gain / max(gain.sum(), 1e-12)
        share = total / max(total.sum(), 1e-12)
        return {name: float(value) for name, value in zip(NAMES, share, strict=True)}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        texts = {
            f"booster_{head}_{member}": np.frombuffer(booster.model_to_string().encode(), dtype=np.uint8)
            for head, bag in enumerate(self.boosters)
            for member, booster in enumerate(bag)
        }
        return {"settings": self.settings, "priors": self.priors, "rounds": self.rounds}, dict(texts)

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = cls(**config.get("settings", {}))  # versions of before had the shipped ones
        made.priors, made.rounds = config["priors"], config["rounds"]
        for head in range(len(HEADS)):
            texts = [arrays[f"booster_{head}_{m}"] for m in range(BAG) if f"booster_{head}_{m}" in arrays]
            made.boosters[head] = [lgb.Booster(model_str=text.tobytes().decode()) for text in texts]
        return made


def _choose_rounds(params: dict[str, Any], x: Floats, y: Floats, shopper: NDArray[np.int64]) -> int:
    """Return the rounds that cross-validation over shoppers favours, scaled up for the full data; at least ten."""
    unique = np.unique(shopper)
    fold_of = np.random.default_rng(params["seed"]).integers(0, FOLDS, len(unique))[np.searchsorted(unique, shopper)]
    splits = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(FOLDS)]
    splits = [(train, watch) for train, watch in splits if len(np.unique(y[train])) > 1 and len(watch)]
    if not splits:
        return 50
    found = lgb.cv(
        params,
        _dataset(x, y),
        num_boost_round=MAX_ROUNDS,
        folds=splits,
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    curve = found["valid binary_logloss-mean"]
    assert isinstance(curve, list)
    return max(round(len(curve) * FULL_DATA), 10)


def _dataset(x: Floats, y: Floats) -> lgb.Dataset:
    return lgb.Dataset(x, label=y, feature_name=list(NAMES), categorical_feature=list(CATEGORICAL), free_raw_data=False)
