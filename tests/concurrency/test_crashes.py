"""A process killed at any point leaves books that agree, and money that comes back by itself."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS, ROOT, NewDatabase, child_environment, run, started
from tests.support.scale import rounds

CRASH = "tests.concurrency.crash"
DISCOUNT_MINOR = 500


def die(point: str, *options: str, url: str) -> str:
    """Let a process die at ``point``; return its campaign."""
    done = subprocess.run(
        [sys.executable, "-m", CRASH, "die", point, *options],
        cwd=ROOT,
        env=child_environment(url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def recover(campaign: str, *options: str, url: str) -> dict[str, Any]:
    books: dict[str, Any] = json.loads(run(CRASH, "recover", campaign, *options, database_url=url))
    return books


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_between_reserve_and_redeem(backend: str, new_database: NewDatabase) -> None:
    url = new_database(backend)
    campaign = die("between", url=url)

    left = recover(campaign, "--no-sweep", url=url)
    assert left["reserved_minor"] == DISCOUNT_MINOR, "the control: without the sweeper the money stays held"

    books = recover(campaign, url=url)
    assert books == {"freed": 1, "reserved_minor": 0, "spent_minor": 0, "redeemed_minor": 0, "discrepancies": []}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("point", ["reserve", "redeem", "release"])
def test_killed_inside_a_step(point: str, backend: str, new_database: NewDatabase) -> None:
    url = new_database(backend)

    books = recover(die(point, url=url), url=url)
    assert books["discrepancies"] == []
    assert (books["reserved_minor"], books["spent_minor"], books["redeemed_minor"]) == (0, 0, 0)

    control = recover(die(point, "--unguarded", url=url), "--no-sweep", url=url)
    assert control["discrepancies"], "the control: without its transaction the step is left half done"


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random_under_load(backend: str, new_database: NewDatabase) -> None:
    url = new_database(backend)
    campaign = run(CRASH, "prepare", database_url=url).strip()
    for _ in range(rounds(2, 100)):
        spenders = [_spender(campaign, url) for _ in range(2)]
        time.sleep(random.uniform(0.1, 0.6))
        for spender in spenders:
            spender.kill()
            spender.wait(timeout=30)

    books = recover(campaign, url=url)
    assert books["discrepancies"] == []
    assert books["reserved_minor"] == 0
    assert books["spent_minor"] == books["redeemed_minor"] > 0


def _spender(campaign: str, url: str) -> subprocess.Popen[str]:
    return started(CRASH, "spend", campaign, database_url=url, says="spending")
