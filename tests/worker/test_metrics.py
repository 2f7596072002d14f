"""Figures of merit against scikit-learn and closed forms, weights and ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from worker import metrics

rows = st.lists(
    st.tuples(st.sampled_from([0.05, 0.2, 0.2, 0.5, 0.8, 0.95]), st.booleans(), st.integers(0, 4)),
    min_size=4,
    max_size=60,
)
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def columns(given_rows: list[tuple[float, bool, int]]) -> Columns:
    p, y, w = zip(*given_rows, strict=True)
    return np.array(p), np.array(y, dtype=np.float64), np.array(w, dtype=np.float64)


def both_classes(y: np.ndarray, w: np.ndarray) -> bool:
    return bool((w * y).sum() and (w * (1 - y)).sum())


def calibrated(size: int, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 5, size)
    return p, (rng.random(size) < p).astype(np.float64), np.ones(size)


@given(rows)
def test_auc_average_precision_and_log_loss_are_the_usual_ones(given_rows: list[tuple[float, bool, int]]) -> None:
    """Few distinct scores: nearly everything is tied."""
    p, y, w = columns(given_rows)
    if not both_classes(y, w):
        return
    assert metrics.auc(p, y, w) == pytest.approx(reference.roc_auc_score(y, p, sample_weight=w))
    expected = reference.average_precision_score(y, p, sample_weight=w)
    assert metrics.average_precision(p, y, w) == pytest.approx(expected)
    assert metrics.log_loss(p, y, w) == pytest.approx(reference.log_loss(y, p, sample_weight=w))
    assert metrics.mean_squared_error(p, y, w) == pytest.approx(reference.brier_score_loss(y, p, sample_weight=w))
    assert metrics.mean_absolute_error(p, y, w) == pytest.approx(reference.mean_absolute_error(y, p, sample_weight=w))


def test_the_same_without_ties() -> None:
    p, y, _ones = calibrated(3000)
    w = np.random.default_rng(1).poisson(1.0, 3000).astype(np.float64)
    assert metrics.auc(p, y, w) == pytest.approx(reference.roc_auc_score(y, p, sample_weight=w))
    expected = reference.average_precision_score(y, p, sample_weight=w)
    assert metrics.average_precision(p, y, w) == pytest.approx(expected)


@pytest.mark.parametrize("name", metrics.METRICS)
@given(given_rows=rows, seed=st.integers(0, 99))
def test_the_order_of_the_rows_says_nothing(name: str, given_rows: list[tuple[float, bool, int]], seed: int) -> None:
    """A simple model gives many rows the same score: how they happen to be stored must not count."""
    p, y, w = columns(given_rows)
    order = np.random.default_rng(seed).permutation(len(p))
    figure = metrics.METRICS[name]
    assert figure(p[order], y[order], w[order]) == pytest.approx(figure(p, y, w), nan_ok=True)


@pytest.mark.parametrize("name", metrics.METRICS)
@given(given_rows=rows)
def test_a_weight_is_a_repetition(name: str, given_rows: list[tuple[float, bool, int]]) -> None:
    p, y, w = columns(given_rows)
    times = w.astype(np.int64)
    repeated = metrics.METRICS[name](np.repeat(p, times), np.repeat(y, times), np.ones(times.sum()))
    assert metrics.METRICS[name](p, y, w) == pytest.approx(repeated, nan_ok=True)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_what_is_undefined_is_not_zero(name: str) -> None:
    nothing = np.zeros(0)
    assert math.isnan(metrics.METRICS[name](nothing, nothing, nothing))
    p, y = np.array([0.2, 0.4]), np.array([0.0, 1.0])
    assert math.isnan(metrics.METRICS[name](p, y, np.zeros(2)))


def test_one_class_has_no_auc() -> None:
    p, ones = np.array([0.2, 0.4]), np.ones(2)
    assert math.isnan(metrics.auc(p, ones, ones))
    assert math.isnan(metrics.auc(p, 1 - ones, ones))
    assert math.isnan(metrics.average_precision(p, 1 - ones, ones))
    assert metrics.average_precision(p, ones, ones) == 1


def test_a_constant_prediction_ranks_nobody() -> None:
    y = np.repeat([1.0, 0.0], 50)
    p, ones = np.full(100, 0.5), np.ones(100)
    assert metrics.auc(p, y, ones) == 0.5
    assert metrics.average_precision(p, y, ones) == 0.5
    assert metrics.ece(p, y, ones) == pytest.approx(0.0)  # it is perfectly calibrated, whatever the order of the rows
    assert metrics.log_loss(p, y, ones) == pytest.approx(math.log(2))


def test_certainty_that_errs_costs_much_but_not_everything() -> None:
    assert metrics.log_loss(np.array([0.0]), np.array([1.0]), np.ones(1)) == pytest.approx(-math.log(metrics.EPSILON))


def test_calibration_error_by_hand() -> None:
    """Three scores, a third of the rows each, which fill five bins each: |.2 − .3|, |.5 − .5| and |.8 − .6|."""
    p = np.repeat([0.2, 0.5, 0.8], 100)
    y = np.concatenate([np.repeat([1.0, 0.0], [rate, 100 - rate]) for rate in (30, 50, 60)])
    assert metrics.ece(p, y, np.ones(300)) == pytest.approx((0.1 + 0.0 + 0.2) / 3)


def test_calibration_error_of_distinct_scores_is_that_of_plain_bins() -> None:
    """Without ties, 150 rows in 15 bins: ten rows a bin."""
    p, y, ones = calibrated(150)
    order = np.argsort(p)
    bins = [abs((p[part] - y[part]).sum()) for part in np.split(order, 15)]
    assert metrics.ece(p, y, ones) == pytest.approx(sum(bins) / 150)


def test_the_calibration_error_of_a_calibrated_model() -> None:
    """On 10,000 rows about .011 is chance, and 95 % of such models stay below .015."""
    p, _y, ones = calibrated(10_000)
    rng = np.random.default_rng(8)
    found = [metrics.ece(p, (rng.random(10_000) < p).astype(np.float64), ones) for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.011, abs=0.0025)
    assert metrics.ece_null(p) == pytest.approx(0.015, abs=0.0025)
    assert np.mean(np.array(found) <= metrics.ece_null(p)) > 0.85


def test_a_distorted_model_is_beyond_chance() -> None:
    p, y, ones = calibrated(10_000)
    assert metrics.ece(np.sqrt(p), y, ones) > 5 * metrics.ece_null(np.sqrt(p))


def test_an_interval_covers_the_truth_and_shrinks_with_data() -> None:
    """Of models whose AUC is known, about 95 % of the intervals contain it; more shoppers make them narrower."""
    p, y, ones = calibrated(400_000, seed=9)
    truth = metrics.auc(p, y, ones)
    inside, widths = 0, []
    for seed in range(40):
        p, y, _ones = calibrated(600, seed)
        value, low, high = metrics.interval(metrics.auc, p, y, metrics.Resampler(np.arange(600), seed=seed))
        assert low <= value <= high
        inside += low <= truth <= high
        widths.append(high - low)
    assert inside >= 34
    p, y, _ones = calibrated(6000)
    _value, low, high = metrics.interval(metrics.auc, p, y, metrics.Resampler(np.arange(6000)))
    assert high - low < 0.5 * np.mean(widths)


def test_the_rows_of_a_shopper_are_drawn_together() -> None:
    """Ten copies of each row are no new evidence: the interval must not become narrower."""
    p, y, _ones = calibrated(300)
    copies = np.repeat(np.arange(300), 10)
    once = metrics.interval(metrics.log_loss, p, y, metrics.Resampler(np.arange(300), seed=4))
    again = metrics.interval(metrics.log_loss, p[copies], y[copies], metrics.Resampler(copies, seed=4))
    assert again == pytest.approx(once)


def test_resamples_are_the_same_for_every_model_and_seed() -> None:
    shopper = np.array([5, 5, 9, 1])
    first, second = list(metrics.Resampler(shopper, seed=3)), list(metrics.Resampler(shopper, seed=3))
    np.testing.assert_array_equal(first, second)
    assert len(first) == metrics.RESAMPLES
    assert all(draw[0] == draw[1] for draw in first)


def test_a_paired_gain_is_significant_only_where_it_is_real() -> None:
    p, y, _ones = calibrated(4000)
    resampler = metrics.Resampler(np.arange(4000))
    gain, low, high = metrics.paired_gain(p, np.full(4000, y.mean()), y, resampler)
    assert 0 < low < gain < high
    back = metrics.paired_gain(np.full(4000, y.mean()), p, y, resampler)
    assert back == pytest.approx((-gain, -high, -low))
    assert metrics.paired_gain(p, p, y, resampler) == (0, 0, 0)
