"""The worker's tasks: poll, lease, run in a process of its own, and train when it is due."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.utils import timezone

from personalization.learning import chores, jobs, publish, registry, retraining, shards
from personalization.learning.readiness import Readiness
from personalization.models import Job, ModelVersion, ScoreSet, ScoreShard
from personalization.types import JobKind
from worker import tasks
from worker.celery import BEAT_SCHEDULE, app

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "close_old_connections", lambda: None)
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.01)


class Process:
    """Stands in for the child: remembers how it was started, ends as told."""

    def __init__(self, returncode: int | None) -> None:
        self.returncode, self.command, self.killed = returncode, [""], 0
        self.pid = 4711

    def __call__(self, command: list[str], **kwargs: Any) -> Process:
        self.command = command
        return self

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed += 1
        self.returncode = -9

    def terminate(self) -> None:
        self.killed += 1


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Process:
    process = Process(0)
    monkeypatch.setattr(subprocess, "Popen", process)
    return process


def test_an_empty_queue_is_no_work(child: Process) -> None:
    assert tasks.run_next_job() is None
    assert child.command == [""]


def test_a_job_runs_in_a_process_of_its_own_under_its_token(child: Process) -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    assert tasks.run_next_job() == job.pk
    assert child.command == [sys.executable, "-m", "django", "run_job", str(job.pk), "--fence", "1"]


def test_a_process_that_dies_gives_its_job_back_at_once(child: Process) -> None:
    child.returncode = -11
    job = jobs.enqueue(JobKind.TRAIN)
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        assert tasks.run_next_job() == job.pk
        job.refresh_from_db()
        assert job.attempts == attempt
    assert tasks.run_next_job() is None
    job.refresh_from_db()
    assert job.state == "quarantined"


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> ScoreSet:
    """A scoring that another worker leads, with two parts to take."""
    monkeypatch.setattr(shards, "WORTH_JOINING", 2)
    monkeypatch.setattr(tasks, "_left_alone", set())
    jobs.enqueue(JobKind.SCORE)
    job = jobs.lease("leader")
    assert job is not None
    made = publish.begin("shop", job, response=None, strategy=None, preference=None)
    shards.plan(made, [3, 5], 1)
    return made


def test_a_worker_without_a_job_helps_with_another_ones(child: Process, building: ScoreSet) -> None:
    assert tasks.run_next_job() == building.job_id
    assert child.command == [sys.executable, "-m", "django", "run_job", str(building.pk), "--help-out"]


def test_a_queued_job_comes_before_helping(child: Process, building: ScoreSet) -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    assert tasks.run_next_job() == job.pk


def test_who_fails_at_helping_puts_its_part_back_and_does_not_try_again(
    child: Process, building: ScoreSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "WORTH_JOINING", 1)
    child.returncode = -9
    shards.take(building, jobs.owner(child.pid), leads=False)
    assert tasks.run_next_job() == building.job_id
    assert not ScoreShard.objects.filter(state="taken").exists()
    assert tasks.run_next_job() is None


def test_a_process_past_its_deadline_is_killed(child: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    child.returncode = None
    monkeypatch.setattr(tasks, "DEADLINE_SECONDS", 0)
    jobs.enqueue(JobKind.TRAIN)
    tasks.run_next_job()
    assert child.killed == 1


def test_a_worker_that_is_stopped_takes_its_child_along(child: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(seconds: float) -> None:
        raise SystemExit

    child.returncode = None
    monkeypatch.setattr(tasks.time, "sleep", stop)
    jobs.enqueue(JobKind.TRAIN)
    with pytest.raises(SystemExit):
        tasks.run_next_job()
    assert child.killed == 1


def test_every_minute_it_looks_whether_training_and_shadow_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "_CHORES", {"release": lambda: 2})
    assert tasks.tick() == {"release": 2, "queued": 0}  # there is nothing to learn from
    monkeypatch.setattr(retraining, "readiness", lambda population: Readiness(0, 0, 0, 0, 0, 0, True, False))
    assert tasks.tick()["queued"] == 1
    job = Job.objects.get()
    assert (job.kind, job.params["score"], job.params["population"]) == ("train", True, "shop")
    assert tasks.tick()["queued"] == 0
    Job.objects.update(state="succeeded")
    version = ModelVersion.objects.create(
        task="response", estimator="x", cutoff_at=timezone.now(), path="x", sha256="0" * 64, size_bytes=1
    )
    registry.promote(version)
    assert tasks.tick()["queued"] == 1
    assert Job.objects.filter(kind="shadow", state="queued").count() == 1
    assert tasks.tick()["queued"] == 0  # asked for a moment ago


def test_what_beats_is_known_to_the_worker() -> None:
    """A schedule that names a task nobody registered would fail silently for ever."""
    app.finalize(auto=True)
    assert {entry["task"] for entry in BEAT_SCHEDULE.values()} <= set(app.tasks)
    for entry in BEAT_SCHEDULE.values():
        assert entry["options"]["expires"] <= entry["schedule"]


def test_the_worker_itself_imports_no_torch() -> None:
    """Neither its tasks nor the app that finds them: a job's process does."""
    code = (
        "import django, sys; django.setup(); import worker.tasks, worker.celery; "
        "worker.celery.app.loader.import_default_modules(); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
