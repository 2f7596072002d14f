"""The queue is a table: enqueue a row, take it under a lease, beat its heart, finish it under the fencing token.

Attempts are counted before the work begins, so that a job that kills its worker is quarantined after three.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from personalization.exceptions import LeaseLost
from personalization.learning import sentences, wordings
from personalization.learning.sentences import Said, Sentence
from personalization.models import Job
from personalization.types import JobKind, JobState

LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
ERROR, STAGE = "error", "stage"
"""Where a failed job's result holds why, and a running one's what it is doing."""
OPEN = (JobState.QUEUED.value, JobState.RUNNING.value)


def enqueue(
    kind: JobKind, params: dict[str, Any] | None = None, *, by: Any = None, cutoff_at: datetime | None = None
) -> Job:
    """Queue a job because something has changed; an identical one that still waits is returned instead.

    One that runs already may have read what was there before the change: another is queued behind it.
    """
    return _queued_once(_Same(kind.value, params or {}, cutoff_at), (JobState.QUEUED.value,), by)[0]


def ask(
    kind: JobKind, params: dict[str, Any] | None = None, *, by: Any = None, cutoff_at: datetime | None = None
) -> tuple[Job, bool]:
    """Queue a job because somebody, or the clock, wants it done; return it, and whether it was queued just now.

    Whoever asks twice (a button pressed again) gets the identical job that waits or runs, and False.
    """
    return _queued_once(_Same(kind.value, params or {}, cutoff_at), OPEN, by)


@dataclass(frozen=True, slots=True)
class _Same:
    """What makes two jobs the same work."""

    kind: str
    params: dict[str, Any]
    cutoff_at: datetime | None

    def jobs(self, states: Collection[str]) -> QuerySet[Job]:
        """Return such jobs in these states, the oldest first."""
        same = Job.objects.filter(kind=self.kind, params=self.params, cutoff_at=self.cutoff_at)
        return same.filter(state__in=states).order_by("created_at", "pk")

    def hold(self) -> None:
        """Let nobody else queue the same until the transaction ends.

        There is no row to lock while there is none. On SQLite a transaction holds the whole database already.
        """
        if connection.vendor == "postgresql":
            text = json.dumps([self.kind, self.params, str(self.cutoff_at)], sort_keys=True)
            key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])


def _queued_once(same: _Same, states: Collection[str], by: Any) -> tuple[Job, bool]:
    """Return the oldest of the same jobs in these states, else one that is queued now; and whether it was."""
    with transaction.atomic():
        same.hold()
        found = same.jobs(states).first()
        if found is not None:
            return found, False
        made = Job.objects.create(kind=same.kind, params=same.params, cutoff_at=same.cutoff_at, requested_by=by)
        return made, True


def enqueue_alone(
    kind: JobKind,
    alone: str,
    params: dict[str, Any] | None = None,
    *,
    by: Any = None,
    cutoff_at: datetime | None = None,
) -> Job | None:
    """Queue a job unless one under the same word waits or runs; None then. The partial unique index decides races."""
    try:
        with transaction.atomic():
            if Job.objects.filter(alone=alone, state__in=OPEN).exists():
                return None
            return Job.objects.create(
                kind=kind.value, params=params or {}, requested_by=by, alone=alone, cutoff_at=cutoff_at
            )
    except IntegrityError:
        return None


def at_work(rows: QuerySet[Job], now: datetime) -> QuerySet[Job]:
    """Return those of these jobs that a worker is at: they run, and their lease is alive."""
    return rows.filter(state=JobState.RUNNING.value, lease_expires_at__gt=now)


def still_open(kind: JobKind) -> QuerySet[Job]:
    """Return the jobs of this kind that wait or run, the oldest first."""
    return Job.objects.filter(kind=kind.value, state__in=OPEN).order_by("created_at", "pk")


def last_asked(kind: JobKind) -> datetime | None:
    """Return when a job of this kind was queued last; None if never."""
    return Job.objects.filter(kind=kind.value).order_by("-created_at").values_list("created_at", flat=True).first()


def owner(process: int | None = None) -> str:
    """Return who a process on this machine is, for the rows that it holds; this one if none is given."""
    return f"{socket.gethostname()}:{process or os.getpid()}"


def lease(owner: str, job_id: int | None = None) -> Job | None:
    """Take the oldest queued job (or this one) for ``owner``; None if there is none to take.

    The conditional UPDATE decides between workers. The attempt is counted here, before any work.
    """
    waiting = Job.objects.filter(state=JobState.QUEUED.value)
    if job_id is not None:
        waiting = waiting.filter(pk=job_id)
    for pk in list(waiting.order_by("created_at", "pk").values_list("pk", flat=True)[:20]):
        now = timezone.now()
        taken = Job.objects.filter(pk=pk, state=JobState.QUEUED.value).update(
            state=JobState.RUNNING.value,
            attempts=F("attempts") + 1,
            fence=F("fence") + 1,
            lease_owner=owner,
            lease_expires_at=now + LEASE,
            started_at=now,
            progress=0,
            stage="",
            error="",
        )
        if taken:
            return Job.objects.get(pk=pk)
    return None


def heartbeat(job: Job, *, progress: float | None = None, stage: Said | None = None) -> None:
    """Extend the lease and show progress; raises LeaseLost if the job is no longer ours.

    The stage is worded for whoever reads it; in English for logs.
    """
    changes: dict[str, Any] = {"lease_expires_at": timezone.now() + LEASE}
    if progress is not None:
        changes["progress"] = min(max(progress, 0.0), 1.0)
    if stage is not None:
        changes |= {"stage": sentences.in_english(stage)[:200], "result": {STAGE: sentences.of(stage).stored()}}
    if not _ours(job).update(**changes):
        raise LeaseLost


def finish(job: Job, result: dict[str, Any]) -> None:
    """Mark the job done. Call it in the transaction that publishes its effect: LeaseLost undoes both."""
    _end(job, JobState.SUCCEEDED, result=result, progress=1.0)


def fail(job: Job, error: Said) -> None:
    """Mark the job failed with a sentence for people: worded for whoever reads it, in English for logs."""
    result = {ERROR: sentences.of(error).stored()}
    _end(job, JobState.FAILED, error=sentences.in_english(error)[:4000], result=result)


def error_of(job: Job) -> str:
    """Return why a job ended badly, in the reader's language; empty where it did not."""
    return _worded(job, ERROR, job.error)


def stage_of(job: Job) -> str:
    """Return what a job is doing, in the reader's language; empty where nothing is told."""
    return _worded(job, STAGE, job.stage)


def _worded(job: Job, name: str, text: str) -> str:
    said = sentences.read(job.result.get(name)) if isinstance(job.result, dict) and text else None
    return str(said or Sentence(text))


def _end(job: Job, state: JobState, **changes: Any) -> None:
    if not _ours(job).update(state=state.value, finished_at=timezone.now(), lease_expires_at=None, **changes):
        raise LeaseLost


def _ours(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk, fence=job.fence, state=JobState.RUNNING.value)


def abandon(job: Job) -> None:
    """Say that the process doing this job is gone: the next sweep queues it again, the attempt counted."""
    _ours(job).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def asked_since(kind: JobKind, moment: datetime) -> bool:
    """Return whether a job of this kind has been queued since."""
    return Job.objects.filter(kind=kind.value, created_at__gte=moment).exists()


def leased(job_id: int, fence: int) -> Job | None:
    """Return the running job if it is still held under this fencing token."""
    return Job.objects.filter(pk=job_id, fence=fence, state=JobState.RUNNING.value).first()


def hand_back(job: Job) -> None:
    """Queue a job again that its worker had to leave (shutdown): the attempt does not count."""
    _ours(job).update(
        state=JobState.QUEUED.value,
        attempts=F("attempts") - 1,
        fence=F("fence") + 1,
        lease_owner="",
        lease_expires_at=None,
    )


def sweep(now: datetime | None = None) -> int:
    """Queue jobs whose lease has run out again; after the third attempt set them aside."""
    overdue = Job.objects.filter(state=JobState.RUNNING.value, lease_expires_at__lt=now or timezone.now())
    aside = overdue.filter(attempts__gte=MAX_ATTEMPTS).update(
        state=JobState.QUARANTINED.value,
        fence=F("fence") + 1,
        finished_at=timezone.now(),
        error=wordings.DIED,
    )
    again = overdue.filter(attempts__lt=MAX_ATTEMPTS)  # one abandoned just now waits for the next sweep
    requeued = again.update(state=JobState.QUEUED.value, fence=F("fence") + 1, lease_owner="", lease_expires_at=None)
    return aside + requeued


def cancel(job: Job) -> bool:
    """Cancel a job that waits or runs; a running one stops at its next heartbeat and publishes nothing."""
    return bool(
        Job.objects.filter(pk=job.pk, state__in=OPEN).update(
            state=JobState.CANCELLED.value,
            fence=F("fence") + 1,
            finished_at=timezone.now(),
            lease_expires_at=None,
        )
    )


def retry(job: Job) -> bool:
    """Queue a job that failed, was cancelled or set aside once more, with fresh attempts.

    False while the same work is open in another job, or one that has to be alone under its word.
    """
    ended = [JobState.FAILED.value, JobState.CANCELLED.value, JobState.QUARANTINED.value]
    same = _Same(job.kind, job.params, job.cutoff_at)
    try:
        with transaction.atomic():
            same.hold()
            if same.jobs(OPEN).exists():
                return False
            return bool(
                Job.objects.filter(pk=job.pk, state__in=ended).update(
                    state=JobState.QUEUED.value,
                    attempts=0,
                    fence=F("fence") + 1,
                    progress=0,
                    stage="",
                    error="",
                    finished_at=None,
                )
            )
    except IntegrityError:
        return False
