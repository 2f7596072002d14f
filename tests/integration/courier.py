"""Sends or receives messages over the embedded broker in a process of its own.

``python -m tests.integration.courier send FOLDER NAME COUNT`` · ``… receive FOLDER SECONDS`` (prints what arrived).
"""

from __future__ import annotations

import json
import sys
import time
from queue import Empty

from kombu import Connection

QUEUE = "letters"
SILENCE_SECONDS = 2.0


def connect(folder: str) -> Connection:
    """Return a connection to the broker in this folder."""
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}/control"}
    return Connection(transport="worker.transport:AtomicFilesystemTransport", transport_options=options)


def send(folder: str, name: str, count: int) -> None:
    with connect(folder) as connection, connection.SimpleQueue(QUEUE) as queue:
        for number in range(count):
            # Long enough that a message written in place would be met half-written.
            queue.put({"letter": f"{name} {number}", "text": "x" * 200_000})


def receive(folder: str) -> None:
    """Receive until nothing has come for a while."""
    letters: list[str] = []
    last = time.monotonic()
    with connect(folder) as connection, connection.SimpleQueue(QUEUE) as queue:
        while time.monotonic() - last < SILENCE_SECONDS:
            try:
                message = queue.get(timeout=0.2)
            except Empty:
                continue
            assert len(message.payload["text"]) == 200_000
            letters.append(message.payload["letter"])
            message.ack()
            last = time.monotonic()
    print(json.dumps(letters))


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    if verb == "send":
        send(where, rest[0], int(rest[1]))
    else:
        receive(where)
