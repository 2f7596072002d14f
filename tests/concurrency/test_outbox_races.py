"""An occasion comes once and a message goes out once, whatever runs at once or dies; unguarded, neither holds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS, ROOT, NewDatabase, child_environment, run
from tests.concurrency.verdict import assert_guard_matters
from tests.support.scale import rounds

SENDER = "tests.concurrency.sender"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("race", ["EvaluatedByMany", "LaunchedByMany", "SentByMany", "WeeklyLimit"])
def test_race(race: str, backend: str, play: Callable[..., dict[str, Any]]) -> None:
    assert_guard_matters(play(f"triggers.{race}", backend, rounds(8, 300)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("point", "repeated"), [("before", 0), ("after", 1), ("written", 0)])
def test_a_killed_sender_loses_nothing(
    point: str, repeated: int, backend: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    """Only who dies between handing over and writing it down repeats a message: that one, under the same id."""
    url, sent = new_database(backend), str(tmp_path / "sent")
    run(SENDER, "prepare", sent, database_url=url)
    command = [sys.executable, "-m", SENDER, "send", sent, "--die", point]
    environment = child_environment(url)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr

    told = json.loads(run(SENDER, "later", sent, database_url=url).splitlines()[-1])
    assert told["states"] == ["sent"] * 6
    assert told["exposures"] == 6
    assert len(set(told["handed"])) == 6
    assert len(told["handed"]) == 6 + repeated
