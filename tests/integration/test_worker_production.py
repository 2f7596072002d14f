"""A worker as a process, as in production: PostgreSQL and Redis."""

from __future__ import annotations

import json

from tests.integration.conftest import Office, end_group
from tests.integration.test_worker_embedded import ended, under_way


def test_a_job_survives_the_power_cut_of_its_worker(production: Office) -> None:
    """The worker and its training process are killed together; another worker takes the job up and finishes it."""
    key = production.owner("start", "train")
    with production.worker() as worker:
        # The worst moment: the first model is written, and nothing is decided yet.
        production.wait_for(key, lambda row: under_way(row) and bool(production.artifacts()))
        end_group(worker)
    assert production.versions() == set()
    assert production.job(key)["state"] == "running", "the row knows nothing of the crash yet"

    production.let_the_lease_run_out(key)
    with production.worker():
        seen = production.wait_for(key, ended)
        assert seen[-1]["state"] == "succeeded", seen[-1]
        assert seen[-1]["attempts"] == 2

        ((result,),) = production.sql(f"SELECT result FROM personalization_job WHERE id = {key}")
        told = result if isinstance(result, dict) else json.loads(result)
        assert set(told["versions"]) == production.versions(), "the killed attempt left versions behind"
        champions = production.sql("SELECT task FROM personalization_modelversion WHERE state = 'champion'")
        assert {task for (task,) in champions} >= {"response", "strategy"}

        following = production.owner("start", "score")
        assert production.wait_for(following, ended)[-1]["state"] == "succeeded"
    assert production.sql("SELECT count(*) FROM personalization_scoreset WHERE state = 'live'") == [(1,)]
