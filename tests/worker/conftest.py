"""A small population's settings: few exposures suffice, models go to a folder of their own, the heart is quiet."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from personalization.features.frames import Frames
from personalization.learning import frames as reading
from tests.worker import population
from tests.worker.population import Population
from worker import pulse, runner
from worker.attractiveness import learnt
from worker.estimators import boosting, training


@pytest.fixture
def in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a job run inside the transaction that the test rolls back.

    A beat comes from a thread of its own, which does not see rows that the test has not committed; and a connection
    in the middle of a transaction counts as one to be closed.
    """
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 3600.0)
    monkeypatch.setattr(runner, "close_old_connections", lambda: None)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boosting take larger steps and the networks fewer epochs: the same code in a fraction of the time."""
    monkeypatch.setitem(boosting.PARAMS, "learning_rate", 0.2)
    monkeypatch.setattr(training, "EPOCHS", 4)


@pytest.fixture
def models(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings under which a small population trains; returns the folder of models."""
    monkeypatch.setattr(learnt, "EPOCHS", 3)
    folder = tmp_path / "models"
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 300, "ARTIFACTS": str(folder)}
    return folder


@pytest.fixture
def shop(db: None, models: Path) -> Population:
    """A shop with a response to learn."""
    return population.restore()


_read: list[Frames] = []


@pytest.fixture
def frames(db: None, models: Path) -> Frames:
    """That shop's frames until the end; the test may change them."""
    if not _read:
        population.restore()
        _read.append(reading.load("shop", population.END))
    return copy.deepcopy(_read[0])
