"""What a search is measured on: nothing of the last fold; and what a training does with what it found."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames
from personalization.learning import tuning
from personalization.learning.card import build
from personalization.models import ModelVersion, TuningRun
from tests.worker import population
from tests.worker.population import Population
from tests.worker.searching import HELD, make_run, search, silent, tried
from tests.worker.test_train import meddle
from worker import origins, train
from worker.estimators.boosting import Boosting
from worker.origins import PreferenceTarget, ResponseTarget

pytestmark = pytest.mark.django_db


def test_a_search_sees_nothing_of_the_last_fold(shop: Population) -> None:
    """Everything that happened from the last fold on is changed: the search tries and measures the same."""
    before = tried(search(4))
    TuningRun.objects.all().delete()
    meddle(HELD - timedelta(seconds=1))
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
    (told,) = [sentence for sentence in outcome.sentences if "are not taken (" in str(sentence)]
    assert f"search {run.pk}" in str(told)
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
