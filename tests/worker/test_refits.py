"""Calibrated on shoppers whom the fit did not know: on all of them in turn where those held out first are few."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from personalization.features.frames import Floats
from tests.worker import planted
from worker import refits
from worker.data import Samples
from worker.estimators.base import Progress
from worker.estimators.logistic import Logistic
from worker.refits import calibration_shoppers, fit_calibrated


class Watched(Logistic):
    """Remembers whom each fit has seen, and who was scored by it."""

    seen: ClassVar[list[set[int]]] = []
    scored: ClassVar[list[tuple[int, list[int]]]] = []

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        self.number = len(self.seen)
        self.seen.append(set(samples.rows.shopper.tolist()))
        super().fit(samples, seed=seed, progress=progress)

    def score(self, samples: Samples) -> Floats:
        self.scored.append((self.number, samples.rows.shopper.tolist()))
        return super().score(samples)


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Samples:
    monkeypatch.setattr(Watched, "seen", [])
    monkeypatch.setattr(Watched, "scored", [])
    return planted.samples(3000, seed=2)


def fitted(samples: Samples) -> list[float]:
    told: list[float] = []
    held = calibration_shoppers(samples, 0)
    estimator, _calibrator, raw = fit_calibrated(Watched(), samples, held, seed=0, progress=told.append)
    assert len(raw) == held.sum()
    assert set(samples.rows.shopper.tolist()) == Watched.seen[-1]
    assert estimator.number == len(Watched.seen) - 1  # type: ignore[attr-defined]
    return told


def test_everybody_is_held_out_once(samples: Samples) -> None:
    told = fitted(samples)
    assert len(Watched.seen) == refits.TURNS + 2
    for number, shoppers in Watched.scored:
        assert not Watched.seen[number] & set(shoppers)
    scored = [shopper for _number, shoppers in Watched.scored for shopper in shoppers]
    assert sorted(scored) == sorted(samples.rows.shopper.tolist())
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_where_enough_are_held_out_they_will_do(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refits, "ENOUGH_HELD", 100)
    fitted(samples)
    assert [number for number, _shoppers in Watched.scored] == [0]
    assert len(Watched.seen) == 2


def test_more_rows_calibrate_more_surely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over draws of one world, the turns bring the mean of the predictions nearer to the share that happens."""
    unseen = planted.held_out(8000)

    def miss(enough: int) -> float:
        monkeypatch.setattr(refits, "ENOUGH_HELD", enough)
        found = []
        for seed in range(10):
            drawn = planted.samples(1600, seed=seed + 10)
            held = calibration_shoppers(drawn, seed)
            estimator, calibrator, _raw = fit_calibrated(
                Logistic(), drawn, held, seed=seed, progress=planted.no_progress
            )
            found.append(np.mean(calibrator.apply(estimator.score(unseen)) - unseen.y, axis=0))
        return float(np.sqrt(np.mean(np.square(found))))

    in_turn, once = miss(refits.ENOUGH_HELD), miss(1)
    assert in_turn < 0.8 * once
