"""Settings that no search has found: written by hand, or named as an earlier release had them. They break no fit."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.exceptions import ArtifactCorrupt, PersonalizationError
from personalization.models import Job, ModelVersion, TuningRun, TuningTrial
from personalization.types import JobKind, ModelTask
from tests.worker import population
from tests.worker.population import Population
from tests.worker.searching import Bowl, make_run, search, silent
from worker import runner, score, train, tune, tuned
from worker.estimators.logistic import Logistic
from worker.rankers import LIGHT

pytestmark = pytest.mark.django_db
RANKERS_ONLY = {"population": "shop", "parts": ["preference"], "rankers": ["popularity", "transitions"]}


def in_force(estimator: str, settings: Any, task: str = "preference") -> TuningRun:
    return make_run(estimator=estimator, task=task, settings=settings)


@pytest.mark.parametrize(
    ("estimator", "settings", "why"),
    [
        ("gru", {"broad": 64}, "there is no setting broad"),
        ("gru", {"width": "64"}, "gru: width is '64' and must be a whole number from 4 to 512"),
        ("gru", {"width": 33}, "width is 33 and must be a multiple of 2"),
        ("gru", {"heads": 7}, "heads is 7, and no search sets it"),
        ("gru", {"patience": "long"}, "patience is 'long', and no search sets it"),
        ("stack", {"members": ["nobody"]}, "not nobody"),
        ("text", {"lesson": "/etc/passwd"}, "lesson is '/etc/passwd', and no search sets it"),
        ("gone", {"width": 64}, "there is no gone any more"),
    ],
)
def test_what_was_written_by_hand_is_left_out_and_why(estimator: str, settings: Any, why: str) -> None:
    run = in_force(estimator, settings)
    found, (said,) = tuned.adopted("shop", ModelTask.PREFERENCE)
    assert found == {}
    assert f"{why})" in str(said)
    assert f"`manage.py tune --withdraw {run.pk}`" in str(said)


@pytest.mark.parametrize("settings", [{"width": 34}, LIGHT["gru"], {**LIGHT["gru"], "width": 64, "loss": "gsasrec"}])
def test_what_a_search_can_find_is_taken(settings: Any) -> None:
    """The control, as the line-up sets it on a machine without a GPU, too."""
    in_force("gru", settings)
    found, said = tuned.adopted("shop", ModelTask.PREFERENCE)
    assert (found["gru"].settings, said) == (settings, [])


def test_a_training_goes_on_as_shipped_and_says_so(shop: Population) -> None:
    run = in_force("transitions", {"pace": 3})
    outcome = train.run(None, RANKERS_ONLY, silent, until=population.END)
    told = [str(sentence) for sentence in outcome.sentences]
    assert any(f"transitions: the settings that search {run.pk} has found are not taken" in each for each in told)
    (card,) = [version.card for version in outcome.versions if version.estimator == "transitions"]
    assert "settings_from" not in card


@pytest.fixture
def renamed(shop: Population) -> ModelVersion:
    """Return a reigning ranker whose card names a setting as an earlier release did."""
    train.run(None, RANKERS_ONLY, silent, until=population.END)
    reigning = ModelVersion.objects.get(task="preference", state="champion")
    ModelVersion.objects.filter(pk=reigning.pk).update(card={**reigning.card, "settings": {"pace": 3}})
    reigning.refresh_from_db()
    return reigning


def test_a_scoring_says_that_its_ranker_cannot_be_fitted_any_more(
    renamed: ModelVersion, in_one_transaction: None
) -> None:
    job = Job.objects.create(kind=JobKind.SCORE.value, params={"population": "shop"}, cutoff_at=population.END)
    runner.run_job(job)
    job.refresh_from_db()
    told = f"{renamed} was trained with settings that are not taken any more (there is no setting pace). Train again."
    assert (job.state, job.error) == ("failed", told)


def test_a_training_replaces_a_ranker_that_cannot_be_fitted_any_more(renamed: ModelVersion) -> None:
    train.run(None, RANKERS_ONLY, silent, until=population.END)
    new = ModelVersion.objects.get(task="preference", state="champion")
    assert new != renamed
    checks = {check["name"]: str(check) for check in new.metrics["gate"]}
    assert "there is no setting pace" in checks["reigning"]
    assert score.run(None, {"population": "shop"}, silent, until=population.END).state is not None


def test_a_file_of_another_release_is_explained(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    train.run(None, population.QUICK, silent, until=population.END)

    def restore(config: dict[str, Any], arrays: Any) -> Logistic:
        return Logistic(tightness=config["looseness"])  # type: ignore[call-arg]

    monkeypatch.setattr(Logistic, "restore", restore)
    with pytest.raises(ArtifactCorrupt, match=r"settings that are not taken any more .* Train again\."):
        score.run(None, {"population": "shop"}, silent, until=population.END)


@pytest.mark.parametrize("written", [{"x": -4.0, "kind": "plain"}, {"y": 3.0}])
def test_a_trial_that_was_written_by_hand_is_not_adopted(
    db: None, monkeypatch: pytest.MonkeyPatch, written: dict[str, Any]
) -> None:
    bowl = Bowl()
    monkeypatch.setattr(tune, "aim", lambda *args, **kwargs: bowl)
    monkeypatch.setattr(tune, "whole_start", lambda kind, start: bowl.start)
    monkeypatch.setattr(tune, "population_of", lambda wanted: "shop")
    monkeypatch.setattr(tune.reading, "load", lambda *args: None)
    run = search(4, seed=1)
    TuningTrial.objects.filter(run=run, number=2).update(settings=written, figures=[-9.0, -9.0, -9.0], state="finished")
    with pytest.raises(PersonalizationError, match=rf"The best trial of search {run.pk} cannot be judged .* --anew"):
        search(6, seed=1)
    assert not TuningRun.objects.filter(adopted_at__isnull=False, best=2).exists()
