"""What is in force changes while a search waits or runs: nothing is adopted that was compared with something else."""

from __future__ import annotations

import math
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from personalization.learning import tuning
from personalization.models import Job, TuningRun
from personalization.types import ModelTask
from tests.worker import population
from tests.worker.searching import Bowl, ends, leased, make_run, silent
from worker import tune, tuned
from worker.space import Range

pytestmark = pytest.mark.django_db


@pytest.fixture
def settled(db: None, monkeypatch: pytest.MonkeyPatch) -> Bowl:
    """Let a search of ``logistic`` fall on the stand-in, begin from what is in force, and gain what it truly gains."""
    bowl = Bowl()

    def aim(*args: Any, seed: int, **kwargs: Any) -> Bowl:
        bowl.start, bowl.seed = whole({}, args[3]), seed
        return bowl

    def whole(kind: Any, start: dict[str, Any]) -> dict[str, Any]:
        return {"x": 1.0, "kind": "plain", **start}

    def start_of(who: str, task: ModelTask, name: str) -> dict[str, Any]:
        found = tuning.in_force(who, task)
        return found[name].settings if name in found else {}

    def gains(settings: dict[str, Any], stage: Any) -> tuple[Any, Any]:
        truly = off(bowl.start["x"]) - off(settings["x"])
        return np.random.default_rng(1).normal(truly, 0.3, 900), np.arange(900) // 3

    monkeypatch.setattr(tune, "aim", aim)
    monkeypatch.setattr(tune, "whole_start", whole)
    monkeypatch.setattr(tune, "starting_point", start_of)
    monkeypatch.setattr(tune, "population_of", lambda wanted: "shop")
    monkeypatch.setattr(tune.reading, "load", lambda *args: SimpleNamespace())
    monkeypatch.setattr(tune.reading, "last_moment", lambda who: population.END)
    monkeypatch.setattr(bowl, "gains", gains)
    return bowl


def off(x: float) -> float:
    return float(abs(np.log(x / 8.0)))


def resumed(trials: int, seed: int = 0, job: Job | None = None) -> TuningRun:
    return tune.run(job, {"estimator": "logistic", "trials": trials, "seed": seed}, silent)


def interrupted(bowl: Bowl, job: Job | None = None) -> TuningRun:
    """Return a search that was stopped after a few trials."""
    bowl.stop = ends(bowl.asked + 10, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        resumed(40, job=job)
    bowl.stop = lambda asked: None
    return TuningRun.objects.latest("pk")


def test_a_search_from_settings_that_are_replaced_is_not_gone_on_with(settled: Bowl) -> None:
    waiting = interrupted(settled)
    better = resumed(60, seed=1)
    assert better.in_force
    found = resumed(5)
    assert found.pk != waiting.pk
    assert found.start == better.settings
    waiting.refresh_from_db()
    assert (waiting.state, waiting.looks) == ("outdated", 0)
    assert "no longer in force" in tuning.sentence(waiting)
    (reigning,) = tuning.in_force("shop", ModelTask.RESPONSE).values()
    assert off(reigning.settings["x"]) <= off(better.settings["x"])


def test_a_search_from_settings_that_stay_is_gone_on_with(settled: Bowl) -> None:
    """The control."""
    waiting = interrupted(settled)
    found = resumed(12)
    assert (found.pk, found.state) == (waiting.pk, "judged")


def test_a_job_that_died_does_not_go_on_from_settings_that_were_withdrawn(
    settled: Bowl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new search is on the data of the day, not on those of the old one."""
    before = make_run(settings={"x": 2.0, "kind": "plain"}, seed=7)
    job = leased()
    waiting = interrupted(settled, job)
    assert waiting.start["x"] == 2.0
    tuning.withdraw(before)
    today = population.END + timedelta(days=3)
    monkeypatch.setattr(tune.reading, "last_moment", lambda who: today)
    found = resumed(6, job=job)
    assert (found.pk == waiting.pk, found.start["x"], found.cutoff_at) == (False, 1.0, today)
    waiting.refresh_from_db()
    assert waiting.state == "outdated"


def test_an_outdated_search_goes_on_once_its_settings_are_back(settled: Bowl) -> None:
    waiting = interrupted(settled)
    better = resumed(20, seed=1)
    resumed(2)
    tuning.withdraw(better)
    TuningRun.objects.exclude(pk__in=[waiting.pk, better.pk]).delete()
    found = resumed(12)
    assert (found.pk, found.state) == (waiting.pk, "judged")


def adopt_another() -> None:
    make_run(settings={"x": 2.0, "kind": "plain"}, seed=7)


def withdraw_it() -> None:
    tuning.withdraw(TuningRun.objects.get(seed=7))


@pytest.mark.parametrize(("begin", "meanwhile"), [(None, adopt_another), (adopt_another, withdraw_it)])
def test_what_was_not_compared_with_what_is_in_force_is_not_adopted(
    settled: Bowl, monkeypatch: pytest.MonkeyPatch, begin: Any, meanwhile: Any
) -> None:
    """Another find is adopted, or the one compared with is withdrawn, while the unseen fold is asked."""
    if begin is not None:
        begin()
    gains = settled.gains

    def late(settings: dict[str, Any], stage: Any) -> Any:
        meanwhile()
        return gains(settings, stage)

    monkeypatch.setattr(settled, "gains", late)
    job = leased()
    run = resumed(30, job=job)
    job.refresh_from_db()
    assert (run.state, run.looks, run.in_force, job.result["adopted"]) == ("judged", 1, False, False)
    assert run.low is not None
    assert run.low > 0
    assert "A new search compares with what is" in tuning.sentence(run)
    assert TuningRun.objects.get(seed=7).in_force == (begin is None)


def test_one_of_two_judges_adopts(db: None) -> None:
    first, second = (make_run(seed=seed, state="searching", adopted_at=None, looks=0) for seed in (1, 2))
    verdict = tuning.Verdict(1, {"looseness": 0.3}, (0.1, 0.05, 0.2), 0.95, 100, None)
    assert tuning.judge(None, first, verdict, {}).in_force
    assert not tuning.judge(None, second, verdict, {}).in_force


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400, "9", None, True, [], {}])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_number_within_the_bounds_is_none_of_them(value: Any, whole: bool) -> None:
    assert value not in Range(1, 10, whole=whole)
    assert 2.5 in Range(1, 10)


@pytest.mark.parametrize("stored", [{"num_leaves": 10**30}, {"no_such": 1}, {"num_leaves": "../x"}], ids=str)
def test_settings_that_somebody_wrote_into_the_database_are_left_out_with_a_word(stored: Any) -> None:
    adopt(stored)
    found, said = tuned.adopted("shop", ModelTask.RESPONSE)
    assert found == {}
    assert len(said) == 1


@pytest.mark.parametrize("stored", [["num_leaves"], "num_leaves", 7])
def test_settings_of_another_shape_are_none(stored: Any) -> None:
    adopt(stored)
    (found,) = tuning.in_force("shop", ModelTask.RESPONSE).values()
    assert found.settings == {}


def adopt(stored: Any) -> None:
    """Put settings in force behind the back of everything that checks them."""
    run = make_run(estimator="boosting")
    TuningRun.objects.filter(pk=run.pk).update(
        settings=stored, gain=0.2, low=0.1, high=0.3, best=1, adopted_at=population.END, state="judged"
    )
