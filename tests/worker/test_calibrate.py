"""Calibration makes probabilities mean what they say, and keeps the ranking."""

from __future__ import annotations

import json

import numpy as np
import pytest

from personalization.types import HEADS
from worker import metrics
from worker.calibrate import Calibrator

ROWS = 6000


def distorted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return over-confident predictions and what happened, for every head."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 3, (ROWS, len(HEADS)))
    y = (rng.random(truth.shape) < truth).astype(np.float64)
    odds = (truth / (1 - truth)) ** 2.5 * 3
    return odds / (1 + odds), y


def errors(p: np.ndarray, y: np.ndarray) -> list[float]:
    return [metrics.ece(p[:, head], y[:, head], np.ones(len(y))) for head in range(len(HEADS))]


def test_distorted_probabilities_are_mended_on_other_shoppers() -> None:
    calibrator = Calibrator.fit(*distorted())
    p, y = distorted(seed=1)
    mended = calibrator.apply(p)
    assert min(errors(p, y)) > 0.1
    assert max(errors(mended, y)) < 0.03
    for head in range(len(HEADS)):
        before, after = metrics.log_losses(p[:, head], y[:, head]), metrics.log_losses(mended[:, head], y[:, head])
        assert after.mean() < before.mean()


def test_the_ranking_stays() -> None:
    p, y = distorted()
    mended = Calibrator.fit(p, y).apply(p)
    for head in range(len(HEADS)):
        np.testing.assert_array_equal(np.argsort(p[:, head]), np.argsort(mended[:, head]))


def test_what_is_calibrated_is_hardly_changed() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(2, 3, (ROWS, len(HEADS)))
    y = (rng.random(p.shape) < p).astype(np.float64)
    np.testing.assert_allclose(Calibrator.fit(p, y).apply(p), p, atol=0.03)


@pytest.mark.parametrize(
    ("p", "y"),
    [
        pytest.param(np.full(ROWS, 0.4), distorted()[1][:, 0], id="a constant"),
        pytest.param(distorted()[0][:, 0], np.zeros(ROWS), id="one class"),
        pytest.param(distorted()[0][:, 0], np.full(ROWS, np.nan), id="nothing known"),
        pytest.param(distorted()[0][:, 0], 1 - distorted()[1][:, 0], id="upside down"),
    ],
)
def test_what_cannot_be_calibrated_is_left_alone(p: np.ndarray, y: np.ndarray) -> None:
    """A negative slope above all: it would turn the ranking round."""
    all_p, all_y = distorted()
    all_p[:, 2], all_y[:, 2] = p, y
    calibrator = Calibrator.fit(all_p, all_y)
    assert (calibrator.slopes[2], calibrator.offsets[2]) == (1.0, 0.0)
    assert calibrator.slopes[1] != 1.0


def test_few_rows_calibrate_nothing() -> None:
    p, y = distorted()
    assert Calibrator.fit(p[:150], y[:150]).slopes == [1.0] * len(HEADS)


def test_unknown_outcomes_are_left_out() -> None:
    p, y = distorted()
    half = y.copy()
    half[::2, 0] = np.nan
    np.testing.assert_allclose(Calibrator.fit(p, half).slopes[0], Calibrator.fit(p, y).slopes[0], rtol=0.1)


def test_what_is_impossible_or_certain_stays_so() -> None:
    calibrator = Calibrator([2.0] * len(HEADS), [1.0] * len(HEADS))
    p = np.array([[0.0, 1.0, 0.5, 0.25]])
    applied = calibrator.apply(p)
    assert applied[0, :2].tolist() == [0.0, 1.0]
    assert applied[0, 2] == pytest.approx(1 / (1 + np.exp(-1)))
    assert np.isfinite(applied).all()


def test_it_comes_back_from_json() -> None:
    p, y = distorted()
    calibrator = Calibrator.fit(p, y)
    again = Calibrator.from_json(json.loads(json.dumps(calibrator.as_json())))
    np.testing.assert_array_equal(again.apply(p), calibrator.apply(p))
