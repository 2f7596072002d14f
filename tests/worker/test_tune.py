"""A search: the same trials for the same seed however often it stops, nothing seen of the last fold.

And nothing is adopted that may be chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.features.frames import Floats, Frames, Ints
from personalization.learning import jobs, tuning
from personalization.learning.card import build
from personalization.models import Job, ModelVersion, TuningRun, TuningTrial
from personalization.types import JobKind, ModelTask
from tests.worker import population
from tests.worker.population import Population
from tests.worker.test_train import meddle
from worker import metrics, origins, train, tune, tuned
from worker.estimators.boosting import Boosting
from worker.origins import PreferenceTarget, ResponseTarget, searchable
from worker.rankers import RANKERS
from worker.response import REGISTRY, Stage
from worker.search import Past, propose
from worker.space import Choice, Range, Space, around

pytestmark = pytest.mark.django_db
HELD = population.wave(6)


def silent(what: str, done: float) -> None:
    """Say nothing."""


class Bowl:
    """A stand-in for an estimator: the loss is the distance of ``x`` from ``best``, with a level of its own a fold."""

    task, metric, split, name, seed = ModelTask.RESPONSE, "log_loss", "time", "bowl", 0
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


@pytest.fixture
def bowl(db: None, monkeypatch: pytest.MonkeyPatch) -> Bowl:
    """Let a search of ``logistic`` fall on the stand-in."""
    found = Bowl()
    monkeypatch.setattr(tune, "aim", lambda *args, **kwargs: found)
    monkeypatch.setattr(tune.reading, "load", lambda *args: SimpleNamespace())
    monkeypatch.setattr(tune, "population_of", lambda wanted: "shop")
    return found


def ends(at: int, ending: type[BaseException]) -> Callable[[int], None]:
    """Return what raises as the ``at``-th figure is asked for."""

    def stop(asked: int) -> None:
        if asked == at:
            raise ending

    return stop


def search(trials: int = 12, job: Job | None = None, **params: Any) -> TuningRun:
    return tune.run(job, {"estimator": "logistic", "trials": trials, **params}, silent, until=population.END)


def tried(run: TuningRun) -> list[tuple[Any, ...]]:
    return [(each.number, each.state, each.settings, each.figures, each.error) for each in tuning.trials(run)]


# -- what is tried


@pytest.mark.parametrize("name", searchable())
def test_what_is_tried_is_taken_and_the_start_is_within(name: str) -> None:
    kind = REGISTRY.get(name) or RANKERS[name]
    identity: frozenset[str] = getattr(kind, "identity", frozenset())
    space = {key: found for key, found in kind.space.items() if key not in identity}
    start = tuned.preference.usual_settings(name) if name in RANKERS else {}
    settings = kind(**start).settings
    narrowed = around(space, settings)
    assert all(settings[key] in narrowed[key] for key in space)
    past = [Past({key: settings[key] for key in space}, [0.0], whole=True)]
    for number in range(5):
        found = propose(narrowed, past, seed=number).settings
        assert found.keys() == space.keys()
        if name != "gat" or not found["width"] % found["heads"]:  # others are tried too, and fail at once
            kind(**{**start, **found})
        past.append(Past(found, [float(number)], whole=True))


def test_a_range_is_tried_eightfold_either_way() -> None:
    space: Space = {
        "wide": Range(1, 10_000, log=True, whole=True), "low": Range(0, 1), "zero": Range(0, 9), "kind": Choice((1, 2))
    }  # fmt: skip
    found = around(space, {"wide": 100, "low": 0.04, "zero": 0, "kind": 1})
    assert found["wide"] == Range(12, 800, log=True, whole=True)
    assert found["low"] == Range(0.005, 0.32)
    assert found["zero"] == space["zero"]
    assert found["kind"] == space["kind"]


def test_widths_that_heads_share_are_even() -> None:
    space: Space = {"width": Range(4, 512, log=True, whole=True, multiple=2)}
    past = [Past({"width": 64}, [0.0], whole=True)]
    for _ in range(20):
        past.append(Past(propose(space, past, seed=0).settings, [float(len(past))], whole=True))
    widths = [each.settings["width"] for each in past]
    assert all(isinstance(width, int) and width % 2 == 0 and width in space["width"] for width in widths)
    assert len(set(widths)) > 10


def test_the_next_trial_depends_on_the_seed_and_the_trials_alone() -> None:
    space = Bowl.space
    past = [Past({"x": 1.0 + number, "kind": "plain"}, [float(number)], whole=True) for number in range(12)]
    once, again, other = (propose(space, past, seed=seed).settings for seed in (0, 0, 1))
    assert once == again != other
    assert propose(space, past[:-1], seed=0).settings != once
    elsewhere = [*past[:-1], Past({"x": 50.0, "kind": "odd"}, [-9.0], whole=True)]
    assert propose(space, elsewhere, seed=0).settings != once


def test_the_hopeless_are_given_up_and_the_others_are_not() -> None:
    past = [Past({"x": 1.0 + number, "kind": "plain"}, [0.0, 0.0, 0.0], whole=True) for number in range(6)]
    worse, better = (propose(Bowl.space, past, seed=0) for _ in range(2))
    assert worse.hopeless(0.5)
    assert not better.hopeless(-0.5)
    assert not propose(Bowl.space, past[:2], seed=0).hopeless(0.5), "two trials have no median worth the name"


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
    assert (
        tuning.in_force("shop", ModelTask.RESPONSE)["logistic" if run.estimator == "logistic" else "bowl"].run == run.pk
    )
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


def leased() -> Job:
    assert tuning.ask({"population": "shop", "estimator": "logistic"}) is not None
    job = jobs.lease("one")
    assert job is not None
    return job


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
        tuning.judge(job, TuningRun.objects.get(), tuning.Verdict(1, {"x": 2}, (1.0, 0.5, 2.0), 0.95, 9), {})
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
        "search": run.pk, "estimator": "bowl", "trials": 6, "best": run.best, "adopted": run.in_force
    }  # fmt: skip


def make_run(**fields: Any) -> TuningRun:
    given = {
        "population": "shop", "task": "response", "estimator": "logistic", "cutoff_at": population.END,
        "held_from": HELD, "terms": "0" * 64, "metric": "log_loss", "split": "time", "folds": 2, "state": "judged",
        "start": {"looseness": 0.1}, "settings": {"looseness": 0.5}, "best": 3, "gain": 0.01, "low": 0.005,
        "high": 0.02, "level": 0.95, "judged_on": 200, "looks": 1, "adopted_at": timezone.now(),
    }  # fmt: skip
    return TuningRun.objects.create(**{**given, **fields})


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
    before = make_run(estimator="bowl", seed=7, held_from=HELD - timedelta(days=90))
    run = search(12)
    before.refresh_from_db()
    assert run.in_force
    assert not before.in_force
    assert (tuning.standing(before), tuning.standing(run)) == ("replaced", "in force")


# -- on a shop


def test_a_search_sees_nothing_of_the_last_fold(shop: Population) -> None:
    """Everything that happened from the last fold on is changed: the search tries and measures the same."""
    before = tried(search(4))
    TuningRun.objects.all().delete()
    meddle(HELD)
    assert tried(search(4)) == before


def test_that_test_can_fail(shop: Population) -> None:
    """The control: what is changed before the last fold does show."""
    before = tried(search(4))
    TuningRun.objects.all().delete()
    meddle(population.wave(4))
    assert tried(search(4)) != before


def test_earlier_origins_leave_the_outcomes_of_the_last_fold_alone(frames: Frames) -> None:
    target = ResponseTarget("logistic", frames, {}, seed=0)
    shown = target._problem.shown
    assert (target.split, target.folds) == ("time", 2)
    for taught, watched in target._masks:
        assert shown.time[taught].max() + target._problem.span <= shown.time[watched].min()
        assert shown.time[watched].max() + target._problem.span <= target.held_from
    assert target.held_from == HELD.timestamp() * 1000


def test_without_earlier_origins_the_folds_are_groups_of_shoppers(
    frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "LEAST_ROWS", 10**6)
    target = ResponseTarget("logistic", frames, {}, seed=0)
    assert (target.split, target.folds) == ("shoppers", 3)
    shown = target._problem.shown
    for taught, watched in target._masks:
        assert not set(shown.shopper[taught]) & set(shown.shopper[watched])
        assert shown.time[[*taught, *watched]].max() + target._problem.span <= target.held_from
    assert sorted(np.concatenate([watched for _taught, watched in target._masks])) == list(
        np.flatnonzero(target._last.train)
    )


def test_rankers_are_tried_on_blocks_before_the_last_one(frames: Frames) -> None:
    target = PreferenceTarget("transitions", frames, {}, seed=0)
    assert target.folds >= 2
    assert all(at + target._block <= target.held_from for at in target._origins)
    figures = [target.figure(target.start, fold, lambda done: None) for fold in range(target.folds)]
    assert all(0.3 < figure < 1 for figure in figures), "shoppers walk through the catalogue: it can be learnt"
    gain, shopper = target.gains({**target.start, "share": 0.0, "steps": 1}, silent)
    assert gain.mean() < 0, "their own past alone says less"
    assert len(gain) == len(shopper) == len(set(shopper.tolist()))


def test_too_short_a_log_is_told(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreferenceTarget, "_possible", lambda self: [])
    with pytest.raises(NotEnoughData, match="Too few shoppers"):
        PreferenceTarget("transitions", frames, {}, seed=0)
    with pytest.raises(NotEnoughData, match="no settings"):
        ResponseTarget("offer_mean", frames, {}, seed=0)


def test_the_next_training_uses_what_was_adopted_until_it_is_withdrawn(shop: Population) -> None:
    run = make_run()
    ranked = make_run(task="preference", estimator="transitions", metric="ndcg@10", settings={"steps": 2, "share": 0.6})
    train.run(None, population.QUICK, silent, until=population.END)
    version = ModelVersion.objects.get(estimator="logistic")
    assert version.card["settings"] == {"looseness": 0.5}
    assert version.card["settings_from"] == {"run": run.pk, "trial": 3, "gain": [0.01, 0.005, 0.02]}
    assert f"found by search {run.pk}" in " ".join(row.value for row in build(version).about)
    other = ModelVersion.objects.get(estimator="transitions")
    assert (other.card["settings"]["steps"], other.card["settings_from"]["run"]) == (2, ranked.pk)
    assert "settings_from" not in ModelVersion.objects.get(estimator="frequency").card

    tuning.withdraw(run)
    outcome = train.run(None, population.QUICK, silent, until=population.END)
    (again,) = [each for each in outcome.versions if each.estimator == "logistic"]
    assert again.card["settings"] == {"looseness": 0.1}
    assert "settings_from" not in again.card
    assert again.metrics["board"] != version.metrics["board"]


def test_adopted_settings_that_are_not_taken_any_more_are_told(shop: Population) -> None:
    run = make_run(settings={"looseness": 1e9})
    outcome = train.run(None, population.QUICK, silent, until=population.END)
    (told,) = [sentence for sentence in outcome.sentences if "not taken any more" in sentence]
    assert f"search {run.pk}" in told
    assert ModelVersion.objects.get(estimator="logistic").card["settings"] == {"looseness": 0.1}


def test_settings_travel_with_the_file() -> None:
    made = Boosting(num_leaves=7)
    config, arrays = made.dump()
    assert Boosting.restore(config, arrays).settings["num_leaves"] == 7
    del config["settings"]
    assert Boosting.restore(config, arrays).settings == Boosting().settings
    with pytest.raises(ValueError, match="num_leaves is 1 and must be a whole number from 2 to 255"):
        Boosting(num_leaves=1)
    with pytest.raises(ValueError, match="there is no setting leaves"):
        Boosting(leaves=3)


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
        (("--withdraw", "77"), "not in force"),
    ):
        with pytest.raises(CommandError, match=told):
            call_command("tune", *arguments)
    leased()
    with pytest.raises(CommandError, match="is being searched for already"):
        call_command("tune", "logistic")


def test_the_command_withdraws(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    call_command("tune", withdraw=run.pk)
    run.refresh_from_db()
    assert not run.in_force
    assert "trains as shipped again" in capsys.readouterr().out


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
