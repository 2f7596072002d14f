"""Fitting an estimator more than once: without some shoppers, so that it can be calibrated on them, then with all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import Floats
from worker.calibrate import Calibrator
from worker.data import Samples
from worker.estimators.base import Progress, ResponseEstimator, settings_of, shopper_split
from worker.estimators.boosting import Boosting
from worker.estimators.nets import Net

CALIBRATION_SHARE = 0.15
"""Of the shoppers, how many are held out to calibrate on."""
ENOUGH_HELD = 10_000
"""Rows held out from which on they calibrate by themselves: fewer leave the mean of the predictions off by half a per
cent and more by chance, and the other shoppers are held out in turn as well."""
TURNS = 3


def calibration_shoppers(samples: Samples, seed: int) -> NDArray[np.bool_]:
    """Return a mask of the rows whose shoppers are held out first."""
    return shopper_split(samples.rows.shopper, CALIBRATION_SHARE, seed + 1)


def fit_calibrated(
    estimator: ResponseEstimator, samples: Samples, held: NDArray[np.bool_], *, seed: int, progress: Progress
) -> tuple[ResponseEstimator, Calibrator, Floats]:
    """Return the estimator fitted on all rows, its calibrator, and what a fit without ``held`` predicted for those.

    The calibrator learns from predictions for shoppers whom the fit did not know: those of ``held``, and where these
    are few, everybody else's in turn. Networks are spared the turns: each costs a training.
    """
    turns = 0 if held.sum() >= ENOUGH_HELD or isinstance(estimator, Net) else TURNS
    each = 1 / (2 + turns)
    estimator.fit(samples.take(~held), seed=seed, progress=part(progress, 0.0, each))
    raw = estimator.score(samples.take(held))
    predicted, happened = [raw], [samples.y[held]]
    for turn, away in enumerate(_turns(samples, ~held, turns, seed), 1):
        within = part(progress, turn * each, (turn + 1) * each)
        other = fit_again(estimator, samples.take(~away), seed=seed, progress=within)
        predicted.append(other.score(samples.take(away)))
        happened.append(samples.y[away])
    calibrator = Calibrator.fit(np.concatenate(predicted), np.concatenate(happened))
    # The calibrator is known now: the shoppers held out for it may teach the model too.
    whole = fit_again(estimator, samples, seed=seed, progress=part(progress, 1 - each, 1.0))
    return whole, calibrator, raw


def _turns(samples: Samples, rest: NDArray[np.bool_], turns: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Divide the shoppers of the rows ``rest`` by chance into as many parts; yield the rows of each that has any."""
    shoppers, place = np.unique(samples.rows.shopper, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(len(shoppers))[place]
    for number in range(turns):
        away = rest & (turn % turns == number)
        if away.any() and not away.all():
            yield away


def fit_again(estimator: ResponseEstimator, samples: Samples, *, seed: int, progress: Progress) -> ResponseEstimator:
    """Return another of the estimator's kind, fitted on these rows, with what it has chosen already."""
    again = another(estimator)
    reuse(again, estimator)
    again.fit(samples, seed=seed, progress=progress)
    return again


def another(estimator: ResponseEstimator) -> ResponseEstimator:
    """Return an unfitted estimator of this kind with its settings."""
    made: ResponseEstimator = type(estimator)(**settings_of(estimator))
    return made


def reuse(estimator: ResponseEstimator, earlier: ResponseEstimator) -> None:
    """Take over what an earlier fit has chosen on nearly the same rows: boosting its rounds, a net its epochs."""
    if isinstance(estimator, Boosting) and isinstance(earlier, Boosting):
        estimator.reuse(earlier)
    if isinstance(estimator, Net) and isinstance(earlier, Net):
        estimator.reuse(earlier)


def part(tell: Progress, low: float, high: float) -> Progress:
    """Return a progress that fills a part of another one."""
    return lambda done: tell(low + (high - low) * done)
