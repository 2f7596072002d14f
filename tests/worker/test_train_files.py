"""The files of a training that did not come to its end: gone with it, unless they belong to what is registered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, transaction

from personalization.learning import registry
from personalization.types import ModelTask
from tests.worker import population
from tests.worker.population import Population
from worker import train
from worker.parts import preference
from worker.versions import Loaded


def run() -> None:
    train.run(None, population.QUICK, lambda what, done: None, until=population.END)


def test_a_commit_whose_answer_was_lost_keeps_its_files(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has crowned the versions; the run only hears that the connection broke."""

    @contextmanager
    def unanswered() -> Iterator[None]:
        with transaction.atomic():
            yield
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(train, "transaction", SimpleNamespace(atomic=unanswered))
    with pytest.raises(OperationalError):
        run()
    reigning = registry.champion(ModelTask.RESPONSE, "shop")
    assert reigning is not None
    assert Loaded(reigning).version == reigning


def test_what_cannot_be_looked_up_is_not_deleted(
    shop: Population, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(paths: object) -> None:
        raise OperationalError

    def broken(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(registry, "stored_at", away)
    monkeypatch.setattr(preference, "train", broken)
    with pytest.raises(MemoryError):
        run()
    assert list(models.iterdir())
