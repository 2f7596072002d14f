"""One job, run here and now: it ends under its lease, with a sentence, or is left to whoever holds it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.learning import handlers, jobs
from personalization.models import Job, Shopper
from personalization.types import JobKind
from worker import pulse, runner, scratch
from worker.runner import Heart, run_job, work

pytestmark = pytest.mark.django_db
Work = Callable[[Job, Any], Any]


@pytest.fixture
def doing(monkeypatch: pytest.MonkeyPatch, in_one_transaction: None) -> Callable[[Work], Job]:
    """Return a function that queues a job whose work is the given one."""

    def queue(done: Work) -> Job:
        def handler(job: Job, params: Any, stage: Any, *, until: Any) -> Any:
            return done(job, stage)

        monkeypatch.setitem(runner.HANDLERS, JobKind.TRAIN.value, handler)
        return jobs.enqueue(JobKind.TRAIN)

    return queue


def test_a_job_that_finishes_itself_succeeds(doing: Callable[[Work], Job]) -> None:
    told: list[tuple[str, float]] = []

    def good(job: Job, stage: Any) -> None:
        stage("halfway", 0.5)
        jobs.finish(job, {"n": 1})

    job = run_job(doing(good), lambda what, done: told.append((str(what), done)))
    assert (job.state, job.result, job.attempts) == ("succeeded", {"n": 1}, 1)
    assert runner.ended_well(job)
    assert told == [("halfway", 0.5)]
    assert job.lease_owner == jobs.owner()


def test_a_job_begins_by_removing_what_a_killed_one_left(
    doing: Callable[[Work], Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{scratch.PREFIX}left").mkdir()

    def look(job: Job, stage: Any) -> None:
        jobs.finish(job, {"found": [path.name for path in tmp_path.iterdir()]})

    assert run_job(doing(look)).result == {"found": []}


def test_progress_is_shown_but_not_too_often(doing: Callable[[Work], Job]) -> None:
    rows: list[str] = []

    def busy(job: Job, stage: Any) -> None:
        for step in range(100):
            stage(f"step {step}", step / 100)
            rows.append(Job.objects.get(pk=job.pk).stage)
        jobs.finish(job, {})

    run_job(doing(busy))
    assert rows[0] == "step 0"
    assert len(set(rows)) < 50


def test_a_known_error_is_told_in_its_own_words(doing: Callable[[Work], Job]) -> None:
    def poor(job: Job, stage: Any) -> None:
        raise NotEnoughData("312 of 5,000 exposures.")

    job = run_job(doing(poor))
    assert (job.state, job.error) == ("failed", "312 of 5,000 exposures.")
    assert not runner.ended_well(job)


def test_an_unknown_error_is_marked_and_logged(doing: Callable[[Work], Job], caplog: pytest.LogCaptureFixture) -> None:
    def broken(job: Job, stage: Any) -> None:
        raise ZeroDivisionError("division by zero")

    job = run_job(doing(broken))
    assert job.state == "failed"
    assert job.error == "Unexpected: ZeroDivisionError: division by zero. The worker’s log has the details."
    assert "Traceback" in caplog.text


def test_a_cancelled_job_stays_cancelled(doing: Callable[[Work], Job]) -> None:
    reached: list[str] = []

    def cancelled(job: Job, stage: Any) -> None:
        jobs.cancel(job)
        stage("next", 0.5)
        reached.append("next")

    job = run_job(doing(cancelled))
    assert (job.state, job.error, reached) == ("cancelled", "", [])


def test_an_error_after_the_lease_was_lost_is_only_logged(
    doing: Callable[[Work], Job], caplog: pytest.LogCaptureFixture
) -> None:
    def late(job: Job, stage: Any) -> None:
        jobs.cancel(job)
        raise ValueError("too late")

    assert run_job(doing(late)).state == "cancelled"
    assert "after it was taken away" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_worker_that_is_stopped_hands_its_job_back(stop: type[BaseException], doing: Callable[[Work], Job]) -> None:
    def stopped(job: Job, stage: Any) -> None:
        raise stop

    job = doing(stopped)
    with pytest.raises(stop):
        run_job(job)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("queued", 0)


def test_a_job_that_somebody_else_took_is_left_alone(doing: Callable[[Work], Job]) -> None:
    def wrong(job: Job, stage: Any) -> None:
        raise AssertionError("this is somebody else's work")

    job = doing(wrong)
    jobs.lease("somebody else", job.pk)
    assert run_job(job).lease_owner == "somebody else"
    assert job.state == "running"


def test_every_kind_of_job_has_its_work() -> None:
    assert [kind for kind in JobKind if kind.value not in runner.HANDLERS and handlers.get(kind.value) is None] == []


def test_a_kind_that_the_worker_does_not_know_is_done_by_whoever_registered_it(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_HANDLERS", {})
    done = runner.run_job(jobs.enqueue(JobKind.CODES, {"batch": 1}))
    assert done.error == "Nobody does jobs of this kind here."
    handlers.register(JobKind.CODES, lambda job, params, stage, until: jobs.finish(job, {"did": params["batch"]}))
    assert runner.run_job(jobs.enqueue(JobKind.CODES, {"batch": 2})).result == {"did": 2}


def test_a_process_runs_only_what_it_holds(doing: Callable[[Work], Job]) -> None:
    def good(job: Job, stage: Any) -> None:
        jobs.finish(job, {})

    job = doing(good)
    taken = jobs.lease("celery", job.pk)
    assert taken is not None
    with pytest.raises(CommandError, match="not leased under that token any more"):
        call_command("run_job", str(job.pk), "--fence", str(taken.fence - 1))
    call_command("run_job", str(job.pk), "--fence", str(taken.fence))
    job.refresh_from_db()
    assert job.state == "succeeded"
    with pytest.raises(CommandError):
        call_command("run_job", str(job.pk), "--fence", str(taken.fence))


def test_helping_with_what_is_over_is_no_work(in_one_transaction: None) -> None:
    call_command("run_job", "4711", "--help-out")
    with pytest.raises(CommandError, match="--fence"):
        call_command("run_job", "4711")


@pytest.mark.django_db(transaction=True)
def test_the_heart_beats_beside_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.05)
    jobs.enqueue(JobKind.TRAIN)
    job = jobs.lease("one")
    assert job is not None
    later = Job.objects.filter(pk=job.pk, lease_expires_at__gt=job.lease_expires_at)
    with Heart(job, None):
        _wait(later.all().exists)


@pytest.mark.django_db(transaction=True)
def test_a_lost_lease_stops_the_work_at_its_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(runner, "THROTTLE_SECONDS", 3600.0)  # only the beat may notice
    jobs.enqueue(JobKind.TRAIN)
    job = jobs.lease("one")
    assert job is not None
    with Heart(job, None) as heart:
        heart.stage("first", 0.1)
        jobs.cancel(job)
        _wait(heart._lost.is_set)
        with pytest.raises(LeaseLost):
            heart.stage("second", 0.2)


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_fails_does_not_stop_the_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away for two beats: the lease outlives them."""
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.02)
    calls: list[int] = []
    real = jobs.heartbeat

    def sometimes(job: Job, **changes: Any) -> None:
        calls.append(1)
        if len(calls) <= 2:
            raise OSError("no route to the database")
        real(job, **changes)

    jobs.enqueue(JobKind.TRAIN)
    job = jobs.lease("one")
    assert job is not None
    monkeypatch.setattr(jobs, "heartbeat", sometimes)
    with Heart(job, None) as heart:
        _wait(lambda: len(calls) >= 4)
        assert not heart._lost.is_set()


def test_an_orphan_stops(doing: Callable[[Work], Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that started this process is gone: nobody would supervise it any more."""

    def orphaned(job: Job, stage: Any) -> None:
        monkeypatch.setattr(pulse.os, "getppid", lambda: 1)
        stage("next", 0.5)

    job = doing(orphaned)
    taken = jobs.lease("one", job.pk)
    assert taken is not None
    monkeypatch.setattr(pulse.os, "getppid", lambda: 4711)
    work(taken)
    job.refresh_from_db()
    assert job.state == "running"  # until its lease runs out


def _wait(until: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_jobs_note_quotes_nobodys_data(doing: Callable[[Work], Job]) -> None:
    """A database quotes the row that it refused, a library the address that it could not reach."""
    ada = Shopper.objects.create()

    def twice(job: Job, stage: Any) -> None:
        with transaction.atomic():
            Shopper.objects.create(pk=ada.pk, attributes={"city": "Geheimdorf"})

    def unreachable(job: Job, stage: Any) -> None:
        raise RuntimeError("nobody answers at ada@example.org")

    assert run_job(doing(twice)).error == "Unexpected: IntegrityError. The worker’s log has the details."
    job = run_job(doing(unreachable))
    assert job.error == "Unexpected: RuntimeError: nobody answers at [hidden]. The worker’s log has the details."
    assert "ada" not in str(job.result)
