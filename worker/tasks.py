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

from personalization.learning import chores, jobs, retraining, shadow

logger = logging.getLogger(__name__)
DEADLINE_SECONDS = 6 * 3600
POLL_SECONDS = 1.0


@shared_task(name="worker.tasks.run_next_job", ignore_result=True)
def run_next_job() -> int | None:
    """Take the oldest queued job and run it in a process of its own; returns its id."""
    close_old_connections()
    jobs.sweep()
    job = jobs.lease(f"celery:{os.getpid()}")
    if job is None:
        return None
    command = [sys.executable, "-m", "django", "run_job", str(job.pk), "--fence", str(job.fence)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                process.kill()
                logger.error("job %s was killed at its deadline", job.pk)
    except BaseException:
        process.terminate()
        raise
    if process.returncode != 0:
        logger.error("the process of job %s ended with %s", job.pk, process.returncode)
        jobs.abandon(job)
    return job.pk


@shared_task(name="worker.tasks.tick", ignore_result=True)
def tick() -> dict[str, int]:
    """The chores of every minute: reservations, campaigns, outcomes; training and shadow when they are due."""
    close_old_connections()
    done = chores.run_all()
    done["queued"] = retraining.queue_when_due() + shadow.queue_daily()
    return done
