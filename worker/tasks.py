"""Celery tasks: thin and idempotent. The rows are the truth; a task is the wake-up call.

The worker's own process never imports torch: a job runs in a process of its own, which may crash, be killed at its
deadline, or use CUDA, without harm to the worker.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

from celery import shared_task
from django.db import close_old_connections

from personalization.learning import chores, jobs, retraining, shadow, shards

logger = logging.getLogger(__name__)
DEADLINE_SECONDS = 6 * 3600
POLL_SECONDS = 1.0
_left_alone: set[int] = set()
"""Sets of scores at which a process of this worker failed: it would again."""


@shared_task(name="worker.tasks.run_next_job", ignore_result=True)
def run_next_job() -> int | None:
    """Take the oldest queued job, else parts of a scoring, and do it in a process of its own; returns the job's id."""
    close_old_connections()
    jobs.sweep()
    job = jobs.lease(f"celery:{os.getpid()}")
    if job is None:
        return _help_out()
    returncode = _supervise(f"{job}", str(job.pk), "--fence", str(job.fence))
    if returncode != 0:
        jobs.abandon(job)
    return job.pk


def _help_out() -> int | None:
    """Take parts of a scoring that another worker leads, where enough wait; returns its job."""
    score_set = shards.joinable(_left_alone)
    if score_set is None:
        return None
    if _supervise(f"{score_set}", str(score_set.pk), "--help-out") != 0:
        _left_alone.add(score_set.pk)
    return score_set.job_id


def _supervise(what: str, *arguments: str) -> int:
    """Run ``run_job`` in a process of its own, until its deadline at most; returns how it ended."""
    command = [sys.executable, "-m", "django", "run_job", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                process.kill()
                logger.error("%s was killed at its deadline", what)
    except BaseException:
        process.terminate()
        raise
    if process.returncode != 0:
        logger.error("the process of %s ended with %s", what, process.returncode)
        shards.release(jobs.owner(process.pid))
    return int(process.returncode)


@shared_task(name="worker.tasks.tick", ignore_result=True)
def tick() -> dict[str, int]:
    """The chores of every minute: reservations, campaigns, outcomes; training and shadow when they are due."""
    close_old_connections()
    done = chores.run_all()
    done["queued"] = retraining.queue_when_due() + shadow.queue_daily()
    return done
