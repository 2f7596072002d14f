"""The queue: a lease for one worker, a fence against ghosts, three attempts, and what people may do to a job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import override

from personalization.exceptions import LeaseLost
from personalization.learning import jobs, wordings
from personalization.learning.sentences import Sentence
from personalization.models import Job
from personalization.types import JobKind, JobState

pytestmark = pytest.mark.django_db
ENDED = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED]


def leased(owner: str = "one", **params: Any) -> Job:
    jobs.enqueue(JobKind.TRAIN, params)
    job = jobs.lease(owner)
    assert job is not None
    return job


def after_the_lease() -> Any:
    return timezone.now() + 2 * jobs.LEASE


def state(job: Job) -> str:
    return Job.objects.get(pk=job.pk).state


def test_an_identical_job_waits_once() -> None:
    first = jobs.enqueue(JobKind.TRAIN, {"population": "a"})
    assert jobs.enqueue(JobKind.TRAIN, {"population": "a"}) == first
    assert jobs.enqueue(JobKind.TRAIN, {"population": "b"}) != first
    assert jobs.enqueue(JobKind.SCORE, {"population": "a"}) != first
    assert jobs.enqueue(JobKind.TRAIN, {"population": "a"}, cutoff_at=timezone.now()) != first


def test_once_it_runs_the_same_may_be_queued_again() -> None:
    running = leased()
    assert jobs.enqueue(JobKind.TRAIN) != running


@pytest.mark.parametrize("running", [False, True])
def test_who_asks_twice_gets_the_job_that_is_open(running: bool) -> None:
    first, new = jobs.ask(JobKind.SCORE, {"population": "a"})
    if running:
        jobs.lease("one", first.pk)
    assert new
    assert jobs.ask(JobKind.SCORE, {"population": "a"}) == (first, False)
    assert jobs.ask(JobKind.SCORE, {"population": "b"})[1]
    assert jobs.ask(JobKind.FORECAST, {"population": "a"})[1]
    assert jobs.ask(JobKind.SCORE, {"population": "a"}, cutoff_at=timezone.now())[1]


@pytest.mark.parametrize("ended", ENDED)
def test_what_has_ended_is_asked_for_anew(ended: JobState) -> None:
    first, _new = jobs.ask(JobKind.SCORE)
    Job.objects.filter(pk=first.pk).update(state=ended.value)
    again, new = jobs.ask(JobKind.SCORE)
    assert (new, again == first) == (True, False)


def test_who_asked_is_kept() -> None:
    person = get_user_model().objects.create_user("ada")
    assert jobs.enqueue(JobKind.TRAIN, by=person).requested_by == person


def test_the_oldest_is_taken_first() -> None:
    first = jobs.enqueue(JobKind.TRAIN, {"n": 1})
    second = jobs.enqueue(JobKind.TRAIN, {"n": 2})
    Job.objects.filter(pk=second.pk).update(created_at=first.created_at - timedelta(hours=1))
    assert [jobs.lease("one"), jobs.lease("one"), jobs.lease("one")] == [second, first, None]


def test_a_lease_counts_the_attempt_before_the_work() -> None:
    job = leased("host:7")
    assert (job.state, job.attempts, job.fence, job.lease_owner) == ("running", 1, 1, "host:7")
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert timedelta(0) < job.lease_expires_at - timezone.now() <= jobs.LEASE


def test_a_certain_job_can_be_asked_for() -> None:
    jobs.enqueue(JobKind.TRAIN, {"n": 1})
    wanted = jobs.enqueue(JobKind.TRAIN, {"n": 2})
    assert jobs.lease("one", wanted.pk) == wanted
    assert jobs.lease("two", wanted.pk) is None


@pytest.mark.parametrize("ended", ENDED)
def test_an_ended_job_is_not_taken(ended: JobState) -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    Job.objects.filter(pk=job.pk).update(state=ended.value)
    assert jobs.lease("one") is None
    assert jobs.lease("one", job.pk) is None


def test_a_heartbeat_extends_the_lease_and_shows_progress() -> None:
    job = leased()
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    jobs.heartbeat(job, progress=1.7, stage="x" * 500)
    row = Job.objects.get(pk=job.pk)
    assert row.lease_expires_at is not None
    assert row.lease_expires_at > timezone.now()
    assert (row.progress, row.stage) == (1.0, "x" * 200)
    jobs.heartbeat(job)
    assert Job.objects.get(pk=job.pk).stage == "x" * 200


def test_a_stage_is_read_in_the_readers_language() -> None:
    job = leased()
    jobs.heartbeat(job, stage=Sentence(wordings.TRAINING, {"estimator": "boosting"}))
    row = Job.objects.get(pk=job.pk)
    assert row.stage == jobs.stage_of(row) == "training boosting"
    with override("zh-hans"):
        assert jobs.stage_of(row) == "正在训练 boosting"
        jobs.heartbeat(job, stage=wordings.READING)
        row = Job.objects.get(pk=job.pk)
        assert (row.stage, jobs.stage_of(row)) == ("reading", "正在读取数据")
    Job.objects.filter(pk=job.pk).update(result={}, stage="of another release")
    assert jobs.stage_of(Job.objects.get(pk=job.pk)) == "of another release"
    jobs.finish(job, {"done": True})
    assert Job.objects.get(pk=job.pk).result == {"done": True}


def test_a_living_job_is_not_swept() -> None:
    job = leased()
    assert jobs.sweep() == 0
    assert state(job) == "running"


def test_a_dead_workers_job_is_queued_again_and_its_ghost_shut_out() -> None:
    ghost = leased("ghost")
    assert jobs.sweep(after_the_lease()) == 1
    for attempt in (lambda: jobs.heartbeat(ghost), lambda: jobs.finish(ghost, {}), lambda: jobs.fail(ghost, "late")):
        with pytest.raises(LeaseLost):
            attempt()
    heir = jobs.lease("heir")
    assert heir is not None
    assert (heir.pk, heir.attempts) == (ghost.pk, 2)
    with pytest.raises(LeaseLost):  # now that the row runs again, only the token tells them apart
        jobs.finish(ghost, {"by": "ghost"})
    jobs.finish(heir, {"by": "heir"})
    row = Job.objects.get(pk=heir.pk)
    assert (row.state, row.result, row.progress, row.lease_expires_at) == ("succeeded", {"by": "heir"}, 1.0, None)


def test_without_the_token_the_ghost_would_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what the fence prevents does happen when it is not asked."""
    ghost = leased("ghost")
    jobs.sweep(after_the_lease())
    assert jobs.lease("heir") is not None
    monkeypatch.setattr(jobs, "_ours", lambda job: Job.objects.filter(pk=job.pk))
    jobs.finish(ghost, {"by": "ghost"})
    assert Job.objects.get(pk=ghost.pk).result == {"by": "ghost"}


def test_a_job_that_kills_three_workers_is_set_aside() -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        assert state(job) == "queued"
        taken = jobs.lease(f"worker {attempt}")
        assert taken is not None
        assert taken.attempts == attempt
        assert jobs.sweep(after_the_lease()) == 1
    row = Job.objects.get(pk=job.pk)
    assert row.state == "quarantined"
    assert "three times" in row.error
    assert row.finished_at is not None
    assert jobs.lease("next") is None
    assert jobs.sweep(after_the_lease()) == 0


def test_a_job_that_was_handed_back_is_not_held_against_it() -> None:
    """A worker that is shut down three times in a row does not get the job set aside."""
    job = jobs.enqueue(JobKind.TRAIN)
    for _ in range(jobs.MAX_ATTEMPTS + 1):
        taken = jobs.lease("one")
        assert taken is not None
        jobs.hand_back(taken)
        with pytest.raises(LeaseLost):
            jobs.finish(taken, {})
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.attempts, row.lease_owner, row.lease_expires_at) == ("queued", 0, "", None)


def test_only_the_holder_hands_back() -> None:
    ghost = leased("ghost")
    jobs.sweep(after_the_lease())
    assert jobs.lease("heir") is not None
    jobs.hand_back(ghost)
    row = Job.objects.get(pk=ghost.pk)
    assert (row.state, row.lease_owner, row.attempts) == ("running", "heir", 2)


@pytest.mark.parametrize("running", [False, True])
def test_a_job_that_has_not_ended_can_be_cancelled(running: bool) -> None:
    job = leased() if running else jobs.enqueue(JobKind.TRAIN)
    assert jobs.cancel(job)
    assert state(job) == "cancelled"
    with pytest.raises(LeaseLost):
        jobs.heartbeat(job)
    with pytest.raises(LeaseLost):
        jobs.finish(job, {})
    assert jobs.lease("next") is None
    assert jobs.sweep(after_the_lease()) == 0


@pytest.mark.parametrize("ended", ENDED)
def test_what_has_ended_cannot_be_cancelled(ended: JobState) -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    Job.objects.filter(pk=job.pk).update(state=ended.value)
    assert not jobs.cancel(job)
    assert state(job) == ended.value


@pytest.mark.parametrize("ended", [JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED])
def test_what_went_wrong_can_be_tried_again(ended: JobState) -> None:
    job = leased()
    Job.objects.filter(pk=job.pk).update(state=ended.value, attempts=3, error="no", finished_at=timezone.now())
    assert jobs.retry(job)
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.attempts, row.error, row.progress, row.finished_at) == ("queued", 0, "", 0, None)
    with pytest.raises(LeaseLost):
        jobs.finish(job, {})
    again = jobs.lease("two")
    assert again is not None
    assert (again.attempts, again.fence > job.fence) == (1, True)


@pytest.mark.parametrize("untouched", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
def test_what_waits_runs_or_is_done_is_not_retried(untouched: JobState) -> None:
    job = jobs.enqueue(JobKind.TRAIN)
    Job.objects.filter(pk=job.pk).update(state=untouched.value)
    assert not jobs.retry(job)
    assert state(job) == untouched.value


@pytest.mark.parametrize("running", [False, True])
def test_what_is_being_done_by_another_job_is_not_retried(running: bool) -> None:
    failed, other = leased(n=1), leased(n=2)
    jobs.fail(failed, "no luck")
    jobs.fail(other, "no luck")
    again = jobs.enqueue(JobKind.TRAIN, {"n": 1})
    if running:
        jobs.lease("two", again.pk)
    assert not jobs.retry(failed)
    assert jobs.retry(other), "nobody does that one"
    assert state(failed) == "failed"


def test_a_failure_keeps_its_sentence() -> None:
    job = leased()
    jobs.fail(job, "No orders yet. " + "x" * 5000)
    row = Job.objects.get(pk=job.pk)
    assert row.state == "failed"
    assert row.error.startswith("No orders yet.")
    assert len(row.error) == 4000
    assert row.finished_at is not None


def test_progress_outside_its_range_cannot_be_stored() -> None:
    """The constraint behind the clamp."""
    job = leased()
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(progress=1.5)
