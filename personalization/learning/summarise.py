"""The job that summarises shoppers, and the chore that queues it once a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from personalization import conf
from personalization.features import summaries
from personalization.learning import jobs
from personalization.learning.handlers import Stage
from personalization.models import Job
from personalization.types import JobKind

EVERY = timedelta(hours=24)


def run(job: Job, params: dict[str, Any], stage: Stage, until: datetime | None = None) -> int:
    """Do a queued job. Its moment is when it was queued, so that a second attempt goes on with the first one's."""
    population = str(params.get("population") or conf.get().population)
    count = summaries.refresh(population, until or job.created_at, stage)
    jobs.finish(job, {"population": population, "shoppers": count})
    return count


def queue_daily(now: datetime | None = None) -> int:
    """Queue a summary of the shop's own shoppers once a day; returns how many were queued."""
    if jobs.asked_since(JobKind.SUMMARY, (now or timezone.now()) - EVERY):
        return 0
    return int(jobs.ask(JobKind.SUMMARY, {"population": conf.get().population})[1])
