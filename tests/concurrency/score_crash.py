"""Two workers score one population in parts and are killed at any moment; what is published in the end is compared.

``python -m tests.concurrency.score_crash FOLDER prepare`` writes a small shop, trains, scores it undisturbed and keeps
the rows; ``… FOLDER kill N`` scores N times with two worker processes, kills one or both at random moments, lets
others finish, and prints as JSON what differs; ``… FOLDER die WHERE [--unguarded]`` kills a worker by itself between
a part's mark and its rows, or publishes while another holds a part. FOLDER keeps the models.

The workers are forked: what one imports takes longer than what it does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import django

PART = 12
LEASE_SECONDS = 1.5
SECONDS = 120.0


def prepare(folder: Path) -> None:
    from tests.worker import population
    from worker import score, train

    population.build()
    train.run(None, {**population.QUICK, "min_exposures": 300}, lambda what, done: None, until=population.END)
    began = time.monotonic()
    score.run(None, {"population": "shop"}, lambda what, done: None, until=population.END)
    whole = time.monotonic() - began
    (folder / "undisturbed.json").write_text(json.dumps({"rows": live_rows(), "seconds": whole}))


def live_rows() -> dict[str, Any]:
    """Return what pages would read, by shopper."""
    from personalization.models import ShopperScores

    names = ("offers", "kinds", "items", "values", "intent", "reasons")
    found = ShopperScores.objects.filter(score_set__state="live").values("shopper_id", *names)
    return {str(row.pop("shopper_id")): row for row in found}


def worker() -> None:
    """Work as a Celery worker does: a job if one waits, else parts of what another leads; until nothing is open."""
    from personalization.learning import jobs, shards
    from personalization.models import Job
    from worker import runner

    while Job.objects.filter(state__in=jobs.OPEN).exists():
        jobs.sweep()
        job = jobs.lease(jobs.owner())
        if job is not None:
            runner.work(job)
        elif (score_set := shards.joinable()) is not None:
            runner.help_out(score_set.pk)
        time.sleep(0.02)


def forked(work: Callable[[], None]) -> int:
    """Start a process that does this; returns its id."""
    from django.db import connections

    connections.close_all()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def kill(folder: Path, rounds: int) -> dict[str, Any]:
    """Return what went wrong in so many rounds, and at which share of the parts the workers were killed."""
    from personalization.learning import jobs
    from personalization.models import ScoreShard
    from personalization.types import JobKind
    from tests.worker import population

    undisturbed = json.loads((folder / "undisturbed.json").read_text())
    wrong: list[str] = []
    caught: list[str] = []
    for number in range(rounds):
        job = jobs.enqueue(JobKind.SCORE, {"population": "shop"}, cutoff_at=population.END)
        crew = [forked(worker), forked(worker)]
        time.sleep(random.uniform(0.0, 1.2 * undisturbed["seconds"]))
        victims = random.choice([crew[:1], crew[1:], crew])
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        parts = ScoreShard.objects.filter(score_set__job=job)
        caught.append(f"{len(victims)} killed, {parts.filter(state='done').count()}/{parts.count()} parts done")
        crew = [pid for pid in crew if pid not in victims] + [forked(worker) for _ in victims]
        if not joined(crew):
            wrong.append(f"round {number}: nobody finished")
        wrong += [f"round {number}: {told}" for told in differences(job.pk, undisturbed["rows"])]
    return {"rounds": rounds, "caught": caught, "wrong": wrong}


def joined(crew: list[int]) -> bool:
    """Wait for processes; False if one of them had to be killed."""
    end = time.monotonic() + SECONDS
    for pid in crew:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return False
            time.sleep(0.02)
    return True


def differences(job: int, expected: dict[str, Any]) -> list[str]:
    """Return what is not as it would be without a crash, in words."""
    from personalization.models import Job, ScoreSet, ScoreShard

    found: list[str] = []
    state = Job.objects.get(pk=job).state
    if state != "succeeded":
        found.append(f"the job is {state}: {Job.objects.get(pk=job).error}")
    live = ScoreSet.objects.filter(state="live")
    if [each.job_id for each in live] != [job]:
        found.append(f"live are the sets of the jobs {[each.job_id for each in live]}, not of {job}")
    for each in live:
        parts = ScoreShard.objects.filter(score_set=each)
        if parts.exclude(state="done").exists() or parts.count() != each.shard_count:
            found.append("a set is live though parts of it are not done")
    rows = json.loads(json.dumps(live_rows()))
    changed = [key for key in expected if key in rows and rows[key] != expected[key]]
    if changed or rows.keys() != expected.keys():
        missing, more = expected.keys() - rows.keys(), rows.keys() - expected.keys()
        found.append(f"{len(missing)} shoppers are missing, {len(more)} too many, {len(changed)} have other scores")
    return found


def _die(*args: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die(folder: Path, where: str, unguarded: bool) -> dict[str, Any]:
    """Crash at the worst moment, with or without what guards it, and let another worker finish."""
    from personalization.learning import jobs, score_rows, shards
    from personalization.types import JobKind
    from tests.concurrency import arena
    from tests.worker import population

    expected = json.loads((folder / "undisturbed.json").read_text())["rows"]
    job = jobs.enqueue(JobKind.SCORE, {"population": "shop"}, cutoff_at=population.END)

    def between_mark_and_rows() -> None:
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(score_rows, "insert", _die))
            if unguarded:
                stack.enter_context(arena.without_transactions())
            worker()

    def before_all_are_done() -> None:
        """Believe, wrongly, that nothing is left, while another worker holds a part."""
        taking = shards.take

        def others_hold(score_set: Any, owner: str, *, leads: bool) -> Any:
            taking(score_set, "another worker", leads=False)
            return taking(score_set, owner, leads=leads)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(shards, "left", return_value=0))
            stack.enter_context(mock.patch.object(shards, "take", others_hold))
            if unguarded:
                stack.enter_context(mock.patch.object(shards, "refuse_unfinished"))
            worker()

    joined([forked(between_mark_and_rows if where == "mark" else before_all_are_done)])
    if where == "early":  # refused: the job failed with a sentence, and is retried
        jobs.retry(job)
    joined([forked(worker)])
    return {"wrong": differences(job.pk, expected)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("verb", choices=("prepare", "kill", "die"))
    parser.add_argument("what", nargs="?", default="")
    parser.add_argument("--unguarded", action="store_true")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from django.conf import settings

    from personalization import conf
    from personalization.learning import jobs, shards
    from worker import pulse, score, sharding

    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": str(options.folder)}
    conf.get.cache_clear()
    score.BLOCK, shards.WORTH_JOINING, sharding.WAIT_SECONDS = PART, 1, 0.02
    jobs.LEASE = shards.LEASE = timedelta(seconds=LEASE_SECONDS)
    pulse.BEAT_SECONDS = LEASE_SECONDS / 5
    if options.verb == "prepare":
        prepare(options.folder)
    elif options.verb == "kill":
        print(json.dumps(kill(options.folder, int(options.what))))
    else:
        print(json.dumps(die(options.folder, options.what, options.unguarded)))


if __name__ == "__main__":
    main()
