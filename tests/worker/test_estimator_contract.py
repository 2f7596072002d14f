"""One contract, every response estimator: it learns, invents nothing, repeats itself, and survives poor data."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from personalization.features.specification import INDEX
from personalization.learning import wordings
from personalization.types import HEADS, ModelTask
from tests.worker import planted
from worker import artifacts, metrics
from worker.data import Samples
from worker.estimators import boosting
from worker.estimators.attribution import NAMES as FEATURE_NAMES
from worker.estimators.attribution import REMAINDER, TERM, TERMS
from worker.estimators.base import ResponseEstimator, logit
from worker.response import REGISTRY

NAMES = list(REGISTRY)
pytestmark = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same boosting in larger steps: a fraction of the time."""
    monkeypatch.setitem(boosting.PARAMS, "learning_rate", 0.2)


def fit(name: str, samples: Samples, seed: int = 3) -> ResponseEstimator:
    estimator: ResponseEstimator = REGISTRY[name]()
    estimator.fit(samples, seed=seed, progress=planted.no_progress)
    return estimator


@cache
def fitted(name: str) -> ResponseEstimator:
    """Return the estimator fitted on the planted signal; shared, since nothing changes it."""
    return fit(name, planted.samples())


def auc(estimator: ResponseEstimator, samples: Samples, head: int) -> float:
    p = estimator.score(samples)[:, head]
    return metrics.auc(p, samples.y[:, head], np.ones(len(samples)))


def saved_and_read(estimator: ResponseEstimator, tmp_path: Any, settings: Any) -> ResponseEstimator:
    """Send an estimator through a file, as training and scoring do."""
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": str(tmp_path)}
    written = artifacts.write("x", *estimator.dump())
    restored: ResponseEstimator = type(estimator).restore(*artifacts.read(written.path, written.sha256))
    return restored


def test_it_is_named_and_described(name: str) -> None:
    assert REGISTRY[name].name == name
    assert name in wordings.NOTES[ModelTask.RESPONSE]


def test_it_learns_the_planted_signal(name: str) -> None:
    test = planted.held_out()
    for head in range(len(HEADS)):
        assert auc(fitted(name), test, head) > 0.65, HEADS[head]


def test_it_predicts_probabilities_that_are_about_right(name: str) -> None:
    test = planted.held_out()
    p = fitted(name).score(test)
    assert p.shape == (len(test), len(HEADS))
    assert p.dtype == np.float64
    assert ((p > 0) & (p < 1)).all()
    np.testing.assert_allclose(p.mean(axis=0), test.y.mean(axis=0), atol=0.06)


def test_shuffled_labels_teach_nothing(name: str) -> None:
    estimator = fit(name, planted.shuffled(planted.samples(1200)))
    test = planted.shuffled(planted.held_out(3000), seed=9)
    assert [auc(estimator, test, head) for head in range(len(HEADS))] == pytest.approx([0.5] * len(HEADS), abs=0.05)


def test_identical_seeds_give_identical_results(name: str) -> None:
    few = planted.samples(500)
    test = planted.held_out(300)
    first, second = fit(name, few, seed=11).score(test), fit(name, few, seed=11).score(test)
    np.testing.assert_array_equal(first, second)


def test_fitting_leaves_the_samples_alone(name: str) -> None:
    few = planted.samples(400)
    x, y = few.x.copy(), few.y.copy()
    fit(name, few)
    np.testing.assert_array_equal(few.x, x)
    np.testing.assert_array_equal(few.y, y)


def test_a_row_is_scored_alike_alone_and_among_others(name: str) -> None:
    test = planted.held_out(60)
    together = fitted(name).score(test)
    alone = np.concatenate([fitted(name).score(test.take(np.array([row]))) for row in range(5)])
    np.testing.assert_allclose(alone, together[:5], atol=1e-6)


def test_it_comes_back_from_its_file(name: str, tmp_path: Any, settings: Any) -> None:
    test = planted.held_out(300)
    restored = saved_and_read(fitted(name), tmp_path, settings)
    np.testing.assert_array_equal(restored.score(test), fitted(name).score(test))
    assert restored.importances() == fitted(name).importances()


def test_what_it_dumps_is_json_and_arrays(name: str) -> None:
    config, arrays = fitted(name).dump()
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in arrays.values())


def test_importances_are_shares(name: str) -> None:
    shares = fitted(name).importances()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share >= 0 for share in shares.values())


@pytest.mark.parametrize("head", range(len(HEADS)))
def test_an_explanation_adds_up_to_the_logit(name: str, head: int) -> None:
    test = planted.held_out(200)
    told = fitted(name).explain(test, head)
    assert told.values.shape == (200, len(TERMS))
    np.testing.assert_allclose(told.logits(), logit(fitted(name).score(test)[:, head]), atol=1e-9)


def test_nearly_all_of_it_is_accounted_for(name: str) -> None:
    """The remainder is what boosting's mean of probabilities and a network's integral leave, and small."""
    told = fitted(name).explain(planted.held_out(200), HEADS.index("redeem"))
    assert np.abs(told.values[:, TERM[REMAINDER]]).max() < 0.05


def test_an_explanation_finds_what_was_planted(name: str) -> None:
    """Offer, age and orders make the outcome (the amount goes with the offer); tiers are noise."""
    told = fitted(name).explain(planted.held_out(400), HEADS.index("redeem"))
    size = dict(zip(TERMS, np.abs(told.values).mean(axis=0), strict=True))
    assert size["offer"] + size["amount"] + size["offer_kind"] > 8 * size["tier"]
    assert size["tier"] < 0.2
    if name != "offer_mean":
        assert min(size["age"], size["orders_7d"] + size["sequence"]) > 2 * size["tier"]


def test_a_row_is_explained_alike_alone_and_among_others(name: str) -> None:
    test = planted.held_out(20)
    together = fitted(name).explain(test, 2).values[:3]
    alone = [fitted(name).explain(test.take(np.array([row])), 2).values[0] for row in range(3)]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_restored_estimator_explains_alike(name: str, tmp_path: Any, settings: Any) -> None:
    test = planted.held_out(30)
    restored = saved_and_read(fitted(name), tmp_path, settings)
    np.testing.assert_allclose(restored.explain(test, 2).values, fitted(name).explain(test, 2).values, atol=1e-9)


def test_nothing_to_explain_gives_nothing(name: str) -> None:
    none = planted.held_out(5).take(np.zeros(5, dtype=bool))
    assert fitted(name).explain(none, 2).values.shape == (0, len(TERMS))


@pytest.mark.parametrize("only", [0.0, 1.0, np.nan])
def test_a_head_that_cannot_be_learnt_is_constant(name: str, only: float, tmp_path: Any, settings: Any) -> None:
    """Nobody clicked, everybody did, or nobody knows; the other heads are learnt all the same."""
    estimator = fit(name, planted.relabelled(planted.samples(800), "click", only))
    test = planted.held_out()
    for candidate in (estimator, saved_and_read(estimator, tmp_path, settings)):
        p = candidate.score(test)[:, HEADS.index("click")]
        assert np.ptp(p) < 1e-9
        if not np.isnan(only):
            assert abs(p[0] - only) < 0.05
        told = candidate.explain(test, HEADS.index("click"))
        np.testing.assert_allclose(told.values[:, : len(FEATURE_NAMES)], 0.0, atol=1e-9)
        np.testing.assert_allclose(told.logits(), logit(p), atol=1e-9)
        assert auc(candidate, test, HEADS.index("redeem")) > 0.65


def test_unknown_outcomes_are_left_out(name: str) -> None:
    """A head that is known for half of the rows is learnt from that half."""
    given = planted.samples(1200)
    y = np.where(np.arange(len(given)) % 2, np.nan, given.y[:, HEADS.index("redeem")])
    estimator = fit(name, planted.relabelled(given, "redeem", y))
    assert auc(estimator, planted.held_out(), HEADS.index("redeem")) > 0.65


@pytest.mark.parametrize("rows", [0, 1, 3, 25])
def test_tiny_data_does_not_crash(name: str, rows: int) -> None:
    p = fit(name, planted.samples(40).take(np.arange(rows))).score(planted.held_out(10))
    assert p.shape == (10, len(HEADS))
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_nothing_to_score_gives_nothing(name: str) -> None:
    assert fitted(name).score(planted.held_out(5).take(np.zeros(5, dtype=bool))).shape == (0, len(HEADS))


def test_an_offer_or_value_never_seen_is_scored(name: str) -> None:
    """Code 0 stands for an offer that training did not know; missing values may turn up anywhere."""
    test = planted.held_out(50)
    test.x = test.x.copy()
    test.x[:, INDEX["offer"]] = 0
    test.x[:, [INDEX[column] for column in ("age", "income", "orders_7d", "reach")]] = np.nan
    assert np.isfinite(fitted(name).score(test)).all()


def test_a_feature_that_never_varied_is_ignored(name: str) -> None:
    """``percent`` was 0 in training: a value that turns up later says nothing."""
    test = planted.held_out(50)
    before = fitted(name).score(test)
    test.x = test.x.copy()
    test.x[:, INDEX["percent"]] = 80.0
    np.testing.assert_allclose(fitted(name).score(test), before, atol=1e-9)


def test_progress_rises_to_one(name: str) -> None:
    told: list[float] = []
    REGISTRY[name]().fit(planted.samples(300), seed=0, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
