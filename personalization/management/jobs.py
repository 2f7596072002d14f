"""Jobs that a command does itself: the one to do, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from personalization.learning import jobs
from personalization.models import Job
from personalization.types import JobKind, JobState

HELD = "If that process has died, its lease ends within a minute: try again then."


def ask_here(kind: JobKind, params: dict[str, Any], *, cutoff_at: datetime | None = None) -> Job:
    """Return the job to do here: a new one, or the identical one that is open (an earlier process may have died)."""
    jobs.sweep()
    return jobs.ask(kind, params, cutoff_at=cutoff_at)[0]


def succeeded(job: Job) -> Job:
    """Return a job that was done; CommandError says why there is nothing of it."""
    if job.state == JobState.RUNNING.value:
        raise CommandError(f"{job} is being done already, by {job.lease_owner}. {HELD}")
    if job.state != JobState.SUCCEEDED.value:
        raise CommandError(job.error or f"The job ended as {job.state}.")
    return job
