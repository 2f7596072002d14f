"""Searches to test with: a stand-in for an estimator, a way to stop one, a find that is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from django.utils import timezone

from personalization.features.frames import Floats, Ints
from personalization.learning import jobs, tuning
from personalization.learning.handlers import Stage
from personalization.models import Job, TuningRun
from personalization.types import ModelTask
from tests.worker import population
from worker import tune
from worker.space import Choice, Range, Space

HELD = population.wave(6)


def silent(what: object, done: float) -> None:
    """Say nothing."""


class Bowl:
    """A stand-in for ``logistic``: the loss is the distance of ``x`` from ``best``, with a level of its own a fold."""

    task, metric, split, name, seed = ModelTask.RESPONSE, "log_loss", "time", "logistic", 0
    space: Space = {"x": Range(0.1, 100.0, log=True), "kind": Choice(("plain", "odd"))}
    held_from = 1_770_000_000_000
    folds = 3

    def __init__(self, *, best: float = 8.0, truly: float = 0.2, seed: int = 0) -> None:
        self.start: dict[str, Any] = {"x": 1.0, "kind": "plain"}
        self.best, self.truly, self.seed = best, truly, seed
        self.asked = 0
        self.stop: Callable[[int], None] = lambda asked: None

    def figure(self, settings: Mapping[str, Any], fold: int, progress: Callable[[float], None]) -> float:
        self.asked += 1
        self.stop(self.asked)
        progress(0.5)
        if settings["kind"] == "odd" and settings["x"] > 5:
            raise ValueError("diverged")
        return float(fold + abs(np.log(settings["x"] / self.best)))

    def gains(self, settings: Mapping[str, Any], stage: Stage) -> tuple[Floats, Ints]:
        rng = np.random.default_rng(self.seed)
        return rng.normal(self.truly, 1.0, 900), np.arange(900) // 3


def ends(at: int, ending: type[BaseException]) -> Callable[[int], None]:
    """Return what raises as the ``at``-th figure is asked for."""

    def stop(asked: int) -> None:
        if asked == at:
            raise ending

    return stop


def leased() -> Job:
    """Return a search of ``logistic`` that this process holds."""
    assert tuning.ask({"population": "shop", "estimator": "logistic"}) is not None
    job = jobs.lease("one")
    assert job is not None
    return job


def search(trials: int = 12, job: Job | None = None, **params: Any) -> TuningRun:
    return tune.run(job, {"estimator": "logistic", "trials": trials, **params}, silent, until=population.END)


def tried(run: TuningRun) -> list[tuple[Any, ...]]:
    return [(each.number, each.state, each.settings, each.figures, each.error) for each in tuning.trials(run)]


def make_run(**fields: Any) -> TuningRun:
    given = {
        "population": "shop", "task": "response", "estimator": "logistic", "cutoff_at": population.END,
        "held_from": HELD, "terms": "0" * 64, "metric": "log_loss", "split": "time", "folds": 2, "state": "judged",
        "start": {"looseness": 0.1}, "settings": {"looseness": 0.5}, "best": 3, "gain": 0.01, "low": 0.005,
        "high": 0.02, "level": 0.95, "judged_on": 200, "looks": 1, "adopted_at": timezone.now(),
    }  # fmt: skip
    return TuningRun.objects.create(**{**given, **fields})
