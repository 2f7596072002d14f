"""A heart that beats in a thread beside the work, so that a lease outlives whatever the work is busy with."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Self

from django.db import connection

from personalization.exceptions import LeaseLost

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0


class Pulse:
    """Calls ``beat`` every ten seconds; ``check`` tells the work when the lease is lost or its parent has died."""

    def __init__(self, beat: Callable[[], object], of: str) -> None:
        self._beats, self._of = beat, of
        self._lost = threading.Event()
        self._done = threading.Event()
        self._parent = os.getppid()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._done.set()
        self._thread.join(timeout=BEAT_SECONDS)

    def check(self) -> None:
        """Raise LeaseLost if the work is no longer ours to do."""
        if self._lost.is_set() or os.getppid() != self._parent:
            raise LeaseLost

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self._beats()
            except LeaseLost:
                self._lost.set()
                break
            except Exception:  # the database may be away for a moment: the lease outlives several beats
                logger.warning("heartbeat of %s failed", self._of, exc_info=True)
            finally:
                connection.close()
