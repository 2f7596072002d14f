"""The load generator, a process of its own: N connections of ``http.client``, each sends as soon as it was answered.

It reads one order a line from its input and prints one report a line. Only the standard library: it is started as
a file and costs the measured side nothing but its few system calls.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

UNIQUE = "@@"
"""Where this stands in a body, a text that never repeats takes its place."""


@dataclass
class Letter:
    """One request as it is sent, over and over."""

    method: str
    path: str
    headers: dict[str, str]
    body: str = ""


@dataclass
class Order:
    """Send these letters in turn to a port for so many seconds over so many connections."""

    port: int
    run: str
    seconds: float
    connections: int
    letters: list[dict[str, Any]]


@dataclass
class Answers:
    """What came back: how many in what time, each one's latency, and the statuses."""

    count: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    first_body: str = ""


def send(order: Order) -> Answers:
    """Send until the time is up; requests under way then are finished and count."""
    letters = [Letter(**letter) for letter in order.letters]
    numbers = itertools.count()
    answers, lock = Answers(), threading.Lock()
    start = threading.Barrier(order.connections + 1)

    def connection() -> None:
        own: list[float] = []
        statuses: dict[str, int] = {}
        link = http.client.HTTPConnection("127.0.0.1", order.port, timeout=60)
        start.wait()
        deadline = time.perf_counter() + order.seconds
        while time.perf_counter() < deadline:
            number = next(numbers)
            letter = letters[number % len(letters)]
            body = letter.body.replace(UNIQUE, f"{order.run}-{number}").encode()
            began = time.perf_counter()
            link.request(letter.method, letter.path, body=body or None, headers=letter.headers)
            answer = link.getresponse()
            told = answer.read()
            own.append(time.perf_counter() - began)
            statuses[str(answer.status)] = statuses.get(str(answer.status), 0) + 1
            if number == 0:
                answers.first_body = told.decode(errors="replace")[:2000]
        link.close()
        with lock:
            answers.latencies += own
            for status, count in statuses.items():
                answers.statuses[status] = answers.statuses.get(status, 0) + count

    threads = [threading.Thread(target=connection, daemon=True) for _ in range(order.connections)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    answers.seconds = time.perf_counter() - began
    answers.count = len(answers.latencies)
    return answers


def main() -> None:
    """Obey until the input ends."""
    for line in sys.stdin:
        print(json.dumps(asdict(send(Order(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
