"""A search: the same trials for the same seed however often it stops, nothing seen of the last fold.

And nothing is adopted that may be chance.
"""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from personalization.exceptions import LeaseLost
from personalization.learning import jobs, tuning
from personalization.models import Job, TuningRun, TuningTrial
from personalization.types import JobKind, ModelTask
from tests.worker import population
from tests.worker.population import Population
from tests.worker.searching import HELD, Bowl, ends, leased, make_run, search, silent, tried
from worker import metrics, tune

pytestmark = pytest.mark.django_db


@pytest.fixture
def bowl(db: None, monkeypatch: pytest.MonkeyPatch) -> Bowl:
    """Let a search of ``logistic`` fall on the stand-in."""
    found = Bowl()
    monkeypatch.setattr(tune, "aim", lambda *args, **kwargs: found)
    monkeypatch.setattr(tune, "whole_start", lambda kind, start: found.start)
    monkeypatch.setattr(tune.reading, "load", lambda *args: SimpleNamespace())
    monkeypatch.setattr(tune, "population_of", lambda wanted: "shop")
    return found


# -- a whole search


def test_a_search_finds_what_is_better_and_adopts_it(bowl: Bowl) -> None:
    run = search(20)
    done = tuning.trials(run)
    assert [each.number for each in done] == list(range(20))
    assert done[0].settings == bowl.start
    assert {each.state for each in done} == {"finished", "pruned", "failed"}
    assert all(len(each.figures) < bowl.folds for each in done if each.state != "finished")
    assert {each.error for each in done if each.state == "failed"} == {"ValueError: diverged"}
    assert abs(np.log(run.settings["x"] / bowl.best)) < abs(np.log(1.0 / bowl.best)) / 2
    assert run.in_force
    assert run.low is not None
    assert run.low > 0
    assert tuning.in_force("shop", ModelTask.RESPONSE)["logistic"].run == run.pk
    assert "is better on the unseen fold" in tuning.sentence(run)


def test_what_is_no_better_there_is_not_adopted(bowl: Bowl) -> None:
    """It wins on the folds of the search; on the unseen one there is noise alone."""
    bowl.truly = 0.0
    run = search(20)
    assert run.best
    assert not run.in_force
    assert run.settings["x"] != 1.0, "what was found is told all the same"
    assert tuning.in_force("shop", ModelTask.RESPONSE) == {}
    assert "not better beyond chance" in tuning.sentence(run)


def test_noise_is_adopted_as_seldom_as_the_interval_says() -> None:
    adopted = 0
    for seed in range(200):
        gain, shopper = Bowl(truly=0.0, seed=seed).gains({}, silent)
        adopted += metrics.mean_gain(gain, shopper, level=0.95, seed=seed, resamples=400)[1] > 0
    assert adopted <= 12  # 2.5 % of 200 are 5; more than 12 would come once in three hundred times


def test_where_the_start_is_best_the_unseen_fold_is_not_asked(bowl: Bowl, monkeypatch: pytest.MonkeyPatch) -> None:
    bowl.best = 1.0
    monkeypatch.setattr(bowl, "gains", lambda *args: pytest.fail("asked"))
    run = search(6)
    assert run.state == "judged"
    assert not run.looks
    assert "they stay" in tuning.sentence(run)


def test_a_time_that_was_over_before_a_trial_is_no_verdict_on_trials(bowl: Bowl) -> None:
    """The start is always measured: with no time at all it is the only one."""
    run = tune.run(None, {"estimator": "logistic", "minutes": 0}, silent, until=population.END)
    assert (run.state, [each.number for each in tuning.trials(run)]) == ("judged", [0])
    assert "over before any other settings had been tried" in tuning.sentence(run)
    assert "did better" not in tuning.sentence(run)


def test_a_search_goes_on_and_asks_again_only_of_something_new(bowl: Bowl) -> None:
    first = search(6)
    before = tried(first)
    assert first.looks == 1
    asked = bowl.asked
    again = search(6)
    assert (again.pk, again.looks, bowl.asked) == (first.pk, 1, asked)
    further = search(30)
    assert further.pk == first.pk
    assert tried(further)[:6] == before
    assert further.looks == 2
    assert further.level == pytest.approx(0.975)
    assert tuning.next_level(further) == pytest.approx(0.9875)


def test_looks_at_folds_that_share_time_are_counted_together(bowl: Bowl) -> None:
    """The fold begins a millisecond later with every event: it is asked again all the same."""
    levels = []
    for seed in range(3):
        bowl.seed, bowl.held_from = seed, Bowl.held_from + seed
        levels.append(search(6, seed=seed).level)
    assert levels == pytest.approx([0.95, 0.975, 0.9875])


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"held_from": HELD + timedelta(hours=1)}, 3),
        ({"held_from": HELD - timedelta(days=9), "cutoff_at": HELD + timedelta(days=1)}, 3),
        ({"held_from": HELD - timedelta(days=9), "cutoff_at": HELD}, 1),
        ({"held_from": population.END, "cutoff_at": population.END + timedelta(days=9)}, 1),
        ({"estimator": "boosting"}, 1),
        ({"population": "other"}, 1),
    ],
)
def test_only_looks_at_the_same_time_count(db: None, change: dict[str, Any], counted: int) -> None:
    make_run(**{"looks": 2, "seed": 1, "adopted_at": None, **change})
    assert tuning.looks(make_run()) == counted


def test_the_same_seed_tries_the_same_and_another_does_not(bowl: Bowl) -> None:
    once = tried(search(12))
    TuningRun.objects.all().delete()
    assert tried(search(12)) == once
    bowl.seed = 1
    assert [each[2] for each in tried(search(12, seed=1))[1:]] != [each[2] for each in once[1:]]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, LeaseLost])
def test_stopped_anywhere_it_tries_what_it_would_have_tried(bowl: Bowl, ending: type[BaseException]) -> None:
    whole = tried(search(12))
    TuningRun.objects.all().delete()
    for further in (1, 2, 7, 15):
        bowl.stop = ends(bowl.asked + further, ending)
        with pytest.raises(ending):
            search(12)
    assert 0 < TuningTrial.objects.count() < 12
    bowl.stop = lambda so_far: None
    assert tried(search(12)) == whole


def test_what_is_tried_next_hangs_on_the_trials_before(bowl: Bowl) -> None:
    """The control: with another figure in one row, the trials after it are others."""
    run = search(12)
    before = tried(run)
    TuningTrial.objects.filter(run=run, number__gte=10).delete()
    TuningTrial.objects.filter(run=run, number=3).update(figures=[-9.0, -9.0, -9.0], state="finished")
    assert [each[2] for each in tried(search(12))[10:]] != [each[2] for each in before[10:]]


def test_time_ends_a_trial_and_never_the_first(bowl: Bowl) -> None:
    """No time at all: the start is measured, nothing else is, and the search ends without a verdict."""
    run = search(50, minutes=1e-9)
    assert [each.number for each in tuning.trials(run)] == [0]
    assert run.state == "judged"


def test_a_start_that_cannot_be_fitted_fails_the_search(bowl: Bowl) -> None:
    bowl.start = {"x": 9.0, "kind": "odd"}
    with pytest.raises(ValueError, match="diverged"):
        search()
    assert not TuningTrial.objects.exists()


# -- who may write


def test_one_search_of_an_estimator_is_open(db: None) -> None:
    job = leased()
    assert tuning.ask({"population": "shop", "estimator": "logistic", "trials": 9}) is None
    assert tuning.ask({"population": "shop", "estimator": "boosting"}) is not None
    jobs.finish(job, {})
    assert tuning.ask({"population": "shop", "estimator": "logistic"}) is not None


def test_who_has_lost_the_lease_stores_nothing(bowl: Bowl) -> None:
    job = leased()

    def taken(asked: int) -> None:
        if asked == 5:
            Job.objects.filter(pk=job.pk).update(fence=9)

    bowl.stop = taken
    with pytest.raises(LeaseLost):
        search(6, job)
    assert TuningTrial.objects.count() == 1, "the second trial began with the fourth figure"
    with pytest.raises(LeaseLost):
        tuning.judge(job, TuningRun.objects.get(), tuning.Verdict(1, {"x": 2}, (1.0, 0.5, 2.0), 0.95, 9, None), {})
    assert tuning.in_force("shop", ModelTask.RESPONSE) == {}


def test_a_job_goes_on_with_its_own_search(bowl: Bowl) -> None:
    """The log has grown meanwhile: the cut-off stays that of the search."""
    job = leased()
    bowl.stop = ends(8, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        tune.run(job, {"estimator": "logistic", "trials": 6}, silent, until=population.END)
    bowl.stop = lambda asked: None
    run = tune.run(job, {"estimator": "logistic", "trials": 6}, silent, until=population.END + timedelta(days=3))
    assert run.cutoff_at == population.END
    assert TuningRun.objects.count() == 1
    assert len(tuning.trials(run)) == 6
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert job.result == {
        "search": run.pk, "estimator": "logistic", "trials": 6, "best": run.best, "adopted": run.in_force
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"low": -0.1}])
def test_the_database_refuses_what_may_be_chance(db: None, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="pz_tuning_beyond_chance"), transaction.atomic():
        make_run(**wrong)
    make_run(**wrong, adopted_at=None)


def test_one_find_of_an_estimator_is_in_force(db: None) -> None:
    run = make_run()
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(seed=1)
    tuning.withdraw(run)
    make_run(seed=1)


def test_a_better_find_replaces_what_is_in_force(bowl: Bowl) -> None:
    before = make_run(seed=7, held_from=HELD - timedelta(days=90))
    run = search(12)
    before.refresh_from_db()
    assert run.in_force
    assert not before.in_force
    assert (tuning.standing(before), tuning.standing(run)) == ("replaced", "in force")


# -- the command


@pytest.mark.usefixtures("in_one_transaction")
def test_the_command_searches_and_tells(shop: Population, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("tune", "logistic", "popularity", trials=3, until=population.END.isoformat())
    told = capsys.readouterr().out
    assert TuningRun.objects.count() == 2
    for run in TuningRun.objects.all():
        assert len(tuning.trials(run)) == 3
        assert tuning.sentence(run)[:40] in told.replace("\n", " ")
    assert "trial 1 of logistic, best" in told
    assert Job.objects.filter(kind=JobKind.TUNE.value, state="succeeded").count() == 2


def test_the_command_refuses_in_words(shop: Population) -> None:
    for arguments, told in (
        ((), "Whose settings"),
        (("offer_mean",), "nothing to search for in offer_mean"),
        (("logistic", "--trials", "1"), "Two trials at least"),
        (("logistic", "--minutes", "900"), "at most 300 minutes"),
        (("logistic", "--seed", "-1"), "from 0 to 2147483647"),
        (("logistic", "--seed", "2147483648"), "from 0 to 2147483647"),
        (("--withdraw", "77"), "There is no search 77. No search's settings are in force"),
    ):
        with pytest.raises(CommandError, match=told):
            call_command("tune", *arguments)
    assert not Job.objects.exists(), "refused before anything is queued or read"
    leased()
    with pytest.raises(CommandError, match="is being searched for already"):
        call_command("tune", "logistic")


def test_the_command_withdraws(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    call_command("tune", withdraw=run.pk)
    run.refresh_from_db()
    assert not run.in_force
    assert "trains as shipped again" in capsys.readouterr().out
    other = make_run(seed=1)
    with pytest.raises(CommandError) as caught:
        call_command("tune", withdraw=run.pk)
    told = f"Nothing that search {run.pk} found is in force. In force: {other.pk} (logistic, shop)."
    assert str(caught.value) == told


@pytest.mark.usefixtures("in_one_transaction")
def test_ctrl_c_keeps_the_trials(shop: Population, bowl: Bowl, capsys: pytest.CaptureFixture[str]) -> None:
    bowl.stop = ends(8, KeyboardInterrupt)
    with pytest.raises(SystemExit, match="130"):
        call_command("tune", "logistic", trials=6, until=population.END.isoformat())
    assert "The trials of logistic that are done are kept" in capsys.readouterr().err
    kept = TuningTrial.objects.count()
    assert kept >= 2
    assert Job.objects.get().state == "cancelled"
    bowl.stop = lambda asked: None
    call_command("tune", "logistic", trials=6, until=population.END.isoformat())
    assert TuningRun.objects.count() == 1
    assert TuningTrial.objects.count() == 6
