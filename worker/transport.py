"""Kombu's filesystem transport with atomic writes: Celery without a server.

The stock transport writes a message in place, so a reader can meet it half-written; here a message appears under its
name whole or not at all.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps


class AtomicChannel(filesystem.Channel):
    """A channel that writes a message aside and renames it into place."""

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        aside = folder / f".{uuid.uuid4()}.part"  # without the queue's name, which readers look for anywhere in it
        with aside.open("wb") as file:
            file.write(str_to_bytes(dumps(payload)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, folder / name)


class AtomicFilesystemTransport(filesystem.Transport):
    """``broker_url = "filesystem://"`` with ``broker_transport = "worker.transport:AtomicFilesystemTransport"``."""

    Channel = AtomicChannel
