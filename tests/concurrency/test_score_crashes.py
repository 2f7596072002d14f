"""A scoring whose workers are killed at any moment publishes what an undisturbed one would, once and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.conftest import BACKENDS, NewDatabase, run
from tests.support.scale import rounds

CRASH = "tests.concurrency.score_crash"


def told(folder: Path, *verb: str, url: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(CRASH, str(folder), *verb, database_url=url).splitlines()[-1])
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_random(backend: str, new_database: NewDatabase, tmp_path: Path) -> None:
    url = new_database(backend)
    run(CRASH, str(tmp_path), "prepare", database_url=url)
    found = told(tmp_path, "kill", str(rounds(5, 50)), url=url)
    assert found["wrong"] == [], found
    assert len(found["caught"]) == rounds(5, 50)


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_worst_moment(backend: str, new_database: NewDatabase, tmp_path: Path) -> None:
    """``mark``: dies between a part's mark and its rows. ``early``: publishes while another worker holds a part.

    The controls: without the part's transaction, or without the look at all parts, half a set goes live.
    """
    url = new_database(backend)
    run(CRASH, str(tmp_path), "prepare", database_url=url)
    for where in ("mark", "early"):
        assert told(tmp_path, "die", where, url=url) == {"wrong": []}
        assert told(tmp_path, "die", where, "--unguarded", url=url)["wrong"], f"the control of {where!r} did not fail"
