"""The heads are fitted side by side: nothing about the boosters depends on how many at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.worker import planted
from worker.estimators import boosting
from worker.estimators.boosting import Boosting


def fitted(cores: int, monkeypatch: pytest.MonkeyPatch) -> Boosting:
    monkeypatch.setattr(boosting, "cores", lambda: cores)
    estimator = Boosting()
    estimator.fit(planted.samples(800), seed=3, progress=planted.no_progress)
    return estimator


def test_cores_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    test = planted.held_out(200)
    alone, together = fitted(1, monkeypatch), fitted(4, monkeypatch)
    assert alone.rounds == together.rounds
    np.testing.assert_array_equal(alone.score(test), together.score(test))


def test_whoever_stops_it_is_heard_between_two_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled job raises where it is told of progress: what had not begun is not fitted, and no thread is left."""
    monkeypatch.setattr(boosting, "cores", lambda: 1)
    began: list[int] = []
    whole = Boosting._fit_head

    def watched(self: Boosting, head: int, *args: object) -> None:
        began.append(head)
        whole(self, head, *args)  # type: ignore[arg-type]

    def stop(done: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Boosting, "_fit_head", watched)
    with pytest.raises(KeyboardInterrupt):
        Boosting().fit(planted.samples(800), seed=3, progress=stop)
    assert len(began) < len(boosting.HEADS)
    assert not [each for each in threading.enumerate() if each.name.startswith("boosting")]
