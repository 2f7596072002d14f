"""Sets the stage: a scratch database, a child process that measures, and what it prints.

The outer process starts the servers and owns them; the inner one finds their address in ``DATABASE_URL``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

from tests.benchmarks import report
from tests.support import scale, servers

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 3600
Measure = Callable[[bool], report.Measurement]


class Skipped(Exception):
    """It cannot be measured here; the message says what is missing."""


def main(name: str, measure: Measure, *, server: bool) -> int:
    """Run one benchmark from the command line. ``server``: on PostgreSQL where one can be started, else SQLite."""
    described = sys.modules["__main__"].__doc__
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{name}", description=described)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(_measured(name, measure, options.quick)))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers go down with us
    told = run(name, quick=options.quick, server=server)
    print(json.dumps(told) if options.json else report.line(told))
    return 0


def run(name: str, *, quick: bool, server: bool) -> dict[str, Any]:
    """Measure in a child process beside a scratch database and return its JSON object."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--inside", *(["--quick"] if quick else [])]
    with scratch_database(server) as environment:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS, check=False
        )
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def size(quick: bool, few: int, some: int, full: int) -> int:
    """Return how many rows to measure on: ``few`` for a quick run, ``full`` in a soak run (``--full``, SOAK=1)."""
    return few if quick else scale.rounds(some, full)


@contextmanager
def scratch_database(server: bool) -> Iterator[dict[str, str]]:
    """Yield the environment of a process that works on an empty database of its own."""
    folder = Path(settings.VAR_DIR)  # thrown away when this process ends
    environment = os.environ | {"TEST_VAR_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings"}
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'benchmark.sqlite3'}"
        if server:
            try:
                running = stack.enter_context(servers.postgres(durable=True))
            except servers.Unavailable as error:
                environment["BENCHMARK_CAVEAT"] = f"On SQLite: {error}"
            else:
                name = f"pz_benchmark_{os.getpid()}"
                url = running.create(name)
                stack.callback(running.drop, name)
        yield environment | {"DATABASE_URL": url}


def _measured(name: str, measure: Measure, quick: bool) -> dict[str, Any]:
    load = os.getloadavg()[0]
    call_command("migrate", verbosity=0)
    began = time.monotonic()
    try:
        found = measure(quick)
    except Skipped as reason:
        found = report.Measurement(name, None, "", "", None, None, notes={"skipped": str(reason)})
    found.machine = report.machine(load)
    found.fsync = found.fsync or durability()
    found.notes |= {"seconds": round(time.monotonic() - began, 1), "quick": quick, "database": database_version()}
    if "BENCHMARK_CAVEAT" in os.environ:
        found.notes["caveat"] = os.environ["BENCHMARK_CAVEAT"]
    return found.as_json()


def database_version() -> str:
    """Return the database's name and version."""
    statement = "SHOW server_version" if connection.vendor == "postgresql" else "SELECT sqlite_version()"
    return f"{connection.vendor} {_single(statement)}"


def durability() -> str:
    """Return whether a commit waits for the disk, as the database itself says."""
    if connection.vendor == "postgresql":
        waits = str(_single("SHOW fsync"))
        return waits if _single("SHOW synchronous_commit") == "on" else f"{waits}, synchronous_commit off"
    level = int(_single("PRAGMA synchronous"))
    return {0: "off", 1: "at checkpoints only (SQLite, synchronous NORMAL)"}.get(level, "on")


def commit_ms(times: int = 30) -> float | None:
    """Return the median of a one-row commit: what the disk lets every acknowledged write take at least."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE benchmark_commit (at integer)")
        taken = []
        for number in range(times):
            began = time.perf_counter()
            cursor.execute("INSERT INTO benchmark_commit VALUES (%s)", [number])
            taken.append(time.perf_counter() - began)
        cursor.execute("DROP TABLE benchmark_commit")
    return report.quantile_ms(taken, 0.5)


def _single(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


@dataclass(frozen=True)
class Apart:
    """What a function returned in a process of its own, how long it took and the memory it grew to."""

    result: Any
    seconds: float
    peak_mb: float
    start_mb: float

    @property
    def grown_mb(self) -> float:
        return round(self.peak_mb - self.start_mb, 1)


def apart(function: Callable[..., Any], *arguments: Any) -> Apart:
    """Call a module's function in a fresh process: its peak memory is nobody else's."""
    connections.close_all()
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_witnessed, function, arguments).result()


def _witnessed(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Apart:
    start = _peak_mb()
    began = time.monotonic()
    result = function(*arguments)
    seconds = time.monotonic() - began
    connections.close_all()
    return Apart(result, seconds, _peak_mb(), start)


def _peak_mb() -> float:
    """Return the most memory this program has held. (``ru_maxrss`` remembers the parent's, too, across exec.)"""
    status = Path("/proc/self/status")
    if status.exists():
        kilobytes = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.M)
        if kilobytes:
            return round(int(kilobytes[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024), 1)


class Stopwatch:
    """A ``stage`` callback of the worker that notes how long each stage took."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._what = ""
        self.seconds: dict[str, float] = {}

    def __call__(self, what: object, done: float) -> None:
        self._close()
        self._what = str(what)

    def _close(self) -> None:
        now = time.monotonic()
        if self._what:
            self.seconds[self._what] = self.seconds.get(self._what, 0.0) + now - self._since
        self._since = now

    def shares(self) -> dict[str, float]:
        """Return stage → share of the time since the first one began."""
        self._close()
        return shares(self.seconds, sum(self.seconds.values()))


def shares(seconds: dict[str, float], total: float) -> dict[str, float]:
    """Return each part's share of a total time."""
    return {what: round(taken / max(total, 1e-9), 3) for what, taken in seconds.items()}


@contextmanager
def clocked(**functions: tuple[Any, str]) -> Iterator[dict[str, float]]:
    """Time calls of an owner's functions while the block runs; yields name → seconds. They must not call each other."""
    seconds = dict.fromkeys(functions, 0.0)

    def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.monotonic()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[what] += time.monotonic() - began

        return call

    with ExitStack() as stack:
        for what, (owner, attribute) in functions.items():
            stack.enter_context(mock.patch.object(owner, attribute, timed(what, getattr(owner, attribute))))
        yield seconds
