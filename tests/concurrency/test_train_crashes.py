"""A training that is killed at any moment promotes nothing by half, and is done again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS, ROOT, NewDatabase, child_environment, run, started
from tests.support.scale import rounds

CRASH = "tests.concurrency.train_crash"


def told(folder: Path, verb: str, url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(CRASH, str(folder), verb, database_url=url).splitlines()[-1])
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random(backend: str, new_database: NewDatabase, tmp_path: Path) -> None:
    url = new_database(backend)
    run(CRASH, str(tmp_path), "prepare", database_url=url)
    began = time.monotonic()
    started(CRASH, str(tmp_path), "train", database_url=url, says="training").wait(timeout=300)
    whole = time.monotonic() - began  # with the start of the process: some are killed after they have published
    assert told(tmp_path, "look", url) == {"jobs": [["succeeded", 1]], "half": []}

    for count in range(rounds(2, 50)):
        victim = started(CRASH, str(tmp_path), "train", database_url=url, says="training")
        time.sleep(random.uniform(0, whole * 0.8))
        victim.kill()
        victim.wait(timeout=30)
        left = told(tmp_path, "look", url)
        assert left["half"] == []
        assert left["jobs"][-1][0] in {"queued", "running", "succeeded"}

        after = told(tmp_path, "recover", url)
        assert after["half"] == []
        assert len(after["jobs"]) == count + 2
        assert after["jobs"][-1][0] == "succeeded"
        assert after["jobs"][-1][1] in {1, 2}


@pytest.mark.parametrize("guarded", [True, False], ids=["in one transaction", "without it"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_between_registering_and_promoting(
    backend: str, guarded: bool, new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database(backend)
    run(CRASH, str(tmp_path), "prepare", database_url=url)
    command = [sys.executable, "-m", CRASH, str(tmp_path), "die", *([] if guarded else ["--unguarded"])]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(url), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = told(tmp_path, "look", url)
    if not guarded:
        assert left["half"], "the control: without its transaction the training is published by half"
        return
    assert left == {"jobs": [["running", 1]], "half": []}
    assert told(tmp_path, "recover", url) == {"jobs": [["succeeded", 2]], "half": []}
