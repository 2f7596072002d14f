"""A shop with a worker beside it, in both ways to run: embedded and production."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import simulated
from tests.support.servers import Postgres

PATIENCE_SECONDS = 300.0
LONG_AGO = "2000-01-01 00:00:00+00:00"
_numbers = itertools.count(1)


@dataclass
class Office:
    """The owner's desk: start and cancel jobs, look at their rows, and hire a worker."""

    environment: dict[str, str]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def owner(self, verb: str, subject: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.owner", verb, subject],
            cwd=simulated.ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement on the shop's database, past Django."""
        url = self.environment.get("DATABASE_URL", "")
        if url.startswith("postgres"):
            import psycopg2

            with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        with closing(sqlite3.connect(self.folder / "shop.sqlite3", timeout=20)) as file, file:
            return list(file.execute(statement))

    def job(self, key: str) -> dict[str, Any]:
        names = ("state", "progress", "stage", "attempts", "error")
        (row,) = self.sql(f"SELECT {', '.join(names)} FROM personalization_job WHERE id = {key}")
        return dict(zip(names, row, strict=True))

    def wait_for(self, key: str, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Watch a job's row until it looks right; return what it looked like on the way."""
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            row = self.job(key)
            if not seen or row != seen[-1]:
                seen.append(row)
            if until(row):
                return seen
            time.sleep(0.05)
        pytest.fail(f"job {key} did not get there: {seen[-1]}\n{self.log()}", pytrace=False)

    def let_the_lease_run_out(self, key: str) -> None:
        """Let the minute pass in which a silent worker keeps its job."""
        self.sql(f"UPDATE personalization_job SET lease_expires_at = '{LONG_AGO}' WHERE id = {key}")

    def versions(self) -> set[int]:
        return {row[0] for row in self.sql("SELECT id FROM personalization_modelversion")}

    def artifacts(self) -> set[Path]:
        return {path for path in (self.folder / "artifacts").rglob("*") if path.is_file()}

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker as the production guide does; it is gone, with all its children, when the block ends."""
        command = ["-m", "celery", "-A", "worker", "worker", "--beat", "--queues", "default,gpu", "--concurrency", "1"]
        log = self.folder / f"worker{len(self.workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command, "--loglevel", "INFO"],
                cwd=simulated.ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self.workers.append(process)
            try:
                yield process
            finally:
                end_group(process)

    def log(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in sorted(self.folder.glob("worker*.log")))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, as a power cut would."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def members(process: subprocess.Popen[bytes]) -> dict[int, str]:
    """Return the living processes of a process's session, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(folder.name)
            if os.getsid(pid) == process.pid:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line:  # a zombie has none
                    found[pid] = line
    return found


def job_processes(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes in which this worker runs jobs."""
    return [pid for pid, line in members(process).items() if " run_job " in line]


@pytest.fixture
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """SQLite and Celery over a folder: nothing to install."""
    template = simulated.once(tmp_path_factory, "simulated_shop", simulated.build)
    shop = template.copy(tmp_path_factory.mktemp("embedded") / "var")
    return Office(shop.environment(), shop.folder)


@pytest.fixture
def production(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, redis_url: str) -> Iterator[Office]:
    """PostgreSQL and Redis; the simulated shop is built there, and nothing is trained yet."""
    name = f"pz_office_{os.getpid()}_{next(_numbers)}"
    servers = {"DATABASE_URL": postgres_server.create(name), "REDIS_URL": redis_url}
    shop = simulated.build(tmp_path_factory.mktemp("production") / "var", WITH_WORKER="0", **servers)
    yield Office(shop.environment(**servers), shop.folder)
    postgres_server.drop(name)
