"""A search that is killed at any moment goes on as if it had not been; of two at once, one searches."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS, ROOT, NewDatabase, child_environment, run, started
from tests.support.scale import rounds

CRASH = "tests.concurrency.tune_crash"


def told(folder: Path, verb: str, url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(CRASH, str(folder), verb, database_url=url).splitlines()[-1])
    return found


_whole: list[dict[str, Any]] = []


@pytest.fixture
def uninterrupted(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The search as nobody disturbs it, and how long it takes; done once for all tests."""
    if not _whole:
        _whole.append(_undisturbed(new_database, tmp_path_factory))
    return _whole[0]


def _undisturbed(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, url = tmp_path_factory.mktemp("whole"), new_database("sqlite")
    run(CRASH, str(folder), "prepare", database_url=url)
    began = time.monotonic()
    started(CRASH, str(folder), "tune", database_url=url, says="ready").wait(timeout=300)
    found = told(folder, "look", url)
    assert found["jobs"] == [["succeeded", 1]]
    assert len(found["runs"][0]["trials"]) == 8
    return {**found, "seconds": time.monotonic() - began}


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random(
    backend: str, new_database: NewDatabase, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    for count in range(rounds(2, 25)):
        url = new_database(backend)
        folder = tmp_path / str(count)
        folder.mkdir()
        run(CRASH, str(folder), "prepare", database_url=url)
        victim = started(CRASH, str(folder), "tune", database_url=url, says="ready")
        time.sleep(random.uniform(0.2, 0.8) * uninterrupted["seconds"])
        victim.kill()
        victim.wait(timeout=30)
        left = told(folder, "look", url)
        whole = uninterrupted["runs"][0]["trials"]
        for search in left["runs"]:
            assert search["trials"] == whole[: len(search["trials"])]
        after = told(folder, "recover", url)
        assert after["runs"] == uninterrupted["runs"]
        assert after["jobs"][-1][0] == "succeeded"


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without the guard"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_at_once(
    backend: str, guarded: bool, new_database: NewDatabase, tmp_path: Path, uninterrupted: dict[str, Any]
) -> None:
    """One searches, the other is told so. Without the guard both do the work; rows are not doubled even then."""
    url, go = new_database(backend), tmp_path / "go"
    run(CRASH, str(tmp_path), "prepare", database_url=url)
    command = [sys.executable, "-m", CRASH, str(tmp_path), "tune", "--wait", str(go)]
    command += [] if guarded else ["--unguarded"]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, env=child_environment(url), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    endings = sorted(process.wait(timeout=300) for process in both)
    stored = [int(line) for process in both for line in process.stdout or ()]
    after = told(tmp_path, "look", url)
    assert [search["trials"] for search in after["runs"]] == [uninterrupted["runs"][0]["trials"]]
    assert sorted(stored) == list(range(8))
    states = sorted(state for state, _attempts in after["jobs"])
    if guarded:
        assert (endings, states) == ([0, 3], ["succeeded"])
    else:
        assert len(states) == 2, "the control: both were let in, and did the same work"
