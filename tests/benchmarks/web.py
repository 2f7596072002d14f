"""A web server as in production (gunicorn, its default workers) and the load generator, both as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from django.conf import settings

from tests.benchmarks import report, traffic
from tests.benchmarks.traffic import Answers, Letter, Order
from tests.support import servers

PROCESSES = 2
CONNECTIONS = 4
ROOT = Path(__file__).resolve().parents[2]
SETUP = f"{PROCESSES} gunicorn sync workers, {CONNECTIONS} connections over loopback, one server for both contenders"


@dataclass
class Site:
    """The running server, and whoever sends to it."""

    port: int
    generator: subprocess.Popen[str]
    answered: Counter[str] = field(default_factory=Counter)
    """Path → how many answers it has given."""
    _runs: int = 0

    def send(
        self, letters: Sequence[Letter], seconds: float, *, expect: int = 200, connections: int = CONNECTIONS
    ) -> Answers:
        """Send letters in turn; every answer must have the expected status."""
        self._runs += 1
        sent = [asdict(each) for each in letters]
        order = Order(self.port, f"{os.getpid()}-{self._runs}", seconds, connections, sent)
        assert self.generator.stdin is not None
        assert self.generator.stdout is not None
        self.generator.stdin.write(json.dumps(asdict(order)) + "\n")
        self.generator.stdin.flush()
        answers = Answers(**json.loads(self.generator.stdout.readline()))
        if set(answers.statuses) != {str(expect)}:
            raise RuntimeError(f"{letters[0].path} answered {answers.statuses}: {answers.first_body}")
        self.answered[letters[0].path] += answers.count
        return answers


@contextmanager
def site() -> Iterator[Site]:
    """Run the server on this process's database, and the generator beside it."""
    port = servers.free_port()
    log = Path(settings.VAR_DIR) / "gunicorn.log"
    options = ["--workers", str(PROCESSES), "--bind", f"127.0.0.1:{port}", "--no-control-socket", "--preload"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "shop.wsgi", *options], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        servers.wait_for_port(port, server)
        command = [sys.executable, traffic.__file__]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as generator:
            yield Site(port, generator)
            assert generator.stdin is not None
            generator.stdin.close()
    finally:
        server.terminate()
        server.wait(timeout=30)


@dataclass
class Contest:
    """Two contenders in turn, A B A B …, each answering the generator for the same time."""

    ours: list[Answers] = field(default_factory=list)
    peers: list[Answers] = field(default_factory=list)

    @property
    def paired(self) -> report.Paired:
        """Requests a second of both, compared round by round."""
        return report.paired(*([each.count / each.seconds for each in side] for side in (self.ours, self.peers)))


def contest(
    running: Site,
    ours: Sequence[Letter],
    peers: Sequence[Letter],
    *,
    rounds: int,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Contest:
    """Warm both up, then let them take turns."""
    for letters in (ours, peers):
        running.send(letters, seconds / 2, connections=connections)
    found = Contest()
    for _ in range(rounds):
        found.ours.append(running.send(ours, seconds, connections=connections))
        found.peers.append(running.send(peers, seconds, connections=connections))
    return found


def latencies_ms(answers: Sequence[Answers]) -> dict[str, float | None]:
    """Return the median and the 99th percentile over all rounds."""
    every = [latency for each in answers for latency in each.latencies]
    return {"p50_ms": report.quantile_ms(every, 0.5), "p99_ms": report.quantile_ms(every, 0.99)}
