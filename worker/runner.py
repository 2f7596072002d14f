"""Run one job in this process: take the lease, beat its heart in the background, work, end it under the fence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, close_old_connections

from personalization.exceptions import LeaseLost, PersonalizationError
from personalization.learning import handlers, jobs, shards
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.publish import Superseded
from personalization.learning.sentences import Said, Sentence, of_error
from personalization.pure.redaction import redact
from personalization.types import JobKind, JobState
from worker import forecast, score, scratch, shadow, train, tune
from worker.pulse import Pulse

logger = logging.getLogger(__name__)
THROTTLE_SECONDS = 0.5
HANDLERS: dict[str, Callable[..., Any]] = {
    JobKind.TRAIN.value: train.run,
    JobKind.SCORE.value: score.run,
    JobKind.FORECAST.value: forecast.run,
    JobKind.SHADOW.value: shadow.run,
    JobKind.TUNE.value: tune.run,
}


class Heart(Pulse):
    """Beats for a job while the work runs, and shows how far it is."""

    def __init__(self, job: Job, show: Stage | None) -> None:
        super().__init__(lambda: jobs.heartbeat(job), f"{job}")
        self._job, self._show = job, show
        self._last = 0.0
        self._furthest = 0.0

    def stage(self, what: Said, done: float) -> None:
        """Show progress; raises LeaseLost if the job is no longer ours."""
        self.check()
        done = self._furthest = max(done, self._furthest)  # a part that starts over takes nothing back
        if self._show is not None:
            self._show(what, done)
        if time.monotonic() - self._last >= THROTTLE_SECONDS:
            self._last = time.monotonic()
            jobs.heartbeat(self._job, progress=done, stage=what)


def run_job(job: Job, progress: Stage | None = None) -> Job:
    """Run a queued job here and now and return its row; a job that somebody else took is returned as it is."""
    leased = jobs.lease(jobs.owner(), job.pk)
    if leased is not None:
        work(leased, progress)
    job.refresh_from_db()
    return job


def work(job: Job, progress: Stage | None = None) -> None:
    """Do a leased job's work and end it: succeeded, failed with a sentence, or left to whoever holds it now."""
    close_old_connections()
    scratch.sweep()
    heart = Heart(job, progress)
    with heart:
        try:
            _handler(job)(job, job.params, heart.stage, until=job.cutoff_at)
        except LeaseLost:
            logger.warning("job %s was taken away or cancelled; nothing of it is kept", job.pk)
        except PersonalizationError as error:
            _fail(job, of_error(error))
        except (KeyboardInterrupt, SystemExit):
            jobs.hand_back(job)
            raise
        except Exception as error:
            logger.exception("job %s failed", job.pk)
            _fail(job, Sentence(words.UNEXPECTED, {"error": _told(error)}))


def help_out(score_set_id: int) -> int:
    """Take parts of a scoring that another worker leads; returns how many were done here."""
    close_old_connections()
    score_set = shards.building(score_set_id)
    if score_set is None:
        return 0
    try:
        return score.join(score_set)
    except (LeaseLost, Superseded):
        logger.warning("%s was finished, overtaken or given up meanwhile", score_set)
        return 0


def _handler(job: Job) -> Callable[..., Any]:
    """Return who does jobs of this kind: the worker's own estimators first, then what the app registered."""
    handler = HANDLERS.get(job.kind) or handlers.get(job.kind)
    if handler is None:
        raise PersonalizationError(words.NO_HANDLER)
    return handler


def _told(error: Exception) -> str:
    """Return an error for the job's page: a database quotes the row that it refused, so of its errors only the name."""
    name = type(error).__name__
    return name if isinstance(error, DatabaseError) else redact(f"{name}: {error}")


def _fail(job: Job, message: Sentence) -> None:
    try:
        jobs.fail(job, message)
    except LeaseLost:
        logger.warning("job %s failed after it was taken away: %s", job.pk, message)


def ended_well(job: Job) -> bool:
    """Return whether the job succeeded."""
    return job.state == JobState.SUCCEEDED.value
