"""Evaluation to take away: the report reconciles, undefined figures stay undefined."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import classification_report as reference

from personalization.models import ModelVersion
from personalization.types import HEADS
from tests.features.shops import DAY, ORIGIN, OfferTerms, Person, Shop, Shown
from worker import evaluate
from worker.evaluate import Judged, classification_report


def answers(recalls: tuple[float, float], supports: tuple[int, int] = (100, 50)) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and outcomes with these recalls: of class 0 first, then of class 1."""
    p, y = [], []
    for wanted, (recall, support) in enumerate(zip(recalls, supports, strict=True)):
        right = round(recall * support)
        y += [wanted] * support
        p += [0.9 if wanted else 0.1] * right + [0.1 if wanted else 0.9] * (support - right)
    return np.array(p), np.array(y, dtype=np.float64)


@pytest.mark.parametrize(("recalls", "accuracy"), [((0.91, 0.84), 0.887), ((0.89, 0.80), 0.860)])
def test_supports_and_recalls_force_the_accuracy(recalls: tuple[float, float], accuracy: float) -> None:
    """The articles print .87 and .85: their tables cannot have come from one confusion matrix."""
    report = classification_report(*answers(recalls))
    assert [report["0"]["support"], report["1"]["support"]] == [100, 50]
    assert [report["0"]["recall"], report["1"]["recall"]] == pytest.approx(recalls)
    assert report["accuracy"] == pytest.approx(accuracy, abs=5e-4)
    assert round(report["accuracy"], 2) != {0.887: 0.87, 0.860: 0.85}[accuracy]


def test_every_report_reconciles() -> None:
    """Accuracy is the recalls weighed by support, and the figures are scikit-learn's."""
    rng = np.random.default_rng(0)
    for threshold in (0.2, 0.5, 0.7):
        p = rng.random(300)
        y = (rng.random(300) < p).astype(np.float64)
        report = classification_report(p, y, threshold)
        weighed = sum(report[name]["recall"] * report[name]["support"] for name in ("0", "1")) / 300
        assert report["accuracy"] == pytest.approx(weighed)
        expected = reference(y, p >= threshold, output_dict=True)
        for name, key in (("0", "0.0"), ("1", "1.0")):
            for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert report[name][ours] == pytest.approx(expected[key][theirs])
        assert report["threshold"] == threshold


def test_what_is_undefined_is_none() -> None:
    report = classification_report(np.array([0.1, 0.2]), np.array([0.0, 0.0]))
    assert report["1"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert report["0"]["f1"] == 1
    assert classification_report(np.zeros(0), np.zeros(0))["accuracy"] is None


def judged(p: np.ndarray, y: np.ndarray, exposures: np.ndarray) -> Judged:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    version = ModelVersion(pk=7, estimator="logistic", cutoff_at=moment, state=ModelVersion.State.CHAMPION)
    label = np.full((len(y), len(HEADS)), np.nan)
    label[:, HEADS.index("redeem")] = y
    probability = np.repeat(p[:, None], len(HEADS), axis=1)
    return Judged(version, "backtest", exposures, probability, label)


def shown(count: int) -> Shop:
    people = [Person() for _ in range(count)]
    rows = [Shown(number, ORIGIN + number, 0, ORIGIN + DAY) for number in range(count)]
    return Shop(people, [OfferTerms(0, "coupon", amount=5)], shown=rows)


def test_a_summary_holds_every_figure_with_its_interval() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(80)
    y = (rng.random(80) < p).astype(np.float64)
    found = evaluate.summary(judged(p, y, np.arange(1, 81)), shown(80).frames())
    assert (found["model"], found["champion"], found["head"], found["rows"]) == ("logistic", True, "redeem", 80)
    assert found["positives"] == y.sum()
    assert set(found["metrics"]) == {"log_loss", "auc", "average_precision", "ece", "mse", "mae"}
    for name in ("log_loss", "auc", "average_precision", "mse", "mae"):
        figure = found["metrics"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]
    json.dumps(found, allow_nan=False)


def test_one_class_gives_valid_json() -> None:
    """Everybody redeemed: there is no AUC, and JSON has no nan."""
    found = evaluate.summary(judged(np.full(20, 0.9), np.ones(20), np.arange(1, 21)), shown(20).frames())
    assert found["metrics"]["auc"] == {"value": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)


@pytest.mark.django_db
def test_predictions_are_one_row_a_pair_and_known_outcome() -> None:
    p, y = np.linspace(0.1, 0.9, 5), np.array([0.0, 1.0, np.nan, 1.0, 0.0])
    found = evaluate.predictions([judged(p, y, np.array([1, 2, 3, 4, 99]))], shown(5).frames())
    assert set(found) == {
        "shopper", "offer", "decision_time", "label", "probability", "model", "version", "head", "split",
    }  # fmt: skip
    assert found["label"] == [0, 1, 1]  # the third is unknown, the last exposure is gone
    assert found["probability"] == pytest.approx([0.1, 0.3, 0.7])
    assert found["decision_time"] == [ORIGIN, ORIGIN + 1, ORIGIN + 3]
    assert found["model"] == ["logistic"] * 3
