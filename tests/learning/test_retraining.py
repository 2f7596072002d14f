"""Training by itself: for a reason, which is kept and told; never two at once, never without a pause."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from personalization.learning import jobs, registry, retraining
from personalization.learning.readiness import Readiness
from personalization.learning.sentences import Sentence
from personalization.models import Exposure, Job, ModelVersion
from personalization.types import JobKind
from tests.support import build

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "readiness", lambda population: Readiness(0, 0, 0, 0, 0, 0, True, False))
    monkeypatch.setattr(retraining, "_DRIFT", {})


def trained(hours: float) -> Job:
    """Let a training have been asked for so many hours ago."""
    job = jobs.enqueue(JobKind.TRAIN, {"population": "shop"})
    Job.objects.filter(pk=job.pk).update(state="succeeded", created_at=timezone.now() - timedelta(hours=hours))
    return job


def why() -> list[str]:
    """Return the codes of the reasons for which a training is queued now, and drop it."""
    cache.clear()
    retraining.queue_when_due()
    found = Job.objects.filter(kind="train", state="queued").exclude(alone="").first()
    if found is None:
        return []
    codes = [reason["code"] for reason in found.params["reasons"]]
    found.delete()
    return codes


def test_the_first_time_and_by_age() -> None:
    assert why() == ["first"]
    trained(23)
    assert why() == []
    Job.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert retraining.queue_when_due() == 1
    job = Job.objects.get(state="queued")
    assert job.params["score"] is True
    assert retraining.sentences(job.params) == ["The last training was asked for 25 hours ago; 24 are allowed."]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_never_a_second_one_beside_it(state: str) -> None:
    job = trained(30)
    assert why() == ["age"]
    Job.objects.filter(pk=job.pk).update(state=state)  # a person's: not queued under the word
    assert why() == []


def test_the_database_refuses_two_under_one_word() -> None:
    first = jobs.enqueue_alone(JobKind.TRAIN, "train:shop")
    assert first is not None
    assert jobs.enqueue_alone(JobKind.TRAIN, "train:shop") is None
    assert jobs.enqueue_alone(JobKind.TRAIN, "train:games") is not None
    Job.objects.filter(pk=first.pk).update(state="failed")
    assert jobs.enqueue_alone(JobKind.TRAIN, "train:shop") is not None
    assert jobs.retry(first) is False  # another is open under its word
    first.refresh_from_db()
    assert first.state == "failed"


def test_new_outcomes(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "RETRAIN_EXPOSURES": 3}
    trained(10)
    shopper, offer, now = build.shopper(), build.offer(), timezone.now()
    for hours in (1, 2, 11, -1):  # two since, one before it, one still open
        at = now - timedelta(hours=hours)
        Exposure.objects.create(shopper=shopper, offer=offer, exposed_at=at - timedelta(days=3), window_ends_at=at)
    assert why() == []
    Exposure.objects.create(shopper=shopper, offer=offer, exposed_at=now, window_ends_at=now - timedelta(hours=3))
    assert why() == ["exposures"]
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "RETRAIN_EXPOSURES": 0}
    assert why() == []


def test_drift_is_asked_of_whoever_watches(caplog: pytest.LogCaptureFixture) -> None:
    last = trained(10)
    asked: list[Any] = []

    def findings(population: str, since: Any) -> list[Sentence]:
        asked.append((population, since))
        return [Sentence("the price of views rose")]

    def broken(population: str, since: Any) -> list[Sentence]:
        raise ValueError

    retraining.register_drift("broken", broken)
    retraining.register_drift("features", findings)
    assert why() == ["drift"]
    last.refresh_from_db()
    assert asked == [("shop", last.created_at)]
    assert "drift could not be asked of broken" in caplog.text


def test_calibration_that_got_worse() -> None:
    trained(10)
    now = timezone.now().isoformat()
    version = registry.register(
        ModelVersion(task="response", estimator="x", cutoff_at=timezone.now(), path="x", sha256="0" * 64, size_bytes=1)
    )
    registry.promote(version)

    def told(ece: float | None, until: str) -> list[str]:
        live = {"rows": 900, "ece": ece, "ece_null": 0.02, "until": until}
        ModelVersion.objects.filter(pk=version.pk).update(metrics={"live": live})
        return why()

    assert told(0.05, now) == ["calibration"]
    assert told(0.04, now) == []
    assert told(None, now) == []
    assert told(0.05, (timezone.now() - timedelta(hours=11)).isoformat()) == []  # known before the last training


def test_after_a_training_there_is_a_pause(settings: Any) -> None:
    retraining.register_drift("features", lambda population, since: [Sentence("it drifts all the time")])
    trained(5)
    assert why() == []
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "RETRAIN_PAUSE_HOURS": 4}
    assert why() == ["drift"]


def test_rows_are_counted_once_an_hour() -> None:
    retraining.register_drift("features", lambda population, since: [Sentence("it drifts")])
    trained(10)
    cache.clear()
    assert retraining.queue_when_due() == 1
    Job.objects.filter(state="queued").delete()
    assert retraining.queue_when_due() == 0


def test_without_enough_data_or_switched_off_nothing_is_queued(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "TRAIN_EVERY_HOURS": 0}
    assert why() == []
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "TRAIN_EVERY_HOURS": 24}
    assert why() == ["first"]
    monkeypatch.setattr(retraining, "readiness", lambda population: Readiness(0, 0, 0, 0, 0, 0, False, False))
    assert why() == []


def test_a_job_that_a_person_asked_for_has_no_reasons() -> None:
    for params in ({}, None, {"reasons": "x"}, {"reasons": [1, {"code": "x"}]}):
        assert retraining.sentences(params) == []
