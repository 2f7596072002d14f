"""A command that is stopped: its job is nobody's any more, or goes on, and the console says which."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from personalization.learning import jobs
from personalization.models import Job
from personalization.types import JobKind
from worker import runner
from worker.management import here
from worker.management.here import STOPPED, run_here

pytestmark = pytest.mark.django_db


def pressed() -> None:
    raise KeyboardInterrupt


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    raise AssertionError("nothing happened")


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch, in_one_transaction: None) -> Callable[[Callable[[], None]], Job]:
    """Return a function that queues a job in whose midst the given thing happens."""

    def queue(happens: Callable[[], None]) -> Job:
        def handler(job: Job, params: Any, stage: Any, *, until: Any) -> None:
            happens()
            jobs.finish(job, {"n": 1})

        monkeypatch.setitem(runner.HANDLERS, JobKind.TRAIN.value, handler)
        return jobs.enqueue(JobKind.TRAIN)

    return queue


@pytest.mark.parametrize("stopped", [pressed, terminated])
@pytest.mark.parametrize(("goes_on", "state"), [(False, "cancelled"), (True, "queued")])
def test_whoever_stops_a_command_stops_its_job(
    stopped: Callable[[], None],
    goes_on: bool,
    state: str,
    queued: Callable[[Callable[[], None]], Job],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job, before = queued(stopped), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_here(job, "Training", "Nothing is kept.", goes_on=goes_on)
    job.refresh_from_db()
    assert (ended.value.code, job.state) == (STOPPED, state)
    assert capsys.readouterr().err == "Stopped. Nothing is kept.\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("stopped", [pressed, terminated])
def test_a_job_that_ended_a_moment_before_is_not_said_to_have_left_nothing(
    stopped: Callable[[], None],
    queued: Callable[[Callable[[], None]], Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the training published is live: who reads that nothing was would train again."""
    job = queued(lambda: None)

    def run_to_the_end(job: Job, progress: Any) -> None:
        runner.run_job(job, progress)
        stopped()

    monkeypatch.setattr(here, "run_job", run_to_the_end)
    with pytest.raises(SystemExit):
        run_here(job, "Training", "Nothing is kept.")
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert capsys.readouterr().err == "Stopped. The job had ended already: what it did stands.\n"


def test_a_command_that_nobody_stops_ends_well(queued: Callable[[Callable[[], None]], Job]) -> None:
    assert run_here(queued(lambda: None), "Training").result == {"n": 1}
