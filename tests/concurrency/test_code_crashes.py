"""A process that makes codes is killed in the middle: nothing is lost, nothing repeated, every counter right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.concurrency import code_crash
from tests.concurrency.conftest import BACKENDS, ROOT, NewDatabase, child_environment, run


def crashed(database_url: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.concurrency.code_crash", *options, "die"]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(database_url), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -9, done.stderr[-2000:]
    told = run("tests.concurrency.code_crash", "recover", done.stdout.strip(), database_url=database_url)
    books: dict[str, Any] = json.loads(told.splitlines()[-1])
    return books


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_batch_is_completed_to_the_last_code(backend: str, new_database: NewDatabase) -> None:
    books = crashed(new_database(backend))
    size = code_crash.SIZE
    assert books == {
        "before": 2 * code_crash.CHUNK,
        "job": "succeeded",
        "codes": size,
        "generated": size,
        "issued": size,
        "liability": 500 * size,
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_transactions_the_books_are_wrong(backend: str, new_database: NewDatabase) -> None:
    """The negative control."""
    books = crashed(new_database(backend), "--unguarded")
    assert books["before"] == 3 * code_crash.CHUNK
    assert books["liability"] != 500 * books["codes"]
