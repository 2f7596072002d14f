"""Runs the shop and its worker as two processes beside the command, and ends both when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from django.conf import settings

HOST = "127.0.0.1"
STOP_SECONDS = 10.0
START_SECONDS = 30.0


class DidNotStart(Exception):
    """The web server ended, or did not answer in time."""


def is_free(port: int) -> bool:
    """Return whether nothing listens on this port of this machine yet."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextmanager
def worker(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one Celery worker with its scheduler; it logs into a file."""
    with log.open("ab") as output, _process([*_WORKER], output=output) as process:
        yield process


@contextmanager
def web(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the shop on this port; yields once it answers. Raises DidNotStart."""
    with _process(["-m", "django", "runserver", "--noreload", f"{HOST}:{port}"]) as process:
        deadline = time.monotonic() + START_SECONDS
        while is_free(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DidNotStart
            time.sleep(0.2)
        yield process


_WORKER = (
    *("-m", "celery", "-A", "worker", "worker", "--beat", "--queues", "default,gpu"),
    *("--concurrency", "2", "--loglevel", "INFO"),
)


@contextmanager
def _process(arguments: list[str], output: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python in a process group of its own: Ctrl-C reaches this command alone, which then ends the group."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
    )
    with ExitStack() as stack:
        stack.callback(_end, process)
        yield process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to stop, then make it."""
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that what was started is ended on either; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
