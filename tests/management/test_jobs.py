"""Two at the same: a command says who is at a job already, and takes up what a process that died has left."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from personalization.learning import jobs
from personalization.models import Job
from personalization.types import JobKind

pytestmark = pytest.mark.django_db


@pytest.fixture
def held() -> Job:
    """Return the job that ``monitor`` would do, in somebody else's hands."""
    job, _new = jobs.ask(JobKind.MONITOR, {"population": "shop"})
    assert jobs.lease("elsewhere:7", job.pk) is not None
    return job


def test_what_is_being_done_is_not_done_again(held: Job) -> None:
    told = f"{held} is being done already, by elsewhere:7. If that process has died, its lease ends within a minute"
    with pytest.raises(CommandError, match=told):
        call_command("monitor")
    assert Job.objects.get().state == "running"


def test_what_a_process_that_died_has_left_is_taken_up(held: Job) -> None:
    Job.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    call_command("monitor")
    job = Job.objects.get()
    assert (job.pk, job.state, job.attempts) == (held.pk, "succeeded", 2)
