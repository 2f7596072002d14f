"""The floor of the board, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from personalization.features.specification import INDEX
from personalization.types import HEADS
from tests.worker import planted
from worker.estimators.base import prior
from worker.estimators.offer_mean import SMOOTHING, OfferMean

REDEEM = HEADS.index("redeem")


def fitted(rows: int) -> tuple[OfferMean, np.ndarray, np.ndarray]:
    given = planted.samples(rows)
    estimator = OfferMean()
    estimator.fit(given, seed=0, progress=planted.no_progress)
    return estimator, given.x[:, INDEX["offer"]], given.y[:, REDEEM]


def test_with_many_rows_it_is_the_mean_of_each_offer() -> None:
    estimator, offer, y = fitted(8000)
    test = planted.held_out(200)
    p = estimator.score(test)[:, REDEEM]
    for code in range(1, planted.OFFERS + 1):
        expected = y[offer == code].mean()
        assert p[test.x[:, INDEX["offer"]] == code] == pytest.approx(expected, abs=0.01)


def test_with_few_it_leans_on_the_kind_and_that_on_everything() -> None:
    estimator, offer, y = fitted(30)
    kind = (offer - 1) // 2
    of_kind = [(y[kind == k].sum() + SMOOTHING * prior(y)) / ((kind == k).sum() + SMOOTHING) for k in (0, 1)]
    first = (y[offer == 1].sum() + SMOOTHING * of_kind[0]) / ((offer == 1).sum() + SMOOTHING)
    test = planted.held_out(100)
    p = estimator.score(test)[:, REDEEM]
    assert p[test.x[:, INDEX["offer"]] == 1] == pytest.approx(first)


def test_a_new_offer_gets_its_kinds_mean() -> None:
    estimator, offer, y = fitted(8000)
    test = planted.held_out(50)
    test.x = test.x.copy()
    test.x[:, INDEX["offer"]] = 0
    p = estimator.score(test)[:, REDEEM]
    for kind in (0, 1):
        assert p[test.kind == kind] == pytest.approx(y[(offer - 1) // 2 == kind].mean(), abs=0.01)
