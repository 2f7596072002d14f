"""Work that rooms above ``learning`` do in a job, registered by kind: the worker runs it without knowing them.

``apps.py`` registers the handlers when Django starts, so every process that can queue a job can also do it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from personalization.exceptions import LeaseLost, PersonalizationError
from personalization.learning import jobs, wordings
from personalization.learning.sentences import Said, Sentence, of_error
from personalization.models import Job
from personalization.types import JobKind

Stage = Callable[[Said, float], None]
"""Shows what is being done and how far it is (0–1); raises LeaseLost when the job is no longer this process's."""


class Handler(Protocol):
    """Does a leased job and ends it with ``jobs.finish``; a PersonalizationError fails it with its sentence."""

    def __call__(self, job: Job, params: dict[str, Any], stage: Stage, until: datetime | None) -> Any: ...


_HANDLERS: dict[str, Handler] = {}


def register(kind: JobKind, handler: Handler) -> None:
    """Let ``handler`` do the jobs of this kind; a later registration replaces an earlier one."""
    _HANDLERS[kind.value] = handler


def get(kind: str) -> Handler | None:
    """Return who does jobs of this kind, or None when nobody does."""
    return _HANDLERS.get(kind)


def run_here(job: Job, show: Stage | None = None) -> Job:
    """Do a queued job in this process, for commands where no worker is installed, and return its row.

    Its lease is renewed whenever its handler shows a stage. Interrupted, it goes back to the queue and goes on later.
    """
    leased = jobs.lease(f"{socket.gethostname()}:{os.getpid()}", job.pk)
    if leased is not None:
        _do(leased, show)
    job.refresh_from_db()
    return job


def _do(job: Job, show: Stage | None) -> None:
    handler = get(job.kind)

    def stage(what: Said, done: float) -> None:
        jobs.heartbeat(job, progress=done, stage=what)
        if show is not None:
            show(what, done)

    try:
        if handler is None:
            raise PersonalizationError(wordings.NO_HANDLER)
        handler(job, job.params, stage, until=job.cutoff_at)
    except LeaseLost:
        return
    except PersonalizationError as error:
        jobs.fail(job, of_error(error))
    except (KeyboardInterrupt, SystemExit):
        jobs.hand_back(job)
        raise
    except Exception as error:
        jobs.fail(job, Sentence(wordings.UNEXPECTED, {"error": type(error).__name__}))
        raise
