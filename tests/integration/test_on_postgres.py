"""The rooms' own tests once more, on PostgreSQL: a pytest inside this one, whose database is a throwaway server's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from tests.support import simulated
from tests.support.servers import Postgres

TESTS = Path(__file__).resolve().parents[1]
OWN = {"acceptance", "benchmarks", "concurrency", "hosts", "integration", "worker"}
"""These bring databases of their own, or train, which asks for no particular one."""
PASSED = 0


def rooms() -> list[str]:
    """Return the folders of tests that work on the run's own database."""
    folders = sorted(path for path in TESTS.iterdir() if path.is_dir() and any(path.rglob("test_*.py")))
    return [str(path) for path in folders if path.name not in OWN]


def test_the_rooms_pass_on_postgres(postgres_server: Postgres, record_property: Callable[[str, object], None]) -> None:
    if settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        pytest.skip("this whole run is on PostgreSQL already")
    name = f"pz_rooms_{os.getpid()}"
    environment = simulated.clean_environment(
        DJANGO_SETTINGS_MODULE="tests.settings", DATABASE_URL=postgres_server.create(name)
    )
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--create-db",
            "--database-only",
            "-m",
            "not data",
            *rooms(),
        ],
        cwd=simulated.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )
    postgres_server.drop(name)
    if done.returncode != PASSED:
        pytest.fail(f"on PostgreSQL:\n{done.stdout[-12_000:]}\n{done.stderr[-2000:]}", pytrace=False)
    record_property("on PostgreSQL", done.stdout.strip().splitlines()[-1])
