"""A worker as a process, embedded: SQLite, and Celery over a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from functools import partial

from tests.integration.conftest import Office, job_processes, members

ENDED = {"succeeded", "failed", "cancelled", "quarantined"}


def ended(row: dict[str, object]) -> bool:
    return row["state"] in ENDED


def under_way(row: dict[str, object]) -> bool:
    return row["state"] == "running" and float(str(row["progress"])) > 0.1


def under_way_for_the(attempt: int, row: dict[str, object]) -> bool:
    return under_way(row) and row["attempts"] == attempt


def test_train_now_is_taken_shown_and_finished(embedded: Office) -> None:
    before = embedded.versions()
    key = embedded.owner("start", "train")
    assert embedded.job(key)["state"] == "queued"

    with embedded.worker():
        seen = embedded.wait_for(key, ended)
        assert seen[-1]["state"] == "succeeded", seen[-1]
        running = [row for row in seen if row["state"] == "running"]
        progress = [row["progress"] for row in running]
        assert progress == sorted(progress), "progress went backwards"
        assert len(set(progress)) >= 3, f"the owner saw nothing move: {running}"
        assert len({row["stage"] for row in running}) >= 3
        assert seen[-1]["attempts"] == 1

        ((result,),) = embedded.sql(f"SELECT result FROM personalization_job WHERE id = {key}")
        assert set(json.loads(result)["versions"]) == embedded.versions() - before

        key = embedded.owner("start", "score")
        assert embedded.wait_for(key, ended)[-1]["state"] == "succeeded"
    live = embedded.sql("SELECT job_id, shoppers FROM personalization_scoreset WHERE state = 'live'")
    assert [(str(job), shoppers > 0) for job, shoppers in live] == [(key, True)]


def test_a_cancelled_job_publishes_nothing(embedded: Office) -> None:
    versions, files = embedded.versions(), embedded.artifacts()
    key = embedded.owner("start", "train")
    with embedded.worker() as worker:
        embedded.wait_for(key, under_way)
        assert job_processes(worker)
        embedded.owner("cancel", key)
        _until_no_job_runs(worker)
        assert embedded.job(key)["state"] == "cancelled"
        assert embedded.versions() == versions
        assert embedded.artifacts() == files

        following = embedded.owner("start", "score")
        assert embedded.wait_for(following, ended)[-1]["state"] == "succeeded", "the worker did not go on"


def test_work_whose_worker_was_killed_is_left_to_the_next_one(embedded: Office) -> None:
    """Only the worker is killed: the process that trains finds itself orphaned, stops, and publishes nothing."""
    before = embedded.versions()
    key = embedded.owner("start", "train")
    with embedded.worker() as worker:
        embedded.wait_for(key, under_way)
        orphans = set(job_processes(worker))
        for pid in set(members(worker)) - orphans:
            os.kill(pid, signal.SIGKILL)
        _until_no_job_runs(worker)
        assert embedded.job(key)["state"] == "running", "the row knows nothing of the crash yet"
        assert embedded.versions() == before

    embedded.let_the_lease_run_out(key)
    with embedded.worker():
        last = embedded.wait_for(key, ended)[-1]
    assert (last["state"], last["attempts"]) == ("succeeded", 2)


def test_a_job_that_kills_its_process_three_times_is_set_aside(embedded: Office) -> None:
    before = embedded.versions()
    key = embedded.owner("start", "train")
    with embedded.worker() as worker:
        for attempt in (1, 2, 3):
            embedded.wait_for(key, partial(under_way_for_the, attempt))
            victims = job_processes(worker)
            assert victims, f"nobody works on attempt {attempt}: {embedded.job(key)} {members(worker)}"
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        last = embedded.wait_for(key, ended)[-1]
        assert last["state"] == "quarantined"
        assert "three times" in last["error"]
        assert embedded.versions() == before

        following = embedded.owner("start", "score")
        assert embedded.wait_for(following, ended)[-1]["state"] == "succeeded", "the poison stopped the worker"


def _until_no_job_runs(worker: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while job_processes(worker):
        assert time.monotonic() < deadline, "a process goes on working for a job that is not its own any more"
        time.sleep(0.1)
