"""Scratch databases for races: migrated once a session, copied for each race."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.support.scale import rounds
from tests.support.servers import Postgres

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("sqlite", "postgres")
_numbers = itertools.count(1)

NewDatabase = Callable[[str], str]
"""Backend → URL of a fresh, migrated database."""


def child_environment(database_url: str) -> dict[str, str]:
    """Return the environment of a process that works on this database."""
    return os.environ | {"DATABASE_URL": database_url, "TEST_VAR_DIR": str(settings.VAR_DIR)}


def started(*arguments: str, database_url: str, says: str) -> subprocess.Popen[str]:
    """Start a Python module beside the tests against a database, and return it once it says that it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=child_environment(database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{says}\n"
    process.stdout.close()
    return process


def run(*arguments: str, database_url: str, timeout: float = 0) -> str:
    """Run a Python module beside the tests against a database; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=child_environment(database_url),
        capture_output=True,
        text=True,
        timeout=timeout or rounds(900, 4 * 3600),
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{arguments} ended with {done.returncode}\n{done.stderr[-4000:]}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("races") / "template.sqlite3"
    run("tests.concurrency.play", "--migrate", database_url=f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: Postgres) -> str:
    name = f"pz_template_{os.getpid()}"
    run("tests.concurrency.play", "--migrate", database_url=postgres_server.create(name))
    return name


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Make copies of the migrated template; they are gone after the test."""
    drops: list[Callable[[], None]] = []

    def make(backend: str) -> str:
        if backend == "sqlite":
            copy = tmp_path / f"race{next(_numbers)}.sqlite3"
            shutil.copy(request.getfixturevalue("_sqlite_template"), copy)
            return f"sqlite:///{copy}"
        server: Postgres = request.getfixturevalue("postgres_server")
        name = f"pz_race_{os.getpid()}_{next(_numbers)}"
        url = server.create(name, template=request.getfixturevalue("_postgres_template"))
        drops.append(lambda: server.drop(name))
        return url

    yield make
    for drop in drops:
        drop()


@pytest.fixture
def play(new_database: NewDatabase) -> Callable[..., dict[str, Any]]:
    """Play a race (``module.Class``) on a backend for some rounds; returns both outcomes."""

    def play(race: str, backend: str, rounds: int, *options: str) -> dict[str, Any]:
        url = new_database(backend)
        printed = run("tests.concurrency.play", race, "--rounds", str(rounds), *options, database_url=url)
        outcomes: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return outcomes

    return play
