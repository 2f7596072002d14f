"""A job that a command does in its own process, and what becomes of it when somebody stops the command."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from personalization.learning import jobs
from personalization.learning.jobs import Job
from personalization.management.progress import progress_bar
from worker.runner import run_job

STOPPED = 130
"""The exit status of a command that was stopped, as shells have it."""
ENDED = "The job had ended already: what it did stands."


def run_here(
    job: Job, title: str, kept: str = "Nothing of it is kept, and nothing was published.", *, goes_on: bool = False
) -> Job:
    """Run a queued job under a progress bar and return its row.

    Ctrl-C or SIGTERM says what is ``kept`` and ends the process. The job is cancelled, so that no worker does what
    somebody at a console has stopped, unless it ``goes_on``. A process that is killed can cancel nothing: its job is a
    worker's a minute later. Where the job had just ended, what it did stands, and that is said.
    """
    try:
        with _terminable(), progress_bar(title) as show:
            return run_job(job, show)
    except KeyboardInterrupt:
        if not goes_on and not jobs.cancel(job):
            kept = ENDED
        sys.stderr.write(f"Stopped. {kept}\n")
        raise SystemExit(STOPPED) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does. Only a process's main thread hears of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*args: Any) -> None:
    raise KeyboardInterrupt
